"""Decides whether a source's listing and the ledger agree about a key. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from activekg_pipelines.audit.differences import Difference
from activekg_pipelines.ledger.planner import is_changed
from activekg_pipelines.ledger.states import KnownVersion, ObjectState
from activekg_pipelines.sources.source import Entry

_SLACK: Final = timedelta(minutes=1)
"""S3 gives times in whole seconds, by its own clock."""


@dataclass(frozen=True, slots=True)
class ScanStatus:
    """How far the connector's scans are.

    Attributes:
        scanned_at: when the last completed scan began; None when none was completed
            since the source changed.
        scanning: a scan is under way.
        over_limit: a limit of the tenant keeps new objects out of the ledger.
        trusts_etags: see :class:`~activekg_pipelines.connectors.models.Connector`.
        versions: of extractor, chunker and encoder. The last search for outdated rows
            compared with them.
    """

    generation: int
    scanned_at: datetime | None
    scanning: bool
    over_limit: bool
    trusts_etags: bool
    versions: str | None


@dataclass(frozen=True, slots=True)
class Row:
    """What the ledger says of a key.

    Attributes:
        settled: as in :class:`~activekg_pipelines.audit.consistency.Facts`.
    """

    key: str
    version: KnownVersion
    state: str
    settled: bool


def compare(entry: Entry | None, row: Row | None, status: ScanStatus) -> Difference | None:
    """The difference at a key that the listing, the ledger or both have.

    It is also None where the next scan or run settles it: see :func:`in_flight`.
    """
    if row is not None and not row.settled:
        return None
    known = row is not None and row.state != ObjectState.DELETED
    if entry is None:
        return Difference.NOT_IN_BUCKET if known and not status.scanning else None
    if status.scanned_at is None or entry.modified_at > status.scanned_at - _SLACK:
        return None
    if not known:
        return None if status.over_limit else Difference.NOT_IN_LEDGER
    return Difference.ETAG_DIFFERS if _is_other(entry, row, status) else None


def in_flight(entry: Entry | None, row: Row | None, status: ScanStatus) -> bool:
    """Whether a scan or a run is about to settle the object."""
    if row is not None and not row.settled:
        return True
    same = (
        entry is not None
        and row is not None
        and row.state != ObjectState.DELETED
        and not _is_other(entry, row, status)
    )
    gone = entry is None and (row is None or row.state == ObjectState.DELETED)
    return not same and not gone and compare(entry, row, status) is None


def _is_other(entry: Entry, row: Row | None, status: ScanStatus) -> bool:
    return row is not None and is_changed(
        row.version,
        entry.etag,
        entry.size,
        entry.modified_at,
        distrusted=not status.trusts_etags,
    )
