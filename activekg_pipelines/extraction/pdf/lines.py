"""Reads the straight lines off a PDFium page, which rule its tables."""

from __future__ import annotations

import ctypes
import struct
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from activekg_pipelines.extraction.pdf import calls
from activekg_pipelines.extraction.pdf.objects import (
    NO_CHANGE,
    Matrix,
    PageObjects,
    Path,
    apply,
    multiply,
)

Line: TypeAlias = tuple[float, float, float]
"""Where an axis-parallel line lies, where it starts and where it ends, in points."""

_LEAST_SEGMENT: Final = 1
_STRAIGHT: Final = 0.5
# A box with rounded corners may be part of a table's ruling. A path with curves and
# more segments than this is part of a drawing.
_MAX_CURVED_SEGMENTS: Final = 20
# Rulings are often filled bars of four corners. What is this thin (in points) is one
# line to the search for grids.
_BAR_SEGMENTS: Final = 5
_THIN: Final = 3
_ORIENTATIONS: Final[dict[int, Matrix]] = {
    0: (1, 0, 0, -1, 0, 0),
    90: (0, 1, 1, 0, 0, 0),
    180: (-1, 0, 0, 1, 0, 0),
    270: (0, -1, -1, 0, 0, 0),
}

_Box: TypeAlias = tuple[float, float, float, float]
"""Two points: the ends of a line, or opposite corners."""


@dataclass(slots=True)
class Lines:
    """The lines of a page in the coordinates of :func:`orientation`.

    Vertical ones lie at an x, horizontal ones at a y.
    """

    vertical: list[Line] = field(default_factory=list)
    horizontal: list[Line] = field(default_factory=list)

    def add(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Keep the line between two points if it is long and straight enough.

        Straight is nearly vertical or nearly horizontal.
        """
        if x1 < x0:
            x0, x1 = x1, x0
        if y1 < y0:
            y0, y1 = y1, y0
        if y1 - y0 <= _STRAIGHT:
            if x1 - x0 >= _LEAST_SEGMENT:
                self.horizontal.append((y0, x0, x1))
        elif x1 - x0 <= _STRAIGHT and y1 - y0 >= _LEAST_SEGMENT:
            self.vertical.append((x0, y0, y1))

    def add_box(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """Keep the sides of the upright box with these opposite corners."""
        if x1 < x0:
            x0, x1 = x1, x0
        if y1 < y0:
            y0, y1 = y1, y0
        if x1 - x0 >= _LEAST_SEGMENT:
            self.horizontal += ((y0, x0, x1), (y1, x0, x1))
        if y1 - y0 >= _LEAST_SEGMENT:
            self.vertical += ((x0, y0, y1), (x1, y0, y1))


class TooManyLinesError(Exception):
    """The page is a drawing."""


def orientation(rotation: int) -> Matrix:
    """Return the matrix from PDF coordinates to those of the page as it is shown.

    In PDF coordinates y points upwards and the page is not rotated; as shown, y points
    downwards. ``rotation`` is the page's, clockwise in degrees. The origin is arbitrary
    but the same for all points of a page.
    """
    return _ORIENTATIONS.get(rotation, _ORIENTATIONS[0])


def read_lines(objects: PageObjects, rotation: int) -> Lines:
    """Return the horizontal and vertical lines of the painted paths on a page.

    Raises:
        TooManyLinesError: there are more than a table has.
    """
    if objects.is_drawing:
        raise TooManyLinesError
    return _Reader(objects.paths, orientation(rotation)).lines()


class _Reader:
    def __init__(self, paths: list[Path], shown: Matrix) -> None:
        self._paths = paths
        self._shown = shown
        self._floats = (ctypes.c_float * 6)()
        self._modes = (ctypes.c_int * 2)()

    def lines(self) -> Lines:
        found = Lines()
        for path in self._paths:
            fill, stroke = self._draw_mode(path.handle)
            if fill and not stroke and path.segments <= _BAR_SEGMENTS and (bar := self._bar(path)):
                found.add_box(*bar)
            elif fill or stroke:
                for line in self._straight(path):
                    found.add(*line)
        return found

    def _matrix(self, found: int) -> Matrix:
        calls.object_matrix(found, ctypes.addressof(self._floats))
        return _SIX_FLOATS.unpack(self._floats)

    def _outer(self, path: Path) -> Matrix:
        """From the coordinates of what holds a path to those of the page as shown."""
        if path.outer is NO_CHANGE:
            return self._shown
        return multiply(path.outer, self._shown)

    def _draw_mode(self, path: int) -> tuple[int, int]:
        fill = ctypes.addressof(self._modes)
        known = calls.path_draw_mode(path, fill, fill + ctypes.sizeof(ctypes.c_int))
        return (self._modes[0], self._modes[1]) if known else (0, 0)

    def _bar(self, path: Path) -> _Box | None:
        """The bounds of a filled path that is thin as a ruling, else None.

        One call finds them instead of fifteen.
        """
        at = ctypes.addressof(self._floats)
        if not calls.object_bounds(path.handle, at, at + 4, at + 8, at + 12):
            return None
        left, bottom, right, top = _FOUR_FLOATS.unpack_from(self._floats)
        if right - left > _THIN and top - bottom > _THIN:
            return None
        outer = self._outer(path)
        return *apply(outer, left, bottom), *apply(outer, right, top)

    def _straight(self, path: Path) -> list[_Box]:
        """The axis-parallel lines of a path, those that close its figures included.

        Of a drawing, only those before its first curve.
        """
        segment_at, point_of, type_of = (
            calls.path_segment,
            calls.segment_point,
            calls.segment_type,
        )
        line_to, move_to = calls.LINE_TO, calls.MOVE_TO
        handle, floats = path.handle, self._floats
        a, b, c, d, e, f = multiply(self._matrix(handle), self._outer(path))
        to_x = ctypes.addressof(floats)
        to_y = to_x + ctypes.sizeof(ctypes.c_float)
        straight: list[_Box] = []
        start_x = start_y = last_x = last_y = 0.0
        segment = None
        for index in range(path.segments):
            previous, segment = segment, segment_at(handle, index)
            if not segment or not point_of(segment, to_x, to_y):
                return straight
            own_x, own_y = _TWO_FLOATS.unpack_from(floats)
            x, y = a * own_x + c * own_y + e, b * own_x + d * own_y + f
            kind = type_of(segment)
            if kind == line_to:
                if -_STRAIGHT <= x - last_x <= _STRAIGHT or -_STRAIGHT <= y - last_y <= _STRAIGHT:
                    straight.append((last_x, last_y, x, y))
            elif kind == move_to:
                if (
                    previous
                    and (last_x != start_x or last_y != start_y)
                    and calls.segment_closes(previous)
                ):
                    straight.append((last_x, last_y, start_x, start_y))
                start_x, start_y = x, y
            elif path.segments > _MAX_CURVED_SEGMENTS:
                return straight
            last_x, last_y = x, y
        if segment and (last_x != start_x or last_y != start_y) and calls.segment_closes(segment):
            straight.append((last_x, last_y, start_x, start_y))
        return straight


_SIX_FLOATS: Final = struct.Struct("6f")
_FOUR_FLOATS: Final = struct.Struct("4f")
_TWO_FLOATS: Final = struct.Struct("2f")
