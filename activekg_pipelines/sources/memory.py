"""A source in a dictionary: for tests, and for programs that build on this package.

documents = MemoryStore()
documents.put("reports/a.txt", b"...")
with registered(memory_provider(documents)):
    ...  # connectors with the provider "memory" read from it
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Generator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from activekg_pipelines.errors import ObjectGone
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.config import Prefix, SourceConfig
from activekg_pipelines.sources.download import write_body
from activekg_pipelines.sources.provider import Provider
from activekg_pipelines.sources.source import Entry, Fetched, Location, Page, Source

_PAGE: Final = 1000


class MemoryConfig(SourceConfig):
    """A part of a :class:`MemoryStore`; it has no secrets."""

    store: str = "documents"
    prefix: Prefix = ""

    def location(self) -> Location:
        """``memory://store/prefix``."""
        return Location("memory", self.store, self.prefix)


@dataclass(slots=True)
class MemoryStore:
    """Objects by key.

    Attributes:
        order: how it lists its keys; by default in the order of their bytes.
        page_size: entries of a page.
    """

    order: Callable[[Iterable[str]], list[str]] = field(
        default=lambda keys: sorted(keys, key=_bytes)
    )
    page_size: int = _PAGE
    _objects: dict[str, tuple[bytes, Entry]] = field(default_factory=dict)

    def put(self, key: str, body: bytes, *, modified_at: datetime | None = None) -> Entry:
        """Write an object; its ETag is the digest of its bytes."""
        etag = hashlib.sha256(body).hexdigest()[:32]
        entry = Entry(key, etag, len(body), modified_at or datetime.now(UTC))
        self._objects[key] = body, entry
        return entry

    def delete(self, key: str) -> None:
        """Delete an object."""
        del self._objects[key]

    def get(self, key: str) -> tuple[bytes, Entry] | None:
        """An object's bytes, and what a listing says of it."""
        return self._objects.get(key)

    def list(self, prefix: str, after: str = "") -> Generator[Page]:
        """The entries under a prefix, in the store's own order."""
        keys = [
            key
            for key in self.order(self._objects)
            if key.startswith(prefix) and _bytes(key) > _bytes(after)
        ]
        for begin in range(0, max(len(keys), 1), self.page_size):
            part = keys[begin : begin + self.page_size]
            entries = [self._objects[key][1] for key in part]
            yield Page(entries, is_last=begin + self.page_size >= len(keys))


class MemorySource(Source):
    """A part of a store.

    Args:
        store: holds the objects.
        location: which part.
    """

    def __init__(self, store: MemoryStore, location: Location) -> None:
        self._store = store
        self._location = location

    @property
    def location(self) -> Location:
        """``memory://store/prefix``."""
        return self._location

    def listing(self, after: str = "", *, deadline: float | None = None) -> Generator[Page]:
        """The store's pages, in its own order."""
        return self._store.list(self._location.prefix, after)

    def find(self, key: str, *, in_order: bool = True) -> Entry | None:
        """The object's entry."""
        found = self._store.get(key)
        return found and found[1]

    def fetch(self, key: str, etag: str, target: Path, *, max_bytes: int) -> Fetched:
        """Write the current version, which may be newer than the listed one."""
        uri = self._location.uri(key)
        found = self._store.get(key)
        if found is None:
            raise ObjectGone(f"Failed to fetch {uri}: it is gone")
        body, entry = found
        written = write_body([body], target, uri=uri, declared=len(body), max_bytes=max_bytes)
        return Fetched(target, entry.etag, written.size, entry.modified_at, written.sha256, None)

    def read_one_byte(self, key: str) -> None:
        """Do nothing: every object may be read."""

    def close(self) -> None:
        """Do nothing: no connection is open."""


def _bytes(key: str) -> bytes:
    return key.encode("utf-8", "surrogatepass")


def memory_provider(store: MemoryStore) -> Provider:
    """A provider whose sources all read from one store, for :func:`registry.registered`."""

    def open_memory(config: MemoryConfig, _: Settings) -> MemorySource:
        return MemorySource(store, config.location())

    return Provider(
        "memory",
        title="memory",
        place="memory store",
        config=MemoryConfig,
        open=open_memory,
    )
