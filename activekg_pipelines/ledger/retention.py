"""What the ledger forgets, and when: history that nobody reads any more, and objects
that are long gone.

In batches of one short transaction each, which skip what others have locked: several
may purge at once, and a purge that was cut short is simply gone on with.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from activekg_pipelines.database.pool import Database
from activekg_pipelines.database.queries import load_queries

_SQL = load_queries(Path(__file__).with_name("retention.sql"))
_BATCH = 10_000


@dataclass(frozen=True, slots=True)
class LedgerPurge:
    """Rows that a purge removed: scans, syncs, and objects that were deleted long ago."""

    scans: int
    runs: int
    deleted_objects: int


def forget_history(conn: Connection[TupleRow], connector_id: UUID) -> tuple[int, int]:
    """Drop a batch of a connector's oldest scans and syncs; returns how many of each."""
    parameters = {"connector_id": connector_id, "limit": _BATCH}
    conn.execute(_SQL["forget_usage"], {"connector_id": connector_id})
    scans = conn.execute(_SQL["forget_scans"], parameters).rowcount
    runs = conn.execute(_SQL["forget_runs"], parameters).rowcount
    return scans, runs


def purge_ledger(database: Database, *, deleted_days: int) -> LedgerPurge:
    """Drop all that the ledger need not keep, for every connector.

    A scan that completes drops its connector's old history by itself; here it is the
    turn of connectors whose scans fail or that are paused.

    Args:
        database: the graph database.
        deleted_days: days for which an object that is gone from its bucket stays in the
            ledger.
    """
    with database.transaction() as conn:
        connectors = [row[0] for row in conn.execute(_SQL["connectors"])]
        conn.execute(_SQL["forget_departed_usage"])
    scans = runs = 0
    for connector_id in connectors:
        batch = (_BATCH, _BATCH)
        while _BATCH in batch:
            with database.transaction() as conn:
                batch = forget_history(conn, connector_id)
            scans += batch[0]
            runs += batch[1]
    return LedgerPurge(scans, runs, _forget_deleted(database, deleted_days))


def _forget_deleted(database: Database, days: int) -> int:
    forgotten = 0
    last: int | None = 0
    while last is not None:
        with database.transaction() as conn:
            row = conn.execute(
                _SQL["forget_deleted"], {"after": last, "limit": _BATCH, "days": days}
            ).fetchone()
        last, count = row or (None, 0)
        forgotten += count
    return forgotten
