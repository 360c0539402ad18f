"""All formats that this system reads, and everything that follows from their records.

A new format is its folder and its name in :data:`FORMATS`. Nothing else lists formats.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from activekg_pipelines.extraction import docx, html, markdown, pdf, text
from activekg_pipelines.extraction.format import Format
from activekg_pipelines.extraction.unsupported import KINDS_BY_EXTENSION

# Of what the formats share: detecting, decoding, cleaning. Raise it when one of these
# changes texts.
_SHARED_VERSION: Final = "3"


class Formats:
    """Formats, and what follows from their records. Iterating gives them in order.

    Args:
        formats: in the order in which their magic is looked for.
        fallback: what a text is taken for when nothing says more about it; one of
            ``formats``.

    Raises:
        ValueError: two of them claim the same extension or declared type.
    """

    def __init__(self, *formats: Format, fallback: Format) -> None:
        self._formats = formats
        self.fallback: Final = fallback
        self.by_extension: Final = _index(
            (extension, each) for each in formats for extension in each.extensions
        )
        self.by_content_type: Final = _index(
            (declared, each) for each in formats for declared in each.content_types
        )
        self.unsupported_extensions: Final = {
            extension: kind
            for extension, kind in KINDS_BY_EXTENSION.items()
            if extension not in self.by_extension
        }
        """Extension to what such a file is, with an article ("An image")."""
        self.preload: Final = tuple(
            dict.fromkeys(name for each in formats for name in each.preload)
        )
        """Modules that workers hold before their first document."""
        self.version: Final = "+".join(
            [
                _SHARED_VERSION,
                *(f"{each.extensions[0]}{each.version}" for each in formats if each.version),
            ]
        )
        """Stored with every document. A new one makes all documents pending again."""

    def __iter__(self) -> Iterator[Format]:
        return iter(self._formats)


def _index(pairs: Iterator[tuple[str, Format]]) -> dict[str, Format]:
    named: dict[str, Format] = {}
    for name, each in pairs:
        if named.setdefault(name, each) is not each:
            raise ValueError(f"{named[name].name} and {each.name} both claim {name!r}.")
    return named


FORMATS: Final = Formats(
    pdf.FORMAT, docx.FORMAT, html.FORMAT, markdown.FORMAT, text.FORMAT, fallback=text.FORMAT
)

EXTRACTOR_VERSION: Final = FORMATS.version
"""Stored with every row. A new one makes all documents pending again."""

UNSUPPORTED_EXTENSIONS: Final = FORMATS.unsupported_extensions
"""Extension (lower case, without the dot) to what such a file is, with an article."""
