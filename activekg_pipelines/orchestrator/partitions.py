"""The connectors' partitions in Dagster's storage."""

from __future__ import annotations

from typing import Final

from activekg_pipelines.orchestrator.instance import OrchestratorError, SharedInstance

__all__ = ["PARTITIONS_DEF", "OrchestratorError", "PartitionStore"]

PARTITIONS_DEF: Final = "connector"
"""Name of the dynamic partitions definition; it has one key for each connector."""


class PartitionStore:
    """Adds, removes and counts partitions. Safe to use from several threads."""

    def __init__(self, instance: SharedInstance) -> None:
        self._instance = instance

    def add(self, key: str) -> None:
        """Make a partition known. One that is known already is no error.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
        """
        self._instance.use(lambda instance: instance.add_dynamic_partitions(PARTITIONS_DEF, [key]))

    def remove(self, key: str) -> None:
        """Forget a partition. An unknown one is no error.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
        """
        self._instance.use(lambda instance: instance.delete_dynamic_partition(PARTITIONS_DEF, key))

    def count(self) -> int:
        """How many partitions Dagster's storage knows.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
        """
        return self._instance.use(
            lambda instance: len(instance.get_dynamic_partitions(PARTITIONS_DEF))
        )
