"""A connector's registry entry and objects inside one transaction: locked, fenced,
forgotten.

What takes objects out of a connector's reach goes in batches; :mod:`operations` says
when.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.errors import ConnectorNotFound
from activekg_pipelines.services import Services

_SQL = load_queries(Path(__file__).with_name("queries.sql"))

BATCH = 500
"""Objects whose documents leave in one transaction. A hundred thousand in one would
hold locks, and keep the database from tidying up, for minutes."""


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


def fence(conn: Connection[TupleRow], connector_id: UUID, *, pause: bool) -> None:
    """Give whoever read the connector before nothing more to do, and let no poll come
    due for an interval.

    Args:
        conn: a transaction that holds :func:`lock`.
        connector_id: which.
        pause: also let nothing more start by itself.
    """
    conn.execute(_SQL["fence"], {"connector_id": connector_id, "pause": pause})


def newest_object(conn: Connection[TupleRow], connector_id: UUID) -> int:
    """Where a removal in batches ends, so that it ends: what a scan adds meanwhile has
    higher ids.
    """
    row = conn.execute(_SQL["newest_object"], {"connector_id": connector_id}).fetchone()
    return int(row[0]) if row else 0


def lock_objects(
    conn: Connection[TupleRow],
    connector: Connector,
    *,
    keep_prefix: str | None = None,
    upto: int | None = None,
    limit: int | None = None,
) -> list[tuple[int, UUID | None]]:
    """Lock the connector's objects outside ``keep_prefix`` (all for None): the first
    ``limit``, ids up to ``upto``.

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


def forget_objects(
    services: Services,
    conn: Connection[TupleRow],
    connector: Connector,
    objects: Sequence[tuple[int, UUID | None]],
    *,
    remove_documents: bool,
) -> int:
    """Forget locked objects, with or without their documents; returns how many
    documents there are.
    """
    documents = [document for _, document in objects if document is not None]
    if remove_documents:
        services.graph.remove(conn, connector.tenant_id, documents)
    conn.execute(_SQL["forget_objects"], {"ids": [object_id for object_id, _ in objects]})
    return len(documents)
