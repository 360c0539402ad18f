"""Takes objects and their documents out of a connector's reach.

That happens when the connector goes, or when its source changes.

Many documents go in batches. What is cut short between two of them leaves ledger and
graph consistent, and the same call goes on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from uuid import UUID

from psycopg import Connection, Rollback
from psycopg.rows import TupleRow

from activekg_pipelines.connectors.actions import ActionKind, record
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.connectors.store import stored_config
from activekg_pipelines.database.pool import act_for
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.errors import ConnectorConflict, ConnectorNotFound
from activekg_pipelines.services import Services
from activekg_pipelines.sources.config import ConfigPatch

_SQL = load_queries(Path(__file__).with_name("queries.sql"))

_BATCH = 500
"""Objects whose documents leave in one transaction. A hundred thousand in one would
hold locks, and keep the database from tidying up, for minutes."""


class DocumentFate(StrEnum):
    """What becomes of documents whose connector no longer covers them."""

    REMOVE = "remove"
    """They leave the graph."""
    KEEP = "keep"
    """They stay searchable, as they are, and nobody updates them any more."""


class DocumentsAffected(ConnectorConflict):
    """The change takes documents out of the connector's reach.

    Args:
        documents: how many.
    """

    def __init__(self, documents: int) -> None:
        super().__init__(
            f"{documents} documents come from objects outside the new bucket or prefix.",
            fix="Say what becomes of them.",
        )
        self.documents = documents


@dataclass(frozen=True, slots=True)
class SettledDocuments:
    """Documents that no connector covers any more.

    Attributes:
        documents: how many.
        fate: what became of them; None where there are none.
    """

    documents: int
    fate: DocumentFate | None

    @property
    def documents_removed(self) -> int:
        """How many left the graph."""
        return self.documents if self.fate is DocumentFate.REMOVE else 0

    @property
    def documents_kept(self) -> int:
        """How many stay searchable."""
        return self.documents if self.fate is DocumentFate.KEEP else 0


def remove(
    services: Services,
    connector_id: UUID,
    documents: DocumentFate,
    tenant_id: str | None = None,
) -> SettledDocuments:
    """Forget a connector with its ledger, history and partition.

    A run that is under way writes nothing afterwards.

    It is paused first, then its documents go in batches, then it. Where that is cut
    short, a paused connector with the rest of its documents is left; the same call
    again goes on.

    Raises:
        ConnectorNotFound: it does not exist, or is another tenant's.
        OrchestratorError: Dagster's storage cannot be reached; nothing was removed.
    """
    with services.database.transaction() as conn:
        lock(conn, connector_id, tenant_id)
        connector = services.connectors.get(conn, connector_id, tenant_id)
        _fence(conn, connector_id, pause=True)
        # First, so that nobody starts another run, and nothing is removed while Dagster
        # is away.
        services.orchestrator.remove_partition(connector.partition_key)
        upto = _newest_object(conn, connector_id)
        record(
            conn,
            ActionKind.CONNECTOR_REMOVAL_BEGUN,
            connector.tenant_id,
            connector,
            fate=documents,
        )
    goes = documents is DocumentFate.REMOVE
    removed = 0
    while True:
        with services.database.transaction() as conn:
            lock(conn, connector_id, tenant_id)
            act_for(conn, connector.tenant_id)
            batch = _lock_objects(conn, connector, upto=upto, limit=_BATCH)
            removed += _forget_objects(services, conn, connector, batch, remove_documents=goes)
            if len(batch) < _BATCH:
                # And what a run's scan has added meanwhile.
                rest = _lock_objects(conn, connector)
                removed += _forget_objects(services, conn, connector, rest, remove_documents=goes)
                services.connectors.delete(conn, connector_id, tenant_id)
                record(
                    conn,
                    ActionKind.CONNECTOR_REMOVED,
                    connector.tenant_id,
                    connector,
                    documents=removed,
                    fate=documents,
                )
                # A tick that had begun before may have added it again.
                services.orchestrator.remove_partition(connector.partition_key)
                break
    services.orchestrator.reload()
    return SettledDocuments(removed, documents)


def lock(conn: Connection[TupleRow], connector_id: UUID, tenant_id: str | None) -> None:
    """Keep everybody from adding to the connector's ledger until the transaction ends.

    Scans first, then the connector: a scanner locks in that order.

    Raises:
        ConnectorNotFound: it does not exist, or is another tenant's.
    """
    parameters = {"connector_id": connector_id, "tenant_id": tenant_id}
    conn.execute(_SQL["stop_scans"], parameters)
    if conn.execute(_SQL["lock_connector"], parameters).fetchone() is None:
        raise ConnectorNotFound(f"No connector has the id {connector_id}.")


def origin(connector: Connector) -> tuple[object, ...]:
    """What tells the connector's source from another one."""
    return stored_config(connector).origin()


def _kept_prefix(old: Connector, new: Connector) -> str | None:
    """Objects under it stay the connector's; None where none does."""
    # Equal keys in another container are other objects, even under equal ETags: their
    # URIs differ.
    same = new.location.uri_root == old.location.uri_root
    return new.location.prefix if same else None


def leave_in_batches(
    services: Services,
    connector_id: UUID,
    patch: ConfigPatch,
    tenant_id: str | None,
    fate: DocumentFate | None,
) -> int:
    """Forget all but the last batch of what the connector's new source will not hold.

    Returns how many documents that concerns.
    """
    left = 0
    upto: int | None = None
    while True:
        with services.database.transaction() as conn:
            lock(conn, connector_id, tenant_id)
            old = services.connectors.get(conn, connector_id, tenant_id)
            act_for(conn, old.tenant_id)
            # Whether the change is possible, and what it would leave, anew each time:
            # somebody may change it, too.
            with conn.transaction():
                new = services.connectors.update(conn, connector_id, patch, tenant_id)
                raise Rollback
            if origin(old) == origin(new):
                return left
            keep_prefix = _kept_prefix(old, new)
            _check_fate(conn, old, keep_prefix, fate)
            upto = _newest_object(conn, connector_id) if upto is None else upto
            batch = _lock_objects(conn, old, keep_prefix=keep_prefix, upto=upto, limit=_BATCH)
            if len(batch) < _BATCH:
                # Few enough to go in the transaction that changes the connector.
                return left
            if left == 0:
                record(
                    conn,
                    ActionKind.CONNECTOR_CHANGE_BEGUN,
                    old.tenant_id,
                    old,
                    location=str(new.location),
                    fate=fate,
                )
            left += _forget_objects(
                services, conn, old, batch, remove_documents=fate is DocumentFate.REMOVE
            )
            _fence(conn, connector_id, pause=False)


def _check_fate(
    conn: Connection[TupleRow],
    connector: Connector,
    keep_prefix: str | None,
    fate: DocumentFate | None,
) -> None:
    parameters = {"connector_id": connector.id, "keep_prefix": keep_prefix}
    row = None if fate else conn.execute(_SQL["count_documents"], parameters).fetchone()
    if row and row[0]:
        raise DocumentsAffected(row[0])


def leave_source(
    services: Services,
    conn: Connection[TupleRow],
    old: Connector,
    new: Connector,
    fate: DocumentFate | None,
) -> int:
    """Forget what the connector's new source does not hold.

    Returns how many documents that concerns.
    """
    keep_prefix = _kept_prefix(old, new)
    _check_fate(conn, old, keep_prefix, fate)
    objects = _lock_objects(conn, old, keep_prefix=keep_prefix)
    documents = _forget_objects(
        services, conn, old, objects, remove_documents=fate is DocumentFate.REMOVE
    )
    conn.execute(_SQL["stop_scans"], {"connector_id": old.id, "tenant_id": None})
    conn.execute(_SQL["expect_first_scan"], {"connector_id": old.id})
    return documents


def _fence(conn: Connection[TupleRow], connector_id: UUID, *, pause: bool) -> None:
    """Give whoever read the connector before nothing more to do.

    No poll comes due for an interval.

    Args:
        conn: a transaction that holds :func:`lock`.
        pause: also let nothing more start by itself.
    """
    conn.execute(_SQL["fence"], {"connector_id": connector_id, "pause": pause})


def _newest_object(conn: Connection[TupleRow], connector_id: UUID) -> int:
    """The id of the connector's newest object.

    A removal in batches ends there, so that it does end: what a scan adds meanwhile has
    higher ids.
    """
    row = conn.execute(_SQL["newest_object"], {"connector_id": connector_id}).fetchone()
    return int(row[0]) if row else 0


def _lock_objects(
    conn: Connection[TupleRow],
    connector: Connector,
    *,
    keep_prefix: str | None = None,
    upto: int | None = None,
    limit: int | None = None,
) -> list[tuple[int, UUID | None]]:
    """Lock the connector's objects outside ``keep_prefix``; all of them for None.

    Only the first ``limit`` with ids up to ``upto``.

    Returns:
        Each object's id and that of the document made of it.
    """
    parameters = {
        "connector_id": connector.id,
        "keep_prefix": keep_prefix,
        "upto": upto,
        "limit": limit,
    }
    return [(row[0], row[1]) for row in conn.execute(_SQL["lock_objects"], parameters)]


def _forget_objects(
    services: Services,
    conn: Connection[TupleRow],
    connector: Connector,
    objects: Sequence[tuple[int, UUID | None]],
    *,
    remove_documents: bool,
) -> int:
    """Forget locked objects, with or without their documents.

    Returns how many documents there are.
    """
    documents = [document for _, document in objects if document is not None]
    if remove_documents:
        services.graph.remove(conn, connector.tenant_id, documents)
    conn.execute(_SQL["forget_objects"], {"ids": [object_id for object_id, _ in objects]})
    return len(documents)
