"""Headers of every answer, whatever the route.

An answer holds what one tenant may see: no cache on its way may keep it, and no browser
may take it for another type than it says.
"""

from __future__ import annotations

from typing import Final

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ANSWER_HEADERS: Final = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}


class AnswerHeadersMiddleware:
    """Sets :data:`ANSWER_HEADERS`. It is the outermost one, so that refusals have them too.

    Args:
        app: what lies behind.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(ANSWER_HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers)
