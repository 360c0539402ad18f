"""The JSON shapes that the API answers with and that the command line prints with
``--json``; fields are promises.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from enum import StrEnum
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Any, Literal, TypeAlias
from uuid import UUID

from pydantic import BaseModel, Field, create_model

from activekg_pipelines.administration.operations import DocumentFate
from activekg_pipelines.administration.views import ObjectRow, RunRow
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.connectors.rotation import Rotation
from activekg_pipelines.connectors.store import stored_config
from activekg_pipelines.connectors.tenant_limits import TenantUsage
from activekg_pipelines.graph.search import SearchHit
from activekg_pipelines.ledger.run_counts import COUNTERS, Unit
from activekg_pipelines.ledger.states import Mode, ObjectState, Trigger
from activekg_pipelines.orchestrator.orchestrator import Orchestrator
from activekg_pipelines.pipeline.preview import Basis, Preview
from activekg_pipelines.sources.config import masked, view_of
from activekg_pipelines.sources.registry import providers

RunStatus = Literal["waiting", "running", "succeeded", "failed", "expired"]


if TYPE_CHECKING:

    class ConfigView(BaseModel):
        """What the configurations of all providers have."""

        name: str
        poll_interval_seconds: int
        enabled: bool

    ProviderName: TypeAlias = str
else:
    # Of each provider's configuration, the form in which its secrets are masked.
    ConfigView = reduce(or_, (view_of(one.config) for one in providers().values()))
    ProviderName = Literal[tuple(providers())]


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


class LastError(BaseModel):
    """What stopped a connector as a whole."""

    error_type: str
    message: str
    at: datetime


class ConnectorView(BaseModel):
    """A connector as the API shows it."""

    id: UUID
    tenant_id: str
    provider: str
    config: ConfigView
    location: str = Field(description="Where its objects lie, such as `s3://bucket/prefix`.")
    partition_key: str = Field(description="Its partition in Dagster.")
    status: ConnectorStatus
    last_error: LastError | None
    deletions_held_back: int
    objects_over_limit: int = Field(description="New objects that the last scan did not take in.")
    last_scan_started_at: datetime | None
    last_scan_completed_at: datetime | None
    created_at: datetime
    updated_at: datetime


class TenantLimitsView(BaseModel):
    """What a tenant may use, and what it has used. Limits are null where there is none;
    the operator sets them.
    """

    tenant_id: str
    max_connectors: int | None
    max_objects_per_connector: int | None
    max_bytes_per_day: int | None
    is_own: bool = Field(description="The operator set limits for this tenant.")
    connectors: int
    objects_over_limit: int = Field(
        description="New objects of all connectors that the last scans did not take in."
    )
    bytes_today: int = Field(description="Downloaded since midnight, UTC.")
    waits_until: datetime | None = Field(
        description="When downloads go on, once the bytes of the day are used up; until then "
        "pending objects wait."
    )


class ConnectorDetail(ConnectorView):
    """A connector with its progress."""

    objects: dict[str, int] = Field(description="Objects by state.")
    limits: TenantLimitsView


class ChangedConnector(ConnectorView):
    """A changed connector, and what became of the documents that it no longer covers."""

    documents_removed: int
    documents_kept: int


class RemovedConnector(BaseModel):
    """What became of a removed connector's documents."""

    id: UUID
    documents_removed: int
    documents_kept: int


class ConnectionTest(BaseModel):
    """Whether a sync would be able to read the source."""

    status: Literal["success", "error"]
    message: str
    objects_found: int | None = None
    objects_found_is_lower_bound: bool | None = None
    error_type: str | None = Field(default=None, description="Stable, for programs.")
    fix: str | None = Field(default=None, description="What to do about it.")
    warning: str | None = Field(
        default=None, description="What is odd although it works: a prefix without objects."
    )


class SyncAccepted(BaseModel):
    """A sync that will start within seconds."""

    sync_id: UUID
    status: Literal["waiting"] = "waiting"
    objects_queued: int | None = None


class DeletionsConfirmed(BaseModel):
    """Deletions that may go on now."""

    deletions_confirmed: int
    sync_id: UUID | None


def _counter_fields(*, objects: bool) -> dict[str, Any]:
    return {
        counter.name: (int, Field(description=counter.description))
        for counter in COUNTERS
        if (counter.unit is Unit.OBJECTS) is objects
    }


class _Run(BaseModel):
    id: UUID = Field(description="The `sync_id` of a sync that was asked for.")
    config_id: UUID
    tenant_id: str
    trigger: Trigger
    mode: Mode
    status: RunStatus
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None


if TYPE_CHECKING:

    class RunObjects(BaseModel):
        """The fields are the counters of objects."""

    class _CountedRun(_Run):
        """The other fields are the counters of everything else."""

        objects: RunObjects

else:
    RunObjects = create_model(
        "RunObjects", __doc__="Objects by outcome.", **_counter_fields(objects=True)
    )
    _CountedRun = create_model(
        "_CountedRun", __base__=_Run, objects=RunObjects, **_counter_fields(objects=False)
    )


class RunView(_CountedRun):
    """One sync."""

    errors: dict[str, int] = Field(description="Objects by error type.")
    dagster_run_id: str | None
    dagster_run_url: str | None


class ObjectView(BaseModel):
    """One object of the ledger."""

    key: str
    uri: str
    state: ObjectState
    etag: str
    size: int
    modified_at: datetime
    detected_at: datetime
    attempts: int
    next_attempt_at: datetime | None
    error_type: str | None
    error_message: str | None
    document_id: UUID | None
    indexed_etag: str | None
    indexed_at: datetime | None
    chunks: int


class Replayed(BaseModel):
    """How many dead letters were queued."""

    replayed: int


class HitView(BaseModel):
    """A passage that answers."""

    uri: str
    title: str
    snippet: str
    score: float
    chunk_index: int
    document_id: UUID
    char_start: int
    char_end: int


class SearchAnswer(BaseModel):
    """Passages, best first."""

    hits: list[HitView]


class PreviewChange(BaseModel):
    """Objects that a sync would treat alike."""

    objects: int
    bytes: int = Field(description="Their sizes together.")
    sample: list[str] = Field(
        description="Up to 20 of their keys, the first in the bucket's order."
    )


class PreviewChanges(BaseModel):
    """Objects by what a sync would do with them."""

    add: PreviewChange = Field(description="New in the bucket.")
    update: PreviewChange = Field(description="Another ETag than before.")
    delete: PreviewChange = Field(
        description="Gone from the bucket; their documents leave the graph."
    )
    skip: PreviewChange = Field(
        description="New or changed, and by name or size nothing that is indexed."
    )
    waiting: PreviewChange = Field(
        description="Found before and not done yet, or failed and due again."
    )
    outdated: PreviewChange = Field(
        description="Made by another version of extractor, chunker or model."
    )
    unchanged: PreviewChange


class PreviewEstimate(BaseModel):
    """What the work would amount to, judged by what was done before."""

    chunks: int | None = Field(description="Null where no document was indexed before.")
    seconds: float | None = Field(description="Null where no run indexed anything before.")
    basis: Basis | None = Field(
        description="Whose history it comes from; null where there is none."
    )
    documents: int = Field(description="Indexed documents that it comes from.")
    runs: int = Field(description="Runs that it comes from.")


class PreviewView(BaseModel):
    """What a sync would do. Where the listing is not complete, counts are lower bounds."""

    config_id: UUID
    complete: bool = Field(description="The listing was read to its end.")
    pages: int
    listed: int
    changes: PreviewChanges
    deletions_held_back: bool | None = Field(
        description="Whether the deletions would wait for a confirmation; null where the listing "
        "is not complete."
    )
    bytes_to_fetch: int
    estimate: PreviewEstimate


class KeyRotationFailure(BaseModel):
    """A connector whose credentials keep their old key."""

    config_id: UUID
    reason: str


class KeyRotation(BaseModel):
    """What a rotation of the encryption key did, or, in a dry run, would do."""

    rotated: int = Field(description="Connectors encrypted anew.")
    remaining: int = Field(
        description="Connectors, of those asked for, that an old key still encrypts. "
        "An old key may be taken away when this is 0 for all tenants and providers."
    )
    failed: list[KeyRotationFailure]
    dry_run: bool
    active_version: int


def preview_view(connector: Connector, preview: Preview) -> PreviewView:
    """A preview as it is shown."""
    return PreviewView.model_validate({"config_id": connector.id, **asdict(preview)})


def rotation_view(rotation: Rotation) -> KeyRotation:
    """A key rotation as it is shown."""
    return KeyRotation(
        rotated=rotation.rotated,
        remaining=rotation.remaining,
        failed=[
            KeyRotationFailure(config_id=failure.connector_id, reason=failure.reason)
            for failure in rotation.failed
        ],
        dry_run=rotation.dry_run,
        active_version=rotation.active_version,
    )


def connector_fields(connector: Connector) -> dict[str, Any]:
    """The fields of a :class:`ConnectorView`."""
    return {
        "id": connector.id,
        "tenant_id": connector.tenant_id,
        "provider": connector.provider,
        "config": masked(stored_config(connector), connector.secret_hints),
        "location": str(connector.location),
        "partition_key": connector.partition_key,
        "status": status_of(connector),
        "last_error": _last_error(connector),
        "deletions_held_back": connector.deletions_held_back,
        "objects_over_limit": connector.objects_over_limit,
        "last_scan_started_at": connector.last_scan_started_at,
        "last_scan_completed_at": connector.last_scan_completed_at,
        "created_at": connector.created_at,
        "updated_at": connector.updated_at,
    }


def connector_view(connector: Connector) -> ConnectorView:
    """A connector as it is shown in lists."""
    return ConnectorView(**connector_fields(connector))


def connector_detail(
    connector: Connector, objects: dict[str, int], usage: TenantUsage
) -> ConnectorDetail:
    """A connector as it is shown alone, with its objects by state and its tenant's
    limits.
    """
    return ConnectorDetail(
        **connector_fields(connector), objects=objects, limits=limits_view(usage)
    )


def limits_view(usage: TenantUsage) -> TenantLimitsView:
    """A tenant's limits as they are shown."""
    return TenantLimitsView(
        tenant_id=usage.tenant_id,
        max_connectors=usage.max_connectors,
        max_objects_per_connector=usage.max_objects,
        max_bytes_per_day=usage.max_bytes_per_day,
        is_own=usage.is_own,
        connectors=usage.connectors,
        objects_over_limit=usage.objects_over_limit,
        bytes_today=usage.bytes_today,
        waits_until=usage.waits_until,
    )


def status_of(connector: Connector) -> ConnectorStatus:
    """A connector in one word; the first that applies of those that need somebody."""
    if not connector.enabled:
        return ConnectorStatus.DISABLED
    if connector.last_error_code is not None:
        return ConnectorStatus.ERROR
    if connector.needs_confirmation:
        return ConnectorStatus.NEEDS_CONFIRMATION
    if connector.objects_over_limit:
        return ConnectorStatus.OBJECT_LIMIT
    if connector.last_scan_completed_at is None:
        return ConnectorStatus.WAITING
    return ConnectorStatus.ACTIVE


def _last_error(connector: Connector) -> LastError | None:
    if connector.last_error_code is None or connector.last_error_at is None:
        return None
    return LastError(
        error_type=connector.last_error_code,
        message=connector.last_error_message or "",
        at=connector.last_error_at,
    )


def settled_documents(documents: int, fate: DocumentFate | None) -> dict[str, int]:
    """``documents`` under the field that says what became of them."""
    return {
        "documents_removed": documents if fate is DocumentFate.REMOVE else 0,
        "documents_kept": documents if fate is DocumentFate.KEEP else 0,
    }


def run_view(row: RunRow, orchestrator: Orchestrator) -> RunView:
    """A sync as it is shown, with the link to its Dagster run."""
    counts = row.counts.values()
    return RunView.model_validate(
        {
            "id": row.id,
            "config_id": row.connector_id,
            "tenant_id": row.tenant_id,
            "trigger": row.trigger,
            "mode": row.mode,
            "status": row.status,
            "requested_at": row.requested_at,
            "started_at": row.started_at,
            "finished_at": row.finished_at,
            "duration_seconds": row.duration_seconds,
            "objects": counts,
            **counts,
            "errors": row.counts.errors,
            "dagster_run_id": row.dagster_run_id,
            "dagster_run_url": (
                orchestrator.run_url(row.dagster_run_id) if row.dagster_run_id else None
            ),
        }
    )


def object_view(row: ObjectRow, connector: Connector) -> ObjectView:
    """An object as it is shown."""
    return ObjectView(
        key=row.key,
        uri=connector.uri(row.key),
        state=ObjectState(row.state),
        etag=row.etag,
        size=row.size,
        modified_at=row.modified_at,
        detected_at=row.detected_at,
        attempts=row.attempts,
        next_attempt_at=row.next_attempt_at,
        error_type=row.error_code,
        error_message=row.error_message,
        document_id=row.document_id,
        indexed_etag=row.indexed_etag,
        indexed_at=row.indexed_at,
        chunks=row.chunks,
    )


def hit_view(hit: SearchHit) -> HitView:
    """A hit as it is shown."""
    return HitView(
        uri=hit.uri,
        title=hit.title,
        snippet=hit.snippet,
        score=hit.score,
        chunk_index=hit.chunk_index,
        document_id=hit.document_id,
        char_start=hit.char_start,
        char_end=hit.char_end,
    )
