"""Who calls: bearer tokens, checked before anything else of a request is looked at."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from fastapi import Depends, Request, Security
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from activekg_pipelines.administration.tokens import (
    AccessScope,
    Principal,
    TokenRefused,
    TokenVerifier,
)
from activekg_pipelines.api.problems import ProblemError, problem


class AuthenticationMiddleware:
    """Lets a request in only with a valid token, whatever the route.

    A route that forgets about tokens is closed.

    The caller stands in ``request.state.principal`` afterwards.

    Args:
        app: what lies behind.
        verifier: checks tokens.
        open_paths: paths that need no token.
    """

    def __init__(self, app: ASGIApp, verifier: TokenVerifier, open_paths: Collection[str]) -> None:
        self._app = app
        self._verifier = verifier
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"] not in self._open_paths:
            try:
                principal = self._verifier.verify(_bearer_token(Headers(scope=scope)))
            except TokenRefused as error:
                refusal = problem(
                    401,
                    str(error),
                    headers={"WWW-Authenticate": 'Bearer realm="activekg", error="invalid_token"'},
                )
                await refusal(scope, receive, send)
                return
            scope.setdefault("state", {})["principal"] = principal
        await self._app(scope, receive, send)


# Only for the OpenAPI document: the middleware has done the work.
_bearer = HTTPBearer(bearerFormat="JWT", auto_error=False)


async def authenticated(
    request: Request, _: Annotated[HTTPAuthorizationCredentials | None, Security(_bearer)]
) -> Principal:
    """The caller."""
    principal: Principal = request.state.principal
    return principal


async def connectors_admin(caller: Annotated[Principal, Depends(authenticated)]) -> Principal:
    """The caller, who may administer connectors.

    Raises:
        ProblemError: 403.
    """
    return _require(caller, AccessScope.CONNECTORS_ADMIN)


async def searcher(caller: Annotated[Principal, Depends(authenticated)]) -> Principal:
    """The caller, who may search.

    Raises:
        ProblemError: 403.
    """
    return _require(caller, AccessScope.SEARCH_READ)


async def metrics_reader(caller: Annotated[Principal, Depends(authenticated)]) -> Principal:
    """The caller, who may read metrics.

    Raises:
        ProblemError: 403.
    """
    return _require(caller, AccessScope.METRICS_READ)


# Coroutines, so that they take no thread. The scopes are for the OpenAPI document, too.
Admin = Annotated[Principal, Security(connectors_admin, scopes=[AccessScope.CONNECTORS_ADMIN])]
Searcher = Annotated[Principal, Security(searcher, scopes=[AccessScope.SEARCH_READ])]


def _bearer_token(headers: Headers) -> str:
    given = headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    if scheme.lower() != "bearer" or not token.strip():
        raise TokenRefused("The request needs one header 'Authorization: Bearer <token>'.")
    return token.strip()


def _require(caller: Principal, scope: AccessScope) -> Principal:
    if not caller.may(scope):
        raise ProblemError(
            403,
            f"The token lacks the scope {scope}.",
            headers={
                "WWW-Authenticate": 'Bearer realm="activekg", error="insufficient_scope", '
                f'scope="{scope}"'
            },
        )
    return caller
