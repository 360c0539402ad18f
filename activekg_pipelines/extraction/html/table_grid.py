"""Lays the cells of a table out on a grid, spanning ones included."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from activekg_pipelines.extraction import markdown_writer

# The bounds of the HTML standard.
_MAX_COLUMNS: Final = 1_000
_MAX_ROWS: Final = 65_534


class Cell(NamedTuple):
    """A cell's text, and how many columns and rows it spans."""

    text: str
    columns: int
    rows: int


def spans(cell: Any) -> tuple[int, int]:
    """How many columns and rows the lxml element ``cell`` spans.

    A rowspan of 0 goes on to the table's end.
    """
    rows = _span(cell.get("rowspan"), _MAX_ROWS)
    return max(1, _span(cell.get("colspan"), _MAX_COLUMNS)), rows or _MAX_ROWS


def grid(rows: list[list[Cell]]) -> list[list[str]] | None:
    """The texts by row and column; a spanning cell's stands where the cell starts.

    None where the grid, filled up to its widest row, would hold more than
    :data:`~activekg_pipelines.extraction.markdown_writer.MAX_CELLS` places, which may
    be larger than the page by orders of magnitude.
    """
    laid_out: list[list[str]] = []
    held: dict[int, int] = {}
    widest = 0
    for row in rows:
        texts: list[str] = []
        started: dict[int, int] = {}
        for cell in row:
            while held.get(len(texts)):
                texts.append("")
            if cell.rows > 1:
                first = len(texts)
                started |= dict.fromkeys(range(first, first + cell.columns), cell.rows - 1)
            texts += [cell.text, *[""] * (cell.columns - 1)]
            if len(texts) * len(rows) > markdown_writer.MAX_CELLS:
                return None
        widest = max(widest, len(texts))
        laid_out.append(texts)
        held = {column: left - 1 for column, left in held.items() if left > 1} | started
    return laid_out


def _span(value: str | None, most: int) -> int:
    if value and value.isascii() and value.isdigit():
        return min(int(value[:6]), most)
    return 1
