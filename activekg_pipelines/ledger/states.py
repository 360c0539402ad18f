"""The ledger's records: states, entries of a listing, claims, outcomes, requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from activekg_pipelines.errors import ObjectError


class ObjectState(StrEnum):
    """Where an object stands."""

    PENDING = "pending"
    """New or changed: its text has to be extracted."""
    EXTRACTED = "extracted"
    """Its text is stored and has to be chunked, embedded and written to the graph."""
    INDEXED = "indexed"
    """The graph holds the version with ``indexed_etag``."""
    SKIPPED = "skipped"
    """Holds nothing to index (unsupported, too large, empty).

    Looked at again when its ETag changes.
    """
    FAILED = "failed"
    """Will be tried again at ``next_attempt_at``."""
    DEAD = "dead"
    """A dead letter: a permanent error, or attempts used up.

    It can be replayed, and leaves this state by itself when its ETag changes.
    """
    DELETED = "deleted"
    """Gone from the source, and from the graph."""


class Mode(StrEnum):
    """Which objects a run takes up, beside those that are due anyway."""

    CHANGED = "changed"
    """New and changed objects, and retries that are due."""
    FAILED = "failed"
    """Also every failed object and dead letter, at once and with fresh attempts."""
    ALL = "all"
    """Every object of the connector again."""


class Trigger(StrEnum):
    """Who asked for a run."""

    POLL = "poll"
    MANUAL = "manual"
    REGISTERED = "registered"
    RETRY = "retry"
    """Nothing but retries was due."""
    PENDING = "pending"
    SCAN = "scan"
    DAGSTER = "dagster"
    """Started from Dagster's own UI or command line."""


@dataclass(frozen=True, slots=True)
class ListedObject:
    """One entry of a listing.

    Attributes:
        etag: opaque, without quotes.
        size: bytes, as listed.
        modified_at: as listed, UTC.
        skip: why the entry needs no download at all, when name and size already say so.
    """

    key: str
    etag: str
    size: int
    modified_at: datetime
    skip: ObjectError | None = None


@dataclass(frozen=True, slots=True)
class Scan:
    """A full listing of a connector under way.

    Attributes:
        start_after: the last key that was compared with the ledger.
    """

    id: int
    connector_id: UUID
    tenant_id: str
    start_after: str


@dataclass(frozen=True, slots=True)
class ScanCounts:
    """Objects that a scan, or a part of one, found.

    Attributes:
        due: new and changed ones that need a run.
        over_limit: new ones that were not taken in, because the connector holds as many
            as its tenant may have.
    """

    listed: int = 0
    added: int = 0
    changed: int = 0
    missing: int = 0
    deleted: int = 0
    due: int = 0
    over_limit: int = 0

    @property
    def skipped(self) -> int:
        """New and changed ones whose name or size already says that nothing is to be read."""
        return self.added + self.changed - self.due

    def __add__(self, other: ScanCounts) -> ScanCounts:
        return ScanCounts(
            self.listed + other.listed,
            self.added + other.added,
            self.changed + other.changed,
            self.missing + other.missing,
            self.deleted + other.deleted,
            self.due + other.due,
            self.over_limit + other.over_limit,
        )


@dataclass(frozen=True, slots=True)
class ClaimedObject:
    """An object that a run holds a lease on, to extract its text.

    Attributes:
        attempts: failed ones so far.
        deaths: runs that died while they held it.
        parser_failures: of the attempts, those that its parser's process did not survive.
        content_hash: SHA-256 of the bytes that the stored text came from, if the
            current extractor made that text.
    """

    id: int
    key: str
    etag: str
    size: int
    modified_at: datetime
    attempts: int
    deaths: int
    parser_failures: int
    content_hash: bytes | None


@dataclass(frozen=True, slots=True)
class ExtractedText:
    """A text ready to be stored, with the version of the object that it was read from."""

    object_id: int
    etag: str
    size: int
    modified_at: datetime
    content_hash: bytes
    text_hash: bytes
    text: str
    title: str | None
    mime_type: str
    facts: dict[str, Any]
    warnings: Sequence[str]
    """Kinds of the warnings in ``facts``."""
    extractor_version: str


@dataclass(frozen=True, slots=True)
class UnchangedBytes:
    """A new ETag over the bytes that the stored text came from: nothing to extract."""

    object_id: int
    etag: str
    size: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class ClaimedText:
    """A stored text that a run holds a lease on, to put it into the graph."""

    id: int
    key: str
    etag: str
    size: int
    modified_at: datetime
    attempts: int
    deaths: int
    text: str
    title: str | None
    mime_type: str
    content_hash: bytes
    text_hash: bytes
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """What the ledger keeps of a document that was swapped into the graph."""

    object_id: int
    document_id: UUID
    chunks: int


@dataclass(frozen=True, slots=True)
class FailedObject:
    """An object that could not be processed this time.

    Attributes:
        retry_in: seconds until the next attempt; None when there is none.
    """

    object_id: int
    error: ObjectError
    state: ObjectState
    retry_in: float | None


@dataclass(frozen=True, slots=True)
class HeldObject:
    """An object whose lease the run still holds, and what the run has counted of it.

    Attributes:
        found_here: the run's sync found this version of it.
        failed_here: the error that the sync counts for it, where an earlier attempt of the
            same sync failed.
    """

    id: int
    found_here: bool
    failed_here: str | None


@dataclass(frozen=True, slots=True)
class DocumentMetadata:
    """New metadata of a document whose text did not change."""

    object_id: int
    document_id: UUID
    etag: str
    size: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Versions:
    """What makes texts and vectors: a row made by other versions is outdated."""

    extractor: str
    chunker: str
    encoder: str

    @property
    def label(self) -> str:
        """All three in one string, as ``connectors.connectors`` keeps them."""
        return f"{self.extractor} {self.chunker} {self.encoder}"


@dataclass(frozen=True, slots=True)
class Work:
    """One connector's need for runs, as the ``work_queue`` sensor sees it.

    Attributes:
        due: objects that a run could take up now.
        live_runs: runs that are waiting or running.
        scan: why the connector needs a run that lists its source, if it does.
        reason: why it needs one that does not list; ``retry`` where nothing but retries
            is due.
    """

    connector_id: UUID
    tenant_id: str
    partition_key: str
    due: int
    live_runs: int
    scan: Trigger | None
    reason: Trigger


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A run that the ledger asks Dagster for.

    Attributes:
        emission: how often it was asked for, this time included.
        ahead: runs of the tenant that are under way or come before it.
    """

    id: UUID
    connector_id: UUID
    tenant_id: str
    partition_key: str
    trigger: Trigger
    with_scan: bool
    mode: Mode
    emission: int
    ahead: int

    @property
    def run_key(self) -> str:
        """Unique for each time that Dagster is asked.

        Dagster never runs a key again, not even one that failed.
        """
        return f"{self.id}/{self.emission}"
