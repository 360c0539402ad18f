"""How much each tenant may have under way at once, and how long it may take.

Every request that needs a thread, the database or a store passes here. It gets a slot
of its kind of route, which it gives back when its work has really ended. So a tenant's
slow requests fill the tenant's own slots and nobody else's. Work ends when nobody waits
for it: when the caller hangs up, or when the time of the route is over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.routing import compile_path
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from activekg_pipelines.administration.tokens import Principal
from activekg_pipelines.api.problems import problem
from activekg_pipelines.deadline import Caller, working_for
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.turns import Turns, taking

logger = logging.getLogger(__name__)

BODY_SECONDS: Final = 10.0
"""A body has arrived by then. It has a megabyte at most."""

LISTINGS_SHARE: Final = 0.15
"""Of a core, for reading what stores list."""

# What comes in a burst is not refused at once.
_WAIT_SECONDS: Final = 2.0
_WAITING_PER_SLOT: Final = 16
# The work is told to end a little before its caller is answered, so that the route's own
# sentence comes where it has one.
_MARGIN_SECONDS: Final = 1.0
_TENANTS: Final = 4


class Kind(StrEnum):
    """What a route takes most of."""

    SEARCH = "search"
    """Processor time, of this process and of Postgres."""
    SOURCE = "source"
    """Time, while a tenant's store answers."""
    OTHER = "other"
    """Some statements."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """What a kind of route may take.

    Attributes:
        seconds: from a request to its answer.
        per_tenant: requests of one tenant at once.
        in_all: requests at once.
    """

    seconds: float
    per_tenant: int
    in_all: int


def bounds_of(settings: Settings) -> dict[Kind, Bounds]:
    """The bounds of every kind, by the settings."""
    # One tenant's searches and other requests leave connections to the rest.
    searches = max(1, settings.activekg_pool_size // 2)
    others = max(1, searches - 1)
    per_tenant = {
        Kind.SEARCH: min(settings.activekg_api_searches_per_tenant, searches),
        Kind.SOURCE: settings.activekg_api_source_requests_per_tenant,
        Kind.OTHER: min(settings.activekg_api_requests_per_tenant, others),
    }
    in_all = {kind: _TENANTS * number for kind, number in per_tenant.items()}
    in_all[Kind.SEARCH] = searches
    seconds = dict.fromkeys(Kind, settings.activekg_api_request_seconds)
    seconds[Kind.SEARCH] = settings.activekg_api_search_seconds
    return {kind: Bounds(seconds[kind], per_tenant[kind], in_all[kind]) for kind in Kind}


@dataclass(slots=True)
class _Share:
    """One tenant's slots of a kind, and how many requests have or want one."""

    slots: asyncio.Semaphore
    asking: int = 0


class Slots:
    """The slots of one kind of route; whoever finds none waits a little, in order.

    For one event loop.
    """

    def __init__(self, bounds: Bounds, *, wait_seconds: float = _WAIT_SECONDS) -> None:
        self._bounds = bounds
        self._wait_seconds = wait_seconds
        self._in_all = asyncio.Semaphore(bounds.in_all)
        self._shares: dict[str, _Share] = {}

    async def take(self, tenant: str) -> bool:
        """Take a slot; False where none became free in time."""
        share = self._shares.get(tenant)
        if share is None:
            share = self._shares[tenant] = _Share(asyncio.Semaphore(self._bounds.per_tenant))
        if share.asking >= self._bounds.per_tenant * (1 + _WAITING_PER_SLOT):
            return False
        share.asking += 1
        try:
            async with asyncio.timeout(self._wait_seconds):
                await share.slots.acquire()
                try:
                    await self._in_all.acquire()
                except BaseException:
                    share.slots.release()
                    raise
        except BaseException as error:
            self._forget(tenant, share)
            if isinstance(error, TimeoutError):
                return False
            raise
        return True

    def give_back(self, tenant: str) -> None:
        """Give back a slot that was taken."""
        share = self._shares[tenant]
        self._in_all.release()
        share.slots.release()
        self._forget(tenant, share)

    def _forget(self, tenant: str, share: _Share) -> None:
        share.asking -= 1
        if not share.asking:
            # Somebody with many tenants must not grow this.
            del self._shares[tenant]


@dataclass
class _Exchange:
    """One request on its way: what arrives of it, who waits for it, what was answered.

    Attributes:
        started: the application has begun its answer.
        closed: what the application sends now goes nowhere.
    """

    receive: Receive
    send: Send
    arrived: asyncio.Queue[Message | Exception] = field(default_factory=lambda: asyncio.Queue(1))
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    complete: bool = False
    started: bool = False
    closed: bool = False
    body_until: float = 0.0

    async def listen(self) -> None:
        """Pass on what arrives, and notice when the caller hangs up."""
        while True:
            try:
                message: Message | Exception = await self.receive()
            except HTTPException as refused:
                message = refused
            if isinstance(message, dict) and message["type"] == "http.disconnect":
                self.hung_up.set()
                await self.arrived.put(message)
                return
            await self.arrived.put(message)

    async def next_message(self) -> Message:
        """The application's ``receive``.

        Raises:
            HTTPException: 408 where the body takes too long; what an outer ``receive``
                refused.
        """
        left = None if self.complete else self.body_until - time.monotonic()
        try:
            async with asyncio.timeout(left):
                message = await self.arrived.get()
        except TimeoutError:
            raise HTTPException(408) from None
        if isinstance(message, Exception):
            raise message
        self.complete = not message.get("more_body", False)
        return message

    async def pass_on(self, message: Message) -> None:
        """The application's ``send``."""
        if not self.closed:
            self.started = True
            await self.send(message)


class InFlightMiddleware:
    """Bounds what each tenant has under way, and ends what nobody waits for.

    Args:
        app: what lies behind; must turn Starlette's HTTPException into an answer, as
            FastAPI does.
        bounds: of every kind.
        kinds: of paths that are not :attr:`Kind.OTHER`, written as routes write them.
        exempt_paths: paths that answer from means of their own.
    """

    def __init__(
        self,
        app: ASGIApp,
        bounds: Mapping[Kind, Bounds],
        kinds: Mapping[str, Kind],
        exempt_paths: Collection[str],
    ) -> None:
        self._app = app
        self._bounds = bounds
        self._kinds = [(compile_path(path)[0], kind) for path, kind in kinds.items()]
        self._exempt_paths = frozenset(exempt_paths)
        self._slots = {kind: Slots(one) for kind, one in bounds.items()}
        self._turns = Turns(LISTINGS_SHARE)
        # Cancelling a statement takes a connection of its own to the database, and must
        # not wait for the threads that it is to free.
        self._interrupting = ThreadPoolExecutor(4, thread_name_prefix="interrupting")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in self._exempt_paths:
            await self._app(scope, receive, send)
            return
        kind = self._kind(scope["path"])
        tenant = _tenant(scope)
        if not await self._slots[kind].take(tenant):
            await _too_many()(scope, receive, send)
            return
        await self._handle(kind, tenant, scope, _Exchange(receive, send))

    async def _handle(self, kind: Kind, tenant: str, scope: Scope, exchange: _Exchange) -> None:
        seconds = self._bounds[kind].seconds
        now = time.monotonic()
        exchange.body_until = now + min(BODY_SECONDS, seconds)
        caller = Caller()
        until = now + seconds - min(_MARGIN_SECONDS, seconds / 2)
        with working_for(caller, until), taking(self._turns):
            work: asyncio.Task[None] = asyncio.create_task(
                self._app(scope, exchange.next_message, exchange.pass_on)  # type: ignore[arg-type]
            )
        # Not before the work has ended: the thread is taken until then.
        work.add_done_callback(lambda _: self._slots[kind].give_back(tenant))
        listening = asyncio.create_task(exchange.listen())
        hung_up = asyncio.create_task(exchange.hung_up.wait())
        try:
            await asyncio.wait(
                {work, hung_up}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if not work.done() and not exchange.started:
                exchange.closed = True
                self._end(work, caller)
                if not exchange.hung_up.is_set():
                    await _too_slow(seconds)(scope, exchange.receive, exchange.send)
                return
            # An answer that has begun goes on, for as long as the connection lets it.
            await work
        finally:
            listening.cancel()
            hung_up.cancel()

    def _end(self, work: asyncio.Task[None], caller: Caller) -> None:
        """End what nobody waits for; what became of it is in the log, if it is a surprise."""
        asyncio.get_running_loop().run_in_executor(self._interrupting, caller.leave)
        work.add_done_callback(_log_surprise)

    def _kind(self, path: str) -> Kind:
        return next((kind for pattern, kind in self._kinds if pattern.match(path)), Kind.OTHER)


def _log_surprise(work: asyncio.Task[None]) -> None:
    if not work.cancelled() and (error := work.exception()) is not None:
        logger.error("A request that nobody waited for any more failed.", exc_info=error)


def _tenant(scope: Scope) -> str:
    principal: Principal | None = scope.get("state", {}).get("principal")
    return (principal.tenant_id or "") if principal else ""


def _too_many() -> Response:
    return problem(
        503,
        "This tenant, or all of them together, have as many requests of this kind under way as "
        "is allowed; wait until some are answered.",
        code="too_many_in_flight",
        headers={"Retry-After": "2"},
    )


def _too_slow(seconds: float) -> Response:
    return problem(
        503,
        f"The answer took longer than {seconds:g} seconds and was given up. What was done until "
        "then stays; the same request goes on from there.",
        code="deadline_exceeded",
        headers={"Retry-After": "5"},
    )
