"""Finds drawings (form XObjects) without an end, before an engine follows them.

PDFium follows one that draws itself twice until time or memory ends, and one that draws
another twice, which draws a third twice, and so on. Only what lies open in the file is
looked at: a stream never hides in another one, so every drawing does.
"""

from __future__ import annotations

import mmap
import re
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final, TypeAlias

from activekg_pipelines.errors import Corrupt

_FORM: Final = re.compile(rb"/Subtype\s*/Form\b")
_NUMBER: Final = re.compile(rb"(\d{1,10})\s+\d{1,5}\s+obj\b")
_RESOURCES: Final = re.compile(rb"/Resources\s*(?:(<<)|(\d{1,10})\s+\d{1,5}\s+R\b)")
_XOBJECTS: Final = re.compile(rb"/XObject\s*(?:(<<)|(\d{1,10})\s+\d{1,5}\s+R\b)")
_ENTRY: Final = re.compile(rb"/([^\s/<>\[\]()%{}]{1,127})\s*(\d{1,10})\s+\d{1,5}\s+R\b")
_DRAW: Final = re.compile(rb"/([^\s/<>\[\]()%{}]{1,127})\s+Do\b")
_STREAM: Final = re.compile(rb"stream\r?\n?")
_FILTER: Final = re.compile(rb"/Filter\b")
_FLATE: Final = re.compile(rb"/Filter\s*\[?\s*/(?:FlateDecode|Fl)\s*\]?\s*(?:/(?!Filter)|>>)")
# What a dictionary of a drawing has at most, and how many drawings are looked at.
_MAX_DICTIONARY: Final = 20_000
_MAX_FORMS: Final = 20_000
_MAX_CONTENT: Final = 1_000_000
_MAX_ALL_CONTENT: Final = 50_000_000
# Each asks for two walks through the file, and all of them for no more than these bytes.
_MAX_LOOKUPS: Final = 100
_MAX_SEARCHED: Final = 1_000_000_000
# PDFium ends forty levels down, so that a drawing that draws itself once is none without
# an end.
_MAX_DEPTH: Final = 40
_MAX_DRAWN: Final = 200_000
"""Drawings inside drawings; a map of a city has thousands."""

_Data: TypeAlias = "mmap.mmap | bytes"
_Graph: TypeAlias = dict[int, dict[int, int]]
"""For each drawing that draws others, how many times it draws each."""


def refuse_endless_drawings(path: Path) -> None:
    """Look for drawings that no engine comes to an end with.

    Raises:
        Corrupt: a drawing draws itself again and again, or too many others.
    """
    if path.stat().st_size == 0:
        return
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        file_data = _File(data)
        forms = dict(_forms(data))
        children = {number: _children(file_data, forms[number], forms) for number in forms}
        graph = _drawn(data, forms, {number: found for number, found in children.items() if found})
    _check(graph)


class _File:
    """The bytes of a file, and where its objects begin, as far as anybody asked."""

    def __init__(self, data: _Data) -> None:
        self.data = data
        self._places: dict[int, int | None] = {}

    def object(self, number: int) -> int | None:
        """Where the last object of a number begins; None past the limit, too."""
        if number not in self._places:
            looked_up = len(self._places)
            searched = 2 * looked_up * len(self.data)
            is_over = looked_up >= _MAX_LOOKUPS or searched >= _MAX_SEARCHED
            self._places[number] = None if is_over else _object(self.data, number)
        return self._places[number]


def _forms(data: _Data) -> Iterator[tuple[int, tuple[int, int]]]:
    """The drawings by number, each with where its dictionary starts and ends."""
    for count, found in enumerate(_FORM.finditer(data)):
        if count >= _MAX_FORMS:
            return
        start = data.rfind(b"obj", max(0, found.start() - _MAX_DICTIONARY), found.start())
        end = data.find(b"stream", found.end(), found.end() + _MAX_DICTIONARY)
        if start < 0 or end < 0:
            continue
        numbers = list(_NUMBER.finditer(data, max(0, start - 20), start + 3))
        if numbers:
            yield int(numbers[-1][1]), (start + 3, end)


def _children(
    file: _File, place: tuple[int, int], forms: dict[int, tuple[int, int]]
) -> dict[bytes, int]:
    """The drawings that a drawing may draw, by the name it calls them."""
    dictionary = file.data[place[0] : place[1]]
    resources = _value(file, dictionary, _RESOURCES)
    xobjects = _value(file, resources, _XOBJECTS)
    return {name: int(number) for name, number in _ENTRY.findall(xobjects) if int(number) in forms}


def _value(file: _File, dictionary: bytes, key: re.Pattern[bytes]) -> bytes:
    """The dictionary under ``key``, which may be an object of its own."""
    found = key.search(dictionary)
    if found is None:
        return b""
    if found[1]:
        return _balanced(dictionary, found.start(1))
    start = file.object(int(found[2]))
    return b"" if start is None else _balanced(file.data[start : start + _MAX_DICTIONARY], 0)


def _balanced(text: bytes, start: int) -> bytes:
    """The dictionary that begins at or after ``start``, with those inside it."""
    depth = 0
    for mark in re.finditer(rb"<<|>>", text[start:]):
        depth += 1 if mark.group() == b"<<" else -1
        if depth <= 0:
            return text[start : start + mark.end()]
    return text[start:]


def _object(data: _Data, number: int) -> int | None:
    """Where the last object of a number begins."""
    for head in (b"\n%d " % number, b"\r%d " % number):
        at = data.rfind(head)
        while at >= 0:
            if (found := _NUMBER.match(data, at + 1)) is not None:
                return found.end()
            at = data.rfind(head, 0, at)
    return None


def _drawn(
    data: _Data, forms: dict[int, tuple[int, int]], children: dict[int, dict[bytes, int]]
) -> _Graph:
    """How many times each drawing draws the others, by what its content says."""
    graph: _Graph = {}
    left = _MAX_ALL_CONTENT
    for number, names in children.items():
        content = _content(data, forms[number])
        left -= len(content)
        if left < 0:
            break
        drawn: dict[int, int] = {}
        for name in _DRAW.findall(content):
            if name in names:
                drawn[names[name]] = drawn.get(names[name], 0) + 1
        graph[number] = drawn
    return graph


def _content(data: _Data, place: tuple[int, int]) -> bytes:
    """The start of a drawing's content; b"" where it is packed in a rare way."""
    dictionary = data[place[0] : place[1]]
    begin = _STREAM.match(data, place[1])
    if begin is None:
        return b""
    end = data.find(b"endstream", begin.end(), begin.end() + _MAX_CONTENT)
    content = data[begin.end() : end if end >= 0 else begin.end() + _MAX_CONTENT]
    if _FILTER.search(dictionary) is None:
        return content
    if _FLATE.search(dictionary) is None:
        return b""
    try:
        return zlib.decompressobj().decompress(content, _MAX_CONTENT)
    except zlib.error:
        return b""


def _check(graph: _Graph) -> None:
    """Add up what each drawing draws, level by level, as deep as an engine goes."""
    totals = dict.fromkeys(graph, 0)
    for _ in range(_MAX_DEPTH):
        last = totals
        totals = {
            number: sum(times * (1 + last.get(child, 0)) for child, times in drawn.items())
            for number, drawn in graph.items()
        }
        if totals == last:
            return
        for number, total in totals.items():
            if total > _MAX_DRAWN:
                what = "itself" if _draws(graph, number) else f"more than {_MAX_DRAWN:,} others"
                raise Corrupt(
                    f"A drawing of the PDF (form XObject {number}) draws {what} and has no end."
                )


def _draws(graph: _Graph, wanted: int) -> bool:
    """Tell whether a drawing draws itself, maybe by way of others."""
    seen: set[int] = set()
    waiting = [wanted]
    while waiting:
        for child in graph.get(waiting.pop(), {}):
            if child == wanted:
                return True
            if child not in seen:
                seen.add(child)
                waiting.append(child)
    return False
