"""One partition a connector. Objects are rows of the ledger: Dagster carries 100,000
keys an asset, not millions.
"""

import dagster as dg

connector_partitions = dg.DynamicPartitionsDefinition(name="connector")
