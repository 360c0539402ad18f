"""The job that makes Postgres match a connector's source."""

import dagster as dg

from activekg_pipelines.defs.assets import extract_and_index, source_objects

sync_connector = dg.define_asset_job(
    "sync_connector",
    # Without the audit, which would list the source once more and read the whole graph.
    selection=dg.AssetSelection.assets(source_objects, extract_and_index).without_checks()
    | dg.AssetSelection.checks(*extract_and_index.check_keys),
    # The steps hand rows to each other, not objects: processes of their own would only
    # cost starts.
    executor_def=dg.in_process_executor,
    description="List the connector's source, extract what changed, and put it into the graph.",
)
