"""Removes a tenant with everything that is here of it, and counts what is left.

It goes in batches. What is cut short leaves ledger and graph consistent, and the same
call goes on.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Final

from psycopg import Connection, sql
from psycopg.errors import InsufficientPrivilege
from psycopg.rows import TupleRow

from activekg_pipelines.administration.removal import DocumentFate, remove
from activekg_pipelines.connectors.actions import ActionKind, record
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.errors import ConnectorNotFound
from activekg_pipelines.services import Services

_SQL = load_queries(Path(__file__).with_name("tenants.sql"))

_BATCH: Final = 1000
"""Rows of one transaction. An entry of the vector index takes longest to go."""


@dataclass(frozen=True, slots=True)
class _Table:
    schema: str
    name: str
    is_own: bool
    referring: tuple[str, ...]
    full_name: str

    @property
    def identifier(self) -> sql.Identifier:
        return sql.Identifier(self.schema, self.name)


@dataclass(frozen=True, slots=True)
class Count:
    """Rows of a tenant in one place.

    Attributes:
        place: a table, or what Dagster calls its part.
        removed: during this call.
        left: afterwards.
    """

    place: str
    removed: int
    left: int


@dataclass(frozen=True, slots=True)
class TenantRemoval:
    """What became of a tenant.

    Attributes:
        counts: of every table of this package and of the graph, and of Dagster's.
        others: rows in tables of other software in the same database, by table. They
            are not touched.
    """

    tenant_id: str
    counts: list[Count]
    others: dict[str, int]

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left."""
        return not any(count.left for count in self.counts)


def count_tenant(services: Services, tenant_id: str) -> tuple[dict[str, int], dict[str, int]]:
    """Rows of a tenant by place.

    Returns:
        Those of this package, the graph and Dagster; and those of other software in the
        same database, without the tables that hold none or may not be read.

    Raises:
        OrchestratorError: Dagster's storage cannot be reached.
    """
    own: dict[str, int] = {}
    others: dict[str, int] = {}
    with services.database.transaction(tenant_id=tenant_id) as conn:
        for table in _tables(conn):
            if table.is_own:
                own[table.full_name] = _count(conn, table, tenant_id)
                continue
            try:
                with conn.transaction():
                    rows = _count(conn, table, tenant_id)
            except InsufficientPrivilege:
                # Nothing of this package lies in a table that its role may not read.
                continue
            if rows:
                others[table.full_name] = rows
    of_dagster = asdict(services.orchestrator.count_tenant(tenant_id))
    own |= {f"dagster {name.replace('_', ' ')}": rows for name, rows in of_dagster.items()}
    return own, others


def remove_tenant(services: Services, tenant_id: str) -> TenantRemoval:
    """Remove everything of a tenant: connectors with their secrets, ledger, texts, graph,
    history, limits, counters, its record of actions, and what Dagster holds of it.

    Runs that are under way write nothing afterwards. Dagster's record of them is left
    until they have ended, and so may be what somebody registers meanwhile. The same call
    again removes that.

    Raises:
        OrchestratorError: Dagster's storage cannot be reached.
    """
    before, _ = count_tenant(services, tenant_id)
    if any(before.values()):
        _record(services, ActionKind.TENANT_REMOVAL_BEGUN, tenant_id)
    for connector in services.every_connector(tenant_id):
        try:
            remove(services, connector.id, DocumentFate.REMOVE, tenant_id)
        except ConnectorNotFound:
            # Somebody else removed it meanwhile.
            continue
    with services.database.transaction() as conn:
        tables = _children_first(_tables(conn))
    for table in tables:
        while _delete_batch(services, table, tenant_id):
            pass
    services.orchestrator.forget_tenant(tenant_id)
    services.orchestrator.reload()
    after, others = count_tenant(services, tenant_id)
    counts = [
        Count(place, max(0, before.get(place, 0) - left), left) for place, left in after.items()
    ]
    removal = TenantRemoval(tenant_id, counts, others)
    if removal.is_complete and any(before.values()):
        _record(services, ActionKind.TENANT_REMOVED, tenant_id)
    return removal


def _record(services: Services, action: ActionKind, tenant_id: str) -> None:
    with services.database.transaction() as conn:
        # The operator's own, since the tenant's record goes.
        record(conn, action, None, removed_tenant=tenant_id)


def _tables(conn: Connection[TupleRow]) -> list[_Table]:
    return [
        _Table(schema, name, is_own, tuple(referring), full_name)
        for schema, name, is_own, referring, full_name in conn.execute(_SQL["tables"])
    ]


def _children_first(tables: list[_Table]) -> list[_Table]:
    """This package's tables, each after those that refer to it."""
    own = {table.full_name: table for table in tables if table.is_own}
    order = TopologicalSorter({name: table.referring for name, table in own.items()})
    return [own[name] for name in order.static_order() if name in own]


def _count(conn: Connection[TupleRow], table: _Table, tenant_id: str) -> int:
    query = sql.SQL("SELECT count(*) FROM {} WHERE tenant_id::text = %s").format(table.identifier)
    row = conn.execute(query, (tenant_id,)).fetchone()
    return int(row[0]) if row else 0


def _delete_batch(services: Services, table: _Table, tenant_id: str) -> int:
    """Delete the tenant's next rows of a table; returns how many there were."""
    query = sql.SQL(
        "DELETE FROM {table} WHERE ctid = ANY(ARRAY("
        "SELECT ctid FROM {table} WHERE tenant_id::text = %(tenant_id)s LIMIT %(limit)s))"
    ).format(table=table.identifier)
    parameters = {"tenant_id": tenant_id, "limit": _BATCH}
    with services.database.transaction(tenant_id=tenant_id) as conn:
        conn.execute(_SQL["let_actions_go"], parameters)
        return conn.execute(query, parameters).rowcount
