"""Reads the pages of a PDF with pdfplumber alone: slower by far, with its own tables.

Importing this module loads pdfplumber, so only the extractor does, on the way to a
document.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Final

import pdfplumber
from pdfminer.pdfdocument import PDFPasswordIncorrect
from pdfplumber.utils.exceptions import PdfminerException

from activekg_pipelines.errors import Corrupt, Encrypted
from activekg_pipelines.extraction import markdown_writer
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.pdf.pages import PageTexts, header_first

# Measured to be better than pdfplumber's defaults: spaces from the font's size, columns
# in the order of the file.
_TEXT_OPTIONS: Final = {"x_tolerance_ratio": 0.15, "use_text_flow": True}


def read_pages(path: Path, limits: Limits) -> tuple[PageTexts, str | None, int]:
    """Return the pages' texts, the title in the metadata, and how many pages there are.

    Raises:
        Encrypted, Corrupt, TextTooLarge: as
            :func:`activekg_pipelines.extraction.pdf.extractor.extract`.
    """
    pages = PageTexts()
    with header_first(path) as source:
        try:
            pdf = pdfplumber.open(io.BytesIO(source) if isinstance(source, bytes) else source)
            total = len(pdf.pages)
        except PdfminerException as error:
            if error.args and isinstance(error.args[0], PDFPasswordIncorrect):
                raise Encrypted("The PDF is protected by a password.") from error
            raise Corrupt(f"The PDF is damaged: {error}") from error
        with pdf:
            if total == 0:
                raise Corrupt("The PDF has no pages.")
            for page in pdf.pages[: limits.max_pages]:
                _read_page(page, pages, limits)
            title = pdf.metadata.get("Title")
    return pages, title if isinstance(title, str) else None, total


def _read_page(page: Any, pages: PageTexts, limits: Limits) -> None:
    try:
        text, tables = _page_text(page)
    except Exception as error:  # noqa: BLE001 - told by the thread that started this one
        pages.add_broken(page.page_number, error)
    else:
        pages.add(text, tables, limits)
    finally:
        # A page keeps its characters until it is closed: 35 MB instead of 3.6 GB on 619
        # pages.
        page.close()


def _page_text(page: Any) -> tuple[str, int]:
    tables = [(table, rendered) for table in page.find_tables() if (rendered := _rendered(table))]
    if not tables:
        return page.extract_text(**_TEXT_OPTIONS), 0
    cells = [cell for table, _ in tables for cell in table.cells]
    rest = page.filter(
        lambda item: (
            item["object_type"] != "char" or not any(_is_inside(item, cell) for cell in cells)
        )
    )
    blocks = [
        (line["top"], line["text"])
        for line in rest.extract_text_lines(return_chars=False, **_TEXT_OPTIONS)
    ]
    blocks += [(table.bbox[1], f"\n{rendered}\n") for table, rendered in tables]
    return "\n".join(text for _, text in sorted(blocks, key=lambda block: block[0])), len(tables)


def _rendered(table: Any) -> str:
    rows = [[cell or "" for cell in row] for row in table.extract(**_TEXT_OPTIONS)]
    columns = {index for row in rows for index, cell in enumerate(row) if cell.strip()}
    return (
        markdown_writer.table(rows)
        if len(columns) >= 2 and sum(any(row) for row in rows) >= 2
        else ""
    )


def _is_inside(item: dict[str, Any], box: tuple[float, float, float, float]) -> bool:
    x, y = (item["x0"] + item["x1"]) / 2, (item["top"] + item["bottom"]) / 2
    return bool(box[0] <= x <= box[2] and box[1] <= y <= box[3])
