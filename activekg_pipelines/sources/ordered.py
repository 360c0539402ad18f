"""Sorts the listing of a source that lists in another order than that of its keys.

Ledger and comparison need ascending keys. Gateways to folders, S3 directory buckets and
file drives list otherwise. Here the complete listing is written to a temporary file,
which SQLite sorts in bounded memory, and is read back in ordered pages. That takes as
long as the complete listing, so it is for runs and not for ticks.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Collection, Generator, Iterable
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from activekg_pipelines.errors import SourceUnavailable
from activekg_pipelines.sources.listing import storable
from activekg_pipelines.sources.notes import StoreNote
from activekg_pipelines.sources.source import Entry, Fetched, Location, Page, Source

_PAGE: Final = 1000
_CACHE_KIB: Final = 16 * 1024
"""Memory that SQLite may use. A million keys need 170 MB of disk in any case."""


class Ordered(Source):
    """A source whose pages come in the order of keys, in whatever order the other lists.

    While the listing is still being read, :meth:`pages` yields empty pages. A run sends
    a heartbeat with each.

    Args:
        source: the one that is listed and fetched from.
    """

    lists_in_order = False

    def __init__(self, source: Source) -> None:
        self._source = source
        self.tokens_tell_bytes = source.tokens_tell_bytes

    @property
    def notes(self) -> frozenset[StoreNote]:
        """As the source found."""
        return self._source.notes

    def heed(self, notes: Collection[str]) -> None:
        """As the source heeds them."""
        self._source.heed(notes)

    @property
    def location(self) -> Location:
        """Where the source lies."""
        return self._source.location

    def pages(self, after: str = "", *, deadline: float | None = None) -> Generator[Page]:
        """The complete listing, sorted.

        Raises:
            SourceUnavailable: the deadline passed before the listing was read. A part
                of a listing cannot be sorted.
        """
        try:
            # With "", SQLite makes a temporary file and removes it with the connection.
            with closing(sqlite3.connect("", isolation_level=None)) as spool:
                spool.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
                spool.execute("PRAGMA journal_mode = OFF")
                spool.execute("CREATE TABLE entry (key BLOB PRIMARY KEY, rest TEXT) WITHOUT ROWID")
                yield from self._read(spool, deadline)
                yield from _sorted(spool, after)
        except sqlite3.Error as error:
            raise SourceUnavailable(
                f"The listing could not be sorted in a temporary file ({error}).",
                fix="Free temporary disk, or set TMPDIR to a larger one.",
            ) from None

    def _read(self, spool: sqlite3.Connection, deadline: float | None) -> Generator[Page]:
        with closing(self._source.listing(deadline=deadline)) as listed:
            for page in listed:
                _add(spool, storable(page.entries, str(self.location)))
                if page.is_last:
                    return
                if deadline is not None and time.monotonic() >= deadline:
                    raise SourceUnavailable(
                        "The store lists its keys out of order, and its listing is too long to be "
                        "sorted while somebody waits. A sync does it."
                    )
                yield Page([], is_last=False)

    def listing(self, after: str = "", *, deadline: float | None = None) -> Generator[Page]:
        """The source's own order."""
        return self._source.listing(after, deadline=deadline)

    def find(self, key: str, *, in_order: bool = True) -> Entry | None:
        """As the source finds it."""
        return self._source.find(key, in_order=False)

    def fetch(self, key: str, etag: str, target: Path, *, max_bytes: int) -> Fetched:
        """As the source fetches it."""
        return self._source.fetch(key, etag, target, max_bytes=max_bytes)

    def read_one_byte(self, key: str) -> None:
        """As the source reads it."""
        self._source.read_one_byte(key)

    def is_archived(self, key: str) -> bool:
        """As the source says."""
        return self._source.is_archived(key)

    def close(self) -> None:
        """Close the source."""
        self._source.close()


def _add(spool: sqlite3.Connection, entries: Iterable[Entry]) -> None:
    rows = [(_bytes(entry.key), _packed(entry)) for entry in entries]
    spool.execute("BEGIN")
    # A key that moved during the listing may come twice. The later entry is kept.
    spool.executemany("INSERT OR REPLACE INTO entry VALUES (?, ?)", rows)
    spool.execute("COMMIT")


def _sorted(spool: sqlite3.Connection, after: str) -> Generator[Page]:
    rows = spool.execute("SELECT key, rest FROM entry WHERE key > ? ORDER BY key", [_bytes(after)])
    entries = [_unpacked(*row) for row in rows.fetchmany(_PAGE)]
    while following := rows.fetchmany(_PAGE):
        yield Page(entries, is_last=False)
        entries = [_unpacked(*row) for row in following]
    yield Page(entries, is_last=True)


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def _packed(entry: Entry) -> str:
    moment = entry.modified_at.isoformat()
    return json.dumps([entry.etag, entry.size, moment, entry.storage_class, entry.more])


def _unpacked(key: bytes, rest: str) -> Entry:
    values: list[Any] = json.loads(rest)
    etag, size, moment, storage_class, more = values
    name = key.decode("utf-8", "surrogatepass")
    return Entry(name, etag, size, datetime.fromisoformat(moment), storage_class, more)
