"""Forgets what nobody reads any more, batch by batch: a transaction each."""

from __future__ import annotations

from dataclasses import dataclass

from activekg_pipelines.ledger import retention
from activekg_pipelines.services import Services


@dataclass(frozen=True, slots=True)
class Purge:
    """Rows that a purge removed.

    Attributes:
        scans, runs: of the history.
        deleted_objects: that were gone from their source for long.
        vectors: kept for texts that did not come back.
    """

    scans: int
    runs: int
    deleted_objects: int
    vectors: int


def purge(services: Services) -> Purge:
    """Drop all that need not be kept, of every connector.

    A scan that completes drops its connector's old history by itself. The others, which
    fail or are paused, have theirs dropped here.
    """
    with services.database.transaction() as conn:
        connectors = retention.connector_ids(conn)
        retention.forget_usage(conn)
    scans = runs = 0
    for connector_id in connectors:
        batch = (retention.BATCH, retention.BATCH)
        while retention.BATCH in batch:
            with services.database.transaction() as conn:
                batch = retention.forget_history(conn, connector_id)
            scans += batch[0]
            runs += batch[1]
    return Purge(scans, runs, _forget_deleted(services), _forget_released(services))


def _forget_deleted(services: Services) -> int:
    days = services.settings.activekg_deleted_retention_days
    forgotten = 0
    last: int | None = 0
    while last is not None:
        with services.database.transaction() as conn:
            last, count = retention.forget_deleted(conn, after=last, days=days)
        forgotten += count
    return forgotten


def _forget_released(services: Services) -> int:
    forgotten = 0
    while True:
        with services.database.transaction() as conn:
            batch = services.graph.forget_released(conn)
        forgotten += batch
        if batch == 0:
            return forgotten
