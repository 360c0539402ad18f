"""Signs that a document's text is not all that the document says.

The kinds are a closed list: they are stored, counted and filtered by.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from activekg_pipelines.extraction.document import JSON

_MAX_DETAIL_CHARS: Final = 200
_MAX_NUMBER: Final = 2**53


class WarningKind(StrEnum):
    """What a reader of the text should know; its value is stored."""

    PARTLY_READ = "partly_read"
    """``count`` of ``total`` pages show something and hold no text, as scans do."""
    PAGES_LEFT_OUT = "pages_left_out"
    """``count`` of ``total`` pages lie beyond the limit of pages."""
    PAGES_BROKEN = "pages_broken"
    """``count`` of ``total`` pages could not be read; ``detail`` says why the first."""
    PART_DAMAGED = "part_damaged"
    """The part of the file that ``detail`` names could not be read."""
    CHARACTERS_UNREADABLE = "characters_unreadable"
    """``count`` characters have a font that does not say which they are."""
    ATTACHMENTS_NOT_READ = "attachments_not_read"
    """``count`` files inside the document; ``detail`` names the first."""
    CHARTS_LEFT_OUT = "charts_left_out"
    """``count`` charts or diagrams."""
    PICTURES_LEFT_OUT = "pictures_left_out"
    """``count`` pictures that are written into the text as letters."""
    HIDDEN_TEXT_LEFT_OUT = "hidden_text_left_out"
    """``count`` characters that nobody sees; ``detail`` says why, in a few words."""
    SHARE_LEFT_OUT = "share_left_out"
    """``count`` of ``total`` characters of a page, which look like navigation."""
    FORM_NOT_READ = "form_not_read"
    """The document is built by a program inside it, which is not run."""
    ENCODING_DOUBTFUL = "encoding_doubtful"
    """The bytes may mean other characters in another encoding than ``detail``."""
    BYTES_REPLACED = "bytes_replaced"
    """Some bytes are no characters of the encoding ``detail`` and are U+FFFD now."""
    STRUCTURE_LOST = "structure_lost"
    """The text is complete, its structure is not; ``detail`` says why, as a sentence."""
    OTHER_ENGINE = "other_engine"
    """The usual parser failed and another one read it; ``detail`` says how it failed."""


TEXT_IS_MISSING: Final = frozenset(
    {
        WarningKind.PARTLY_READ,
        WarningKind.PAGES_LEFT_OUT,
        WarningKind.PAGES_BROKEN,
        WarningKind.PART_DAMAGED,
        WarningKind.CHARACTERS_UNREADABLE,
        WarningKind.ATTACHMENTS_NOT_READ,
        WarningKind.CHARTS_LEFT_OUT,
        WarningKind.FORM_NOT_READ,
        WarningKind.BYTES_REPLACED,
    }
)
"""The kinds of documents that were not read whole."""


_SENTENCES: Final = {
    WarningKind.PARTLY_READ: (
        "{count:,} of {total:,} pages hold no text; they are probably scans."
    ),
    WarningKind.PAGES_LEFT_OUT: "Only the first {rest:,} of {total:,} pages were read.",
    WarningKind.PAGES_BROKEN: (
        "{count:,} of {total:,} pages could not be read; the first: {detail}."
    ),
    WarningKind.PART_DAMAGED: "The part {detail} is damaged and was left out.",
    WarningKind.CHARACTERS_UNREADABLE: (
        "{count:,} characters have fonts that do not say which they are."
    ),
    WarningKind.ATTACHMENTS_NOT_READ: (
        "{count:,} files inside the document were not read; {detail} is one."
    ),
    WarningKind.CHARTS_LEFT_OUT: "{count:,} charts or diagrams were left out.",
    WarningKind.PICTURES_LEFT_OUT: "{count:,} pictures inside the text were left out.",
    WarningKind.HIDDEN_TEXT_LEFT_OUT: (
        "{count:,} characters that nobody sees were left out ({detail})."
    ),
    WarningKind.SHARE_LEFT_OUT: "{share:.0%} of the page look like navigation and were left out.",
    WarningKind.FORM_NOT_READ: (
        "A program inside the document builds its pages; only what is stored was read."
    ),
    WarningKind.ENCODING_DOUBTFUL: "The encoding was guessed and is doubtful: {detail}.",
    WarningKind.BYTES_REPLACED: ("Some bytes are not valid {detail} and were replaced by U+FFFD."),
    WarningKind.STRUCTURE_LOST: "{detail}",
    WarningKind.OTHER_ENGINE: "Another parser read it after the usual one could not: {detail}",
}


@dataclass(frozen=True, slots=True)
class DocumentWarning:
    """One sign; what ``count``, ``total`` and ``detail`` say depends on the kind."""

    kind: WarningKind
    count: int | None = None
    total: int | None = None
    detail: str = ""

    @property
    def sentence(self) -> str:
        """What it says to people."""
        count, total = self.count or 0, self.total or 0
        return _SENTENCES[self.kind].format(
            count=count,
            total=total,
            rest=total - count,
            share=count / max(total, 1),
            detail=self.detail,
        )

    def as_json(self) -> JSON:
        """As it is stored; what is not set is left out."""
        return {name: value for name, value in asdict(self).items() if value not in (None, "")}

    @classmethod
    def from_json(cls, value: object) -> Self:
        """What :meth:`as_json` wrote.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(value, dict) or not value.keys() <= {"kind", "count", "total", "detail"}:
            raise ValueError("A warning is an object with kind, count, total and detail.")
        count, total = (value.get(name) for name in ("count", "total"))
        detail = value.get("detail", "")
        if not all(
            number is None or (type(number) is int and 0 <= number <= _MAX_NUMBER)
            for number in (count, total)
        ):
            raise ValueError(f"A warning's numbers are integers from 0 to {_MAX_NUMBER}.")
        if not isinstance(detail, str) or len(detail) > _MAX_DETAIL_CHARS:
            raise ValueError(
                f"A warning's detail is a text of up to {_MAX_DETAIL_CHARS} characters."
            )
        return cls(WarningKind(str(value.get("kind"))), count, total, detail)


def stored(warnings: Sequence[DocumentWarning], most: int) -> list[JSON]:
    """The warnings as JSON: each once, with a bounded detail, ``most`` at most."""
    bounded = [
        DocumentWarning(each.kind, each.count, each.total, each.detail[:_MAX_DETAIL_CHARS])
        for each in warnings
    ]
    return [each.as_json() for each in dict.fromkeys(bounded)][:most]


def read_stored(value: object) -> list[DocumentWarning]:
    """The warnings of a stored list, as far as this version knows them.

    An older version stored sentences, and a newer one may store kinds that are not known
    here. Both are left out until the text is extracted again.
    """
    known = []
    for each in value if isinstance(value, list) else ():
        try:
            known.append(DocumentWarning.from_json(each))
        except ValueError:
            continue
    return known


def kinds_of(warnings: Iterable[DocumentWarning]) -> list[WarningKind]:
    """Their kinds, each once, in alphabetical order."""
    return sorted({each.kind for each in warnings})


def is_not_read_whole(kinds: Iterable[WarningKind]) -> bool:
    """Whether text of a document with warnings of these kinds is missing."""
    return not TEXT_IS_MISSING.isdisjoint(kinds)
