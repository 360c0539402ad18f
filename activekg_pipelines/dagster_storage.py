"""The storage class under the module path that operators' ``dagster.yaml`` may name."""

from activekg_pipelines.orchestrator.storage import PooledPostgresStorage

__all__ = ["PooledPostgresStorage"]
