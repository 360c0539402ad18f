"""Gives the pages of stores their turns in a process that has others to answer.

Reading a page is computing, a process computes one thing at a time, and a store may
answer faster than its pages are read. Without turns the listings of one tenant take most
of the process.
"""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from contextvars import ContextVar
from threading import Event, Lock
from typing import TYPE_CHECKING, Final

from activekg_pipelines.deadline import interruptible

if TYPE_CHECKING:
    from activekg_pipelines.sources.source import Page

# Taken until it is known how long a page took.
_USUAL_SECONDS: Final = 0.05
# A page that takes longer must not keep the next one waiting for ever.
_MOST_SECONDS: Final = 1.0


class Turns:
    """Spreads work so that it takes a share of the time of one core.

    It belongs to a process. Safe to use from several threads.

    Args:
        share: of a core, above 0 and up to 1.
    """

    def __init__(self, share: float) -> None:
        self._share = share
        self._lock = Lock()
        self._free_at = 0.0

    def take(self) -> float:
        """Get in line; returns the moment of ``time.monotonic()`` when the turn comes."""
        with self._lock:
            moment = max(time.monotonic(), self._free_at)
            self._free_at = moment + _USUAL_SECONDS / self._share
        return moment

    def took(self, seconds: float) -> None:
        """Say how long the work of a turn took; those that come wait accordingly."""
        with self._lock:
            self._free_at += (min(seconds, _MOST_SECONDS) - _USUAL_SECONDS) / self._share


_turns: ContextVar[Turns | None] = ContextVar("activekg_turns", default=None)


@contextmanager
def taking(turns: Turns) -> Iterator[None]:
    """What is done inside has these turns."""
    token = _turns.set(turns)
    try:
        yield
    finally:
        _turns.reset(token)


def in_turns(pages: Generator[Page], deadline: float) -> Generator[Page]:
    """The pages, each when its turn comes; as they come where the process has no turns.

    What whoever reads the pages does with one counts, too, as far as it is computing.

    Args:
        pages: closed afterwards.
        deadline: of ``time.monotonic()``; nobody waits longer for a turn.
    """
    turns = _turns.get()
    if turns is None:
        yield from pages
        return
    with closing(pages):
        while True:
            _wait_until(min(turns.take(), deadline))
            began = time.thread_time()
            try:
                page = next(pages, None)
                if page is None:
                    return
                yield page
            finally:
                turns.took(time.thread_time() - began)
            if page.is_last:
                return


def _wait_until(moment: float) -> None:
    """Wait; not any longer once the caller is gone."""
    gone = Event()
    with interruptible(gone.set):
        gone.wait(max(0.0, moment - time.monotonic()))
