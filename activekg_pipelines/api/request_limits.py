"""How much a client may ask for: requests in a time, and bytes in a body.

Every refusal is a problem.

Requests are counted in the memory of one API process: two processes behind a load
balancer let through twice as many, and a restart forgets. That is enough to keep one
client from taking the others' share; it is no quota.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address
from typing import Any, Final

from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from activekg_pipelines.administration.tokens import Principal
from activekg_pipelines.api.problems import documented, problem
from activekg_pipelines.errors import SettingsError
from activekg_pipelines.settings import Settings

OFF: Final = "off"

# A moving window remembers each request of its time, some 150 bytes apiece.
_MAX_REQUESTS: Final = 10_000
_MAX_WINDOW_SECONDS: Final = 3600
_MAX_REMEMBERED_REQUESTS: Final = 1_000_000
_MAX_CLIENTS: Final = 10_000


def rate_limit(settings: Settings) -> RateLimitItem | None:
    """What ``ACTIVEKG_API_RATE_LIMIT`` allows one client; None for no limit.

    Raises:
        SettingsError: it is no rate, or one that would take too much memory.
    """
    given = settings.activekg_api_rate_limit.strip()
    if given.lower() in {"", OFF}:
        return None
    try:
        rates = parse_many(given)
    except ValueError:
        rates = []
    if len(rates) != 1 or not (
        1 <= rates[0].amount <= _MAX_REQUESTS and rates[0].get_expiry() <= _MAX_WINDOW_SECONDS
    ):
        raise SettingsError(
            "ACTIVEKG_API_RATE_LIMIT must be one rate such as 600/minute, of 1 to "
            f"{_MAX_REQUESTS:,} requests in at "
            f"most one hour, or {OFF}."
        )
    return rates[0]


class RequestWindows:
    """The requests of each client in the last second, minute or hour.

    A client whose window is over is forgotten, and so is the one that was quiet for
    longest when there are too many: clients can make up addresses faster than windows
    end. :class:`MemoryStorage` alone keeps an empty list of every client that it ever
    saw (limits 5.8).

    Not for several threads at once.

    Args:
        rate: requests in a time.
        storage: where they are remembered.
    """

    def __init__(self, rate: RateLimitItem, storage: MemoryStorage | None = None) -> None:
        self._rate = rate
        self._storage = storage or MemoryStorage()
        self._limiter = MovingWindowRateLimiter(self._storage)
        self._last_request: OrderedDict[str, float] = OrderedDict()
        self._max_clients = min(_MAX_CLIENTS, _MAX_REMEMBERED_REQUESTS // rate.amount)

    def seconds_to_wait(self, client: str) -> int:
        """When the client may ask again; 0 for now. Counts nothing."""
        window = self._limiter.get_window_stats(self._rate, client)
        return 0 if window.remaining > 0 else max(1, math.ceil(window.reset_time - time.time()))

    def count(self, client: str) -> None:
        """Count one request."""
        now = time.monotonic()
        self._limiter.hit(self._rate, client)
        self._last_request[client] = now
        self._last_request.move_to_end(client)
        ended = now - self._rate.get_expiry()
        while (
            len(self._last_request) > self._max_clients
            or next(iter(self._last_request.values())) < ended
        ):
            self._forget(self._last_request.popitem(last=False)[0])

    def _forget(self, client: str) -> None:
        # The storage's own thread cuts lists under this lock, and would put a list back
        # that went away meanwhile.
        with self._storage.locks[self._rate.key_for(client)]:
            self._limiter.clear(self._rate, client)


class RefusalLimitMiddleware:
    """Refuses an address that sent too many tokens that were refused.

    A token that is accepted always passes: an address may be a whole office's or a
    proxy's, and one of its people must not lock out the others.

    Args:
        app: what lies behind; its 401 says that a token was refused.
        windows: counts refusals by address.
        open_paths: paths that need no token.
    """

    def __init__(self, app: ASGIApp, windows: RequestWindows, open_paths: Collection[str]) -> None:
        self._app = app
        self._windows = windows
        self._open_paths = frozenset(open_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in self._open_paths:
            await self._app(scope, receive, send)
            return
        client = _address(scope)
        replaced = False

        async def counted(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and message["status"] == 401:
                if seconds := self._windows.seconds_to_wait(client):
                    replaced = True
                    await _too_many(seconds)(scope, receive, send)
                    return
                self._windows.count(client)
            if not replaced:
                await send(message)

        await self._app(scope, receive, counted)


class RateLimitMiddleware:
    """Refuses a caller who asks too often.

    A caller is a token's subject in its tenant, or an address where no token is needed.

    Args:
        app: what lies behind.
        windows: counts requests by caller.
        exempt_paths: paths that anybody may ask for as often as they like.
    """

    def __init__(
        self, app: ASGIApp, windows: RequestWindows, exempt_paths: Collection[str]
    ) -> None:
        self._app = app
        self._windows = windows
        self._exempt_paths = frozenset(exempt_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] == "http" and scope["path"] not in self._exempt_paths:
            client = _caller(scope)
            if seconds := self._windows.seconds_to_wait(client):
                await _too_many(seconds)(scope, receive, send)
                return
            self._windows.count(client)
        await self._app(scope, receive, send)


class BodyLimitMiddleware:
    """Refuses bodies that are too large.

    It does so at once by their declared length, else when too many bytes have arrived.

    FastAPI's own ``max_body_size`` answers in plain text.

    Args:
        app: what lies behind; must turn Starlette's HTTPException into an answer, as
            FastAPI does.
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


def rate_limited(
    authentication: Middleware,
    settings: Settings,
    *,
    open_paths: Collection[str],
    exempt_paths: Collection[str],
) -> list[Middleware]:
    """``authentication`` between the two rate limits, the outermost first.

    It stands alone where there is no limit.

    Args:
        authentication: answers 401, or lets in whom ``request.state.principal`` names.
        settings: the rate.
        open_paths: paths that need no token.
        exempt_paths: open ones that are not limited at all.

    Raises:
        SettingsError: as :func:`rate_limit`.
    """
    rate = rate_limit(settings)
    if rate is None:
        return [authentication]
    # Windows of their own: somebody with many addresses makes the server forget other
    # addresses, but no caller.
    return [
        Middleware(RefusalLimitMiddleware, windows=RequestWindows(rate), open_paths=open_paths),
        authentication,
        Middleware(RateLimitMiddleware, windows=RequestWindows(rate), exempt_paths=exempt_paths),
    ]


def too_many_requests() -> dict[int | str, dict[str, Any]]:
    """The ``responses`` of every limited route."""
    responses = documented(429)
    responses[429]["headers"] = {
        "Retry-After": {
            "description": "Seconds until the next request may be sent.",
            "required": True,
            "schema": {"type": "integer", "minimum": 1},
        }
    }
    return responses


def _too_many(seconds: int) -> Response:
    return problem(
        429,
        f"Too many requests: try again in {seconds} seconds.",
        headers={"Retry-After": str(seconds)},
    )


def _caller(scope: Scope) -> str:
    principal: Principal | None = scope.get("state", {}).get("principal")
    if principal is None:
        return f"address {_address(scope)}"
    # The tenant first: it holds no space, so that no two callers share a window. The
    # token's id would be no key: a client that mints tokens would have a new window
    # with each.
    return f"caller {principal.tenant_id or ''} {principal.subject}"


def _address(scope: Scope) -> str:
    """The client's address, as far as it names one client.

    Behind a proxy it is the proxy's, unless ``ACTIVEKG_API_TRUSTED_PROXIES`` names it.
    """
    host = scope["client"][0] if scope.get("client") else ""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv6Address):
        # Whoever has an IPv6 address has the 2^64 of its network.
        return str(address.ipv4_mapped or IPv6Address(int(address) >> 64 << 64))
    return str(address)
