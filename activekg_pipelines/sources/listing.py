"""Rules that every listing has to keep before it is compared with the ledger."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from activekg_pipelines.errors import ListingOutOfOrder

if TYPE_CHECKING:
    from activekg_pipelines.sources.source import Entry, Page

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html, and the same for
# https://cloud.google.com/storage/docs/objects#naming
_MAX_KEY_BYTES: Final = 1024


def check_order(entries: Sequence[Entry], last: bytes, source: str) -> bytes:
    """Check that a page continues the listing in order; returns its last key's bytes.

    Args:
        last: the bytes of the last key before the page.
        source: where it lies, for the message.

    Raises:
        ListingOutOfOrder: a key does not come after the one before it.
    """
    for entry in entries:
        key = entry.key.encode("utf-8", "surrogatepass")
        if key <= last:
            raise ListingOutOfOrder(
                f"{source} lists its keys out of order, as gateways to folders do. "
                "A run reads the whole listing and sorts it."
            )
        last = key
    return last


def entry_of(key: str, pages: Generator[Page], *, in_order: bool) -> Entry | None:
    """The entry of one key among those that begin with it; None where there is none.

    Args:
        pages: of a listing of all keys that begin with it; closed afterwards.
        in_order: the key itself comes first.
    """
    with closing(pages):
        for page in pages:
            for entry in page.entries:
                if entry.key == key:
                    return entry
                if in_order:
                    return None
    return None


def why_not_storable(key: str) -> str | None:
    """Why the ledger cannot hold a key; None where it can."""
    if "\x00" in key:
        # Sources allow it and Postgres does not. Keys do not have it in practice.
        return "with the character NUL"
    if len(key.encode("utf-8", "surrogatepass")) > _MAX_KEY_BYTES:
        return f"longer than {_MAX_KEY_BYTES:,} bytes"
    return None


def in_utc(moment: datetime) -> datetime:
    """A time in UTC. Stores may write any time zone, or none for UTC.

    Raises:
        OverflowError: the time is outside the calendar.
    """
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
