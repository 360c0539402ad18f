"""Reads Markdown files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from activekg_pipelines.extraction.document import ExtractedDocument
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.text.extractor import read_text

MIME_TYPE: Final = "text/markdown"

_FRONT_MATTER: Final = re.compile(r"\s*---[ \t]*\r?\n(.*?)\r?\n---[ \t]*\r?\n", re.DOTALL)
# Greedy to the line's end and back: a lazy match that tries every end is quadratic in a
# line of a few thousand "#".
_FRONT_MATTER_TITLE: Final = re.compile(r"^title:[ \t]*+([^\n]*\S)", re.MULTILINE)
_QUOTED: Final = re.compile(r"(['\"])(.+)\1")
_ATX_HEADING: Final = re.compile(r"^ {0,3}#{1,6}[ \t]++([^\n]*[^\s#])", re.MULTILINE)
_SETEXT_HEADING: Final = re.compile(
    r"^ {0,3}(\S[^\r\n]*)\r?\n {0,3}(?:=+|-{3,})[ \t]*\r?$", re.MULTILINE
)
_FENCE: Final = re.compile(r"^ {0,3}(```|~~~).*?^ {0,3}\1", re.MULTILINE | re.DOTALL)
# A title stands at the top. To search all of a large file for one costs more than it
# finds.
_TITLE_CHARS: Final = 20_000


def extract(path: Path, limits: Limits, charset: str | None = None) -> ExtractedDocument:
    """Read the Markdown file at ``path`` as it stands, but for pictures and files in it.

    Its title is the front matter's, else the first heading.

    Args:
        charset: as the source declares it.

    Raises:
        EmptyObject: there is nothing that shows.
        TextTooLarge: see :func:`~activekg_pipelines.extraction.document.finish`.
    """
    return read_text(path, limits, charset, mime_type=MIME_TYPE, title_of=own_title)


def own_title(text: str) -> str | None:
    """Return the title that a Markdown text gives itself, or None."""
    start = text[:_TITLE_CHARS]
    if front_matter := _FRONT_MATTER.match(start):
        if title := _FRONT_MATTER_TITLE.search(front_matter.group(1)):
            quoted = _QUOTED.fullmatch(title.group(1))
            return quoted.group(2) if quoted else title.group(1)
        start = start[front_matter.end() :]
    start = _FENCE.sub("", start)
    headings = [
        match for pattern in (_ATX_HEADING, _SETEXT_HEADING) if (match := pattern.search(start))
    ]
    return min(headings, key=lambda match: match.start()).group(1) if headings else None
