"""Tries a source as a sync uses it: lists it, and reads one byte of one object."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Final

from activekg_pipelines.deadline import give_up_at
from activekg_pipelines.sources.source import Entry, Page, Source
from activekg_pipelines.sources.turns import in_turns

# A page holds 1,000 keys; ten of them answer within a few seconds.
MAX_PAGES: Final = 10
# A person waits for the answer, and a thread of the API waits, too.
_LISTING_SECONDS: Final = 20.0
_READING_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Found:
    """What a working source holds.

    Attributes:
        objects: keys under the prefix, as far as they were counted.
        is_lower_bound: there are more than were counted.
    """

    objects: int
    is_lower_bound: bool


def probe(source: Source) -> Found:
    """List the source, and read one byte of its first object that holds any.

    Raises:
        SourceError: the source cannot be listed. ``fix`` says what to do.
        ObjectError: the object cannot be read. ``fix`` says what to do.
    """
    objects = 0
    sample: Entry | None = None
    last: Page | None = None
    # In any order: a source that lists otherwise can be read, too.
    deadline = time.monotonic() + _LISTING_SECONDS
    pages = in_turns(source.listing(deadline=deadline), deadline)
    with closing(pages), give_up_at(deadline):
        for number, last in enumerate(pages, start=1):
            objects += len(last.entries)
            sample = sample or _first_with_content(last.entries)
            if last.is_last or number == MAX_PAGES:
                break
    if sample is not None:
        with give_up_at(time.monotonic() + _READING_SECONDS):
            source.read_one_byte(sample.key)
    return Found(objects, is_lower_bound=last is None or not last.is_last)


def warning_about(found: Found, prefix: str, service: str) -> str | None:
    """What the owner of a working source should check before a first sync.

    Args:
        prefix: the connector's.
        service: the provider's name for people.
    """
    if found.objects or not prefix:
        return None
    if prefix.startswith("/"):
        return (
            f"No key begins with {prefix!r}. Keys of {service} rarely begin with a slash: "
            f"{prefix.lstrip('/')!r} is probably meant."
        )
    return (
        f"No key begins with {prefix!r}: check the prefix, which is case-sensitive and no pattern."
    )


def _first_with_content(entries: Sequence[Entry]) -> Entry | None:
    return next((entry for entry in entries if entry.size > 0), None)
