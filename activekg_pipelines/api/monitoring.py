"""Answers for whoever watches the service, made by means of their own.

They take no thread and no connection that requests of tenants may use up. Everybody who
asks at the same time, or shortly after, gets the same answer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import Any, Final, TypeVar

from activekg_pipelines.api.problems import ProblemError

# Probes and scrapes give up after 10 seconds.
_SECONDS: Final = 10.0

T = TypeVar("T")


class SharedAnswers:
    """Makes each answer once for all who ask for it. Safe to use from several threads.

    Args:
        name: of its threads.
        max_age: for how many seconds an answer is given again.
        threads: answers that are made at once.
    """

    def __init__(self, name: str, *, max_age: float, threads: int) -> None:
        self._max_age = max_age
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._lock = Lock()
        self._made: dict[Hashable, tuple[float, Future[Any]]] = {}

    async def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """The answer of this key.

        Args:
            make: makes it, in a thread. What it raises is an answer, too.

        Raises:
            ProblemError: 503 where it takes too long.
        """
        try:
            # Others go on waiting for it when one gives up.
            return await asyncio.wait_for(
                asyncio.shield(asyncio.wrap_future(self._answer(key, make))), _SECONDS
            )
        except TimeoutError:
            raise ProblemError(
                503,
                f"The answer took longer than {_SECONDS:g} seconds.",
                code="deadline_exceeded",
                headers={"Retry-After": "5"},
            ) from None

    def close(self) -> None:
        """Start no further answer."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _answer(self, key: Hashable, make: Callable[[], T]) -> Future[T]:
        oldest = time.monotonic() - self._max_age
        with self._lock:
            self._made = {
                one: (begun, answer)
                for one, (begun, answer) in self._made.items()
                if not answer.done() or begun > oldest
            }
            if key not in self._made:
                self._made[key] = time.monotonic(), self._threads.submit(make)
            return self._made[key][1]
