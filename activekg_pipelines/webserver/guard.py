"""What every request passes on its way to Dagster's web application."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import MutableMapping
from typing import Any, Final

from graphql import (
    DefinitionNode,
    FieldNode,
    GraphQLError,
    OperationDefinitionNode,
    OperationType,
    parse,
)
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from activekg_pipelines.administration.sessions import Session
from activekg_pipelines.administration.tokens import TokenRefused
from activekg_pipelines.orchestrator.credential import ServiceCredential
from activekg_pipelines.orchestrator.webserver import SERVICE_MUTATIONS
from activekg_pipelines.webserver.login import LOGIN, LOGOUT, Login, NotAllowed
from activekg_pipelines.webserver.origins import OriginRefused, Origins

HEALTH: Final = "/healthz"
SERVICE_STATE: Final = "activekg_service"
"""In ``request.state``: the request is the API's own, and may reload."""

_MAX_SERVICE_BYTES: Final = 64 * 1024
_READING: Final = frozenset({"GET", "HEAD"})
_ADDED_HEADERS: Final = {
    # No other page shows this one in a frame and has it clicked, or reads it as an image.
    "X-Frame-Options": "SAMEORIGIN",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}
_FRAMES: Final = "frame-ancestors 'self'"
_POLICY_VIOLATION: Final = 1008


class Guard:
    """Lets through what our own page, a known person or the API sends, and nothing else.

    Args:
        app: Dagster's web application.
        origins: this server's names.
        login: asks people for a token; None where a proxy does, or where only this
            machine can ask.
        credential: what the API and the command line show.
        prefix: of all paths, such as ``/dagster``; empty for none.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        origins: Origins,
        login: Login | None,
        credential: ServiceCredential,
        prefix: str = "",
    ) -> None:
        self._app = app
        self._origins = origins
        self._login = login
        self._credential = credential
        self._prefix = prefix
        self._graphql = f"{prefix}/graphql"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        connection = HTTPConnection(scope)
        try:
            refusal = await self._answered(connection, scope, receive)
        except OriginRefused as error:
            refusal = PlainTextResponse(str(error), status_code=403)
        if refusal is None:
            await self._enter(connection, scope, receive, send)
        else:
            await refusal(scope, receive, send)

    async def _answered(
        self, connection: HTTPConnection, scope: Scope, receive: Receive
    ) -> Response | None:
        """The answer to what does not come as far as Dagster; None for the rest.

        Raises:
            OriginRefused: it is not our own page's.
        """
        path, method = scope["path"], scope.get("method", "")
        if path == HEALTH and method in _READING:
            return PlainTextResponse("ok")
        self._origins.check_host(connection.headers)
        self._origins.check_page(connection.headers, reads=method in _READING)
        if scope["type"] == "http" and method not in {*_READING, "POST"}:
            return PlainTextResponse("Only GET and POST are known here.", status_code=405)
        if self._login is not None and path in {self._prefix + LOGIN, self._prefix + LOGOUT}:
            request = Request(scope, receive)
            if path == self._prefix + LOGOUT and method == "POST":
                return self._login.log_out(request, self._origins)
            if method == "POST":
                return await self._login.log_in(request, self._origins)
            return self._login.page(request)
        return self._misused(connection.headers, path, method)

    def _misused(self, headers: Headers, path: str, method: str) -> Response | None:
        """A refusal of requests that browsers send for any page, without asking first."""
        if method == "POST" and _media_type(headers) != "application/json":
            return PlainTextResponse("The body has to be application/json.", status_code=415)
        if path == self._graphql and method in _READING and not _wants_page(headers):
            return PlainTextResponse(
                "GraphQL is asked by POST here, with a body in JSON.",
                status_code=405,
                headers={"Allow": "POST"},
            )
        return None

    async def _enter(
        self, connection: HTTPConnection, scope: Scope, receive: Receive, send: Send
    ) -> None:
        token = _bearer_token(connection.headers)
        asks = scope["type"] == "http" and scope["path"] == self._graphql
        if token and asks and self._credential.proves(token):
            await self._serve_service(scope, receive, send)
            return
        session = None
        if self._login is not None:
            try:
                session = self._session(self._login, connection, token)
            except (TokenRefused, NotAllowed) as error:
                await self._ask_for_login(self._login, str(error), connection, receive, send)
                return
        if asks:
            # Dagster carries out what stands there, by GET as well.
            scope = {**scope, "query_string": b""}
        if scope["type"] == "websocket" and session is not None:
            receive = _until(session, receive)
        await self._app(scope, receive, self._sender(session, connection, send))

    @staticmethod
    def _session(login: Login, connection: HTTPConnection, token: str) -> Session:
        """The session; that of a program, which shows its token each time, is as long.

        Raises:
            TokenRefused: nobody is logged in, or the token proves nothing.
            NotAllowed: the token does not open the UI.
        """
        if token:
            principal = login.principal(token)
            return Session("", principal.subject, principal.expires, principal.expires)
        session = login.session(connection)
        if session is None:
            raise TokenRefused("Nobody is logged in.")
        return session

    async def _ask_for_login(
        self, login: Login, reason: str, connection: HTTPConnection, receive: Receive, send: Send
    ) -> None:
        scope = connection.scope
        answer: Response
        if scope["type"] == "websocket":
            # Before it is accepted: the browser sees a refusal, and asks again later.
            await send({"type": "websocket.close", "code": _POLICY_VIOLATION})
            return
        if scope["method"] in _READING and _wants_page(connection.headers):
            answer = login.send_to_login(scope["path"], scope["query_string"].decode("latin-1"))
        else:
            sentence = f"{reason} Log in at {self._prefix}{LOGIN}, or send a token."
            answer = JSONResponse({"errors": [{"message": sentence}]}, status_code=401)
            answer.headers["WWW-Authenticate"] = 'Bearer realm="activekg"'
        await answer(scope, receive, send)

    async def _serve_service(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the API ask, and change what it has to change."""
        body = await _service_body(Request(scope, receive))
        if body is None:
            refusal = PlainTextResponse(
                "The API's credential is for queries and reloads.", status_code=403
            )
            await refusal(scope, receive, send)
            return
        headers = MutableHeaders(scope=scope).mutablecopy()
        headers["content-length"] = str(len(body))
        inner = {
            **scope,
            "headers": headers.raw,
            "query_string": b"",
            "state": {**scope.get("state", {}), SERVICE_STATE: True},
        }
        unread = [body]

        async def receive_body() -> Message:
            if unread:
                return {"type": "http.request", "body": unread.pop(), "more_body": False}
            return await receive()

        await self._app(inner, receive_body, send)

    def _sender(self, session: Session | None, connection: HTTPConnection, send: Send) -> Send:
        """Adds to each answer what browsers have to know about the page."""

        async def send_with_headers(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _ADDED_HEADERS.items():
                    headers[name] = value
                # Beside Dagster's own policy: both count.
                headers.append("Content-Security-Policy", _FRAMES)
                if self._login is not None:
                    headers.setdefault("Cache-Control", "private")
                    if session is not None:
                        self._login.renew(session, connection, headers)
            await send(message)

        return send_with_headers


async def _service_body(request: Request) -> bytes | None:
    """The body of a request that the API may send; None for any other.

    It is written anew, so that Dagster reads what was looked at here.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_SERVICE_BYTES:
            return None
    try:
        asked = json.loads(body)
        document = parse(asked["query"])
    except (GraphQLError, LookupError, TypeError, ValueError, RecursionError):
        return None
    if not all(_may_be_asked(definition) for definition in document.definitions):
        return None
    return json.dumps({"query": asked["query"], "variables": asked.get("variables")}).encode()


def _may_be_asked(definition: DefinitionNode) -> bool:
    """Whether the API asks for such a part of a document: queries, and its own mutations."""
    if not isinstance(definition, OperationDefinitionNode):
        return False
    if definition.operation is OperationType.QUERY:
        return True
    return definition.operation is OperationType.MUTATION and all(
        isinstance(field, FieldNode) and field.name.value in SERVICE_MUTATIONS
        for field in definition.selection_set.selections
    )


def _until(session: Session, receive: Receive) -> Receive:
    """Messages of a WebSocket, and its end when the session ends.

    The page opens another one, with the session that it has by then.
    """
    loop = asyncio.get_running_loop()

    async def receive_in_time() -> Message:
        left = session.until - time.time()
        try:
            async with asyncio.timeout_at(loop.time() + max(left, 0.0)):
                return await receive()
        except TimeoutError:
            return {"type": "websocket.disconnect", "code": _POLICY_VIOLATION}

    return receive_in_time


def _bearer_token(headers: Headers) -> str:
    given = headers.getlist("authorization")
    scheme, _, token = given[0].partition(" ") if len(given) == 1 else ("", "", "")
    return token.strip() if scheme.lower() == "bearer" else ""


def _media_type(headers: Headers) -> str:
    return headers.get("content-type", "").partition(";")[0].strip().lower()


def _wants_page(headers: Headers) -> bool:
    return "text/html" in headers.get("accept", "")
