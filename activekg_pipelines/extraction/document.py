"""What an extraction hands on: the text and what is known about how it was got."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from activekg_pipelines.errors import TextTooLarge
from activekg_pipelines.extraction.clean import clean_text, clean_title
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.warnings import DocumentWarning, read_stored, stored

# A damaged PDF can fail on each of its thousands of pages; the first few warnings tell
# what is wrong.
MAX_WARNINGS: Final = 20

JSON: TypeAlias = "str | int | float | bool | list[JSON] | dict[str, JSON] | None"


@dataclass(frozen=True, slots=True)
class ExtractedDocument:
    """A document's text in reading order, with its headings and tables as Markdown.

    ``facts`` is small and goes into the ledger: ``engine`` and ``characters`` always,
    ``warnings`` as JSON of
    :class:`~activekg_pipelines.extraction.warnings.DocumentWarning`, and, by format,
    ``pages``, ``empty_pages``, ``tables``, ``page_starts``, ``encoding``,
    ``encoding_guessed``. ``page_starts`` has an offset into ``text`` for each page that
    was read, at which it starts; a page without text starts where the next one does.
    """

    text: str
    title: str | None
    mime_type: str
    facts: dict[str, JSON]

    @property
    def warnings(self) -> list[DocumentWarning]:
        """Those in ``facts``."""
        return read_stored(self.facts.get("warnings"))


def finish(
    text: str,
    *,
    title: str | None,
    mime_type: str,
    limits: Limits,
    engine: str,
    warnings: Sequence[DocumentWarning],
    **facts: JSON,
) -> ExtractedDocument:
    """Clean ``text`` and ``title``, hold them to the limits, and add up the facts.

    The text may come out empty: what an empty text means differs by format and is the
    caller's to say.

    Raises:
        TextTooLarge: the text has more than ``limits.max_text_chars`` characters.
    """
    check_length(len(text), limits)
    cleaned = clean_text(text)
    return ExtractedDocument(
        text=cleaned,
        title=clean_title(title),
        mime_type=mime_type,
        facts={
            "engine": engine,
            "characters": len(cleaned),
            "warnings": stored(warnings, MAX_WARNINGS),
            **facts,
        },
    )


def check_length(characters: int, limits: Limits) -> None:
    """Raise TextTooLarge when ``characters`` exceeds the limit.

    Extractors call it while their text still grows, to stop early.
    """
    if characters > limits.max_text_chars:
        raise TextTooLarge(
            f"The document's text is longer than {limits.max_text_chars:,} characters."
        )
