"""Until when somebody waits for what is done for them, and whether they still do.

Both lie in context variables: the clients of AWS and of Google do not pass them on, and
whoever reads a source or the database need not know for whom.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event, Lock


class Caller:
    """Somebody who waits for work in other threads, and may stop waiting before it ends.

    Safe to use from several threads.
    """

    def __init__(self) -> None:
        self._gone = Event()
        self._lock = Lock()
        self._interruptions: dict[int, Callable[[], None]] = {}
        self._next = 0

    @property
    def gone(self) -> bool:
        """Whether nobody waits any more."""
        return self._gone.is_set()

    def leave(self) -> None:
        """Nobody waits any more: interrupt what is being done.

        It returns when that is interrupted, which may take seconds.
        """
        self._gone.set()
        with self._lock:
            for interrupt in self._interruptions.values():
                interrupt()

    @contextmanager
    def interruptible(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """While inside, ``interrupt`` is called when nobody waits any more.

        Never afterwards: what it interrupts may belong to somebody else by then.
        """
        with self._lock:
            number = self._next
            self._next += 1
            self._interruptions[number] = interrupt
        try:
            if self.gone:
                interrupt()
            yield
        finally:
            with self._lock:
                del self._interruptions[number]


_give_up_at: ContextVar[float | None] = ContextVar("activekg_give_up_at", default=None)
_caller: ContextVar[Caller | None] = ContextVar("activekg_caller", default=None)


@contextmanager
def give_up_at(moment: float | None) -> Iterator[None]:
    """Requests and statements made inside are answered by this moment, or fail.

    It includes connecting and further attempts.

    Args:
        moment: of ``time.monotonic()``; None for the usual limits.
    """
    outer = _give_up_at.get()
    both = [one for one in (outer, moment) if one is not None]
    token = _give_up_at.set(min(both, default=None))
    try:
        yield
    finally:
        _give_up_at.reset(token)


@contextmanager
def working_for(caller: Caller, until: float) -> Iterator[None]:
    """What is done inside ends when the caller is gone, and at a moment at the latest.

    Args:
        until: of ``time.monotonic()``.
    """
    token = _caller.set(caller)
    try:
        with give_up_at(until):
            yield
    finally:
        _caller.reset(token)


@contextmanager
def interruptible(interrupt: Callable[[], None]) -> Iterator[None]:
    """While inside, ``interrupt`` is called when the caller is gone, from another thread.

    Without a caller nothing is interrupted.
    """
    caller = _caller.get()
    if caller is None:
        yield
    else:
        with caller.interruptible(interrupt):
            yield


def seconds_left(usual: float) -> float:
    """``usual`` seconds, or fewer if the caller's moment comes before.

    It is 0 or less when that moment has passed, or the caller is gone.
    """
    caller = _caller.get()
    if caller is not None and caller.gone:
        return 0.0
    moment = _give_up_at.get()
    return usual if moment is None else min(usual, moment - time.monotonic())


def has_deadline() -> bool:
    """Whether somebody waits until a moment, or for the usual limits."""
    return _give_up_at.get() is not None
