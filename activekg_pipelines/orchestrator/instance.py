"""Dagster's instance, opened when it is first used.

Importing Dagster costs a second, and most commands never need it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from activekg_pipelines.errors import ActiveKGError

if TYPE_CHECKING:
    from dagster import DagsterInstance

T = TypeVar("T")


class OrchestratorError(ActiveKGError):
    """Dagster's storage cannot be reached."""


class SharedInstance:
    """The instance of a process. Safe to use from several threads, one at a time.

    Args:
        open_instance: opens it; by default the one that ``DAGSTER_HOME`` names.
    """

    def __init__(self, open_instance: Callable[[], DagsterInstance] | None = None) -> None:
        self._open_instance = open_instance or _default_instance
        self._instance: DagsterInstance | None = None
        self._lock = threading.Lock()

    def use(self, action: Callable[[DagsterInstance], T]) -> T:
        """What ``action`` makes of the instance.

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

    def close(self) -> None:
        """Close the instance."""
        with self._lock:
            if self._instance is not None:
                self._instance.dispose()
                self._instance = None


def _default_instance() -> DagsterInstance:
    from dagster import DagsterInstance

    return DagsterInstance.get()
