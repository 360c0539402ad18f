"""How a run learns that it has to end early."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from activekg_pipelines.errors import RunCancelled


class Stop:
    """Whether somebody asked for the end of a run.

    Whoever runs it asks; the threads that do its work look at it between two pieces of
    work.
    """

    def __init__(self) -> None:
        self.cause: RunCancelled | None = None
        """Who asked, and what becomes of the rest; None until somebody does."""
        self._asked = threading.Event()

    def ask(self, cause: RunCancelled) -> None:
        """Ask for the end of the run. Who asks first is named."""
        self.cause = self.cause or cause
        self._asked.set()

    def wait(self, seconds: float) -> None:
        """Wait for somebody to ask, this long at most."""
        self._asked.wait(seconds)

    def check(self) -> None:
        """Raise once somebody asked.

        Raises:
            RunCancelled: somebody did.
        """
        if self.cause is not None:
            raise self.cause


@contextmanager
def threads(
    workers: int, *, name: str, are_left: Callable[[], bool] = lambda: False
) -> Iterator[ThreadPoolExecutor]:
    """Threads that are waited for, unless the run is interrupted.

    What they do then may take longer than anybody waits: a store that answers a byte a
    second, a model that is loaded. They hold no lease any more, so what they finish is
    not written.

    Args:
        are_left: whether they are not waited for either when the work has ended.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix=name)
    try:
        yield pool
    except Exception:
        pool.shutdown(wait=not are_left())
        raise
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    pool.shutdown(wait=not are_left())
