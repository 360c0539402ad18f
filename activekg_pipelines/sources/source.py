"""The contract of a source: all that the rest of the package may know of it.

A provider's folder holds one :class:`Source`. Scan, extraction, preview and audit use
nothing else of the provider.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Self

from activekg_pipelines.sources.listing import change_token, check_order, storable
from activekg_pipelines.sources.notes import StoreNote

_ARCHIVED = "archived"


@dataclass(frozen=True, slots=True)
class Location:
    """Where a source lies, and the names of its objects.

    Attributes:
        scheme: of the URIs, such as ``s3``.
        container: what holds the objects, without "/".
        prefix: what the keys of the source's objects begin with.
    """

    scheme: str
    container: str
    prefix: str = ""

    @classmethod
    def parse(cls, uri: str) -> Self:
        """The location that :meth:`__str__` wrote."""
        scheme, _, rest = uri.partition("://")
        container, _, prefix = rest.partition("/")
        return cls(scheme, container, prefix)

    def __str__(self) -> str:
        return self.uri(self.prefix)

    @property
    def uri_root(self) -> str:
        """What the URIs of all objects of the container begin with."""
        return f"{self.scheme}://{self.container}/"

    def uri(self, key: str) -> str:
        """An object's address for people, such as ``s3://bucket/key``."""
        return self.uri_root + key

    def external_root(self, tenant_id: str) -> str:
        """What the external ids of the container's documents begin with."""
        return f"{self.scheme}:{tenant_id}:{self.container}/"

    def external_id(self, tenant_id: str, key: str) -> str:
        """A document's name in the graph: ``s3:{tenant}:{bucket}/{key}``.

        It is unique, because tenant ids hold neither ":" nor "/".
        """
        return self.external_root(tenant_id) + key

    def overlaps(self, other: Location) -> bool:
        """Whether the two share objects."""
        return self.uri_root == other.uri_root and (
            self.prefix.startswith(other.prefix) or other.prefix.startswith(self.prefix)
        )


@dataclass(frozen=True, slots=True)
class Entry:
    """An object as a listing has it.

    Attributes:
        key: its name within the source's container.
        etag: the opaque change token; another token means another version. It is S3's
            ETag, or Google Cloud Storage's generation.
        size: bytes.
        modified_at: UTC.
        storage_class: as the provider calls it; None where the listing does not say.
        more: other facts that the listing gives (``archived``, metadata, tags), by name.
    """

    key: str
    etag: str
    size: int
    modified_at: datetime
    storage_class: str | None = None
    more: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "etag", change_token(self.etag))

    @property
    def archived(self) -> bool | None:
        """Whether it must be restored before it can be read.

        None where the listing does not say.
        """
        return self.more.get(_ARCHIVED)


@dataclass(frozen=True, slots=True)
class Page:
    """Some entries of a listing, up to 1,000; a page may be empty."""

    entries: list[Entry]
    is_last: bool

    @property
    def shares_tokens(self) -> bool:
        """Whether two objects of different sizes have one token; folders do not count."""
        sizes: dict[str, int] = {}
        return any(
            sizes.setdefault(entry.etag, entry.size) != entry.size
            for entry in self.entries
            if not entry.key.endswith("/")
        )


@dataclass(frozen=True, slots=True)
class Fetched:
    """A version of an object that was written to a file.

    Attributes:
        etag: of the bytes that arrived; they may be newer than the listing.
        size: bytes that arrived, as they are stored and listed.
        sha256: digest of the bytes in the file, of which the text is made: where the
            object is stored with a content coding, without it.
        content_type: as the source says. Many uploads say ``binary/octet-stream``.
        md5: of the bytes as they were sent, in hexadecimal; None where the source's tokens
            need no proof.
    """

    path: Path
    etag: str
    size: int
    modified_at: datetime
    sha256: bytes
    content_type: str | None
    md5: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "etag", change_token(self.etag))


class Source(ABC):
    """A source of documents, opened with a connector's credentials.

    It is safe to use from several threads. All methods raise :class:`SourceError` where
    no object of the source can be read.
    """

    lists_in_order = True
    """Whether the source lists in the order of keys, and so can begin at any key.

    One that does not is wrapped: see :mod:`activekg_pipelines.sources.ordered`.
    """

    tokens_tell_bytes = False
    """Whether a token belongs to bytes, as S3's ETag, and not to one version of one object.

    Then two objects of different sizes with the same one show that it does not.
    """

    @property
    def notes(self) -> frozenset[StoreNote]:
        """What was found out about the store, here or in :meth:`heed`."""
        return frozenset()

    def heed(self, notes: Collection[str]) -> None:  # noqa: B027 - most find out nothing
        """Take the store as it was found before; codes that are unknown do not matter."""

    @property
    @abstractmethod
    def location(self) -> Location:
        """Where it lies, and the names of its objects."""

    @abstractmethod
    def listing(self, after: str = "", *, deadline: float | None = None) -> Generator[Page]:
        """The listing in the source's own order; at least one page.

        Args:
            after: the last key that is known already; "" for the first page. A source
                that does not list in order is always listed completely.
            deadline: moment of ``time.monotonic()`` after which it does not wait any
                longer for a page. It waits ten seconds at least for each. None for the
                longer time-outs of a run.

        Raises:
            SourceError: the source cannot be listed.
        """

    def pages(self, after: str = "", *, deadline: float | None = None) -> Generator[Page]:
        """The listing in ascending order of the keys' bytes; at least one page.

        Keys that the ledger cannot hold are left out.

        Args:
            after, deadline: as for :meth:`listing`.

        Raises:
            SourceError: as for :meth:`listing`.
            ListingOutOfOrder: it does not list in order.
        """
        last = after.encode()
        with closing(self.listing(after, deadline=deadline)) as listed:
            for page in listed:
                last = check_order(page.entries, last, str(self.location))
                yield Page(storable(page.entries, str(self.location)), page.is_last)

    @abstractmethod
    def find(self, key: str, *, in_order: bool = True) -> Entry | None:
        """The object as a listing would show it now; None where it is not listed.

        Args:
            in_order: the source lists in order, so that of all keys that begin with this
                one it comes first.
        """

    @abstractmethod
    def fetch(self, key: str, etag: str, target: Path, *, max_bytes: int) -> Fetched:
        """Write one object to a file: the listed version, or the one that is there now.

        Args:
            etag: the listed version.
            target: file to write. The caller removes it.
            max_bytes: limit on the declared length, on the bytes that arrive, and on what
                they unpack to.

        Raises:
            ObjectError: this object cannot be fetched. It is gone, denied or too large,
                or the download failed.
        """

    @abstractmethod
    def read_one_byte(self, key: str) -> None:
        """Test whether the credentials allow reading an object.

        Raises:
            ObjectError: they do not.
        """

    def is_archived(self, key: str) -> bool:
        """Whether an object must be restored before it can be read; asked of the object.

        Raises:
            ObjectError: it cannot be told.
        """
        return False

    @abstractmethod
    def close(self) -> None:
        """Close the connections."""
