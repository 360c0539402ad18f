"""How large a request may be. FastAPI's own ``max_body_size`` answers in plain text, where every error is a problem."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from activekg_pipelines.api.problems import problem


class BodyLimitMiddleware:
    """Refuses bodies that are too large: at once by their declared length, else when too many bytes have arrived.

    Args:
        app: what lies behind; must turn Starlette's HTTPException into an answer, as FastAPI does.
        max_bytes: a body at most.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        declared = Headers(scope=scope).get("content-length", "0")
        if declared.isdecimal() and int(declared) > self._max_bytes:
            refusal = problem(413, f"The body is larger than {self._max_bytes:,} bytes.")
            await refusal(scope, receive, send)
            return
        arrived = 0

        async def counted() -> Message:
            nonlocal arrived
            message = await receive()
            arrived += len(message.get("body", b""))
            if arrived > self._max_bytes:
                raise HTTPException(413)
            return message

        await self._app(scope, counted, send)
