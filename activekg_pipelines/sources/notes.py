"""What a store does otherwise than its protocol says, found out while it is read.

A source finds it out once, its connector keeps it, and people see it there. Nothing is
given up for it that shows whether a body is sound.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class StoreNote(StrEnum):
    """One such habit of a store."""

    WRONG_CHECKSUMS = "wrong_checksums"
    ETAGS_NO_MD5 = "etags_no_md5"
    NO_CONDITIONS = "no_conditions"


@dataclass(frozen=True, slots=True)
class Note:
    """A note as people see it."""

    code: str
    message: str


_SENTENCES: Final = {
    StoreNote.WRONG_CHECKSUMS: (
        "The store names checksums that are not those of its objects. They are passed over: a "
        "download counts as sound when its length is right, and its MD5 where the ETag is one."
    ),
    StoreNote.ETAGS_NO_MD5: (
        "The store's ETags look like MD5 sums and are none. A download counts as sound when its "
        "length is right, and its checksum where the store names one."
    ),
    StoreNote.NO_CONDITIONS: (
        "The store refuses requests for a certain version of an object (If-Match). They are made "
        "without; the answer says which version it is."
    ),
}


def note_of(code: str) -> Note:
    """The sentence of a code; a newer version of this package may have written others."""
    known = {note.value: sentence for note, sentence in _SENTENCES.items()}
    return Note(code, known.get(code, "Another version of this system knows what it means."))
