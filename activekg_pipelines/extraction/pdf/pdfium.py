"""Reads the pages of a PDF with PDFium.

PDFium is not thread-safe: one process, one document. Importing this module loads it, so
only the extractor does, on the way to a document.
"""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pypdfium2

from activekg_pipelines.errors import Corrupt, Encrypted
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.pdf.page import page_text
from activekg_pipelines.extraction.pdf.pages import PageTexts, header_first

# PDFium writes U+FFFE for a hyphen at a line's end; before a capital or a digit it was
# real ("Stress-Engineered").
_REAL_HYPHEN: Final = re.compile("\ufffe(?=[A-Z0-9])")


def read_pages(path: Path, limits: Limits) -> tuple[PageTexts, str | None, int]:
    """Return the pages' texts, the title in the metadata, and how many pages there are.

    Raises:
        Encrypted, Corrupt, TextTooLarge: as
            :func:`activekg_pipelines.extraction.pdf.extractor.extract`.
    """
    pages = PageTexts()
    with header_first(path) as source, closing(_open(source)) as pdf:
        total = len(pdf)
        if pdf.get_formtype() != pypdfium2.raw.FORMTYPE_NONE:
            pdf.init_forms()
        for index in range(min(total, limits.max_pages)):
            _read_page(pdf, index, pages, limits)
        return pages, _metadata_title(pdf), total


def _metadata_title(pdf: Any) -> str | None:
    try:
        return str(pdf.get_metadata_value("Title"))
    except UnicodeDecodeError:
        # Half a surrogate pair, as cutting to a length leaves it, is no reason to lose
        # the text.
        return None


def _open(source: Path | bytes) -> Any:
    try:
        return pypdfium2.PdfDocument(source)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (pypdfium2.raw.FPDF_ERR_PASSWORD, pypdfium2.raw.FPDF_ERR_SECURITY):
            raise Encrypted("The PDF is protected by a password.") from error
        raise Corrupt(f"The PDF is damaged or has no pages: {error}") from error


def _read_page(pdf: Any, index: int, pages: PageTexts, limits: Limits) -> None:
    try:
        with closing(_page(pdf, index)) as page, closing(page.get_textpage()) as textpage:
            text, tables = page_text(page, textpage, pages.warnings)
    except (pypdfium2.PdfiumError, ValueError, OverflowError, ArithmeticError) as error:
        pages.add_broken(index + 1, error)
    else:
        pages.add(_REAL_HYPHEN.sub("-", text), tables, limits)


def _page(pdf: Any, index: int) -> Any:
    """Open a page with the values of its form fields made part of it, in memory.

    PDFium's text leaves them out otherwise.
    """
    page = pdf[index]
    if pdf.formenv is None or pypdfium2.raw.FPDFPage_GetAnnotCount(page) <= 0:
        return page
    with closing(page):
        page.flatten()
    return pdf[index]
