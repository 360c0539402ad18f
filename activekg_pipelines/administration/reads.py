"""Reads what API and command line show of registry and ledger, page by page.

Everything happens in the caller's transaction.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row, dict_row

from activekg_pipelines.connectors.listings import LISTING_PARTS
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.extraction.warnings import (
    TEXT_IS_MISSING,
    DocumentWarning,
    WarningKind,
    is_not_read_whole,
    kinds_of,
    read_stored,
)
from activekg_pipelines.ledger.run_counts import COUNTERS, SQL_PARTS, RunCounts
from activekg_pipelines.ledger.states import ObjectState
from activekg_pipelines.services import Services

_SQL = load_queries(Path(__file__).with_name("queries.sql"), {**SQL_PARTS, **LISTING_PARTS})


@dataclass(frozen=True, slots=True)
class RunRow:
    """One sync as the ledger has it."""

    id: UUID
    connector_id: UUID
    tenant_id: str
    trigger: str
    mode: str
    status: str
    cancelled_by: str | None
    launch_error: str | None
    waits_for: str | None
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None
    counts: RunCounts
    dagster_run_id: str | None


@dataclass(frozen=True, slots=True)
class ObjectRow:
    """One object as the ledger has it."""

    key: str
    etag: str
    size: int
    modified_at: datetime
    state: ObjectState
    detected_at: datetime
    attempts: int
    deaths: int
    next_attempt_at: datetime | None
    error_code: str | None
    error_message: str | None
    document_id: UUID | None
    indexed_etag: str | None
    indexed_at: datetime | None
    chunks: int
    stored_warnings: Any

    @property
    def warnings(self) -> list[DocumentWarning]:
        """What a reader of its text should know."""
        return read_stored(self.stored_warnings)

    @property
    def not_read_whole(self) -> bool:
        """Whether a warning says that text is missing."""
        return is_not_read_whole(kinds_of(self.warnings))


@dataclass(frozen=True, slots=True)
class ObjectFilter:
    """Which objects of a connector are listed.

    Attributes:
        state: only those in this state.
        error_type: only those whose last error has this code.
        warning: only those whose text has this warning.
        not_read_whole: only those whose warnings say that text is missing.
    """

    state: ObjectState | None = None
    error_type: str | None = None
    warning: WarningKind | None = None
    not_read_whole: bool = False


@dataclass(frozen=True, slots=True)
class CredentialsRow:
    """Encrypted credentials of one connector of those with the same key version."""

    provider: str
    id: UUID
    secrets: bytes
    kek_version: int
    connectors: int


@dataclass(frozen=True, slots=True)
class ConfigurationRow:
    """A configuration without its secrets, and the connectors that have it."""

    provider: str
    config: dict[str, Any]
    partition_keys: list[str]


def runs(
    conn: Connection[TupleRow],
    tenant_id: str | None,
    *,
    connector_id: UUID | None = None,
    status: str | None = None,
    since: datetime | None = None,
    after: tuple[datetime, UUID] | None = None,
    limit: int,
) -> list[RunRow]:
    """Syncs, newest first.

    Args:
        tenant_id: only this tenant's; None for every tenant's.
        connector_id: only this connector's.
        status: only those in this status, one of :data:`schemas.RunStatus`.
        since: only those asked for at or after this time.
        after: ``requested_at`` and ``id`` of the last one of the page before.
        limit: rows at most.
    """
    after_time, after_id = after or (None, None)
    parameters = {
        "tenant_id": tenant_id,
        "connector_id": connector_id,
        "status": status,
        "since": since,
        "after_time": after_time,
        "after_id": after_id,
        "limit": limit,
    }
    rows = conn.cursor(row_factory=dict_row).execute(_SQL["runs"], parameters)
    return [_run_row(row) for row in rows]


def run(conn: Connection[TupleRow], run_id: UUID) -> RunRow | None:
    """One sync, or None where there is none (any more)."""
    row = conn.cursor(row_factory=dict_row).execute(_SQL["run"], {"id": run_id}).fetchone()
    return _run_row(row) if row else None


def waits_for(conn: Connection[TupleRow], connector_id: UUID) -> str | None:
    """What a connector's oldest sync that has not begun waits for; None where none waits."""
    row = conn.execute(_SQL["waits_for"], {"connector_id": connector_id}).fetchone()
    return str(row[0]) if row else None


def run_url(services: Services, row: RunRow) -> str | None:
    """Where people look at a sync's run in Dagster, once it has one."""
    return services.orchestrator.run_url(row.dagster_run_id) if row.dagster_run_id else None


def objects(
    conn: Connection[TupleRow],
    connector_id: UUID,
    listed: ObjectFilter,
    *,
    after: str | None = None,
    limit: int,
) -> list[ObjectRow]:
    """A connector's objects by key.

    Args:
        connector_id: whose; the caller has checked that the tenant may see it.
        listed: which of them.
        after: the last key of the page before.
        limit: rows at most.
    """
    parameters = {
        "connector_id": connector_id,
        "missing": list(TEXT_IS_MISSING),
        "after": after,
        "limit": limit,
        **asdict(listed),
    }
    rows = conn.cursor(row_factory=class_row(ObjectRow)).execute(_SQL["objects"], parameters)
    return rows.fetchall()


def credentials_by_key_version(conn: Connection[TupleRow]) -> list[CredentialsRow]:
    """The credentials of one connector for each key version in use."""
    rows = conn.cursor(row_factory=class_row(CredentialsRow)).execute(
        _SQL["credentials_by_key_version"]
    )
    return rows.fetchall()


def configurations(conn: Connection[TupleRow]) -> list[ConfigurationRow]:
    """What sources are configured with, each configuration once."""
    rows = conn.cursor(row_factory=class_row(ConfigurationRow)).execute(_SQL["configurations"])
    return rows.fetchall()


class Trouble(StrEnum):
    """What of a connector needs somebody."""

    ERRORS = "errors"
    """It cannot be synced."""
    DEAD_LETTERS = "dead_letters"
    HELD_DELETIONS = "held_deletions"
    """The delete guard waits for a confirmation."""
    LATE_LISTINGS = "late_listings"
    """Its last completed listing is older than it should be."""


@dataclass(frozen=True, slots=True)
class TroubledConnector:
    """A connector that needs somebody.

    Attributes:
        trouble: what is wrong: the error, a number, or when it was listed.
        connectors: how many have that kind of trouble.
    """

    partition_key: str
    trouble: str
    connectors: int


def troubled(
    conn: Connection[TupleRow], kind: Trouble, *, shown: int, most: int = 10_000
) -> list[TroubledConnector]:
    """The first enabled connectors that have a kind of trouble, by partition key.

    Args:
        shown: connectors at most.
        most: up to how many dead letters of a connector are counted.
    """
    parameters = {"kind": kind, "shown": shown, "most": most}
    rows = conn.cursor(row_factory=class_row(TroubledConnector)).execute(
        _SQL["troubles"], parameters
    )
    return rows.fetchall()


def _run_row(row: dict[str, Any]) -> RunRow:
    names = [*(counter.name for counter in COUNTERS), "errors"]
    counts = RunCounts(**{name: row.pop(name) for name in names})
    return RunRow(counts=counts, **row)
