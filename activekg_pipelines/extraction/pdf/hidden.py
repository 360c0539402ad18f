"""Finds the text of a page that nobody sees.

It is off the page, in the colour of what lies under it, below a filled box, or too
small. Text that is not painted at all (render mode 3) is what text recognition lays
under a scan, and stays.
"""

from __future__ import annotations

import ctypes
import struct
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final, NamedTuple, TypeAlias

from activekg_pipelines.extraction.pdf import calls
from activekg_pipelines.extraction.pdf.objects import (
    NO_CHANGE,
    Area,
    PageObjects,
    Path,
    Text,
    apply,
    moved,
)

OFF_THE_PAGE: Final = "off the page"
SAME_COLOUR: Final = "in the colour of what is under it"
COVERED: Final = "covered"
TOO_SMALL: Final = "too small to see"

_LEAST_SIZE: Final = 1.0  # points
# On a page this low, in points, small text is shown large.
_LEAST_PAGE: Final = 200.0
_FILLED: Final = 0
"""The render mode of text that is filled and nothing else."""
_SAME: Final = 8
"""How far apart two parts of a colour, from 0 to 255, may be to look the same."""
_NEARLY_WHITE: Final = 255 - _SAME
_OPAQUE: Final = 255
_WHITE: Final = (255, 255, 255)
# What a page may cost: a chart has boxes by the thousand.
_MAX_BOXES: Final = 3_000
_LEAST_BOX: Final = 3.0
_BAND: Final = 24.0
_MAX_CLIP_SEGMENTS: Final = 40
_BOX_SEGMENTS: Final = 6
_SLACK: Final = 1.5
_MAX_RENDERED: Final = 8

_Color: TypeAlias = tuple[int, int, int]


class _Box(NamedTuple):
    """A painted path that may lie under or over text."""

    path: Path
    area: Area
    color: _Color | None
    """None where it is no plain filled box, so that text on it shows."""
    holds: Area
    """What an area on it may reach to."""


def hidden_texts(page: Any, objects: PageObjects, visible: Area) -> list[tuple[Text, str]]:
    """Return the texts that nobody sees and why, given the part of the page that shows."""
    found = list(_Finder(objects, visible).found())
    suspects = [text for text, why in found if why == SAME_COLOUR]
    if suspects and not _are_plain(page, suspects):
        return [(text, why) for text, why in found if why != SAME_COLOUR]
    return found


class _Finder:
    def __init__(self, objects: PageObjects, visible: Area) -> None:
        self._visible = visible
        self._objects = objects
        self._painter = _Painter()
        self._bands: dict[int, list[_Box]] = defaultdict(list)
        self._knows_boxes = not objects.is_drawing and len(objects.paths) <= _MAX_BOXES
        if self._knows_boxes and objects.texts:
            for box in self._boxes():
                for band in _bands(box.area, visible):
                    self._bands[band].append(box)

    def found(self) -> Iterator[tuple[Text, str]]:
        """The texts that nobody sees, and why."""
        x0, y0, x1, y1 = self._visible
        color, has_boxes = self._painter.color, bool(self._bands)
        for text in self._objects.texts:
            left, bottom, right, top = text.area
            if right <= left and top <= bottom:
                continue
            if right < x0 or left > x1 or top < y0 or bottom > y1:
                yield text, OFF_THE_PAGE
            elif top - bottom < _LEAST_SIZE and self._is_tiny(text):
                yield text, TOO_SMALL
            elif self._knows_boxes:
                painted = color(text.handle)
                around = self._around(text) if has_boxes else []
                if (around or min(painted) >= _NEARLY_WHITE) and (
                    why := self._why_lost(text, painted, around)
                ):
                    yield text, why

    def _why_lost(self, text: Text, color: _Color, around: list[_Box]) -> str:
        if calls.text_mode(text.handle) != _FILLED:
            return ""
        if any(box.path.order > text.order and self._covers(box, text) for box in around):
            return COVERED
        below = [box for box in around if box.path.order < text.order]
        return SAME_COLOUR if self._is_lost(text, color, below) else ""

    def _is_tiny(self, text: Text) -> bool:
        if self._visible[3] - self._visible[1] < _LEAST_PAGE:
            return False
        return 0 < self._painter.size(text) < _LEAST_SIZE

    def _is_lost(self, text: Text, color: _Color, below: list[_Box]) -> bool:
        """Tell whether the text has the colour of the last thing painted below it."""
        ground = below[-1].color if below else _WHITE
        if ground is None or not _is_same(color, ground):
            return False
        pictures = [*self._objects.pictures, *self._objects.shadings]
        return not any(_touches(area, text.area) for area in pictures)

    def _around(self, text: Text) -> list[_Box]:
        """The boxes that lie under or over all of a text."""
        left, bottom, right, top = text.area
        found = []
        for box in self._bands.get(int((bottom + top) / 2 // _BAND), ()):
            x0, y0, x1, y1 = box.holds
            if x0 <= left and y0 <= bottom and x1 >= right and y1 >= top:
                found.append(box)
        return found

    def _covers(self, box: _Box, text: Text) -> bool:
        return box.color is not None and self._painter.is_unclipped(box.path, text.area)

    def _boxes(self) -> Iterator[_Box]:
        painter = self._painter
        for path in self._objects.paths:
            # A line has two segments, a box four or five.
            if path.segments < 4:
                continue
            area = painter.area(path)
            if area[2] - area[0] < _LEAST_BOX or area[3] - area[1] < _LEAST_BOX:
                continue
            fill, stroke = painter.mode(path.handle)
            if fill:
                yield _Box(path, area, painter.box_color(path), _widened(area))
            elif stroke and path.segments > _BOX_SEGMENTS:
                yield _Box(path, area, None, _widened(area))


class _Painter:
    """Asks PDFium how something is painted."""

    def __init__(self) -> None:
        self._numbers = (ctypes.c_uint * 4)()
        self._floats = (ctypes.c_float * 6)()
        self._at = ctypes.addressof(self._numbers)
        self._floats_at = ctypes.addressof(self._floats)

    def color(self, handle: int) -> _Color:
        at = self._at
        if not calls.fill_color(handle, at, at + 4, at + 8, at + 12):
            return 0, 0, 0
        color: _Color = _THREE_NUMBERS.unpack_from(self._numbers)
        return color

    def mode(self, handle: int) -> tuple[int, int]:
        known = calls.path_draw_mode(handle, self._at, self._at + 4)
        return (self._numbers[0], self._numbers[1]) if known else (0, 0)

    def area(self, path: Path) -> Area:
        at = self._floats_at
        if not calls.object_bounds(path.handle, at, at + 4, at + 8, at + 12):
            return 0.0, 0.0, 0.0, 0.0
        area: Area = _FOUR_FLOATS.unpack_from(self._floats)
        return area if path.outer is NO_CHANGE else moved(area, path.outer)

    def size(self, text: Text) -> float:
        """The text's height on the page in points; 0 where it is not known."""
        at = self._floats_at
        if not calls.font_size(text.handle, at):
            return 0.0
        size = self._floats[0]
        if not calls.object_matrix(text.handle, at):
            return 0.0
        _, _, c, d, _, _ = self._floats
        x0, y0 = apply(text.outer, 0, 0)
        x1, y1 = apply(text.outer, c, d)
        return float(abs(size) * ((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5)

    def box_color(self, path: Path) -> _Color | None:
        """The colour of a filled path, None when it is no upright box or lets light through."""
        if not 4 <= path.segments <= _BOX_SEGMENTS or calls.has_transparency(path.handle):
            return None
        points = [
            self._point(calls.path_segment(path.handle, index)) for index in range(path.segments)
        ]
        if any(len({round(point[side], 1) for point in points}) != 2 for side in (0, 1)):
            return None
        at = self._at
        known = calls.fill_color(path.handle, at, at + 4, at + 8, at + 12)
        red, green, blue, alpha = self._numbers
        return (red, green, blue) if known and alpha == _OPAQUE else None

    def is_unclipped(self, path: Path, area: Area) -> bool:
        """Tell whether what clips a path leaves all of ``area``."""
        clip = calls.clip_path(path.handle)
        if not clip:
            return True
        for number in range(max(calls.count_clips(clip), 0)):
            segments = calls.count_clip_segments(clip, number)
            if not 2 <= segments <= _MAX_CLIP_SEGMENTS:
                return False
            points = [
                self._point(calls.clip_segment(clip, number, index)) for index in range(segments)
            ]
            xs, ys = zip(*points, strict=True)
            if not _holds(moved((min(xs), min(ys), max(xs), max(ys)), path.outer), area):
                return False
        return True

    def _point(self, segment: int) -> tuple[float, float]:
        at = self._floats_at
        if not segment or not calls.segment_point(segment, at, at + 4):
            return 0.0, 0.0
        return self._floats[0], self._floats[1]


def _are_plain(page: Any, texts: list[Text]) -> bool:
    """Tell whether texts look as their colour says: PDFium calls a pattern white, too."""
    import pypdfium2

    for text in texts[:_MAX_RENDERED]:
        handle = ctypes.cast(text.handle, pypdfium2.raw.FPDF_PAGEOBJECT)
        bitmap = pypdfium2.raw.FPDFTextObj_GetRenderedBitmap(page.pdf, page, handle, 1.0)
        if not bitmap:
            continue
        try:
            size = pypdfium2.raw.FPDFBitmap_GetStride(bitmap) * pypdfium2.raw.FPDFBitmap_GetHeight(
                bitmap
            )
            buffer = ctypes.string_at(pypdfium2.raw.FPDFBitmap_GetBuffer(bitmap), size)
        finally:
            pypdfium2.raw.FPDFBitmap_Destroy(bitmap)
        color = _Painter().color(text.handle)
        # Blue, green, red, alpha; white text on nothing shows no other colour.
        for part, wanted in enumerate((color[2], color[1], color[0])):
            shown = zip(buffer[part::4], buffer[3::4], strict=False)
            if any(alpha == _OPAQUE and abs(value - wanted) > 4 * _SAME for value, alpha in shown):
                return False
    return True


def _bands(area: Area, visible: Area) -> range:
    bottom, top = max(area[1], visible[1]), min(area[3], visible[3])
    return range(int(bottom // _BAND), int(top // _BAND) + 1)


def _widened(area: Area) -> Area:
    return area[0] - _SLACK, area[1] - _SLACK, area[2] + _SLACK, area[3] + _SLACK


def _holds(outer: Area, inner: Area) -> bool:
    x0, y0, x1, y1 = _widened(outer)
    return x0 <= inner[0] and y0 <= inner[1] and x1 >= inner[2] and y1 >= inner[3]


def _touches(first: Area, second: Area) -> bool:
    return (
        first[0] <= second[2]
        and second[0] <= first[2]
        and first[1] <= second[3]
        and second[1] <= first[3]
    )


def _is_same(first: _Color, second: _Color) -> bool:
    return all(abs(a - b) <= _SAME for a, b in zip(first, second, strict=True))


_FOUR_FLOATS: Final = struct.Struct("4f")
_THREE_NUMBERS: Final = struct.Struct("3I")
