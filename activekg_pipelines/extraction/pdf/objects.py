"""Walks the objects of a PDFium page once: texts, painted paths, pictures."""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, TypeAlias

from activekg_pipelines.extraction.pdf import calls

Matrix: TypeAlias = tuple[float, float, float, float, float, float]

Area: TypeAlias = tuple[float, float, float, float]
"""Left, bottom, right, top in points, y upwards, as PDF has it."""

# Drawings and maps have tens of thousands of lines and no tables.
_MAX_PATHS: Final = 20_000
_MAX_SEGMENTS: Final = 20_000
_MAX_TEXTS: Final = 20_000
_MAX_OBJECTS: Final = 200_000
_MAX_DEPTH: Final = 5
# A page without text whose paths have fewer corners shows a frame or a line, no words
# that were made into outlines.
_LEAST_DRAWING: Final = 200

NO_CHANGE: Final[Matrix] = (1, 0, 0, 1, 0, 0)


class Path(NamedTuple):
    """A path, with its place in the order of painting."""

    handle: int
    segments: int
    outer: Matrix
    """From the coordinates of the page or form that holds it to those of the page."""
    order: int


class Text(NamedTuple):
    """A run of text, with the form that holds it, or 0 for the page."""

    handle: int
    form: int
    outer: Matrix
    area: Area
    order: int


@dataclass(slots=True)
class PageObjects:
    """What is painted on a page, in the order of painting.

    ``is_drawing`` says that there are more paths than a table has; those that are listed
    are not all of them then.
    """

    texts: list[Text] = field(default_factory=list)
    paths: list[Path] = field(default_factory=list)
    pictures: list[Area] = field(default_factory=list)
    shadings: list[Area] = field(default_factory=list)
    segments: int = 0
    is_drawing: bool = False

    @property
    def shows_something(self) -> bool:
        return bool(self.pictures or self.shadings) or self.segments >= _LEAST_DRAWING

    def picture_share(self, page: Area) -> float:
        """The part of ``page`` that pictures cover, from 0 to 1."""
        left, bottom, right, top = page
        size = (right - left) * (top - bottom)
        covered = sum(
            max(0.0, min(x1, right) - max(x0, left)) * max(0.0, min(y1, top) - max(y0, bottom))
            for x0, y0, x1, y1 in self.pictures
        )
        return min(1.0, covered / size) if size > 0 else 0.0


def read_objects(page: Any) -> PageObjects:
    """Return what is painted on a PDFium page, with what is painted in its forms."""
    walk = _Walk()
    walk.gather(calls.count_page_objects, calls.page_object, calls.address(page))
    return walk.found


class _Walk:
    def __init__(self) -> None:
        self.found = PageObjects()
        self._seen = 0
        self._floats = (ctypes.c_float * 6)()
        self._at = ctypes.addressof(self._floats)

    def gather(
        self,
        count: Callable[[int], int],
        get: Callable[[int, int], int],
        owner: int,
        form: int = 0,
        outer: Matrix = NO_CHANGE,
        depth: int = 1,
    ) -> None:
        """Find the objects below ``owner``, a page or a form."""
        found, object_type = self.found, calls.object_type
        text, path, picture, shading = calls.TEXT, calls.PATH, calls.IMAGE, calls.SHADING
        bounds, at, unpack = calls.object_bounds, self._at, _FOUR_FLOATS.unpack_from
        texts, floats = found.texts, self._floats
        # A fifth of the time that Text() takes, for the thousands on a page.
        new = tuple.__new__
        x0, y0, x1, y1 = at, at + 4, at + 8, at + 12
        for index in range(min(count(owner), _MAX_OBJECTS - self._seen)):
            handle = get(owner, index)
            kind = object_type(handle)
            self._seen += 1
            if kind == text:
                if len(texts) < _MAX_TEXTS and bounds(handle, x0, y0, x1, y1):
                    area = unpack(floats)
                    if form:
                        area = moved(area, outer)
                    texts.append(new(Text, (handle, form, outer, area, self._seen)))
            elif kind == path:
                self._add_path(handle, outer)
            elif kind == picture:
                found.pictures.append(self._area(handle, outer))
            elif kind == shading:
                found.shadings.append(self._area(handle, outer))
            elif kind == calls.FORM and depth < _MAX_DEPTH:
                calls.object_matrix(handle, self._at)
                inner = multiply(_SIX_FLOATS.unpack(self._floats), outer)
                self.gather(
                    calls.count_form_objects, calls.form_object, handle, handle, inner, depth + 1
                )

    def _add_path(self, handle: int, outer: Matrix) -> None:
        found = self.found
        segments = max(calls.count_segments(handle), 0)
        found.segments += segments
        if len(found.paths) >= _MAX_PATHS or found.segments > _MAX_SEGMENTS:
            found.is_drawing = True
        else:
            found.paths.append(Path(handle, segments, outer, self._seen))

    def _area(self, handle: int, outer: Matrix) -> Area:
        at = self._at
        if not calls.object_bounds(handle, at, at + 4, at + 8, at + 12):
            return 0.0, 0.0, 0.0, 0.0
        area: Area = _FOUR_FLOATS.unpack_from(self._floats)
        return area if outer is NO_CHANGE else moved(area, outer)


def moved(area: Area, matrix: Matrix) -> Area:
    """Return the upright area around ``area`` in the coordinates ``matrix`` leads to."""
    left, bottom, right, top = area
    corners = [apply(matrix, x, y) for x in (left, right) for y in (bottom, top)]
    xs, ys = zip(*corners, strict=True)
    return min(xs), min(ys), max(xs), max(ys)


def apply(matrix: Matrix, x: float, y: float) -> tuple[float, float]:
    """Return where ``matrix`` leads a point."""
    a, b, c, d, e, f = matrix
    return a * x + c * y + e, b * x + d * y + f


def multiply(first: Matrix, second: Matrix) -> Matrix:
    """Return the matrix that does what ``first`` does, and then what ``second`` does."""
    a, b, c, d, e, f = first
    g, h, i, j, k, m = second
    return (
        a * g + b * i,
        a * h + b * j,
        c * g + d * i,
        c * h + d * j,
        e * g + f * i + k,
        e * h + f * j + m,
    )


_SIX_FLOATS: Final = struct.Struct("6f")
_FOUR_FLOATS: Final = struct.Struct("4f")
