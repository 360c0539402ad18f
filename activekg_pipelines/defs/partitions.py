"""Each connector is a partition.

Objects are rows of the ledger instead: Dagster carries 100,000 partition keys for an
asset, not millions.
"""

import dagster as dg

from activekg_pipelines.orchestrator.partitions import PARTITIONS_DEF

connector_partitions = dg.DynamicPartitionsDefinition(name=PARTITIONS_DEF)
