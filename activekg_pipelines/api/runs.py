"""Route ``/runs``: the history of syncs, whoever started them."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime, BeforeValidator, Field

from activekg_pipelines.administration import operations, reads
from activekg_pipelines.administration.launches import look_at_dagster
from activekg_pipelines.administration.paging import Page, PageQuery, by_time, page_of
from activekg_pipelines.administration.schemas import RunStatus, RunView
from activekg_pipelines.api.auth import Admin
from activekg_pipelines.api.problems import CURSOR_CODES, documented
from activekg_pipelines.api.requests import ServicesOfApp
from activekg_pipelines.connectors.models import TenantId

router = APIRouter(prefix="/runs", tags=["runs"])


def _no_number(value: Any) -> Any:
    # Pydantic would take 20260131 for seconds, and a list from 1970 on looks like any
    # other.
    try:
        float(value)
    except (TypeError, ValueError):
        return value
    raise ValueError("must be a date and time with its offset, not a number")


class RunsQuery(PageQuery):
    """Filters of the history."""

    config_id: UUID | None = None
    tenant_id: TenantId | None = Field(
        default=None, description="For super admins: only this tenant's."
    )
    status: RunStatus | None = None
    since: Annotated[AwareDatetime, BeforeValidator(_no_number)] | None = Field(
        default=None,
        description="Only syncs asked for at or after this time, for example 2026-01-31T08:00:00Z.",
    )


@router.get("", responses=documented(401, 403, 404, 422, 503, codes=CURSOR_CODES))
def list_runs(
    query: Annotated[RunsQuery, Query()], caller: Admin, services: ServicesOfApp
) -> Page[RunView]:
    """Syncs, newest first: of one connector, one tenant, or all that the caller may
    see.
    """
    tenant_id = caller.acting_for(query.tenant_id)
    look_at_dagster(services)
    if query.config_id is not None:
        services.connector(query.config_id, caller.boundary)
    after = by_time.decode(query.cursor)
    with services.database.transaction() as conn:
        rows = reads.runs(
            conn,
            tenant_id,
            connector_id=query.config_id,
            status=query.status,
            since=query.since,
            after=after,
            limit=query.limit + 1,
        )
    return page_of(
        rows,
        query.limit,
        lambda row: RunView.of(row, dagster_run_url=reads.run_url(services, row)),
        lambda row: by_time.encode((row.requested_at, row.id)),
    )


@router.post(
    "/{sync_id}/cancel", status_code=202, responses=documented(401, 403, 404, 409, 422, 503)
)
def cancel(sync_id: UUID, caller: Admin, services: ServicesOfApp) -> RunView:
    """Stop a sync. What it finished is stored; the rest waits for the next poll or sync.

    A run ends within seconds; its status is `cancelled` then.
    """
    row = operations.cancel_sync(services, sync_id, caller.boundary)
    return RunView.of(row, dagster_run_url=reads.run_url(services, row))
