"""Rules that what a source says has to keep before it reaches the ledger."""

from __future__ import annotations

import hashlib
import logging
import re
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
# S3's have up to 40 characters, Google's up to 20.
_TOKEN: Final = re.compile(r"[ -~]{1,256}")
_SURROGATE: Final = re.compile("[\ud800-\udfff]")

logger = logging.getLogger(__name__)


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


def storable(entries: Sequence[Entry], source: str) -> list[Entry]:
    """The entries whose keys the ledger can hold. The others are left out, and logged.

    Args:
        source: where it lies, for the log.
    """
    left_out = [entry.key for entry in entries if _why_not_storable(entry.key)]
    if not left_out:
        return list(entries)
    # One line a page: each key is one that somebody else has chosen.
    logger.warning(
        "Left out %d keys of %s; the first is %s.",
        len(left_out),
        source,
        _why_not_storable(left_out[0]),
    )
    return [entry for entry in entries if not _why_not_storable(entry.key)]


def _why_not_storable(key: str) -> str | None:
    """Why the ledger cannot hold a key; None where it can."""
    if "\x00" in key:
        # Sources allow it and Postgres does not. Keys do not have it in practice.
        return "one with the character NUL"
    if len(key.encode("utf-8", "surrogatepass")) > _MAX_KEY_BYTES:
        return f"longer than {_MAX_KEY_BYTES:,} bytes"
    # JSON can hold half of a surrogate pair.
    if _SURROGATE.search(key):
        return "no valid Unicode text"
    return None


def change_token(said: str) -> str:
    """A change token as the ledger can hold it: up to 256 printable ASCII characters.

    Nothing is read into it, so that a digest serves in the place of any other: another
    token still means another version.
    """
    if _TOKEN.fullmatch(said):
        return said
    return f"sha256-{hashlib.sha256(said.encode('utf-8', 'surrogatepass')).hexdigest()}"


def in_utc(moment: datetime) -> datetime:
    """A time in UTC. Stores may write any time zone, or none for UTC.

    Raises:
        OverflowError: the time is outside the calendar.
    """
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
