"""A registered connector: one source of a tenant, its configuration and its identity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, Field

from activekg_pipelines.sources.config import no_dots
from activekg_pipelines.sources.notes import Note, note_of
from activekg_pipelines.sources.source import Location

# No ':' and no '/': an external id is {scheme}:{tenant}:{container}/{key}, and two tenants
# must never share one.
_TENANT_ID = r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}$"

TenantId = Annotated[str, Field(pattern=_TENANT_ID), AfterValidator(no_dots)]


class ConnectorStatus(StrEnum):
    """How a connector is, in one word."""

    DISABLED = "disabled"
    ERROR = "error"
    """Its last scan failed as a whole; see ``last_error``."""
    NEEDS_CONFIRMATION = "needs_confirmation"
    """Deletions are held back until somebody confirms them."""
    OBJECT_LIMIT = "object_limit"
    """It holds as many objects as its tenant may have; new ones are not taken in."""
    WAITING = "waiting"
    """Its first scan has not ended yet."""
    ACTIVE = "active"


@dataclass(frozen=True, slots=True)
class LastError:
    """What stopped a connector as a whole."""

    code: str
    message: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Listing:
    """Whether a connector's source was listed lately enough.

    Attributes:
        completed_at: when its last completed listing ended; None where none did yet.
        last_error: why it cannot be listed, in a sentence, where that is known.
    """

    id: UUID
    partition_key: str
    in_time: bool
    completed_at: datetime | None
    poll_interval_seconds: int
    last_error: str | None


@dataclass(frozen=True, slots=True)
class Connector:
    """A registered connector as it is stored, without its secrets.

    Attributes:
        provider: name of the kind of source.
        config: the provider's own fields that are no secrets.
        location: where the source lies.
        lists_in_order: the source lists its keys in order; otherwise runs sort them.
        trusts_etags: no ETag of the source was seen over other bytes; otherwise sizes and
            times are compared, too.
        store_notes: codes of what was found out about the store.
        runs_held: after a cancellation, nothing starts by itself until the next poll.
        delete_guard_percent: share of its objects above which a scan deletes nothing
            without a confirmation; None for the installation's.
        secret_hints: what may be shown of the secrets, by field.
    """

    id: UUID
    tenant_id: str
    provider: str
    name: str
    partition_key: str
    config: Mapping[str, Any]
    location: Location
    lists_in_order: bool
    trusts_etags: bool
    store_notes: list[str]
    poll_interval_seconds: int
    enabled: bool
    delete_guard_percent: int | None
    secret_hints: Mapping[str, str]
    kek_version: int
    created_at: datetime
    updated_at: datetime
    last_scan_started_at: datetime | None
    last_scan_completed_at: datetime | None
    last_error_code: str | None
    last_error_message: str | None
    last_error_at: datetime | None
    deletions_held_back: int
    deletions_confirmed: int
    objects_over_limit: int
    failed_polls: int
    runs_held: bool
    generation: int

    @property
    def needs_confirmation(self) -> bool:
        """Whether the delete-storm guard waits for somebody to confirm."""
        return self.deletions_held_back > self.deletions_confirmed

    @property
    def status(self) -> ConnectorStatus:
        """The first that applies; those that need somebody come first."""
        if not self.enabled:
            return ConnectorStatus.DISABLED
        if self.last_error_code is not None:
            return ConnectorStatus.ERROR
        if self.needs_confirmation:
            return ConnectorStatus.NEEDS_CONFIRMATION
        if self.objects_over_limit:
            return ConnectorStatus.OBJECT_LIMIT
        if self.last_scan_completed_at is None:
            return ConnectorStatus.WAITING
        return ConnectorStatus.ACTIVE

    @property
    def last_error(self) -> LastError | None:
        """What stops it as a whole, if anything does."""
        if self.last_error_code is None or self.last_error_at is None:
            return None
        return LastError(self.last_error_code, self.last_error_message or "", self.last_error_at)

    @property
    def notes(self) -> list[Note]:
        """What was found out about the store, for people."""
        return [note_of(code) for code in self.store_notes]

    def uri(self, key: str) -> str:
        """An object's address, such as ``s3://bucket/key``."""
        return self.location.uri(key)


def partition_key(tenant_id: str, name: str) -> str:
    """The connector's Dagster partition key.

    Tenant ids and names hold no character that Dagster refuses.
    """
    return f"{tenant_id}/{name}"
