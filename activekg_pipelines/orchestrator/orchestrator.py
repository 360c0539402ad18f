"""What the API and the command line ask of Dagster."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Self
from uuid import UUID

import httpx

from activekg_pipelines.orchestrator.health import Check, check_dagster
from activekg_pipelines.orchestrator.instance import SharedInstance
from activekg_pipelines.orchestrator.launches import Launch, launches_of
from activekg_pipelines.orchestrator.partitions import PartitionStore
from activekg_pipelines.orchestrator.reloads import Reloads
from activekg_pipelines.orchestrator.webserver import Webserver

if TYPE_CHECKING:
    from dagster import DagsterInstance

    from activekg_pipelines.orchestrator.tenant_history import TenantHistory


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
        self._instance = SharedInstance(instance)
        self._asking = threading.Lock()
        self._partitions = PartitionStore(self._instance)
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

    def count_tenant(self, tenant_id: str) -> TenantHistory:
        """What Dagster holds of a tenant.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
            UnknownStorage: it is not PostgreSQL.
        """
        from activekg_pipelines.orchestrator.tenant_history import count_tenant

        return self._instance.use(lambda instance: count_tenant(instance, tenant_id))

    def forget_tenant(self, tenant_id: str) -> None:
        """Delete what Dagster holds of a tenant, but the runs that are not finished.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
            UnknownStorage: it is not PostgreSQL.
        """
        from activekg_pipelines.orchestrator.tenant_history import forget_tenant

        self._instance.use(lambda instance: forget_tenant(instance, tenant_id))

    def launches(self, sync_ids: Collection[UUID]) -> Mapping[UUID, Launch]:
        """What Dagster knows of syncs that have not begun; those unknown to it are missing.

        Nothing while another thread asks: a storage that hangs must not hold all of a
        process's threads.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
        """
        if not self._asking.acquire(blocking=False):
            return {}
        try:
            return self._instance.use(lambda instance: launches_of(instance, sync_ids))
        finally:
            self._asking.release()

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
        self._instance.close()
