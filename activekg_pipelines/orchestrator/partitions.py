"""The connectors' partitions in Dagster's storage.

Imports Dagster only when a partition is touched: that costs a second, and most commands
never need it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, TypeVar

from activekg_pipelines.errors import ActiveKGError

if TYPE_CHECKING:
    from dagster import DagsterInstance

T = TypeVar("T")

PARTITIONS_DEF: Final = "connector"
"""Name of the dynamic partitions definition; it has one key for each connector."""


class OrchestratorError(ActiveKGError):
    """Dagster's storage cannot be reached."""


class PartitionStore:
    """Adds, removes and counts partitions. Safe to use from several threads.

    Args:
        open_instance: opens Dagster's instance; by default the one that ``DAGSTER_HOME``
            names. It is opened at the first use.
    """

    def __init__(self, open_instance: Callable[[], DagsterInstance] | None = None) -> None:
        self._open_instance = open_instance or _default_instance
        self._instance: DagsterInstance | None = None
        self._lock = threading.Lock()

    def add(self, key: str) -> None:
        """Make a partition known. One that is known already is no error.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
        """
        self.with_instance(lambda instance: instance.add_dynamic_partitions(PARTITIONS_DEF, [key]))

    def remove(self, key: str) -> None:
        """Forget a partition. An unknown one is no error.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
        """
        self.with_instance(lambda instance: instance.delete_dynamic_partition(PARTITIONS_DEF, key))

    def count(self) -> int:
        """How many partitions Dagster's storage knows.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
        """
        return self.with_instance(
            lambda instance: len(instance.get_dynamic_partitions(PARTITIONS_DEF))
        )

    def close(self) -> None:
        """Close the instance."""
        with self._lock:
            if self._instance is not None:
                self._instance.dispose()
                self._instance = None

    def with_instance(self, action: Callable[[DagsterInstance], T]) -> T:
        """Do something else with the instance that partitions are kept in.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
        """
        from dagster import DagsterError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._lock:
                if self._instance is None:
                    self._instance = self._open_instance()
                return action(self._instance)
        except (DagsterError, SQLAlchemyError, OSError) as error:
            # Only the kind of the cause is told: it may quote the storage's connection
            # string.
            raise OrchestratorError(
                f"Dagster's storage cannot be used ({type(error).__name__}): check DAGSTER_HOME "
                "and its dagster.yaml."
            ) from error


def _default_instance() -> DagsterInstance:
    from dagster import DagsterInstance

    return DagsterInstance.get()
