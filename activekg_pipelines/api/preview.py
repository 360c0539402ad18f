"""Route ``/configs/{config_id}/preview``: what a sync would do."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from activekg_pipelines.administration.schemas import PreviewView
from activekg_pipelines.api.auth import Admin
from activekg_pipelines.api.problems import ProblemError, documented
from activekg_pipelines.api.requests import ServicesOfApp
from activekg_pipelines.errors import SourceError
from activekg_pipelines.pipeline.preview import preview_sync

router = APIRouter(prefix="/configs/{config_id}", tags=["connectors"])


class PreviewQuery(BaseModel):
    """How far to look."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # A page takes some 0.2 seconds, and clients and proxies wait for one minute at
    # most.
    max_pages: Annotated[
        int, Field(ge=1, le=1000, description="Pages of 1,000 keys that are listed at most.")
    ] = 100


@router.post(
    "/preview",
    responses=documented(
        401,
        403,
        404,
        422,
        502,
        503,
        codes={502: [kind.code for kind in SourceError.__subclasses__()]},
    ),
)
def preview(
    config_id: UUID, query: Annotated[PreviewQuery, Query()], caller: Admin, services: ServicesOfApp
) -> PreviewView:
    """What a sync would add, update, delete and skip, and how much work that is.
    Changes nothing.
    """
    connector = services.connector(config_id, caller.boundary)
    try:
        return PreviewView.of(
            preview_sync(services, connector, max_pages=query.max_pages), config_id=connector.id
        )
    except SourceError as error:
        raise ProblemError(502, f"{error.message} {error.fix}", code=error.code) from None
