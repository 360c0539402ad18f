"""What administration adds to the process's shared parts: Dagster and search."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from activekg_pipelines.connectors.encryption import KeyRing
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.connectors.store import ConnectorStore
from activekg_pipelines.database.pool import Database
from activekg_pipelines.graph.search import SearchHit, search
from activekg_pipelines.graph.store import Graph
from activekg_pipelines.ledger.store import Ledger
from activekg_pipelines.orchestrator.orchestrator import Orchestrator
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings

Search = Callable[[str, str, int], list[SearchHit]]
"""``(tenant_id, query, limit)`` to the tenant's best hits."""


@dataclass(frozen=True, slots=True)
class AdminServices:
    """What the API's routes and the command line work with.

    Attributes:
        shared: the process's parts, for what the pipeline itself does.
    """

    shared: Services
    settings: Settings
    database: Database
    keyring: KeyRing
    connectors: ConnectorStore
    ledger: Ledger
    graph: Graph
    orchestrator: Orchestrator
    search: Search

    def connector(self, connector_id: UUID, tenant_id: str | None = None) -> Connector:
        """As :meth:`Services.connector`."""
        return self.shared.connector(connector_id, tenant_id)

    def close(self) -> None:
        """Finish what is under way and close connections."""
        self.orchestrator.close()
        self.database.close()


def admin_services(shared: Services) -> AdminServices:
    """Everything for administration. Opens no connection and loads no model: each part
    does so at its first use.

    Args:
        shared: the process's parts.

    Raises:
        SettingsError: the database or the key for credentials is not configured.
    """

    def find(tenant_id: str, query: str, limit: int) -> list[SearchHit]:
        return search(
            shared.database, shared.question_encoder, tenant_id=tenant_id, query=query, limit=limit
        )

    return AdminServices(
        shared=shared,
        settings=shared.settings,
        database=shared.database,
        keyring=KeyRing.from_settings(shared.settings),
        connectors=shared.connectors,
        ledger=shared.ledger,
        graph=shared.graph,
        orchestrator=Orchestrator(shared.settings.activekg_webserver_url),
        search=find,
    )
