"""Dagster's entry to this package; assembles and does nothing else."""

import dagster as dg

from activekg_pipelines.defs.assets import document_embeddings, extracted_text, source_objects
from activekg_pipelines.defs.jobs import sync_connector
from activekg_pipelines.defs.sensors import build_sensors
from activekg_pipelines.logs import configure_logging
from activekg_pipelines.settings import settings

configure_logging(settings().activekg_log_level, settings().activekg_log_style)

defs = dg.Definitions(
    assets=[source_objects, extracted_text, document_embeddings],
    jobs=[sync_connector],
    sensors=build_sensors(),
    executor=dg.in_process_executor,
)
