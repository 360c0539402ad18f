"""Every error as an RFC 9457 problem.

A problem has a stable code and a sentence for people, and never holds what the caller
sent.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import psycopg
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import Match

from activekg_pipelines.administration.operations import ConnectorDisabled
from activekg_pipelines.administration.paging import InvalidCursor
from activekg_pipelines.administration.tokens import OtherTenant
from activekg_pipelines.api.answer_headers import ANSWER_HEADERS
from activekg_pipelines.errors import (
    ActiveKGError,
    ConnectorConflict,
    ConnectorLimit,
    ConnectorNotFound,
    EncryptionError,
    InvalidConnector,
    ModelError,
    SyncNotFound,
)
from activekg_pipelines.orchestrator.partitions import OrchestratorError
from activekg_pipelines.sources.registry import providers

MEDIA_TYPE: Final = "application/problem+json"

# Some of pydantic's messages quote the input; a field's rule is enough.
_RULES: Final = {
    "json_invalid": "must be valid JSON",
    "uuid_parsing": "must be a UUID",
    "uuid_type": "must be a UUID",
    "extra_forbidden": "is not a known field",
    "missing": "is required",
    "union_tag_not_found": "is required",
    "union_tag_invalid": f"must be one of: {', '.join(providers())}",
}
_STATUS: Final[Mapping[type[ActiveKGError], int]] = {
    OtherTenant: 403,
    InvalidCursor: 422,
    ConnectorNotFound: 404,
    SyncNotFound: 404,
    ConnectorConflict: 409,
    ConnectorLimit: 409,
    InvalidConnector: 422,
    EncryptionError: 503,
    ModelError: 503,
    OrchestratorError: 503,
}
# What to do, where the answer says it, too.
_ADVICE: Final[Mapping[type[ActiveKGError], str]] = {
    ConnectorDisabled: "Set `enabled` to true before syncing it.",
    ConnectorLimit: ConnectorLimit.fix,
}
_OWN_CODES: Final[Mapping[type[ActiveKGError], str]] = {
    InvalidCursor: "invalid_cursor",
    ConnectorLimit: "connector_limit",
}
_CODES: Final[Mapping[int, str]] = {
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "body_too_slow",
    409: "conflict",
    413: "body_too_large",
    422: "invalid_request",
    429: "too_many_requests",
    500: "internal_error",
    503: "unavailable",
}
_FURTHER_CODES: Final[Mapping[int, Sequence[str]]] = {
    503: ("too_many_in_flight", "deadline_exceeded"),
}
_MEANINGS: Final[Mapping[int, str]] = {
    401: "The token is missing, or none that this installation accepts.",
    403: "The token's scopes do not allow it, or the request names another tenant.",
    404: "There is no such connector or sync, or it is another tenant's.",
    409: "The connectors as they are do not allow it.",
    413: "The body is too large.",
    422: "The request breaks a rule; `errors` names fields and rules.",
    429: "Too many requests.",
    502: "The bucket cannot be read.",
    503: "The database, Dagster, the model or an encryption key cannot be used right now, the "
    "tenant has too many requests under way, or the answer takes too long.",
}
CURSOR_CODES: Final[Mapping[int, Sequence[str]]] = {422: ("invalid_request", "invalid_cursor")}
"""``codes`` of a list's errors."""


class FieldProblem(BaseModel):
    """One field that breaks a rule."""

    model_config = ConfigDict(json_schema_serialization_defaults_required=True)

    location: str = Field(description="Where the field was looked for: body, query or path.")
    field: str = Field(description="Dotted path of the field; empty for the body as a whole.")
    rule: str = Field(description="What the field must be.")


class Problem(BaseModel):
    """An error answer as RFC 9457 shapes it."""

    type: str = Field(
        description="A URN that identifies the kind of problem; `code` is its last part."
    )
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable, for programs.")
    errors: list[FieldProblem] | None = None


class ProblemError(Exception):
    """Ends a request with a problem.

    Args:
        status: HTTP status.
        detail: one sentence for people; holds no secret and nothing of another tenant.
        code: for programs; by default the status's own.
        headers: sent with the answer.
        extensions: further members of the problem.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
        extensions: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.code = code
        self.headers = headers
        self.extensions = extensions or {}


def problem(
    status: int,
    detail: str,
    *,
    code: str | None = None,
    errors: Sequence[FieldProblem] = (),
    headers: Mapping[str, str] | None = None,
    extensions: Mapping[str, Any] | None = None,
) -> Response:
    """The answer for a problem; arguments as :class:`ProblemError` has them."""
    code = code or _CODES.get(status, "error")
    body = Problem(
        type=f"urn:activekg:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        errors=list(errors) or None,
    )
    # Escaped to ASCII: the name of an unknown field may hold what UTF-8 cannot encode.
    content = json.dumps({**body.model_dump(exclude_none=True), **(extensions or {})})
    return Response(content, status, headers, MEDIA_TYPE)


def documented(
    *statuses: int, codes: Mapping[int, Sequence[str]] | None = None
) -> dict[int | str, dict[str, Any]]:
    """A route's ``responses``: these error answers in the OpenAPI document.

    Args:
        statuses: HTTP statuses.
        codes: the problems' codes by status, where they are not the status's own.
    """
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}}
    all_codes = {
        status: (code, *_FURTHER_CODES.get(status, ())) for status, code in _CODES.items()
    } | dict(codes or {})
    return {
        status: {
            "description": f"{_MEANINGS[status]} Code: "
            f"{', '.join(f'`{code}`' for code in all_codes[status])}.",
            "content": content,
        }
        for status in statuses
    }


def install(app: FastAPI) -> None:
    """Make every error of ``app`` a problem, those of the framework included."""
    app.exception_handler(ProblemError)(_on_problem)
    app.exception_handler(RequestValidationError)(_on_invalid_request)
    app.exception_handler(HTTPException)(_on_http_exception)
    app.exception_handler(ActiveKGError)(_on_package_error)
    app.exception_handler(psycopg.OperationalError)(_on_database_error)
    app.exception_handler(psycopg.errors.QueryCanceled)(_on_cancelled_statement)
    app.exception_handler(psycopg.errors.IdleInTransactionSessionTimeout)(_on_database_error)
    app.exception_handler(Exception)(_on_bug)


def _on_problem(_: Request, error: ProblemError) -> Response:
    return problem(
        error.status,
        error.detail,
        code=error.code,
        headers=error.headers,
        extensions=error.extensions,
    )


def _on_invalid_request(_: Request, error: RequestValidationError) -> Response:
    return _invalid([_field(item) for item in error.errors()])


def _invalid(errors: Sequence[FieldProblem]) -> Response:
    return problem(422, "The request breaks the rules listed under errors.", errors=errors)


def _on_http_exception(request: Request, error: HTTPException) -> Response:
    if error.status_code == 400:
        # FastAPI's word for a body that fails before it is known whether it is JSON:
        # text that is not UTF-8, say.
        return _invalid([FieldProblem(location="body", field="", rule=_RULES["json_invalid"])])
    details = {
        404: "There is nothing at this address.",
        405: "This address does not know that method.",
        408: "The body did not arrive in time.",
        413: "The body is larger than this address takes.",
    }
    headers = error.headers
    if error.status_code == 405:
        headers = {"Allow": _methods_at(request)}
    elif error.status_code == 408:
        # Nobody waits for the rest of the body.
        headers = {"Connection": "close"}
    return problem(error.status_code, details.get(error.status_code, error.detail), headers=headers)


def _methods_at(request: Request) -> str:
    """The methods of an address, which RFC 9110, section 15.5.6, wants to be named.

    The framework names the methods of one route of several.
    """
    return ", ".join(
        method
        for method in ("GET", "POST", "PUT", "DELETE")
        if any(
            route.matches({**request.scope, "method": method})[0] is Match.FULL
            for route in request.app.routes
        )
    )


def _on_package_error(request: Request, error: ActiveKGError) -> Response:
    status = next((status for kind, status in _STATUS.items() if isinstance(error, kind)), None)
    if status is None:
        return _on_bug(request, error)
    if isinstance(error, InvalidConnector) and error.field is not None:
        field = f"config.{error.field}"
        return _invalid([FieldProblem(location="body", field=field, rule=error.rule or "")])
    detail = " ".join([error.message, *filter(None, [_ADVICE.get(type(error))])])
    return problem(status, detail, code=_OWN_CODES.get(type(error)))


def _on_database_error(_: Request, __: Exception) -> Response:
    return problem(
        503, "The database cannot be used right now; try again.", headers={"Retry-After": "5"}
    )


def _on_cancelled_statement(_: Request, __: Exception) -> Response:
    return problem(
        503,
        "The database took too long for this request, which was given up.",
        code="deadline_exceeded",
        headers={"Retry-After": "5"},
    )


def _on_bug(_: Request, __: Exception) -> Response:
    # The framework sends it past every middleware.
    return problem(
        500, "Something went wrong here; the log of the API says what.", headers=ANSWER_HEADERS
    )


def _field(item: Mapping[str, Any]) -> FieldProblem:
    location, *path = item["loc"]
    kind = item["type"]
    # The position in a broken JSON text is no field.
    names = [] if kind == "json_invalid" else [str(part)[:100] for part in path]
    if kind in {"union_tag_invalid", "union_tag_not_found"}:
        # pydantic names the body, in which it looked for the field.
        names.append(item["ctx"]["discriminator"].strip("'"))
    elif _names_a_body(location, names, kind):
        # Not a field: which of the bodies it is.
        del names[0]
    rule = _RULES.get(kind) or str(item["msg"]).removeprefix("Value error, ")
    return FieldProblem(location=str(location), field=".".join(names), rule=rule)


def _names_a_body(location: str, names: Sequence[str], kind: str) -> bool:
    """Whether the first name is a provider's, which is no field but one of several bodies."""
    if location != "body" or not names or names[0] not in providers():
        return False
    return len(names) > 1 or kind != "extra_forbidden"
