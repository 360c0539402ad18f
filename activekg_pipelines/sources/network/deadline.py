"""The moment until which a caller waits for its requests.

It lies in a context variable, because the clients of AWS and of Google do not pass it
on.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_give_up_at: ContextVar[float | None] = ContextVar("activekg_give_up_at", default=None)


@contextmanager
def give_up_at(moment: float | None) -> Iterator[None]:
    """Requests made inside are answered by this moment, or fail.

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


def seconds_left(usual: float) -> float:
    """``usual`` seconds, or fewer if the caller's moment comes before.

    It is 0 or less when that moment has passed.
    """
    moment = _give_up_at.get()
    return usual if moment is None else min(usual, moment - time.monotonic())
