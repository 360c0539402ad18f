"""Finds the ruled grids among a page's lines, by the rules of pdfplumber's tables.

pdfplumber's own functions do the same on dictionaries, in time quadratic in lines and
crossings.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby, islice
from operator import itemgetter
from typing import Final, TypeAlias

from activekg_pipelines.extraction.pdf.lines import Line, Lines, TooManyLinesError

Box: TypeAlias = tuple[float, float, float, float]
"""Left, top, right, bottom in points, y downwards, as the page is shown."""

Point: TypeAlias = tuple[float, float]

# pdfplumber's own defaults, in points.
_SNAP: Final = 3
_LEAST_LINE: Final = 3
# What one page may cost; drawings and maps have lines by the ten thousand and no
# tables.
_MAX_CROSSING_TESTS: Final = 1_000_000
_MAX_CROSSINGS: Final = 5_000
_MAX_GRID_SIZE: Final = 100_000


@dataclass(frozen=True, slots=True)
class Grid:
    """A ruled table."""

    box: Box
    cells: tuple[Box, ...]
    rows: tuple[tuple[Box | None, ...], ...]
    """The cells by row and column, with None where a merged cell goes on."""


@dataclass(slots=True)
class _Crossing:
    """The lines that meet in a point, by number.

    Two points on a common line are connected.
    """

    vertical: set[int]
    horizontal: set[int]


def find_grids(lines: Lines) -> list[Grid]:
    """Return the grids of two by two cells and more in ``lines``, from top to bottom.

    Raises:
        TooManyLinesError: they cross more often than those of any table.
    """
    if not _may_be_grid(lines.vertical, lines.horizontal):
        return []
    vertical, horizontal = _merged(lines.vertical), _merged(lines.horizontal)
    if not _may_be_grid(vertical, horizontal):
        return []
    if len(vertical) * len(horizontal) > _MAX_CROSSING_TESTS:
        raise TooManyLinesError
    tables = _connected(_cells(_crossings(vertical, horizontal)))
    grids = [_grid(cells) for cells in tables]
    return [grid for grid in grids if len(grid.rows) >= 2 and len(grid.rows[0]) >= 2]


def _may_be_grid(vertical: list[Line], horizontal: list[Line]) -> bool:
    return len(vertical) >= 3 and len(horizontal) >= 3


def _merged(lines: list[Line]) -> list[Line]:
    """Move lines that nearly coincide to their mean position.

    Those that then continue each other are joined.
    """
    merged: list[Line] = []
    for near in _near(sorted(lines)):
        position = sum(map(itemgetter(0), near)) / len(near)
        spans = sorted(line[1:] for line in near)
        start, end = spans[0]
        for next_start, next_end in spans[1:]:
            if next_start > end + _SNAP:
                merged.append((position, start, end))
                start, end = next_start, next_end
            else:
                end = max(end, next_end)
        merged.append((position, start, end))
    return [line for line in merged if line[2] - line[1] >= _LEAST_LINE]


def _near(lines: list[Line]) -> Iterable[list[Line]]:
    group = lines[:1]
    for line in lines[1:]:
        if line[0] > group[-1][0] + _SNAP:
            yield group
            group = []
        group.append(line)
    yield group


def _crossings(vertical: list[Line], horizontal: list[Line]) -> dict[Point, _Crossing]:
    positions = [line[0] for line in horizontal]
    crossings: dict[Point, _Crossing] = {}
    for number, (x, top, bottom) in enumerate(vertical):
        for index in range(bisect_left(positions, top - _SNAP), len(horizontal)):
            y, left, right = horizontal[index]
            if y > bottom + _SNAP:
                break
            if left - _SNAP <= x <= right + _SNAP:
                if crossing := crossings.get((x, y)):
                    crossing.vertical.add(number)
                    crossing.horizontal.add(index)
                else:
                    crossings[x, y] = _Crossing({number}, {index})
        if len(crossings) > _MAX_CROSSINGS:
            raise TooManyLinesError
    return crossings


def _cells(crossings: dict[Point, _Crossing]) -> list[Box]:
    """The cells of a page.

    Each crossing is the upper left corner of the smallest box that lines enclose below
    and to the right of it.
    """
    by_x: dict[float, list[float]] = defaultdict(list)
    by_y: dict[float, list[float]] = defaultdict(list)
    for x, y in sorted(crossings):
        by_x[x].append(y)
        by_y[y].append(x)
    return [
        cell for x, y in sorted(crossings) if (cell := _cell(crossings, (x, y), by_x[x], by_y[y]))
    ]


def _cell(
    crossings: dict[Point, _Crossing], corner: Point, ys: list[float], xs: list[float]
) -> Box | None:
    """The smallest cell with ``corner``.

    ``ys`` and ``xs`` are those of the crossings in its column and its row, sorted.
    """
    x, y = corner
    down, across = crossings[corner].vertical, crossings[corner].horizontal
    for bottom in islice(ys, bisect_right(ys, y), None):
        below = crossings[x, bottom]
        if below.vertical.isdisjoint(down):
            continue
        for right in islice(xs, bisect_right(xs, x), None):
            beside, opposite = crossings[right, y], crossings.get((right, bottom))
            if not (
                opposite is None
                or beside.horizontal.isdisjoint(across)
                or opposite.vertical.isdisjoint(beside.vertical)
                or opposite.horizontal.isdisjoint(below.horizontal)
            ):
                return x, y, right, bottom
    return None


def _connected(cells: list[Box]) -> list[list[Box]]:
    """Gather cells that share corners into tables, from top to bottom."""
    by_corner: dict[Point, list[Box]] = defaultdict(list)
    for cell in cells:
        for corner in _corners(cell):
            by_corner[corner].append(cell)
    left = dict.fromkeys(cells)
    tables: list[list[Box]] = []
    while left:
        table = [left.popitem()[0]]
        for cell in table:  # grows while it is walked
            neighbours = [
                other for corner in _corners(cell) for other in by_corner[corner] if other in left
            ]
            for other in dict.fromkeys(neighbours):
                del left[other]
                table.append(other)
        tables.append(sorted(table))
    return sorted(tables, key=lambda table: min((cell[1], cell[0]) for cell in table))


def _corners(cell: Box) -> tuple[Point, Point, Point, Point]:
    left, top, right, bottom = cell
    return (left, top), (left, bottom), (right, top), (right, bottom)


def _grid(cells: list[Box]) -> Grid:
    columns = sorted({cell[0] for cell in cells})
    if len(columns) * len({cell[1] for cell in cells}) > _MAX_GRID_SIZE:
        raise TooManyLinesError
    rows = []
    for _, row in groupby(sorted(cells, key=itemgetter(1, 0)), key=itemgetter(1)):
        starting = {cell[0]: cell for cell in row}
        rows.append(tuple(starting.get(column) for column in columns))
    lefts, tops, rights, bottoms = zip(*cells, strict=True)
    return Grid((min(lefts), min(tops), max(rights), max(bottoms)), tuple(cells), tuple(rows))
