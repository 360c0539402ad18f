"""One job: make Postgres match S3 for a connector."""

import dagster as dg

from activekg_pipelines.defs.assets import document_embeddings, extracted_text, source_objects

sync_connector = dg.define_asset_job(
    "sync_connector",
    selection=[source_objects, extracted_text, document_embeddings],
    # The steps hand rows to each other, not objects: processes of their own would only cost starts.
    executor_def=dg.in_process_executor,
    description="List the connector's bucket, extract what changed, and put it into the graph.",
)
