"""Dagster's entry to this package; assembles and does nothing else."""

import dagster as dg

from activekg_pipelines.defs.assets import extract_and_index, source, source_objects
from activekg_pipelines.defs.checks import audit_connectors, no_drift, weekly_audit
from activekg_pipelines.defs.freshness import listed_in_time, listings_in_time
from activekg_pipelines.defs.jobs import sync_connector
from activekg_pipelines.defs.maintenance import daily_maintenance, maintenance
from activekg_pipelines.defs.sensors import build_sensors
from activekg_pipelines.logs import configure_logging
from activekg_pipelines.settings import settings

configure_logging(settings().activekg_log_level, settings().activekg_log_style)

defs = dg.Definitions(
    assets=[source, source_objects, extract_and_index],
    asset_checks=[no_drift, listed_in_time],
    jobs=[sync_connector, maintenance, audit_connectors],
    schedules=[daily_maintenance, weekly_audit],
    sensors=[*build_sensors(), listings_in_time],
    executor=dg.in_process_executor,
)
