"""Routes under ``/configs``: registering, showing, changing, testing, syncing and removing connectors."""

from __future__ import annotations

import json
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from activekg_pipelines.api import operations
from activekg_pipelines.api.auth import Admin
from activekg_pipelines.api.operations import DocumentFate, DocumentsAffected
from activekg_pipelines.api.paging import Page, PageQuery, by_time, page_of
from activekg_pipelines.api.probe import fix_for, probe
from activekg_pipelines.api.problems import ProblemError, documented
from activekg_pipelines.api.requests import ServicesOfApp
from activekg_pipelines.api.services import AdminServices
from activekg_pipelines.connectors.models import (
    Connector,
    ConnectorRequest,
    Credentials,
    Prefix,
    S3ConfigPatch,
    TenantId,
)
from activekg_pipelines.errors import EncryptionError, ObjectError, SourceError
from activekg_pipelines.ledger.states import Mode
from activekg_pipelines.s3.client import Source, make_client

router = APIRouter(prefix="/configs", tags=["connectors"])

ObjectKey = Annotated[Prefix, Field(min_length=1)]
"""An S3 key: the rules of a prefix, and not empty."""


class Body(BaseModel):
    """A request's body: unknown fields are refused, and so is text that no database can store."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _refuse_lone_surrogates(cls, value: Any) -> Any:
        try:
            json.dumps(value, ensure_ascii=False, default=str).encode()
        except UnicodeEncodeError:
            raise ValueError("must be valid Unicode text") from None
        return value


class Registration(Body, ConnectorRequest):
    """A connector to register or to try."""


class Changes(Body):
    """New values for some fields of a connector's configuration."""

    config: S3ConfigPatch

    @model_validator(mode="after")
    def _refuse_null(self) -> Self:
        # Only the endpoint may be taken away: null stands for AWS.
        if absent := [
            name for name, value in self.config.changes().items() if value is None and name != "endpoint_url"
        ]:
            raise ValueError(f"{', '.join(sorted(absent))}: must not be null; leave fields out that stay as they are")
        return self


class SyncRequest(Body):
    """Which objects a sync takes up."""

    mode: Mode = Mode.CHANGED
    keys: list[ObjectKey] = Field(
        default=[], max_length=1000, description="Objects to process again, whatever their state."
    )


class ConfigView(BaseModel):
    """A connector's configuration with its secrets masked."""

    name: str
    bucket: str
    prefix: str
    region: str
    access_key_id: str = Field(description="First and last four characters.")
    secret_access_key: Literal["********"] = "********"  # noqa: S105 (a mask)
    poll_interval_seconds: int
    enabled: bool
    endpoint_url: str | None


class ConnectorStatus(StrEnum):
    """How a connector is, in one word."""

    DISABLED = "disabled"
    ERROR = "error"
    """Its last scan failed as a whole; see ``last_error``."""
    NEEDS_CONFIRMATION = "needs_confirmation"
    """Deletions are held back until somebody confirms them."""
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
    partition_key: str = Field(description="Its partition in Dagster.")
    status: ConnectorStatus
    last_error: LastError | None
    deletions_held_back: int
    last_scan_started_at: datetime | None
    last_scan_completed_at: datetime | None
    created_at: datetime
    updated_at: datetime


class ConnectorDetail(ConnectorView):
    """A connector with its progress."""

    objects: dict[str, int] = Field(description="Objects by state.")


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


class SyncAccepted(BaseModel):
    """A sync that will start within seconds."""

    sync_id: UUID
    status: Literal["waiting"] = "waiting"
    objects_queued: int | None = None


class DeletionsConfirmed(BaseModel):
    """Deletions that may go on now."""

    deletions_confirmed: int
    sync_id: UUID | None


class ListQuery(PageQuery):
    """Filters of the list of connectors."""

    tenant_id: TenantId | None = None
    provider: Literal["s3"] | None = None


class ChangeQuery(BaseModel):
    """What becomes of documents when a new bucket or prefix leaves them out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    documents: DocumentFate | None = None


class RemovalQuery(BaseModel):
    """What becomes of a removed connector's documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    documents: DocumentFate


@router.post("", status_code=201, responses=documented(401, 403, 409, 413, 422, 503))
def register(body: Registration, response: Response, caller: Admin, services: ServicesOfApp) -> ConnectorView:
    """Register a connector; its first sync starts by itself."""
    caller.acting_for(body.tenant_id)
    connector = operations.register(services, body.tenant_id, body.config)
    response.headers["Location"] = f"/_admin/connectors/configs/{connector.id}"
    return ConnectorView(**_shown(connector))


@router.get("", responses=documented(401, 403, 422, 503))
def list_connectors(
    query: Annotated[ListQuery, Query()], caller: Admin, services: ServicesOfApp
) -> Page[ConnectorView]:
    """Connectors, oldest first."""
    rows = services.connectors.page(
        caller.acting_for(query.tenant_id), after=by_time.decode(query.cursor), limit=query.limit + 1
    )
    return page_of(
        rows,
        query.limit,
        lambda connector: ConnectorView(**_shown(connector)),
        lambda connector: by_time.encode((connector.created_at, connector.id)),
    )


@router.post("/test", response_model_exclude_none=True, responses=documented(401, 403, 413, 422, 503))
def try_configuration(body: Registration, caller: Admin, services: ServicesOfApp) -> ConnectionTest:
    """Test a configuration before it is registered; nothing is stored."""
    caller.acting_for(body.tenant_id)
    config = body.config
    credentials = Credentials(config.access_key_id.get_secret_value(), config.secret_access_key.get_secret_value())
    return _test(services, config, config.bucket, config.prefix, credentials)


@router.get("/{config_id}", responses=documented(401, 403, 404, 422, 503))
def show(config_id: UUID, caller: Admin, services: ServicesOfApp) -> ConnectorDetail:
    """One connector."""
    connector = services.connectors.get(config_id, caller.boundary)
    return ConnectorDetail(**_shown(connector), objects=services.ledger.progress(connector.id))


@router.put("/{config_id}", responses=documented(401, 403, 404, 409, 413, 422, 503))
def change(
    config_id: UUID,
    body: Changes,
    query: Annotated[ChangeQuery, Query()],
    caller: Admin,
    services: ServicesOfApp,
) -> ChangedConnector:
    """Change the given fields and no others.

    A new bucket or prefix is listed afresh. Where that leaves documents without a source, the answer is 409 with their
    number, and nothing is changed, until `documents` says what becomes of them.
    """
    try:
        changed = operations.reconfigure(services, config_id, body.config, caller.boundary, query.documents)
    except DocumentsAffected as error:
        raise ProblemError(
            409, error.message, code="documents_affected", extensions={"documents_affected": error.documents}
        ) from None
    return ChangedConnector(**_shown(changed.connector), **_settled(changed.documents, changed.fate))


@router.delete("/{config_id}", responses=documented(401, 403, 404, 422, 503))
def remove(
    config_id: UUID, query: Annotated[RemovalQuery, Query()], caller: Admin, services: ServicesOfApp
) -> RemovedConnector:
    """Remove a connector with its ledger, history, partition and sensor; its documents as `documents` says."""
    documents = operations.remove(services, config_id, query.documents, caller.boundary)
    return RemovedConnector(id=config_id, **_settled(documents, query.documents))


@router.post("/{config_id}/test", response_model_exclude_none=True, responses=documented(401, 403, 404, 422, 503))
def test_connection(config_id: UUID, caller: Admin, services: ServicesOfApp) -> ConnectionTest:
    """Test what a sync needs: listing the bucket and reading an object."""
    connector = services.connectors.get(config_id, caller.boundary)
    try:
        credentials = services.connectors.credentials(connector.id)
    except EncryptionError as error:
        return ConnectionTest(
            status="error", error_type="credentials_unreadable", message=error.message, fix=fix_for(error)
        )
    return _test(services, connector, connector.bucket, connector.prefix, credentials)


@router.post(
    "/{config_id}/sync",
    status_code=202,
    response_model_exclude_none=True,
    responses=documented(401, 403, 404, 409, 413, 422, 503),
)
def sync(config_id: UUID, caller: Admin, services: ServicesOfApp, body: SyncRequest | None = None) -> SyncAccepted:
    """Sync now. A second call while one waits joins it."""
    wanted = body or SyncRequest()
    accepted = operations.request_sync(services, config_id, caller.boundary, mode=wanted.mode, keys=wanted.keys)
    return SyncAccepted(sync_id=accepted.id, objects_queued=accepted.objects_queued if wanted.keys else None)


@router.post("/{config_id}/confirm-deletes", responses=documented(401, 403, 404, 422, 503))
def confirm_deletes(config_id: UUID, caller: Admin, services: ServicesOfApp) -> DeletionsConfirmed:
    """Let the deletions go on that are held back because there are suspiciously many."""
    confirmed = operations.confirm_deletions(services, config_id, caller.boundary)
    return DeletionsConfirmed(deletions_confirmed=confirmed.deletions, sync_id=confirmed.sync_id)


def _test(
    services: AdminServices, source: Source, bucket: str, prefix: str, credentials: Credentials
) -> ConnectionTest:
    client = make_client(source, credentials, services.settings)
    try:
        found = probe(client, bucket, prefix)
    except (SourceError, ObjectError) as error:
        return ConnectionTest(status="error", error_type=error.code, message=error.message, fix=fix_for(error))
    finally:
        client.close()
    return ConnectionTest(
        status="success",
        message="Successfully connected to S3 bucket",
        objects_found=found.objects,
        objects_found_is_lower_bound=found.is_lower_bound or None,
    )


def _shown(connector: Connector) -> dict[str, Any]:
    """The fields of a :class:`ConnectorView`."""
    return {
        "id": connector.id,
        "tenant_id": connector.tenant_id,
        "provider": connector.provider,
        "config": ConfigView(
            name=connector.name,
            bucket=connector.bucket,
            prefix=connector.prefix,
            region=connector.region,
            access_key_id=connector.access_key_hint,
            poll_interval_seconds=connector.poll_interval_seconds,
            enabled=connector.enabled,
            endpoint_url=connector.endpoint_url,
        ),
        "partition_key": connector.partition_key,
        "status": status_of(connector),
        "last_error": _last_error(connector),
        "deletions_held_back": connector.deletions_held_back,
        "last_scan_started_at": connector.last_scan_started_at,
        "last_scan_completed_at": connector.last_scan_completed_at,
        "created_at": connector.created_at,
        "updated_at": connector.updated_at,
    }


def status_of(connector: Connector) -> ConnectorStatus:
    """A connector in one word; the first that applies of those that need somebody."""
    if not connector.enabled:
        return ConnectorStatus.DISABLED
    if connector.last_error_code is not None:
        return ConnectorStatus.ERROR
    if connector.needs_confirmation:
        return ConnectorStatus.NEEDS_CONFIRMATION
    if connector.last_scan_completed_at is None:
        return ConnectorStatus.WAITING
    return ConnectorStatus.ACTIVE


def _last_error(connector: Connector) -> LastError | None:
    if connector.last_error_code is None or connector.last_error_at is None:
        return None
    return LastError(
        error_type=connector.last_error_code, message=connector.last_error_message or "", at=connector.last_error_at
    )


def _settled(documents: int, fate: DocumentFate | None) -> dict[str, int]:
    return {
        "documents_removed": documents if fate is DocumentFate.REMOVE else 0,
        "documents_kept": documents if fate is DocumentFate.KEEP else 0,
    }
