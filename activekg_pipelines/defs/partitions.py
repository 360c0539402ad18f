"""Each connector is a partition.

Objects are rows of the ledger instead: Dagster carries 100,000 partition keys for an
asset, not millions.
"""

import warnings

import dagster as dg

from activekg_pipelines.orchestrator.partitions import PARTITIONS_DEF

# Checks of partitions are a preview in Dagster 1.13, and it says so for each of them at
# every start of every process.
warnings.filterwarnings(
    "ignore", ".*partitions_def on an AssetCheckSpec", category=dg.PreviewWarning
)

connector_partitions = dg.DynamicPartitionsDefinition(name=PARTITIONS_DEF)
