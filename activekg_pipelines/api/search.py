"""Route ``/search``: a tenant's documents, by meaning and by words."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from activekg_pipelines.administration.schemas import HitView, SearchAnswer
from activekg_pipelines.api.auth import Searcher
from activekg_pipelines.api.problems import ProblemError, documented
from activekg_pipelines.api.requests import ServicesOfApp
from activekg_pipelines.connectors.models import TenantId
from activekg_pipelines.graph.search import MAX_WORDS

router = APIRouter(prefix="/search", tags=["search"])


def _words(value: str) -> str:
    if not value.strip():
        raise ValueError("must hold a word to search for")
    return value


class SearchQuery(BaseModel):
    """What to search for."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    q: Annotated[
        str,
        Field(
            max_length=2000,
            description="A question or words. Of a long one, the first "
            f"{MAX_WORDS} different words count in the ranking by words.",
        ),
        AfterValidator(_words),
    ]
    limit: Annotated[int, Field(ge=1, le=100)] = 10
    tenant_id: TenantId | None = Field(
        default=None, description="For super admins: whose documents."
    )


@router.get("", responses=documented(401, 403, 422, 503))
def search(
    query: Annotated[SearchQuery, Query()], caller: Searcher, services: ServicesOfApp
) -> SearchAnswer:
    """The passages of the tenant's documents that answer best."""
    tenant_id = caller.acting_for(query.tenant_id) or caller.tenant_id
    if tenant_id is None:
        raise ProblemError(
            422, "The token names no tenant: say whose documents to search with `tenant_id`."
        )
    return SearchAnswer(
        hits=[HitView.of(hit) for hit in services.search(tenant_id, query.q, query.limit)]
    )
