"""Route ``/runs``: the history of syncs, whoever started them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BaseModel, Field

from activekg_pipelines.api.auth import Admin
from activekg_pipelines.api.paging import Page, PageQuery, by_time, page_of
from activekg_pipelines.api.problems import documented
from activekg_pipelines.api.requests import ServicesOfApp
from activekg_pipelines.api.views import RunRow
from activekg_pipelines.connectors.models import TenantId
from activekg_pipelines.ledger.states import Mode, Trigger
from activekg_pipelines.orchestration import Orchestrator

router = APIRouter(prefix="/runs", tags=["runs"])

RunStatus = Literal["waiting", "running", "succeeded", "failed", "expired"]


class RunsQuery(PageQuery):
    """Filters of the history."""

    config_id: UUID | None = None
    tenant_id: TenantId | None = None
    status: RunStatus | None = None
    since: AwareDatetime | None = Field(default=None, description="Only syncs asked for at or after this time.")


class RunObjects(BaseModel):
    """Objects by outcome."""

    listed: int
    added: int
    changed: int
    deleted: int
    extracted: int
    indexed: int
    unchanged: int = Field(description="A new ETag over the same bytes.")
    skipped: int
    failed: int
    dead: int


class RunView(BaseModel):
    """One sync."""

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
    objects: RunObjects
    bytes_fetched: int
    chunks: int
    embeddings_computed: int
    embeddings_reused: int
    errors: dict[str, int] = Field(description="Objects by error type.")
    dagster_run_id: str | None
    dagster_run_url: str | None


@router.get("", responses=documented(401, 403, 404, 422, 503))
def list_runs(query: Annotated[RunsQuery, Query()], caller: Admin, services: ServicesOfApp) -> Page[RunView]:
    """Syncs, newest first: of one connector, one tenant, or all that the caller may see."""
    tenant_id = caller.acting_for(query.tenant_id)
    if query.config_id is not None:
        services.connectors.get(query.config_id, caller.boundary)
    rows = services.views.runs(
        tenant_id,
        connector_id=query.config_id,
        status=query.status,
        since=query.since,
        after=by_time.decode(query.cursor),
        limit=query.limit + 1,
    )
    return page_of(
        rows,
        query.limit,
        lambda row: _shown(row, services.orchestrator),
        lambda row: by_time.encode((row.requested_at, row.id)),
    )


def _shown(row: RunRow, orchestrator: Orchestrator) -> RunView:
    return RunView(
        id=row.id,
        config_id=row.connector_id,
        tenant_id=row.tenant_id,
        trigger=Trigger(row.trigger),
        mode=Mode(row.mode),
        status=row.status,
        requested_at=row.requested_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
        duration_seconds=row.duration_seconds,
        objects=RunObjects(
            listed=row.listed,
            added=row.added,
            changed=row.changed,
            deleted=row.deleted,
            extracted=row.extracted,
            indexed=row.indexed,
            unchanged=row.unchanged,
            skipped=row.skipped,
            failed=row.failed,
            dead=row.dead,
        ),
        bytes_fetched=row.bytes_fetched,
        chunks=row.chunks,
        embeddings_computed=row.embeddings_computed,
        embeddings_reused=row.embeddings_reused,
        errors=row.errors,
        dagster_run_id=row.dagster_run_id,
        dagster_run_url=orchestrator.run_url(row.dagster_run_id) if row.dagster_run_id else None,
    )
