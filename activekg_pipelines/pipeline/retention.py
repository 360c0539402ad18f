"""Purges old rows in batches, each in a transaction of its own."""

from __future__ import annotations

from dataclasses import dataclass

from activekg_pipelines.ledger import retention
from activekg_pipelines.services import Services


@dataclass(frozen=True, slots=True)
class Purge:
    """Rows that a purge removed.

    Attributes:
        scans, runs: old ones of the history.
        deleted_objects: objects that were gone from their source for long.
        vectors: kept vectors whose texts did not come back.
    """

    scans: int
    runs: int
    deleted_objects: int
    vectors: int


def purge(services: Services) -> Purge:
    """Purge old rows of every connector.

    A scan that completes purges its connector's old history by itself. Connectors that
    fail or are paused need this.
    """
    with services.database.transaction() as conn:
        connectors = retention.connector_ids(conn)
        retention.purge_usage(conn)
    scans = runs = 0
    for connector_id in connectors:
        batch = (retention.BATCH, retention.BATCH)
        while retention.BATCH in batch:
            with services.database.transaction() as conn:
                batch = retention.purge_history(conn, connector_id)
            scans += batch[0]
            runs += batch[1]
    return Purge(scans, runs, _purge_deleted(services), _purge_released(services))


def _purge_deleted(services: Services) -> int:
    days = services.settings.activekg_deleted_retention_days
    purged = 0
    last: int | None = 0
    while last is not None:
        with services.database.transaction() as conn:
            last, count = retention.purge_deleted(conn, after=last, days=days)
        purged += count
    return purged


def _purge_released(services: Services) -> int:
    purged = 0
    while True:
        with services.database.transaction() as conn:
            batch = services.graph.purge_released(conn)
        purged += batch
        if batch == 0:
            return purged
