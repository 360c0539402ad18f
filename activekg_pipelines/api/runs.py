"""Route ``/runs``: the history of syncs, whoever started them."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, Field

from activekg_pipelines.administration.paging import Page, PageQuery, by_time, page_of
from activekg_pipelines.administration.shapes import RunStatus, RunView, run_view
from activekg_pipelines.api.auth import Admin
from activekg_pipelines.api.problems import documented
from activekg_pipelines.api.requests import ServicesOfApp
from activekg_pipelines.connectors.models import TenantId

router = APIRouter(prefix="/runs", tags=["runs"])


class RunsQuery(PageQuery):
    """Filters of the history."""

    config_id: UUID | None = None
    tenant_id: TenantId | None = None
    status: RunStatus | None = None
    since: AwareDatetime | None = Field(default=None, description="Only syncs asked for at or after this time.")


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
        lambda row: run_view(row, services.orchestrator),
        lambda row: by_time.encode((row.requested_at, row.id)),
    )
