"""Turns the bytes of a text file into characters.

Byte order mark first, then strict UTF-8, then a guess.
"""

from __future__ import annotations

import codecs
import contextlib
from dataclasses import dataclass
from typing import Final

from activekg_pipelines.extraction.legacy import guess_legacy
from activekg_pipelines.extraction.warnings import DocumentWarning, WarningKind

_BOMS: Final = (
    # UTF-32 first: its little-endian mark starts with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# ISO-2022-JP is pure ASCII to look at, so it is also valid UTF-8.
_JAPANESE_ESCAPES: Final = (b"\x1b$B", b"\x1b$@", b"\x1b(J")
_SAMPLE_BYTES: Final = 64 * 1024
_MAX_NUL_SHARE: Final = 0.02
_MAX_CONTROL_SHARE: Final = 0.02
_CONTROL: Final = bytes(set(range(32)) - {9, 10, 12, 13, 27}) + b"\x7f"


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text and how its bytes were read."""

    text: str
    encoding: str
    """By its Python name."""
    guessed: bool
    damaged: bool = False
    """Some bytes were not valid in the encoding and are U+FFFD now."""

    @property
    def warnings(self) -> list[DocumentWarning]:
        """What a reader should know about how the bytes were read."""
        if self.damaged:
            return [DocumentWarning(WarningKind.BYTES_REPLACED, detail=self.encoding)]
        return []


def decode(data: bytes) -> Decoded:
    """Decode ``data`` by the first of these that applies.

    Its byte order mark; UTF-8, if it is valid; UTF-16, by the places of its NULs; a
    guess. Never fails: what no encoding explains is read as Windows-1252.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            text = data.decode(encoding, errors="replace")
            return Decoded(
                text, encoding.removesuffix("-sig"), guessed=False, damaged="\ufffd" in text
            )
    if data.count(0) > _MAX_NUL_SHARE * len(data):
        return _decode_with_nuls(data)
    if any(escape in data for escape in _JAPANESE_ESCAPES):
        with contextlib.suppress(UnicodeDecodeError):
            return Decoded(data.decode("iso2022_jp_2"), "iso2022_jp_2", guessed=True)
    try:
        return Decoded(data.decode("utf-8"), "utf-8", guessed=False)
    except UnicodeDecodeError as error:
        return _decode_legacy(data, error.start)


def utf16_without_mark(data: bytes) -> str | None:
    """Return the UTF-16 encoding that ``data`` is mostly Latin text in, else None.

    It is "utf-16-le" or "utf-16-be".
    """
    even, odd = data[0::2].count(0), data[1::2].count(0)
    quarter = len(data) / 8
    if odd > quarter and even < odd / 10:
        encoding = "utf-16-le"
    elif even > quarter and odd < even / 10:
        encoding = "utf-16-be"
    else:
        return None
    # 16-bit numbers have their NULs in the same places; read as text they are control
    # characters.
    text = data[:_SAMPLE_BYTES].decode(encoding, errors="replace")
    controls = sum(character < " " and character not in "\t\n\r\f" for character in text)
    return encoding if controls <= _MAX_CONTROL_SHARE * len(text) else None


def looks_like_text(head: bytes) -> bool:
    """Return whether ``head`` looks like the start of a text, in whatever encoding."""
    if head.startswith(
        (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
    ):
        return True
    if utf16_without_mark(head) is not None:
        return True
    controls = len(head) - len(head.translate(None, _CONTROL))
    return controls <= _MAX_CONTROL_SHARE * len(head)


def _decode_with_nuls(data: bytes) -> Decoded:
    encoding = utf16_without_mark(data)
    if encoding is None:
        return _guess(data, 0)
    text = data.decode(encoding, errors="replace")
    return Decoded(text, encoding, guessed=True, damaged="\ufffd" in text)


def _decode_legacy(data: bytes, first_bad: int) -> Decoded:
    """Decode as UTF-8 what is UTF-8 but for a few bytes; guess the rest.

    One stray byte must not turn all other characters of a UTF-8 file into mojibake.
    """
    text = data.decode("utf-8", errors="replace")
    damaged = text.count("\ufffd")
    multibyte = sum(1 for character in text if character > "\x7f") - damaged
    if damaged * 20 <= multibyte:
        return Decoded(text, "utf-8", guessed=False, damaged=True)
    return _guess(data, first_bad)


def _guess(data: bytes, first_bad: int) -> Decoded:
    # The bytes that tell encodings apart may come late; start at the line that holds
    # the first of them.
    start = data.rfind(b"\n", 0, first_bad) + 1
    for encoding in (guess_legacy(data[start : start + _SAMPLE_BYTES]), "cp1252"):
        with contextlib.suppress(UnicodeDecodeError):
            return Decoded(data.decode(encoding), encoding, guessed=True)
    return Decoded(data.decode("cp1252", errors="replace"), "cp1252", guessed=True, damaged=True)
