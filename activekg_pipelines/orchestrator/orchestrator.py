"""What the API and the command line ask of Dagster."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Self

import httpx

from activekg_pipelines.orchestrator.health import Check, check_dagster
from activekg_pipelines.orchestrator.partitions import PartitionStore
from activekg_pipelines.orchestrator.reloads import Reloads
from activekg_pipelines.orchestrator.webserver import Webserver

if TYPE_CHECKING:
    from dagster import DagsterInstance


class Orchestrator:
    """Dagster as API and command line need it. Safe to use from several threads.

    Args:
        webserver_url: where GraphQL is asked and where links lead.
        credential: makes the token of a request to the webserver.
        instance: opens Dagster's instance; by default the one that ``DAGSTER_HOME``
            names.
        transport: carries the HTTP requests; by default the network.
        reload_interval_seconds: reloads start at least this far apart.
    """

    def __init__(
        self,
        webserver_url: str,
        *,
        credential: Callable[[], str | None] | None = None,
        instance: Callable[[], DagsterInstance] | None = None,
        transport: httpx.BaseTransport | None = None,
        reload_interval_seconds: float = 5.0,
    ) -> None:
        self._webserver = Webserver(webserver_url, credential=credential, transport=transport)
        self._partitions = PartitionStore(instance)
        self._reloads = Reloads(self._webserver, interval_seconds=reload_interval_seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_partition(self, key: str) -> None:
        """Make a connector's partition known.

        Every way to start a run accepts the partition then. One that is known already
        is no error.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
        """
        self._partitions.add(key)

    def remove_partition(self, key: str) -> None:
        """Forget a connector's partition. An unknown one is no error.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
        """
        self._partitions.remove(key)

    def count_partitions(self) -> int:
        """How many connectors' partitions Dagster's storage knows.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
        """
        return self._partitions.count()

    def reload(self) -> None:
        """Have the webserver load the definitions again, soon and in the background.

        An unreachable webserver is logged and is no error.
        """
        self._reloads.request()

    def run_url(self, run_id: str) -> str:
        """Where people look at a run."""
        return self._webserver.run_url(run_id)

    def health(self) -> list[Check]:
        """A check each for webserver, code location and daemon; never raises."""
        return check_dagster(self._webserver)

    def close(self) -> None:
        """Wait for the reload that is due, then close connections."""
        self._reloads.wait()
        self._webserver.close()
        self._partitions.close()
