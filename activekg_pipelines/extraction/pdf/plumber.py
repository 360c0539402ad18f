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
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.pdf.blocks import Block, Line, Page, Table, blocks_of
from activekg_pipelines.extraction.pdf.pages import PdfPages, header_first
from activekg_pipelines.extraction.pdf.readable import without_unknown

# Measured to be better than pdfplumber's defaults: spaces from the font's size, columns
# in the order of the file.
_TEXT_OPTIONS: Final = {"x_tolerance_ratio": 0.15, "use_text_flow": True}


def read_pages(path: Path, limits: Limits) -> PdfPages:
    """Read the PDF at ``path`` up to the limit of pages.

    Raises:
        Encrypted, Corrupt, TextTooLarge: as
            :func:`activekg_pipelines.extraction.pdf.extractor.extract`.
    """
    with header_first(path) as source:
        try:
            pdf = open_pdf(source)
            total = len(pdf.pages)
        except PdfminerException as error:
            if error.args and isinstance(error.args[0], PDFPasswordIncorrect):
                raise Encrypted("The PDF is protected by a password.") from error
            raise Corrupt(f"The PDF is damaged: {error}") from error
        with pdf:
            if total == 0:
                raise Corrupt("The PDF has no pages.")
            title = pdf.metadata.get("Title")
            found = PdfPages(total, title if isinstance(title, str) else None)
            for page in pdf.pages[: limits.max_pages]:
                _read_page(page, found, limits)
    return found


def open_pdf(source: Path | bytes) -> Any:
    """Open a PDF with pdfplumber, which raises what a damaged file leads it to."""
    return pdfplumber.open(io.BytesIO(source) if isinstance(source, bytes) else source)


def _read_page(page: Any, found: PdfPages, limits: Limits) -> None:
    try:
        read = read_page(page)
    except Exception as error:  # noqa: BLE001 - told by the thread that started this one
        found.add_broken(page.page_number, error)
    else:
        found.add(read, limits)


def read_page(page: Any) -> Page:
    """Read a page of pdfplumber's, and close it."""
    try:
        return _page(page)
    finally:
        # A page keeps its characters until it is closed: 35 MB instead of 3.6 GB on 619
        # pages.
        page.close()


def _page(page: Any) -> Page:
    tables = [(table, rows) for table in page.find_tables() if (rows := _rows(table))]
    cells = [cell for table, _ in tables for cell in table.cells]
    rest = page
    if cells:
        rest = page.filter(
            lambda item: (
                item["object_type"] != "char" or not any(_is_inside(item, cell) for cell in cells)
            )
        )
    height = float(page.height) or 1.0
    parts: list[Line | Block] = [
        _line(line, height)
        for line in rest.extract_text_lines(return_chars=False, strip=False, **_TEXT_OPTIONS)
    ]
    for table, rows in tables:
        columns = tuple(sorted({float(cell[0]) for cell in table.cells}))
        top, bottom = float(table.bbox[1]) / height, float(table.bbox[3]) / height
        parts.append(Block("", top, bottom, Table(rows, columns)))
    if tables:
        parts.sort(key=lambda part: part.top)
    area = (float(page.width) * height) or 1.0
    pictures = sum(float(image["width"]) * float(image["height"]) for image in page.images)
    return Page(
        blocks_of(parts),
        len(tables),
        picture_share=min(1.0, pictures / area),
        shows_something=bool(page.images),
    )


def _line(line: dict[str, Any], height: float) -> Line:
    middle = (float(line["top"]) + float(line["bottom"])) / 2 / height
    return Line(
        f"{without_unknown(line['text'])}\n", middle, middle, float(line["x0"]), float(line["x1"])
    )


def _rows(table: Any) -> list[list[str]] | None:
    rows = [[without_unknown(cell or "") for cell in row] for row in table.extract(**_TEXT_OPTIONS)]
    columns = {index for row in rows for index, cell in enumerate(row) if cell.strip()}
    return rows if len(columns) >= 2 and sum(any(row) for row in rows) >= 2 else None


def _is_inside(item: dict[str, Any], box: tuple[float, float, float, float]) -> bool:
    x, y = (item["x0"] + item["x1"]) / 2, (item["top"] + item["bottom"]) / 2
    return bool(box[0] <= x <= box[2] and box[1] <= y <= box[3])
