"""The JSON that the API answers with and that the command line prints with ``--json``.

Fields are promises. A model takes its fields from what the domain gives, by
:meth:`Schema.of`, so that a new field is one line.
"""

from __future__ import annotations

from datetime import datetime
from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, TypeAlias, cast
from uuid import UUID

from pydantic import AliasPath, BaseModel, BeforeValidator, ConfigDict, Field, create_model

from activekg_pipelines.connectors.actions import ActionKind, Via
from activekg_pipelines.connectors.models import ConnectorStatus
from activekg_pipelines.connectors.store import stored_config
from activekg_pipelines.extraction.warnings import WarningKind
from activekg_pipelines.ledger.run_counts import COUNTERS, Unit
from activekg_pipelines.ledger.states import Mode, ObjectState, Trigger
from activekg_pipelines.pipeline.preview import Basis
from activekg_pipelines.sources.config import masked, view_of
from activekg_pipelines.sources.registry import providers

if TYPE_CHECKING:
    from activekg_pipelines.connectors.models import Connector

RunStatus = Literal[
    "waiting", "running", "succeeded", "failed", "expired", "cancelled", "launch_failed"
]


class OtherConfigView(BaseModel):
    """A configuration whose provider is not installed in this process."""

    model_config = ConfigDict(extra="allow")

    name: str
    poll_interval_seconds: int
    enabled: bool
    delete_guard_percent: int | None


if TYPE_CHECKING:
    ConfigView: TypeAlias = OtherConfigView
    ProviderName: TypeAlias = str
else:
    # Of each provider's configuration, the form in which its secrets are masked.
    ConfigView = reduce(
        or_, [*(view_of(one.config) for one in providers().values()), OtherConfigView]
    )
    ProviderName = Literal[tuple(providers())]


class Schema(BaseModel):
    """A model that takes its fields from attributes of the same name.

    A field whose name differs there has an alias.
    """

    model_config = ConfigDict(from_attributes=True, populate_by_name=True)

    @classmethod
    def of(cls, *rows: object, **more: Any) -> Self:
        """What the domain gives, as it is shown.

        Args:
            rows: each field comes from the first one that has it.
            more: fields that no row has.
        """
        return cls.model_validate(_Attributes(rows, more))


class _Attributes:
    """The attributes of several values, as those of one."""

    def __init__(self, rows: tuple[object, ...], more: dict[str, Any]) -> None:
        self._rows = rows
        self._more = more

    def __getattr__(self, name: str) -> Any:
        if name in self._more:
            return self._more[name]
        for row in self._rows:
            if hasattr(row, name):
                return getattr(row, name)
        raise AttributeError(name)


class LastError(Schema):
    """What stopped a connector as a whole."""

    error_type: str = Field(validation_alias="code")
    message: str
    at: datetime


class ConnectorView(Schema):
    """A connector as the API shows it."""

    id: UUID
    tenant_id: str
    provider: str
    config: ConfigView
    location: Annotated[str, BeforeValidator(str)] = Field(
        description="Where its objects lie, such as `s3://bucket/prefix`."
    )
    partition_key: str = Field(description="Its partition in Dagster.")
    status: ConnectorStatus
    last_error: LastError | None
    deletions_held_back: int
    objects_over_limit: int = Field(description="New objects that the last scan did not take in.")
    last_scan_started_at: datetime | None
    last_scan_completed_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, *rows: object, **more: Any) -> Self:
        """A connector as it is shown, its configuration with masked secrets.

        Args:
            rows: the connector, then what else has fields.
            more: fields that no row has.
        """
        connector = cast("Connector", rows[0])
        return super().of(*rows, config=_config_view(connector), **more)


def _config_view(connector: Connector) -> BaseModel:
    if connector.provider in providers():
        return masked(stored_config(connector), connector.secret_hints)
    # One package that is missing must not hide the other connectors of a list.
    return OtherConfigView(
        name=connector.name,
        poll_interval_seconds=connector.poll_interval_seconds,
        enabled=connector.enabled,
        delete_guard_percent=connector.delete_guard_percent,
        **connector.config,
    )


class TenantLimitsView(Schema):
    """What a tenant may use, and what it has used. Limits are null where there is none;
    the operator sets them.
    """

    tenant_id: str
    max_connectors: int | None
    max_objects_per_connector: int | None = Field(validation_alias="max_objects")
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
    waits_for: str | None = Field(
        description="What its oldest sync that has not begun waits for; null where none waits."
    )


class ChangedConnector(ConnectorView):
    """A changed connector, and what became of the documents that it no longer covers."""

    documents_removed: int
    documents_kept: int


class RemovedConnector(Schema):
    """What became of a removed connector's documents."""

    id: UUID
    documents_removed: int
    documents_kept: int


class ConnectionTest(Schema):
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


class SyncAccepted(Schema):
    """A sync that will start within seconds."""

    sync_id: UUID
    status: Literal["waiting"] = "waiting"
    objects_queued: int | None = None


class SyncsCancelled(Schema):
    """Syncs that end within seconds."""

    sync_ids: list[UUID]


class DeletionsConfirmed(Schema):
    """Deletions that may go on now."""

    deletions_confirmed: int = Field(validation_alias="deletions")
    sync_id: UUID | None


def _counter_fields(*path: str, objects: bool) -> dict[str, Any]:
    """A field for each counter; ``path`` leads to the counts."""
    return {
        counter.name: (
            int,
            Field(description=counter.description, validation_alias=AliasPath(*path, counter.name)),
        )
        for counter in COUNTERS
        if (counter.unit is Unit.OBJECTS) is objects
    }


class _Run(Schema):
    id: UUID = Field(description="The `sync_id` of a sync that was asked for.")
    config_id: UUID = Field(validation_alias="connector_id")
    tenant_id: str
    trigger: Trigger
    mode: Mode
    status: RunStatus
    cancelled_by: str | None = Field(
        description="Who asked for its end. It still runs until its status is `cancelled`."
    )
    waits_for: str | None = Field(description="What it waits for before it can run.")
    launch_error: str | None = Field(description="Dagster's reason why it could not start.")
    requested_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_seconds: float | None


if TYPE_CHECKING:

    class RunObjects(Schema):
        """The fields are the counters of objects."""

    class _CountedRun(_Run):
        """The other fields are the counters of everything else."""

        objects: RunObjects

else:
    RunObjects = create_model(
        "RunObjects",
        __base__=Schema,
        __doc__="Objects by outcome.",
        **_counter_fields(objects=True),
        waiting=(
            int,
            Field(
                description="Found by this sync and not settled by it: they wait, or other syncs "
                "have them. Each object of `added`, `changed` and `again` is in one of `indexed`, "
                "`unchanged`, `skipped`, `failed`, `dead` and `waiting`."
            ),
        ),
    )
    _CountedRun = create_model(
        "_CountedRun",
        __base__=_Run,
        objects=(RunObjects, Field(validation_alias="counts")),
        **_counter_fields("counts", objects=False),
    )


class RunView(_CountedRun):
    """One sync."""

    errors: dict[str, int] = Field(
        description="Objects by error type.", validation_alias=AliasPath("counts", "errors")
    )
    dagster_run_id: str | None
    dagster_run_url: str | None


class WarningView(Schema):
    """What a reader of a document's text should know."""

    kind: WarningKind
    sentence: str
    count: int | None
    total: int | None = Field(description="What `count` is a part of.")
    detail: str


class ObjectView(Schema):
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
    error_type: str | None = Field(validation_alias="error_code")
    error_message: str | None
    document_id: UUID | None
    indexed_etag: str | None
    indexed_at: datetime | None
    chunks: int
    warnings: list[WarningView] = Field(description="Of its text, as it was extracted last.")
    not_read_whole: bool = Field(description="A warning says that some of its text is missing.")


class Replayed(Schema):
    """How many dead letters were queued."""

    replayed: int


class HitView(Schema):
    """A passage that answers."""

    uri: str
    title: str
    snippet: str
    score: float
    chunk_index: int
    document_id: UUID
    char_start: int
    char_end: int
    page_from: int | None = Field(description="The page on which it begins; null without pages.")
    page_to: int | None
    headings: list[str] = Field(description="Under which it begins, the outermost first.")
    table_head: str | None = Field(
        description="The head row of the table in which it begins, as Markdown."
    )
    link: str = Field(description="The `uri`, opened at its page, such as `…#page=7`.")
    warnings: list[str] = Field(
        description="Of its document, the kinds of warnings: what the text misses."
    )


class SearchAnswer(Schema):
    """Passages, best first."""

    hits: list[HitView]


class PreviewChange(Schema):
    """Objects that a sync would treat alike."""

    objects: int
    bytes: int = Field(description="Their sizes together.")
    sample: list[str] = Field(
        description="Up to 20 of their keys, the first in the bucket's order."
    )


class PreviewChanges(Schema):
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


class PreviewEstimate(Schema):
    """What the work would amount to, judged by what was done before."""

    chunks: int | None = Field(description="Null where no document was indexed before.")
    seconds: float | None = Field(description="Null where no run indexed anything before.")
    basis: Basis | None = Field(
        description="Whose history it comes from; null where there is none."
    )
    documents: int = Field(description="Indexed documents that it comes from.")
    runs: int = Field(description="Runs that it comes from.")


class PreviewView(Schema):
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


class KeyRotationFailure(Schema):
    """A connector whose credentials keep their old key."""

    config_id: UUID = Field(validation_alias="connector_id")
    reason: str


class KeyRotation(Schema):
    """What a rotation of the encryption key did, or, in a dry run, would do."""

    rotated: int = Field(description="Connectors encrypted anew.")
    remaining: int = Field(
        description="Connectors, of those asked for, that an old key still encrypts. "
        "An old key may be taken away when this is 0 for all tenants and providers."
    )
    failed: list[KeyRotationFailure]
    dry_run: bool
    active_version: int


class ActionView(Schema):
    """What somebody did to a connector or a tenant."""

    id: int
    at: datetime
    tenant_id: str | None = Field(description="Null for what the operator did to no tenant.")
    actor: str = Field(description="The token's subject, or the operating system's user.")
    via: Via
    by_operator: bool = Field(description="By a super admin or at the command line.")
    action: ActionKind
    config_id: UUID | None = Field(validation_alias="connector_id")
    partition_key: str | None = Field(description="What the connector was called then.")
    details: dict[str, Any] = Field(description="What was done, by name; never a secret.")


class TenantCount(Schema):
    """Rows of a removed tenant in one table, or in a part of Dagster's storage."""

    place: str
    removed: int
    left: int


class TenantRemovalView(Schema):
    """What became of a tenant; shown by the command line only."""

    tenant_id: str
    is_complete: bool = Field(description="Nothing is left.")
    counts: list[TenantCount]
    others: dict[str, int] = Field(
        description="Rows in tables of other software in this database; they are not touched."
    )
