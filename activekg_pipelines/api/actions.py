"""Route ``/actions``: who did what."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field

from activekg_pipelines.administration.paging import Page, PageQuery, by_number, page_of
from activekg_pipelines.administration.schemas import ActionView
from activekg_pipelines.api.auth import Admin
from activekg_pipelines.api.problems import CURSOR_CODES, documented
from activekg_pipelines.api.requests import ServicesOfApp
from activekg_pipelines.connectors import actions
from activekg_pipelines.connectors.actions import ActionKind
from activekg_pipelines.connectors.models import TenantId

router = APIRouter(prefix="/actions", tags=["actions"])


class ActionsQuery(PageQuery):
    """Filters of the record."""

    tenant_id: TenantId | None = Field(
        default=None, description="For super admins: only this tenant's."
    )
    config_id: UUID | None = Field(
        default=None, description="Only those on this connector, which may be gone."
    )
    action: ActionKind | None = None


@router.get("", responses=documented(401, 403, 422, 503, codes=CURSOR_CODES))
def list_actions(
    query: Annotated[ActionsQuery, Query()], caller: Admin, services: ServicesOfApp
) -> Page[ActionView]:
    """What people did, newest first: in one tenant, or all that the caller may see."""
    tenant_id = caller.acting_for(query.tenant_id)
    after = by_number.decode(query.cursor)
    with services.database.transaction(tenant_id=tenant_id) as conn:
        rows = actions.page(
            conn,
            tenant_id,
            connector_id=query.config_id,
            action=query.action,
            after=after,
            limit=query.limit + 1,
        )
    return page_of(rows, query.limit, ActionView.of, lambda row: by_number.encode(row.id))
