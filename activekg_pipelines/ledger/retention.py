"""Purges the ledger: old history, and objects that were deleted long ago.

Each function drops one batch in the caller's transaction, and skips rows that others
have locked. So several processes may purge at once, and after a purge that was
interrupted the next one goes on.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final, NamedTuple
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from activekg_pipelines.database.queries import load_queries

_SQL = load_queries(Path(__file__).with_name("retention.sql"))

BATCH: Final = 10_000
"""Rows that one transaction drops at most."""


class PurgedHistory(NamedTuple):
    """How many scans and syncs of a connector were dropped."""

    scans: int
    runs: int


class PurgedObjects(NamedTuple):
    """The last row of the batch, None at the end; and how many objects were dropped."""

    last: int | None
    objects: int


def connector_ids(conn: Connection[TupleRow]) -> list[UUID]:
    """Every connector that has a history."""
    return [row[0] for row in conn.execute(_SQL["connectors"])]


def purge_history(conn: Connection[TupleRow], connector_id: UUID) -> PurgedHistory:
    """Drop a batch of a connector's oldest scans and syncs."""
    parameters = {"connector_id": connector_id, "limit": BATCH}
    conn.execute(_SQL["purge_usage"], {"connector_id": connector_id})
    scans = conn.execute(_SQL["purge_scans"], parameters).rowcount
    runs = conn.execute(_SQL["purge_runs"], parameters).rowcount
    return PurgedHistory(scans, runs)


def purge_usage(conn: Connection[TupleRow]) -> None:
    """Drop the usage of days long ago, also of tenants without a connector."""
    conn.execute(_SQL["purge_all_usage"])


def purge_deleted(conn: Connection[TupleRow], *, after: int, days: int) -> PurgedObjects:
    """Drop objects of the next rows that were gone from their source for long.

    Args:
        after: the last row of the batch before; 0 for the first one.
        days: for which a deleted object stays in the ledger.
    """
    row = conn.execute(
        _SQL["purge_deleted"], {"after": after, "limit": BATCH, "days": days}
    ).fetchone()
    return PurgedObjects(*row) if row else PurgedObjects(None, 0)
