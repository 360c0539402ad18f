"""What people do to connectors, each across registry, ledger, graph and Dagster at once, or not at all.

The HTTP routes and the command line both call these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from activekg_pipelines.administration.services import AdminServices
from activekg_pipelines.connectors.models import Connector, S3Config, S3ConfigPatch
from activekg_pipelines.connectors.store import ConnectorStore
from activekg_pipelines.database.pool import Database, act_for
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.errors import ConnectorConflict, ConnectorNotFound
from activekg_pipelines.ledger.states import Mode

_SQL = load_queries(Path(__file__).with_name("queries.sql"))


class DocumentFate(StrEnum):
    """What becomes of documents whose connector no longer covers them."""

    REMOVE = "remove"
    """They leave the graph."""
    KEEP = "keep"
    """They stay searchable, as they are, and nobody updates them any more."""


class ConnectorDisabled(ConnectorConflict):
    """The connector is disabled: enable it first."""


class DocumentsAffected(ConnectorConflict):
    """The change takes documents out of the connector's reach.

    Args:
        documents: how many.
    """

    def __init__(self, documents: int) -> None:
        super().__init__(
            f"{documents} documents come from objects outside the new bucket or prefix. "
            "Say what becomes of them: repeat the request with ?documents=remove or ?documents=keep."
        )
        self.documents = documents


@dataclass(frozen=True, slots=True)
class Reconfigured:
    """A changed connector, and how many documents it no longer covers; ``fate`` is None where there are none."""

    connector: Connector
    documents: int
    fate: DocumentFate | None


@dataclass(frozen=True, slots=True)
class SyncRequested:
    """A sync that waits for its run, and how many objects were queued for it by key."""

    id: UUID
    objects_queued: int


@dataclass(frozen=True, slots=True)
class DeletionsConfirmed:
    """How many deletions may go on; ``sync_id`` is the sync that carries them out, if one could be asked for."""

    deletions: int
    sync_id: UUID | None


def register(services: AdminServices, tenant_id: str, config: S3Config) -> Connector:
    """Register a connector, its partition and, by reloading the definitions, its tenant's sensor.

    Raises:
        ConnectorConflict, InvalidConnector: as :meth:`ConnectorStore.create`.
        OrchestratorError: Dagster's storage cannot be reached; nothing was registered.
    """
    with services.database.transaction() as conn:
        connector = _store(services, conn).create(tenant_id, config)
        # Before the commit: a connector without a partition could not be synced by hand, one that failed to be
        # registered leaves at worst a partition that the next try takes up.
        services.orchestrator.add_partition(connector.partition_key)
    services.orchestrator.reload()
    return connector


def reconfigure(
    services: AdminServices,
    connector_id: UUID,
    patch: S3ConfigPatch,
    tenant_id: str | None = None,
    documents: DocumentFate | None = None,
) -> Reconfigured:
    """Change the given fields. A new bucket or prefix starts a new listing, and takes documents out of reach.

    Args:
        services: this process's.
        connector_id: which.
        patch: the new values.
        tenant_id: whose it must be; None for any tenant's.
        documents: what becomes of documents that the connector no longer covers.

    Raises:
        ConnectorNotFound, ConnectorConflict, InvalidConnector: as :meth:`ConnectorStore.update`.
        DocumentsAffected: there are such documents, and ``documents`` says nothing; nothing was changed.
    """
    with services.database.transaction() as conn:
        store = _store(services, conn)
        moves = bool({"bucket", "prefix", "endpoint_url"} & patch.changes().keys())
        if moves:
            _lock(conn, connector_id, tenant_id)
        old = store.get(connector_id, tenant_id)
        # Row-level security may bind this role to one tenant's rows: without this, nothing would be removed.
        act_for(conn, old.tenant_id)
        new = store.update(connector_id, patch, tenant_id)
        left = 0
        if moves and (old.bucket, old.prefix, old.endpoint_url) != (new.bucket, new.prefix, new.endpoint_url):
            left = _leave_source(services, conn, old, new, documents)
            new = store.get(connector_id, tenant_id)
    if (old.enabled, old.poll_interval_seconds) != (new.enabled, new.poll_interval_seconds):
        services.orchestrator.reload()
    return Reconfigured(new, left, documents if left else None)


def remove(services: AdminServices, connector_id: UUID, documents: DocumentFate, tenant_id: str | None = None) -> int:
    """Forget a connector with its ledger, history and partition. A run under way writes nothing afterwards.

    Returns:
        How many documents were removed or kept.

    Raises:
        ConnectorNotFound: it does not exist, or is another tenant's.
        OrchestratorError: Dagster's storage cannot be reached; nothing was removed.
    """
    with services.database.transaction() as conn:
        store = _store(services, conn)
        _lock(conn, connector_id, tenant_id)
        connector = store.get(connector_id, tenant_id)
        act_for(conn, connector.tenant_id)
        _, document_ids = _lock_objects(conn, connector_id, keep_prefix=None)
        if documents is DocumentFate.REMOVE:
            services.graph.remove(conn, connector.tenant_id, document_ids)
        store.delete(connector_id, tenant_id)
        services.orchestrator.remove_partition(connector.partition_key)
    services.orchestrator.reload()
    return len(document_ids)


def request_sync(
    services: AdminServices,
    connector_id: UUID,
    tenant_id: str | None = None,
    *,
    mode: Mode = Mode.CHANGED,
    keys: Sequence[str] = (),
) -> SyncRequested:
    """Ask for a sync now; joins one of the same mode that waits already.

    Args:
        services: this process's.
        connector_id: which.
        tenant_id: whose it must be; None for any tenant's.
        mode: which objects the sync takes up.
        keys: objects to process again whatever their state; others than those that the ledger knows are left out.

    Raises:
        ConnectorNotFound: it does not exist, or is another tenant's.
        ConnectorDisabled: nothing would run.
    """
    connector = services.connectors.get(connector_id, tenant_id)
    if not connector.enabled:
        raise ConnectorDisabled("The connector is paused: set `enabled` to true (connectors resume) before syncing it.")
    queued = 0
    if keys:
        with services.database.transaction(tenant_id=connector.tenant_id) as conn:
            queued = conn.execute(_SQL["requeue_objects"], {"connector_id": connector.id, "keys": list(keys)}).rowcount
    return SyncRequested(services.ledger.request_manual_run(connector.id, connector.tenant_id, mode=mode), queued)


def replay_dead_letters(
    services: AdminServices,
    connector_id: UUID,
    tenant_id: str | None = None,
    *,
    keys: Sequence[str] | None = None,
    error_type: str | None = None,
) -> int:
    """Try dead letters again with fresh attempts; the work queue starts the run.

    Args:
        services: this process's.
        connector_id: which.
        tenant_id: whose it must be; None for any tenant's.
        keys: only these objects.
        error_type: only those that ended with this error.

    Returns:
        How many objects were queued.

    Raises:
        ConnectorNotFound: it does not exist, or is another tenant's.
    """
    connector = services.connectors.get(connector_id, tenant_id)
    parameters = {
        "connector_id": connector.id,
        "keys": None if keys is None else list(keys),
        "error_type": error_type,
    }
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        return conn.execute(_SQL["replay_dead_letters"], parameters).rowcount


def confirm_deletions(services: AdminServices, connector_id: UUID, tenant_id: str | None = None) -> DeletionsConfirmed:
    """Let the deletions go on that the delete-storm guard holds back, with a sync now.

    Raises:
        ConnectorNotFound: it does not exist, or is another tenant's.
    """
    connector = services.connectors.get(connector_id, tenant_id)
    deletions = services.connectors.confirm_deletions(connector.id, tenant_id)
    if deletions == 0 or not connector.enabled:
        return DeletionsConfirmed(deletions, None)
    return DeletionsConfirmed(deletions, services.ledger.request_manual_run(connector.id, connector.tenant_id))


class _OneTransaction(Database):
    """A transaction that is under way in the place of a pool: what a store writes commits with the rest."""

    def __init__(self, conn: Connection[TupleRow]) -> None:
        self._conn = conn

    @contextmanager
    def transaction(self, *, tenant_id: str | None = None) -> Iterator[Connection[TupleRow]]:
        if tenant_id is not None:
            act_for(self._conn, tenant_id)
        yield self._conn


def _store(services: AdminServices, conn: Connection[TupleRow]) -> ConnectorStore:
    """The registry, working inside ``conn``'s transaction."""
    return ConnectorStore(_OneTransaction(conn), services.keyring, services.settings.activekg_s3_endpoint_allowlist)


def _lock(conn: Connection[TupleRow], connector_id: UUID, tenant_id: str | None) -> None:
    """Keep everybody from adding to the connector's ledger until the transaction ends.

    Scans first, then the connector: a scanner locks in that order.
    """
    parameters = {"connector_id": connector_id, "tenant_id": tenant_id}
    conn.execute(_SQL["stop_scans"], parameters)
    if conn.execute(_SQL["lock_connector"], parameters).fetchone() is None:
        raise ConnectorNotFound(f"No connector has the id {connector_id}.")


def _lock_objects(
    conn: Connection[TupleRow], connector_id: UUID, *, keep_prefix: str | None
) -> tuple[list[int], list[UUID]]:
    """Ids of the connector's objects outside ``keep_prefix`` (all for None), and of the documents made of them."""
    rows = conn.execute(_SQL["lock_objects"], {"connector_id": connector_id, "keep_prefix": keep_prefix}).fetchall()
    return [row[0] for row in rows], [row[1] for row in rows if row[1] is not None]


def _leave_source(
    services: AdminServices, conn: Connection[TupleRow], old: Connector, new: Connector, fate: DocumentFate | None
) -> int:
    """Forget what the connector's new source does not hold; returns how many documents that concerns."""
    # Equal keys in another bucket are other objects, even under equal ETags: their URIs differ.
    keep_prefix = new.prefix if new.bucket == old.bucket else None
    object_ids, document_ids = _lock_objects(conn, old.id, keep_prefix=keep_prefix)
    if document_ids and fate is None:
        raise DocumentsAffected(len(document_ids))
    if fate is DocumentFate.REMOVE:
        services.graph.remove(conn, old.tenant_id, document_ids)
    conn.execute(_SQL["forget_objects"], {"ids": object_ids})
    conn.execute(_SQL["stop_scans"], {"connector_id": old.id, "tenant_id": None})
    conn.execute(_SQL["expect_first_scan"], {"connector_id": old.id})
    return len(document_ids)
