"""Turns the bytes of a text file into characters.

Byte order mark first, then what only Unicode or escapes can be, then strict UTF-8, then
a guess.
"""

from __future__ import annotations

import codecs
import contextlib
from dataclasses import dataclass
from typing import Final

from activekg_pipelines.extraction.iso2022 import decode_escaped, has_escapes
from activekg_pipelines.extraction.legacy import guess_legacy, python_name
from activekg_pipelines.extraction.unicode_forms import unicode_without_mark
from activekg_pipelines.extraction.warnings import DocumentWarning, WarningKind

_BOMS: Final = (
    # UTF-32 first: its little-endian mark starts with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_SAMPLE_BYTES: Final = 64 * 1024
_CONTEXT_BYTES: Final = 4 * 1024
_MAX_CONTROL_SHARE: Final = 0.02
_CONTROL: Final = bytes(set(range(32)) - {9, 10, 12, 13, 27}) + b"\x7f"
_SHIFTS: Final = b"\x0e\x0f"
# A few bytes that are damaged do not speak against an encoding.
_MAX_DAMAGED_SHARE: Final = 0.01
# By accident, three characters of UTF-8 come with two bytes that are none, and two with
# one: so it was in 2,000 short texts in 20 other encodings.
_LEAST_MULTIBYTE: Final = 3
_MULTIBYTE_TO_DAMAGED: Final = 3


@dataclass(frozen=True, slots=True)
class Decoded:
    """A text and how its bytes were read."""

    text: str
    encoding: str
    """By its Python name."""
    guessed: bool
    damaged: bool = False
    """Some bytes were not valid in the encoding and are U+FFFD now."""
    doubtful: bool = False
    """Another encoding is about as likely."""

    @property
    def warnings(self) -> list[DocumentWarning]:
        """What a reader should know about how the bytes were read."""
        kinds = {
            WarningKind.BYTES_REPLACED: self.damaged,
            WarningKind.ENCODING_DOUBTFUL: self.doubtful,
        }
        return [DocumentWarning(kind, detail=self.encoding) for kind, said in kinds.items() if said]


def decode(data: bytes, declared: str | None = None) -> Decoded:
    """Decode ``data`` by the first of these that applies.

    Its byte order mark; UTF-16 or UTF-32, by the characters that they make; ISO 2022, by
    its escapes; UTF-8, if it is valid; a guess. Never fails: what no encoding explains is
    read as Windows-1252.

    Args:
        declared: the charset that the source declares, as ``koi8-r``. It is evidence for
            the guess; an unknown one is ignored.
    """
    for mark, encoding in _BOMS:
        if data.startswith(mark):
            text = data.decode(encoding, errors="replace")
            return Decoded(
                text, encoding.removesuffix("-sig"), guessed=False, damaged="\ufffd" in text
            )
    controls = _controls(data)
    if controls > _MAX_CONTROL_SHARE * len(data) and (found := _wide(data)):
        return found
    if escaped := decode_escaped(data):
        return Decoded(*escaped, guessed=True)
    try:
        return Decoded(data.decode("utf-8"), "utf-8", guessed=False)
    except UnicodeDecodeError as error:
        first_bad = error.start
    # Ideographs have few bytes below 32.
    if controls and (found := _wide(data)):
        return found
    return _decode_legacy(data, first_bad, declared and python_name(declared))


def looks_like_text(head: bytes) -> bool:
    """Return whether ``head`` looks like the start of a text, in whatever encoding."""
    if head.startswith(tuple(mark for mark, _ in _BOMS)):
        return True
    controls = _controls(head)
    if controls <= _MAX_CONTROL_SHARE * len(head):
        return True
    if has_escapes(head):
        shifts = len(head) - len(head.translate(None, _SHIFTS))
        return controls - shifts <= _MAX_CONTROL_SHARE * len(head)
    return unicode_without_mark(head) is not None


def _controls(data: bytes) -> int:
    return len(data) - len(data.translate(None, _CONTROL))


def _wide(data: bytes) -> Decoded | None:
    encoding = unicode_without_mark(data)
    if encoding is None:
        return None
    text = data.decode(encoding, errors="replace")
    return Decoded(text, encoding, guessed=True, damaged="\ufffd" in text)


def _decode_legacy(data: bytes, first_bad: int, declared: str | None) -> Decoded:
    """Decode as UTF-8 what is UTF-8 but for a few bytes; guess the rest.

    One stray byte must not turn all other characters of a UTF-8 file into mojibake.
    """
    text = data.decode("utf-8", errors="replace")
    damaged = text.count("\ufffd")
    multibyte = sum(1 for character in text if character > "\x7f") - damaged
    if multibyte >= max(_LEAST_MULTIBYTE, _MULTIBYTE_TO_DAMAGED * damaged):
        return Decoded(text, "utf-8", guessed=False, damaged=True)
    return _guess(data, first_bad, declared)


def _guess(data: bytes, first_bad: int, declared: str | None) -> Decoded:
    # The bytes that tell encodings apart may come late; what stands before the first of
    # them tells the language.
    start = data.rfind(b"\n", 0, max(first_bad - _CONTEXT_BYTES, 0)) + 1
    guess = guess_legacy(data[start : start + _SAMPLE_BYTES], declared)
    guessed = not guess.declared
    with contextlib.suppress(UnicodeDecodeError):
        text = data.decode(guess.encoding)
        return Decoded(text, guess.encoding, guessed=guessed, doubtful=guess.doubtful)
    text = data.decode(guess.encoding, errors="replace")
    encoding = guess.encoding
    if text.count("\ufffd") > max(1, _MAX_DAMAGED_SHARE * len(text)):
        encoding, text = "cp1252", data.decode("cp1252", errors="replace")
    return Decoded(
        text, encoding, guessed=guessed, damaged="\ufffd" in text, doubtful=guess.doubtful
    )
