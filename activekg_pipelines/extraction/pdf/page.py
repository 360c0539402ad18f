"""One page's text from PDFium as lines and ruled tables, in reading order.

A table stands in place of the text it is made of.
"""

from __future__ import annotations

import ctypes
import re
import struct
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from activekg_pipelines.extraction.pdf import calls
from activekg_pipelines.extraction.pdf.blocks import (
    Block,
    Line,
    Page,
    Table,
    blocks_of,
    blocks_of_lines,
    has_upright_lines,
)
from activekg_pipelines.extraction.pdf.columns import Gutter, find_gutters, in_columns
from activekg_pipelines.extraction.pdf.grid import Box, Grid, Point, find_grids
from activekg_pipelines.extraction.pdf.lines import TooManyLinesError, orientation, read_lines
from activekg_pipelines.extraction.pdf.objects import Area, PageObjects, apply
from activekg_pipelines.extraction.warnings import DocumentWarning, WarningKind

# A ruled box with paragraphs in it is a form or a layout; as a table row it would be
# unreadable.
_MAX_CELL_CHARS: Final = 1_500
_LEAST_FILLED_CELLS: Final = 4
_MAX_TABLE_CHARS: Final = 200_000
# From this many lines in several cells of one row on, the row is a column of figures
# whose rows are not ruled.
_UNRULED_LINES: Final = 4
_LEAST_LINE_FEED: Final = 2  # points
_FIGURE: Final = re.compile(r"[^A-Za-z]*\d[^A-Za-z]*|\W*|\(?[A-Z]\)?")
_BEYOND: Final = re.compile("[^\x00-\uffff]")
_LIGATURE: Final = re.compile("[\u0622\u0623\u0625\u0627]\u0644")
_WORD: Final = re.compile(r"\S+")
# A line that holds a word, with its end and the empty lines after it. PDFium has no line
# end after the hyphen of a broken word.
_LINE: Final = re.compile("[^\r\n\ufffe]*[^\\s\ufffe][^\r\n\ufffe]*(?:\ufffe|[\r\n]*)")
# As a share of the page's height.
_NEXT_LINE: Final = 0.05

_CellRef: TypeAlias = tuple[int, Box] | None
"""The grid, by number, and the cell in it that something lies in.

None for what lies beside all grids.
"""


class _Piece(NamedTuple):
    """A word, or part of one that a border cuts, with the white space after it."""

    text: str
    cell: _CellRef
    start: Point
    end: Point
    """Centers of its first and last character, in ``orientation``'s coordinates."""


def read_page(
    page: Any, textpage: Any, objects: PageObjects, warnings: list[DocumentWarning]
) -> Page:
    """Return the page's blocks. ``objects`` are the page's own."""
    text = textpage.get_text_range()
    if not text.strip():
        return Page()
    rotation = page.get_rotation()
    shown = _shown(page, rotation)
    # Of a page with more characters than a table has, nobody asks where each stands.
    is_long = textpage.count_chars() > _MAX_TABLE_CHARS
    grids = [] if is_long else _grids(objects, rotation, warnings)
    pieces = _Pieces(textpage, text, rotation, grids)
    if grids:
        parts, tables = _with_tables(list(pieces), grids, shown)
        return Page(blocks_of(parts), tables)
    gutters = [] if rotation or is_long else find_gutters(objects.texts)
    if not gutters and not has_upright_lines(text):
        return Page(blocks_of_lines(*pieces.lines(shown)))
    lines = [_line(piece, shown) for piece in pieces]
    return Page(blocks_of(in_columns(lines, gutters, pieces.cut_line) if gutters else lines))


def visible_area(page: Any) -> Area:
    """Return the part of a PDFium page that is shown."""
    area: Area = page.get_bbox()
    return area


def _shown(page: Any, rotation: int) -> tuple[float, float]:
    """The upper end of the page as it is shown, and its height, as pieces have them."""
    left, bottom, right, top = visible_area(page)
    matrix = orientation(rotation)
    ys = [apply(matrix, x, y)[1] for x in (left, right) for y in (bottom, top)]
    return min(ys), max(max(ys) - min(ys), 1.0)


def _line(piece: _Piece, shown: tuple[float, float]) -> Line:
    (x0, y0), (x1, y1) = piece.start, piece.end
    top, height = shown
    return Line(
        piece.text,
        (min(y0, y1) - top) / height,
        (max(y0, y1) - top) / height,
        min(x0, x1),
        max(x0, x1),
    )


def _grids(objects: PageObjects, rotation: int, warnings: list[DocumentWarning]) -> list[Grid]:
    try:
        return [
            grid
            for grid in find_grids(read_lines(objects, rotation))
            if len(grid.cells) >= _LEAST_FILLED_CELLS
        ]
    except TooManyLinesError:
        detail = "Some pages have too many lines to look for tables in them."
        warning = DocumentWarning(WarningKind.STRUCTURE_LOST, detail=detail)
        if warning not in warnings:
            warnings.append(warning)
        return []


def _with_tables(
    pieces: list[_Piece], grids: list[Grid], shown: tuple[float, float]
) -> tuple[list[Line | Block], int]:
    contents: list[dict[Box, list[_Piece]]] = [{} for _ in grids]
    for piece in pieces:
        if piece.cell is not None:
            contents[piece.cell[0]].setdefault(piece.cell[1], []).append(piece)
    tables = [_table(grid, cells) for grid, cells in zip(grids, contents, strict=True)]
    parts: list[Line | Block] = []
    written: set[int] = set()
    line: list[_Piece] = []
    for piece in pieces:
        number = piece.cell[0] if piece.cell is not None else None
        table = tables[number] if number is not None else None
        if number is not None and table is not None:
            if number not in written:
                written.add(number)
                parts += _finished(line, shown)
                line = []
                parts.append(_block(grids[number], table, shown))
            continue
        line.append(piece)
        if piece.text[-1] in "\r\n\ufffe":
            parts += _finished(line, shown)
            line = []
    parts += _finished(line, shown)
    return parts, len(written)


def _finished(pieces: list[_Piece], shown: tuple[float, float]) -> list[Line]:
    """The line that pieces beside each other are, if they are any."""
    if not pieces:
        return []
    text = "".join(piece.text for piece in pieces).rstrip("\r\n")
    text = _whole_characters(text)
    whole = _Piece(f"{text}\r\n", None, pieces[0].start, pieces[-1].end)
    return [_line(whole, shown)]


def _block(grid: Grid, rows: list[list[str]], shown: tuple[float, float]) -> Block:
    top, height = shown
    columns = tuple(sorted({cell[0] for cell in grid.cells}))
    return Block(
        "",
        (grid.box[1] - top) / height,
        (grid.box[3] - top) / height,
        Table(rows, columns),
    )


class _Pieces:
    """Iterates over the pieces of a page in PDFium's order.

    A line that starts and ends beside all grids is one piece, and of a word only the
    first and last character are looked up: if both are in one cell, so are those
    between. Looking up all took most of the time of a page.
    """

    def __init__(self, textpage: Any, text: str, rotation: int, grids: list[Grid]) -> None:
        if grids:
            self._text, indexes = _code_units(textpage, text)
        else:
            self._text, indexes = text, _Indexes(textpage, text)
        self._lines: list[tuple[int, int]] | None = None
        self._center = _centers(textpage, indexes, rotation)
        if "\u0644" in self._text:
            self._text = _LIGATURE.sub(self._in_order, self._text)
        self._finders = [_CellFinder(grid) for grid in grids]
        self._boxes = [grid.box for grid in grids]

    def __iter__(self) -> Iterator[_Piece]:
        if not self._boxes:
            yield from map(self._whole_line, _LINE.finditer(self._text))
            return
        for line in _LINE.finditer(self._text):
            words = [match.span() for match in _WORD.finditer(self._text, *line.span())]
            start, end = self._center(words[0][0]), self._center(words[-1][1] - 1)
            if self._is_clear(start, end):
                yield _Piece(line.group(), None, start, end)
                continue
            nexts = [first for first, _ in words[1:]] + [line.end()]
            for (first, after), following in zip(words, nexts, strict=True):
                yield from self._word(first, after, following)

    def lines(self, shown: tuple[float, float]) -> tuple[str, list[int], list[float]]:
        """The page's text, and for each line its end in it and its height on the page."""
        text, center, (top, height) = self._text, self._center, shown
        ends: list[int] = []
        tops: list[float] = []
        for line in _LINE.finditer(text):
            place, end = line.span()
            while text[place].isspace():
                place += 1
            tops.append((center(place)[1] - top) / height)
            ends.append(end)
        if "\ufffe" not in text:
            return text, ends, tops
        # The rest of a broken word stands in the next line. PDFium sees one, too, where a
        # foot follows the hyphen that a page ends with.
        for index in range(len(ends) - 1):
            if text[ends[index] - 1] == "\ufffe" and tops[index + 1] - tops[index] > _NEXT_LINE:
                text = f"{text[: ends[index] - 1]}-{text[ends[index] :]}"
        return text, ends, tops

    def _in_order(self, letters: re.Match[str]) -> str:
        """The two letters of a pair, the other way round where they are one glyph.

        PDFium turns a line from right to left letter by letter, and a ligature with it.
        """
        pair = letters.group()
        is_glyph = self._center(letters.start()) == self._center(letters.start() + 1)
        return pair[::-1] if is_glyph else pair

    def cut_line(self, number: int, gutter: Gutter) -> Line | None:
        """What of the page's line ``number`` lies left of a gutter.

        None when something of it lies in the gutter.
        """
        if self._lines is None:
            self._lines = [match.span() for match in _LINE.finditer(self._text)]
        first, end = self._lines[number]
        last = None
        for word in _WORD.finditer(self._text, first, end):
            start = self._center(word.start())
            if start[0] >= gutter[0]:
                if last is None or start[0] < gutter[1]:
                    return None
                return Line(_whole_characters(self._text[first : word.start()]), 0, 0, 0, last[0])
            last = self._center(word.end() - 1)
            if last[0] > gutter[0]:
                return None
        return None

    def _whole_line(self, line: re.Match[str]) -> _Piece:
        text = line.group()
        bare = len(text.rstrip())
        start = self._center(line.start() + bare - len(text[:bare].lstrip()))
        if text[-1] == "\ufffe":
            text += "\r\n"
        return _Piece(text, None, start, self._center(line.start() + bare - 1))

    def _is_clear(self, start: Point, end: Point) -> bool:
        (x0, x1), (y0, y1) = sorted((start[0], end[0])), sorted((start[1], end[1]))
        return all(
            x1 < left or right < x0 or y1 < top or bottom < y0
            for left, top, right, bottom in self._boxes
        )

    def _word(self, first: int, after: int, following: int) -> Iterable[_Piece]:
        start = self._center(first)
        end = start if after - first == 1 else self._center(after - 1)
        cell = self._cell(start)
        if end is start or cell == self._cell(end):
            return (_Piece(self._text[first:following], cell, start, end),)
        return self._cut(first, after, following)

    def _cut(self, first: int, after: int, following: int) -> Iterator[_Piece]:
        """The parts of a word that lie in different cells or beside them."""
        start = last = self._center(first)
        cell = self._cell(start)
        for index in range(first + 1, after):
            center = self._center(index)
            if (next_cell := self._cell(center)) != cell:
                yield _Piece(self._text[first:index], cell, start, last)
                first, start, cell = index, center, next_cell
            last = center
        yield _Piece(self._text[first:following], cell, start, last)

    def _cell(self, center: Point) -> _CellRef:
        for number, finder in enumerate(self._finders):
            if cell := finder.cell_at(*center):
                return number, cell
        return None


def _centers(textpage: Any, indexes: Sequence[int], rotation: int) -> Callable[[int], Point]:
    """Return a function from a character's position in the text to its center.

    For a character without a box it returns the last center.
    """
    box = (ctypes.c_double * 4)()
    left, right, bottom, top = (
        ctypes.addressof(box) + ctypes.sizeof(ctypes.c_double) * place for place in range(4)
    )
    handle, read, unpack = (
        calls.address(textpage),
        calls.character_box,
        struct.Struct("4d").unpack,
    )
    a, b, c, d, _, _ = orientation(rotation)

    def center(place: int) -> Point:
        read(handle, indexes[place], left, right, bottom, top)
        x0, x1, y0, y1 = unpack(box)
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        return a * x + c * y, b * x + d * y

    return center


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
        # A cell that spans rows starts further up, so rows above the point's own are
        # looked at too.
        for top in reversed(self._tops[: bisect_right(self._tops, y)]):
            for cell in self._cells[top]:
                if cell[0] <= x <= cell[2] and y <= cell[3]:
                    return cell
        return None


def _table(grid: Grid, contents: dict[Box, list[_Piece]]) -> list[list[str]] | None:
    """The rows of a grid, or None when what it rules is no table."""
    texts = {cell: _cell_text(pieces) for cell, pieces in contents.items()}
    filled = sum(bool(text) for text in texts.values())
    if filled < _LEAST_FILLED_CELLS or max(map(len, texts.values())) > _MAX_CELL_CHARS:
        return None
    rows = [[texts.get(cell, "") if cell else "" for cell in row] for row in grid.rows]
    columns = {index for row in rows for index, text in enumerate(row) if text}
    if len(columns) < 2 or sum(any(row) for row in rows) < 2 or any(map(_is_unruled, rows)):
        return None
    return [
        [_whole_characters(text) for text in part] for row in rows for part in _split_lone_cell(row)
    ]


def _cell_text(pieces: list[_Piece]) -> str:
    """Join a cell's pieces, with line ends between its lines.

    A line ends where the next piece stands lower and not further right. PDFium's own
    line ends do not help: it reads across all cells of a line before it ends it.
    """
    parts: list[str] = []
    last: Point | None = None
    for piece in pieces:
        if last and piece.start[0] <= last[0] and piece.start[1] > last[1] + _LEAST_LINE_FEED:
            parts.append("\n")
        last = piece.end
        parts.append(piece.text)
    lines = "".join(parts).replace("\ufffe\n", "").replace("\ufffe", "").splitlines()
    return "\n".join(line.strip() for line in lines if line.strip())


def _is_unruled(row: list[str]) -> bool:
    """Tell whether the row is several rows of figures without a ruling between them.

    As a table row it would tear the figures from their labels. The page's own order,
    line by line, keeps them together.
    """
    stacks = [lines for text in row if len(lines := text.splitlines()) >= _UNRULED_LINES]
    return sum(all(_FIGURE.fullmatch(line.strip()) for line in lines) for lines in stacks) >= 2


def _split_lone_cell(row: list[str]) -> list[list[str]]:
    """Give each line of a row's only cell a row of its own.

    Within one ruled box only its lines tell rows apart.
    """
    filled = [text for text in row if text]
    return [[line] for line in filled[0].splitlines()] if len(filled) == 1 else [row]


def _code_units(textpage: Any, text: str) -> tuple[str, Sequence[int]]:
    """Return the page's text and the index that PDFium knows each character by.

    Characters outside the basic plane are two surrogates, as PDFium counts them.
    """
    count = textpage.count_chars()
    if len(text) == count and max(text) <= "\uffff":
        return text, range(count)
    handle = calls.address(textpage)
    codes = [
        (code, index) for index in range(count) if (code := calls.character_code(handle, index))
    ]
    # PDFium marks a hyphen at a line's end with the control character 2 here, and with
    # U+FFFE in its text.
    return "".join("\ufffe" if code == 2 else chr(code) for code, _ in codes), [
        index for _, index in codes
    ]


class _Indexes(Sequence[int]):
    """The index that PDFium knows each character of a page's text by, on demand."""

    def __init__(self, textpage: Any, text: str) -> None:
        count = int(textpage.count_chars())
        self._count = count
        self._handle = calls.address(textpage)
        self._is_plain = len(text) == count
        self._beyond = [] if text.isascii() else [match.start() for match in _BEYOND.finditer(text)]

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, place: Any) -> Any:
        if self._beyond:
            # Each of these is two of PDFium's characters.
            place += bisect_right(self._beyond, place - 1)
        elif self._is_plain:
            return place
        return max(int(calls.character_index(self._handle, place)), 0)


def _whole_characters(text: str) -> str:
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")
