"""How large an answer may be that is read as a whole: a page of a listing, or an error.

It lies in a context variable, because the clients of AWS and of Google do not pass it
on. Downloads have a limit of their own, in :mod:`activekg_pipelines.sources.download`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final

from activekg_pipelines.errors import SourceUnavailable

LISTING_BYTES: Final = 4 * 1024 * 1024
"""Of a page: 1,000 entries with keys of 1,024 bytes, each of them escaped as %XX."""
ERROR_BYTES: Final = 64 * 1024
"""Of an error, which says in its first lines what it is. The rest is not read."""

_at_most: ContextVar[int | None] = ContextVar("activekg_answer_bytes", default=None)


@contextmanager
def answers_of(most: int) -> Iterator[None]:
    """Answers to requests made inside are given up once more than ``most`` bytes came."""
    token = _at_most.set(most)
    try:
        yield
    finally:
        _at_most.reset(token)


class Meter:
    """Counts the bytes of one answer, of which its caller expects no more than so many.

    Args:
        service: what people call the place.
        most: bytes; by default those of :func:`answers_of`, if any.
    """

    def __init__(self, service: str, most: int | None = None) -> None:
        self._service = service
        self._most = _at_most.get() if most is None else most
        self._bytes = 0

    def count(self, received: int) -> None:
        """Count further bytes.

        Raises:
            SourceUnavailable: there are too many.
        """
        self._bytes += received
        if self._most is not None and self._bytes > self._most:
            raise SourceUnavailable(
                f"The {self._service} endpoint answered with more than {self._most:,} bytes where "
                "a page of a listing was expected; nothing was deleted."
            )
