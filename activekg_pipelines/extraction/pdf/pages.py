"""What both PDF engines fill in, and what they both do to a damaged file first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from activekg_pipelines.extraction.document import check_length
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.pdf.blocks import Page
from activekg_pipelines.extraction.warnings import DocumentWarning

# PDFium looks for the header in the first kilobyte only. Mail gateways and web servers
# put more before it.
_HEADER_WINDOW: Final = 1024
_HEADER_SEARCH: Final = 1024 * 1024


@dataclass(slots=True)
class PdfPages:
    """What has been read of a PDF so far; ``total`` is how many pages it has.

    ``pages`` has an entry for each page that was asked for, an empty one for one that
    is broken. ``form_text`` is what a form says that only a program inside it shows,
    None for other documents.
    """

    total: int
    title: str | None = None
    pages: list[Page] = field(default_factory=list)
    characters: int = 0
    warnings: list[DocumentWarning] = field(default_factory=list)
    broken_pages: int = 0
    why_broken: str = ""
    form_text: str | None = None

    def add(self, page: Page, limits: Limits) -> None:
        self.pages.append(page)
        self.characters += page.characters
        check_length(self.characters, limits)

    def add_broken(self, number: int, error: Exception) -> None:
        self.pages.append(Page())
        self.broken_pages += 1
        self.why_broken = (
            self.why_broken or f"page {number}, {type(error).__name__}: {str(error)[:100]}"
        )


@contextmanager
def header_first(path: Path) -> Iterator[Path | bytes]:
    """Give a source of the PDF at ``path`` that has its header near the start.

    That is ``path`` itself, or the bytes from the header on when too much junk stands
    before it.
    """
    with path.open("rb") as file:
        start = file.read(_HEADER_SEARCH).find(b"%PDF-")
        if start > _HEADER_WINDOW - len("%PDF-"):
            file.seek(start)
            yield file.read()
            return
    yield path
