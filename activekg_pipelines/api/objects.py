"""Routes on a connector's objects and dead letters."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import Field, model_validator

from activekg_pipelines.administration import operations, reads
from activekg_pipelines.administration.paging import Page, PageQuery, by_key, page_of
from activekg_pipelines.administration.reads import ObjectFilter
from activekg_pipelines.administration.schemas import ObjectView, Replayed
from activekg_pipelines.api.auth import Admin
from activekg_pipelines.api.problems import CURSOR_CODES, documented
from activekg_pipelines.api.requests import Body, ObjectKey, ServicesOfApp
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.extraction.warnings import WarningKind
from activekg_pipelines.ledger.states import ObjectState
from activekg_pipelines.services import Services

router = APIRouter(prefix="/configs/{config_id}", tags=["objects"])

ErrorType = Annotated[str, Field(pattern=r"^[a-z_]{1,64}$")]


class ObjectsQuery(PageQuery):
    """Filters of the list of objects."""

    state: ObjectState | None = None
    error_type: ErrorType | None = None
    warning: WarningKind | None = Field(
        default=None, description="Only objects whose text has this warning."
    )
    not_read_whole: bool = Field(
        default=False, description="Only objects whose warnings say that text is missing."
    )


class DeadLettersQuery(PageQuery):
    """Filters of the list of dead letters."""

    error_type: ErrorType | None = None


class ReplayRequest(Body):
    """Which dead letters to try again: exactly one of the three."""

    keys: Annotated[list[ObjectKey], Field(min_length=1, max_length=1000)] | None = None
    error_type: ErrorType | None = None
    all: Literal[True] | None = None

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(choice is not None for choice in (self.keys, self.error_type, self.all)) != 1:
            raise ValueError("give exactly one of keys, error_type and all")
        return self


@router.get("/objects", responses=documented(401, 403, 404, 422, 503, codes=CURSOR_CODES))
def list_objects(
    config_id: UUID, query: Annotated[ObjectsQuery, Query()], caller: Admin, services: ServicesOfApp
) -> Page[ObjectView]:
    """The connector's objects by key."""
    connector = services.connector(config_id, caller.boundary)
    listed = ObjectFilter(query.state, query.error_type, query.warning, query.not_read_whole)
    return _page(services, connector, query, listed)


@router.get("/dead-letters", responses=documented(401, 403, 404, 422, 503, codes=CURSOR_CODES))
def list_dead_letters(
    config_id: UUID,
    query: Annotated[DeadLettersQuery, Query()],
    caller: Admin,
    services: ServicesOfApp,
) -> Page[ObjectView]:
    """Objects that nobody tries any more, by key, each with its cause."""
    connector = services.connector(config_id, caller.boundary)
    return _page(services, connector, query, ObjectFilter(ObjectState.DEAD, query.error_type))


@router.post("/dead-letters/replay", responses=documented(401, 403, 404, 413, 422, 503))
def replay(
    config_id: UUID, body: ReplayRequest, caller: Admin, services: ServicesOfApp
) -> Replayed:
    """Try dead letters again with fresh attempts; a run takes them up within seconds."""
    replayed = operations.replay_dead_letters(
        services, config_id, caller.boundary, keys=body.keys, error_type=body.error_type
    )
    return Replayed(replayed=replayed)


def _page(
    services: Services,
    connector: Connector,
    query: PageQuery,
    listed: ObjectFilter,
) -> Page[ObjectView]:
    after = by_key.decode(query.cursor)
    with services.database.transaction() as conn:
        rows = reads.objects(conn, connector.id, listed, after=after, limit=query.limit + 1)
    return page_of(
        rows,
        query.limit,
        lambda row: ObjectView.of(row, uri=connector.uri(row.key)),
        lambda row: by_key.encode(row.key),
    )
