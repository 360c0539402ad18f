"""Finds the text of layers (optional content) that are switched off."""

from __future__ import annotations

import ctypes
import io
import mmap
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from activekg_pipelines.extraction.pdf import calls
from activekg_pipelines.extraction.pdf.objects import Text

OFF: Final = "in a layer that is off"

_LAYERS: Final = b"/OCProperties"
_MAX_NAME_BYTES: Final = 1_024
_MAX_MARKS: Final = 20
_MAX_LAYERS: Final = 10_000
_OF_LAYER: Final = "OC"


class Layers:
    """The layers of a document; nothing is read before a page has text in one."""

    def __init__(self, source: Path | bytes) -> None:
        self._source = source
        self._off: frozenset[str] | None = None
        self._are_there = _has_layers(source)

    def texts_off(self, texts: Sequence[Text]) -> list[tuple[Text, str]]:
        """Return those of a page's texts that are in a layer that is off, and why."""
        if not self._are_there:
            return []
        return [(text, OFF) for text in texts if any(map(self._is_off, _names(text.handle)))]

    def _is_off(self, name: str) -> bool:
        if self._off is None:
            self._off = _names_off(self._source)
        return name in self._off


def _has_layers(source: Path | bytes) -> bool:
    if isinstance(source, bytes):
        return _LAYERS in source
    with (
        source.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        return data.find(_LAYERS) >= 0


def _names(text: int) -> Iterator[str]:
    """The names of the layers that a text is in."""
    for index in range(min(calls.count_marks(text), _MAX_MARKS)):
        mark = calls.mark(text, index)
        if _string(calls.mark_name, mark) == _OF_LAYER:
            yield _string(calls.mark_string, mark, b"Name")


def _string(read: Any, *of: Any) -> str:
    buffer = ctypes.create_string_buffer(_MAX_NAME_BYTES)
    size = ctypes.c_ulong()
    if not read(*of, ctypes.addressof(buffer), _MAX_NAME_BYTES, ctypes.addressof(size)):
        return ""
    return buffer.raw[: min(size.value, _MAX_NAME_BYTES)].decode("utf-16-le", "ignore").rstrip("\0")


def _names_off(source: Path | bytes) -> frozenset[str]:
    """The names of the layers that are off; none where the file's list is damaged."""
    from pdfminer.pdfdocument import PDFDocument
    from pdfminer.pdfparser import PDFParser

    try:
        with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
            return _off(PDFDocument(PDFParser(file)).catalog)
    except Exception:  # noqa: BLE001 - it raises whatever a damaged file leads it to
        return frozenset()


def _off(catalog: dict[str, Any]) -> frozenset[str]:
    from pdfminer.pdftypes import resolve1

    properties = resolve1(catalog["OCProperties"])
    state = resolve1(properties["D"])
    off, on, every = (
        [_layer_name(each) for each in (resolve1(entry) or [])[:_MAX_LAYERS]]
        for entry in (state.get("OFF"), state.get("ON"), properties.get("OCGs"))
    )
    if getattr(resolve1(state.get("BaseState")), "name", "") == "OFF":
        return frozenset(every) - frozenset(on)
    # Of two layers with one name, nobody knows which a text is in.
    counts = Counter(every)
    return frozenset(name for name in off if name and counts[name] <= 1)


def _layer_name(reference: Any) -> str:
    from pdfminer.pdftypes import resolve1
    from pdfminer.utils import decode_text

    name = resolve1(resolve1(reference)["Name"])
    return decode_text(name) if isinstance(name, bytes) else ""
