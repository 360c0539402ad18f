"""Routes under ``/configs``: connectors from their registration to their removal."""

from __future__ import annotations

from functools import reduce
from operator import or_
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias
from uuid import UUID

from fastapi import APIRouter, Query, Response
from fastapi.exceptions import RequestValidationError
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    create_model,
)
from pydantic_core import PydanticCustomError

from activekg_pipelines.administration import connection_test, operations, reads, removal
from activekg_pipelines.administration.launches import look_at_dagster
from activekg_pipelines.administration.paging import Page, PageQuery, by_time, page_of
from activekg_pipelines.administration.removal import DocumentFate, DocumentsAffected
from activekg_pipelines.administration.schemas import (
    ChangedConnector,
    ConnectionTest,
    ConnectorDetail,
    ConnectorView,
    DeletionsConfirmed,
    ProviderName,
    RemovedConnector,
    SyncAccepted,
)
from activekg_pipelines.api.auth import Admin
from activekg_pipelines.api.problems import CURSOR_CODES, ProblemError, documented
from activekg_pipelines.api.requests import Body, ObjectKey, ServicesOfApp
from activekg_pipelines.connectors.models import TenantId
from activekg_pipelines.ledger.states import Mode
from activekg_pipelines.sources.config import ConfigPatch, SourceConfig, patch_of
from activekg_pipelines.sources.provider import Provider
from activekg_pipelines.sources.registry import provider, providers

router = APIRouter(prefix="/configs", tags=["connectors"])


class RegistrationOf(Body):
    """A connector to register or to try."""

    tenant_id: TenantId
    provider: str
    config: SourceConfig


def _registration(one: Provider) -> type[RegistrationOf]:
    """The body for one provider, told apart by its name."""
    made: type[RegistrationOf] = create_model(
        f"{one.config.__name__.removesuffix('Config')}Registration",
        __base__=RegistrationOf,
        __doc__=RegistrationOf.__doc__,
        **{"provider": (Literal[one.name], ...), "config": (one.config, ...)},  # type: ignore[call-overload]
    )
    return made


def _unchecked(value: Any, _: ValidatorFunctionWrapHandler) -> Any:
    """Let any object pass: only the connector says which provider's rules hold."""
    if isinstance(value, dict):
        return value
    raise PydanticCustomError("dict_type", "must be an object with the fields to change")


if TYPE_CHECKING:
    Registration: TypeAlias = RegistrationOf
    PatchFields: TypeAlias = dict[str, Any]
else:
    # The unions of all registered providers, of this package and of others.
    Registration = Annotated[
        reduce(or_, (_registration(one) for one in providers().values())),
        Field(discriminator="provider"),
    ]
    PatchFields = Annotated[
        reduce(or_, (patch_of(one.config) for one in providers().values())),
        WrapValidator(_unchecked),
    ]


class Changes(Body):
    """New values for some fields of a connector's configuration."""

    config: PatchFields = Field(repr=False)

    def patch(self, kind: str) -> ConfigPatch:
        """The changes by the rules of a provider.

        Raises:
            RequestValidationError: they break them.
        """
        try:
            return patch_of(provider(kind).config).model_validate(self.config)
        except ValidationError as error:
            raise RequestValidationError(
                [
                    one | {"loc": ("body", "config", *one["loc"])}
                    for one in error.errors(include_input=False, include_url=False)
                ]
            ) from None


class SyncRequest(Body):
    """Which objects a sync takes up."""

    mode: Mode = Field(
        default=Mode.CHANGED,
        description="`changed`: what is new, changed or due; `failed`: failures, dead letters "
        "too; `all`: everything.",
    )
    keys: list[ObjectKey] = Field(
        default=[], max_length=1000, description="Objects to process again, whatever their state."
    )


class ListQuery(PageQuery):
    """Filters of the list of connectors."""

    tenant_id: TenantId | None = Field(
        default=None, description="For super admins: only this tenant's."
    )
    provider: ProviderName | None = None


class ChangeQuery(BaseModel):
    """What becomes of documents when another source leaves them out."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    documents: DocumentFate | None = Field(
        default=None,
        description="`remove` takes them out of the graph, `keep` leaves them as they are for "
        "good.",
    )


class RemovalQuery(BaseModel):
    """What becomes of a removed connector's documents."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    documents: DocumentFate = Field(
        description="`remove` takes them out of the graph, `keep` leaves them as they are for good."
    )


@router.post(
    "",
    status_code=201,
    responses=documented(
        401, 403, 409, 413, 422, 503, codes={409: ("conflict", "connector_limit")}
    ),
)
def register(
    body: Registration, response: Response, caller: Admin, services: ServicesOfApp
) -> ConnectorView:
    """Register a connector; its first sync starts by itself."""
    caller.acting_for(body.tenant_id)
    connector = operations.register(services, body.tenant_id, body.provider, body.config)
    response.headers["Location"] = f"/_admin/connectors/configs/{connector.id}"
    return ConnectorView.of(connector)


@router.get("", responses=documented(401, 403, 422, 503, codes=CURSOR_CODES))
def list_connectors(
    query: Annotated[ListQuery, Query()], caller: Admin, services: ServicesOfApp
) -> Page[ConnectorView]:
    """Connectors, oldest first."""
    tenant_id = caller.acting_for(query.tenant_id)
    with services.database.transaction(tenant_id=tenant_id) as conn:
        rows = services.connectors.page(
            conn,
            tenant_id,
            kind=query.provider,
            after=by_time.decode(query.cursor),
            limit=query.limit + 1,
        )
    return page_of(
        rows,
        query.limit,
        ConnectorView.of,
        lambda connector: by_time.encode((connector.created_at, connector.id)),
    )


@router.post(
    "/test", response_model_exclude_none=True, responses=documented(401, 403, 413, 422, 503)
)
def try_configuration(body: Registration, caller: Admin, services: ServicesOfApp) -> ConnectionTest:
    """Test a configuration before it is registered; nothing is stored."""
    caller.acting_for(body.tenant_id)
    return connection_test.try_configuration(services, body.provider, body.config)


@router.get("/{config_id}", responses=documented(401, 403, 404, 422, 503))
def show(config_id: UUID, caller: Admin, services: ServicesOfApp) -> ConnectorDetail:
    """One connector."""
    look_at_dagster(services)
    connector = services.connector(config_id, caller.boundary)
    with services.database.transaction() as conn:
        states = services.ledger.progress(conn, connector.id)
        usage = services.tenant_limits.usage(conn, connector.tenant_id)
        waits_for = reads.waits_for(conn, connector.id)
    return ConnectorDetail.of(connector, objects=states, limits=usage, waits_for=waits_for)


@router.put(
    "/{config_id}",
    responses=documented(
        401, 403, 404, 409, 413, 422, 503, codes={409: ("conflict", "documents_affected")}
    ),
)
def change(
    config_id: UUID,
    body: Changes,
    query: Annotated[ChangeQuery, Query()],
    caller: Admin,
    services: ServicesOfApp,
) -> ChangedConnector:
    """Change the given fields and no others.

    Another source is listed afresh. Where that leaves documents without a
    source, the answer is 409 with their number, and nothing is changed, until
    `documents` says what becomes of them.
    """
    patch = body.patch(services.connector(config_id, caller.boundary).provider)
    try:
        changed = operations.reconfigure(
            services, config_id, patch, caller.boundary, query.documents
        )
    except DocumentsAffected as error:
        raise ProblemError(
            409,
            f"{error.message} {error.fix[:-1]}: repeat the request with ?documents=remove or "
            "?documents=keep.",
            code="documents_affected",
            extensions={"documents_affected": error.documents},
        ) from None
    return ChangedConnector.of(changed.connector, changed)


@router.delete("/{config_id}", responses=documented(401, 403, 404, 422, 503))
def remove(
    config_id: UUID, query: Annotated[RemovalQuery, Query()], caller: Admin, services: ServicesOfApp
) -> RemovedConnector:
    """Remove a connector with its ledger, history, partition and sensor; its documents
    as `documents` says.
    """
    removed = removal.remove(services, config_id, query.documents, caller.boundary)
    return RemovedConnector.of(removed, id=config_id)


@router.post(
    "/{config_id}/test",
    response_model_exclude_none=True,
    responses=documented(401, 403, 404, 422, 503),
)
def test_connection(config_id: UUID, caller: Admin, services: ServicesOfApp) -> ConnectionTest:
    """Test what a sync needs: listing the bucket and reading an object."""
    return connection_test.try_connector(services, services.connector(config_id, caller.boundary))


@router.post(
    "/{config_id}/sync",
    status_code=202,
    response_model_exclude_none=True,
    responses=documented(401, 403, 404, 409, 413, 422, 503),
)
def sync(
    config_id: UUID, caller: Admin, services: ServicesOfApp, body: SyncRequest | None = None
) -> SyncAccepted:
    """Sync now. A second call while one waits joins it."""
    wanted = body or SyncRequest()
    accepted = operations.request_sync(
        services, config_id, caller.boundary, mode=wanted.mode, keys=wanted.keys
    )
    return SyncAccepted(
        sync_id=accepted.id, objects_queued=accepted.objects_queued if wanted.keys else None
    )


@router.post("/{config_id}/confirm-deletes", responses=documented(401, 403, 404, 422, 503))
def confirm_deletes(config_id: UUID, caller: Admin, services: ServicesOfApp) -> DeletionsConfirmed:
    """Let the deletions go on that are held back because there are suspiciously many."""
    confirmed = operations.confirm_deletions(services, config_id, caller.boundary)
    return DeletionsConfirmed.of(confirmed)
