"""How the application is served: which proxies count, and how slow a client may be.

uvicorn bounds neither the time that a request's head takes nor the number of
connections that wait for one. It has a timer for idle connections alone, which each byte
stops.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Any, ClassVar, Final

from uvicorn.protocols.http.h11_impl import H11Protocol

from activekg_pipelines.settings import Settings

HEAD_SECONDS: Final = 10.0
"""A connection has sent the head of a request by then, or is cut."""

MAX_WAITING: Final = 256
"""Connections without a complete head. The one that has waited longest makes way."""

# Of an answer that its client reads slowly, and of one that never reads it.
_READING_SECONDS: Final = 30.0


def server_options(settings: Settings) -> dict[str, Any]:
    """What uvicorn is given besides the application."""
    connection = type(
        "ConnectionOfServer",
        (Connection,),
        {
            "waiting": OrderedDict(),
            "exchange_seconds": settings.activekg_api_request_seconds + _READING_SECONDS,
        },
    )
    return {
        "host": settings.activekg_api_host,
        "port": settings.activekg_api_port,
        "server_header": False,
        # h11 bounds the size of a head, too.
        "http": connection,
        "ws": "none",
        "proxy_headers": bool(settings.activekg_api_trusted_proxies),
        # Never from the environment, where uvicorn's own default trusts every process of
        # this machine.
        "forwarded_allow_ips": [str(one) for one in settings.activekg_api_trusted_proxies],
    }


class Connection(H11Protocol):
    """A connection whose client has to keep up.

    It waits for the head of a request, then for the request's answer to be made and
    read, and so on. Each wait has its time, whatever trickles in or out meanwhile.
    """

    waiting: ClassVar[OrderedDict[Connection, None]]
    exchange_seconds: ClassVar[float]

    _timer: asyncio.TimerHandle | None = None
    _reading = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A client has connected."""
        super().connection_made(transport)
        self._wait_for_head()

    def data_received(self, data: bytes) -> None:
        """Some bytes of the client's have come."""
        super().data_received(data)
        self._follow()

    def on_response_complete(self) -> None:
        """An answer has been written; the head of the next request may be here already."""
        super().on_response_complete()
        if self.cycle.response_complete:
            self._wait_for_head()
        else:
            self._follow()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        super().connection_lost(exc)
        self.waiting.pop(self, None)
        self._stop_timer()

    def _wait_for_head(self) -> None:
        self._reading = False
        self._restart_timer(HEAD_SECONDS)
        self.waiting[self] = None
        self.waiting.move_to_end(self)
        if len(self.waiting) > MAX_WAITING:
            oldest, _ = self.waiting.popitem(last=False)
            oldest.transport.abort()

    def _follow(self) -> None:
        """Notice that the head is complete."""
        if self in self.waiting and self.cycle is not None and not self.cycle.response_complete:
            del self.waiting[self]
            self._restart_timer(self.exchange_seconds)

    def _restart_timer(self, seconds: float) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(seconds, self._cut)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _cut(self) -> None:
        if self.transport.get_write_buffer_size() and not self._reading:
            # The last answer is still being read.
            self._reading = True
            self._restart_timer(_READING_SECONDS)
        else:
            self.transport.abort()
