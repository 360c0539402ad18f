"""One page's text from PDFium, with its ruled tables as Markdown in place of the text they are made of."""

from __future__ import annotations

import ctypes
import re
from bisect import bisect_right
from dataclasses import dataclass
from typing import Any, Final

from activekg_pipelines.extraction import markdown
from activekg_pipelines.extraction.pdf_grid import Box, Grid, find_grids, oriented

# A ruled box with paragraphs in it is a form or a layout; as a table row it would be unreadable.
_MAX_CELL_CHARS: Final = 1_500
_LEAST_FILLED_CELLS: Final = 4
_MAX_TABLE_CHARS: Final = 200_000
# From this many lines in several cells of one row on, the row is a column of figures whose rows are not ruled.
_UNRULED_LINES: Final = 4
_LEAST_LINE_FEED: Final = 2  # points
_FIGURE: Final = re.compile(r"[^A-Za-z]*\d[^A-Za-z]*|\W*|\(?[A-Z]\)?")


@dataclass(frozen=True, slots=True)
class _Character:
    text: str
    center: tuple[float, float] | None
    """In the coordinates of :func:`oriented`; None for the spaces and line ends that PDFium adds."""


def page_text(page: Any, textpage: Any, warnings: list[str]) -> tuple[str, int]:
    """Return the page's text and the number of tables in it."""
    text = textpage.get_text_range()
    if not text.strip():
        return "", 0
    grids = find_grids(page, warnings)
    if not grids or textpage.count_chars() > _MAX_TABLE_CHARS:
        return text, 0
    return _with_tables(_characters(textpage, page.get_rotation()), grids, text)


def _with_tables(characters: list[_Character], grids: list[Grid], text: str) -> tuple[str, int]:
    places = _places(characters, grids)
    contents: list[dict[Box, list[_Character]]] = [{} for _ in grids]
    for character, place in zip(characters, places, strict=True):
        if place is not None:
            contents[place[0]].setdefault(place[1], []).append(character)
    tables = [_table(grid, cells) for grid, cells in zip(grids, contents, strict=True)]
    if not any(tables):
        return text, 0
    segments: list[list[str]] = [[]]
    written: set[int] = set()
    for character, place in zip(characters, places, strict=True):
        if place is None or not tables[place[0]]:
            segments[-1].append(character.text)
        elif place[0] not in written:
            written.add(place[0])
            segments += [[tables[place[0]]], []]
    stripped = (_joined(segment).strip("\r\n") for segment in segments)
    return "\n\n".join(segment for segment in stripped if segment.strip()), len(written)


def _places(characters: list[_Character], grids: list[Grid]) -> list[tuple[int, Box] | None]:
    """For each character the grid and cell it lies in; added spaces and line ends go with the character before."""
    finders = [_CellFinder(grid) for grid in grids]
    places: list[tuple[int, Box] | None] = []
    previous: tuple[int, Box] | None = None
    for character in characters:
        if character.center is not None:
            previous = None
            for index, finder in enumerate(finders):
                if cell := finder.cell_at(*character.center):
                    previous = (index, cell)
                    break
        places.append(previous)
    return places


class _CellFinder:
    """Finds the cell of a grid that a point lies in by its row of cells."""

    def __init__(self, grid: Grid) -> None:
        self._box = grid.box
        self._cells: dict[float, list[Box]] = {}
        for cell in sorted(grid.cells):
            self._cells.setdefault(cell[1], []).append(cell)
        self._tops = sorted(self._cells)

    def cell_at(self, x: float, y: float) -> Box | None:
        if not (self._box[0] <= x <= self._box[2] and self._box[1] <= y <= self._box[3]):
            return None
        # A cell that spans rows starts further up, so rows above the point's own are looked at too.
        for top in reversed(self._tops[: bisect_right(self._tops, y)]):
            for cell in self._cells[top]:
                if cell[0] <= x <= cell[2] and y <= cell[3]:
                    return cell
        return None


def _table(grid: Grid, contents: dict[Box, list[_Character]]) -> str:
    texts = {cell: _cell_text(characters) for cell, characters in contents.items()}
    filled = sum(bool(text) for text in texts.values())
    if filled < _LEAST_FILLED_CELLS or max(map(len, texts.values())) > _MAX_CELL_CHARS:
        return ""
    rows = [[texts.get(cell, "") if cell else "" for cell in row] for row in grid.rows]
    columns = {index for row in rows for index, text in enumerate(row) if text}
    if len(columns) < 2 or sum(any(row) for row in rows) < 2 or any(map(_is_unruled, rows)):
        return ""
    return markdown.table([part for row in rows for part in _split_lone_cell(row)])


def _cell_text(characters: list[_Character]) -> str:
    """Join a cell's characters, with a line end where the next one stands lower and not further right.

    PDFium's own line ends do not help: it reads across all cells of a line before it ends it.
    """
    parts: list[str] = []
    last: tuple[float, float] | None = None
    for character in characters:
        if character.center is not None:
            if last and character.center[0] <= last[0] and character.center[1] > last[1] + _LEAST_LINE_FEED:
                parts.append("\n")
            last = character.center
        parts.append(character.text)
    lines = _joined(parts).replace("\ufffe\n", "").replace("\ufffe", "").splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())


def _is_unruled(row: list[str]) -> bool:
    """Such a row would tear the figures from their labels; the page's own line by line order keeps them together."""
    stacks = [lines for text in row if len(lines := text.splitlines()) >= _UNRULED_LINES]
    return sum(all(_FIGURE.fullmatch(line.strip()) for line in lines) for lines in stacks) >= 2


def _split_lone_cell(row: list[str]) -> list[list[str]]:
    """Give each line of a row's only cell a row of its own: rows within one ruled box are told apart by lines."""
    filled = [text for text in row if text]
    return [[line] for line in filled[0].splitlines()] if len(filled) == 1 else [row]


def _joined(parts: list[str]) -> str:
    """Join characters; PDFium gives those outside the basic plane as two surrogates."""
    return "".join(parts).encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")


def _characters(textpage: Any, rotation: int) -> list[_Character]:
    import pypdfium2.raw as pdfium

    left, right, bottom, top = (ctypes.c_double() for _ in range(4))
    found: list[_Character] = []
    for index in range(textpage.count_chars()):
        code = pdfium.FPDFText_GetUnicode(textpage, index)
        if code == 0:
            continue
        center = None
        if not pdfium.FPDFText_IsGenerated(textpage, index) and pdfium.FPDFText_GetCharBox(
            textpage, index, left, right, bottom, top
        ):
            x, y = (left.value + right.value) / 2, (bottom.value + top.value) / 2
            center = oriented(x, y, rotation)
        found.append(_Character(_character(code), center))
    return found


def _character(code: int) -> str:
    # PDFium marks a hyphen at a line's end with the control character 2 here, and with U+FFFE in its text.
    return "\ufffe" if code == 2 else chr(code)
