"""Reads single pages with pdfplumber, where PDFium finds no characters for what it shows."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any, Final

from activekg_pipelines.extraction.pdf.blocks import Page
from activekg_pipelines.extraction.pdf.readable import known_characters

# pdfplumber takes a thirtieth of PDFium's pages a second.
_MAX_SECONDS: Final = 15.0
_MAX_FRUITLESS: Final = 2


class Rescue:
    """Reads pages of one document, within a limit of time and of vain attempts."""

    def __init__(self, source: Path | bytes) -> None:
        self._source = source
        self._pdf: Any = None
        self._seconds = 0.0
        self._fruitless = 0

    def page(self, index: int, text: str) -> Page | None:
        """Return the page when it has more characters that are known than ``text``."""
        if self._fruitless >= _MAX_FRUITLESS or self._seconds >= _MAX_SECONDS:
            return None
        began = time.monotonic()
        try:
            read = self._read(index)
        finally:
            self._seconds += time.monotonic() - began
        if read is not None and known_characters(read.plain_text) > known_characters(text):
            return read
        self._fruitless += 1
        return None

    def close(self) -> None:
        if self._pdf is not None:
            self._pdf.close()

    def _read(self, index: int) -> Page | None:
        from activekg_pipelines.extraction.pdf.plumber import open_pdf, read_page

        try:
            self._pdf = self._pdf or open_pdf(self._source)
            return read_page(self._pdf.pages[index])
        except Exception:  # noqa: BLE001 - what PDFium read is kept then
            return None
