"""Tells text from what a font's wrong or missing table of characters makes of it."""

from __future__ import annotations

import math
import re
from typing import Final

# Private use, controls and the replacement character; pdfminer writes "(cid:12)" for a
# glyph that it has no character for.
_NO_CHARACTER: Final = re.compile(
    "[\ue000-\uf8ff\ufffd\x00-\x01\x03-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]|\\(cid:\\d+\\)"
)
_CID: Final = re.compile(r"\(cid:\d+\)")
# A few are bullets and ticks of symbol fonts.
_LEAST_UNKNOWN: Final = 10
_LEAST_SHARE: Final = 0.05
_LEAST_KINDS: Final = 5
_LEAST_LETTERS: Final = 32
_LONG_WORD: Final = re.compile(r"[^\W\d_]{4,}")
_SAMPLE: Final = 2_000
_MIN_LATIN: Final = 0.5
# Mean bits of a letter under the frequencies below. Texts of 13 languages have 4.0 to 4.5,
# and with their letters moved 4.8 to 5.6.
_MOST_BITS: Final = 5.0
_DOUBTFUL_BITS: Final = 4.75
# A text that is so much likelier with its letters moved back has been moved.
_LEAST_GAIN: Final = 0.4
# Per thousand letters, of English, German, French, Spanish, Italian, Portuguese, Dutch,
# Polish, Swedish, Finnish and Turkish together.
_FREQUENCIES: Final = {
    "a": 92, "b": 15, "c": 30, "d": 41, "e": 135, "f": 14, "g": 19, "h": 27, "i": 83,
    "j": 8, "k": 24, "l": 46, "m": 29, "n": 76, "o": 66, "p": 24, "q": 5, "r": 65,
    "s": 62, "t": 66, "u": 38, "v": 14, "w": 13, "x": 4, "y": 13, "z": 14,
}  # fmt: skip
_BITS: Final = {letter: -math.log2(count / 1000) for letter, count in _FREQUENCIES.items()}


def unknown_characters(text: str) -> int:
    """Return how many characters of ``text`` stand for something that is not known."""
    shown = "".join(text.replace("\ufffe", "").split())
    # Nearly every text is done here, at a fiftieth of what the search costs.
    if shown.isprintable() and "\ufffd" not in shown and "(cid:" not in shown:
        return 0
    return len(_NO_CHARACTER.findall(text))


def may_be_known(text: str) -> bool:
    """Tell whether another engine may know so many more characters that it is worth its time.

    A quotation mark or a bullet that is not known is there again and again; it stays
    unknown in every engine.
    """
    unknown = unknown_characters(text)
    if unknown < _LEAST_UNKNOWN:
        return False
    if unknown >= _LEAST_SHARE * _visible(text):
        return True
    return len(set(_NO_CHARACTER.findall(text))) >= _LEAST_KINDS


def is_unreadable(text: str) -> bool:
    """Tell whether much of ``text`` is not known, or cannot be the text of a language."""
    unknown = unknown_characters(text)
    if unknown >= _LEAST_UNKNOWN and unknown >= _LEAST_SHARE * _visible(text):
        return True
    return is_gibberish(text)


def is_gibberish(text: str) -> bool:
    """Tell whether Latin letters are as frequent as in no language.

    A font may say "Wkh" for what it shows as "The". Codes and figures are no sign of it,
    so only a longer text of letters is judged.
    """
    text = text[:_SAMPLE]
    if not _has_odd_letters(text):
        return False
    # Codes and short names have odd letters, too, and are short.
    return _has_odd_letters(" ".join(_LONG_WORD.findall(text)))


def _has_odd_letters(text: str) -> bool:
    lower = text.lower()
    counts = [lower.count(letter) for letter in _BITS]
    letters = sum(counts)
    if letters < _LEAST_LETTERS or letters < _MIN_LATIN * _visible(text):
        return False
    bits = list(_BITS.values())
    mean = _bits(counts, bits) / letters
    if mean < _DOUBTFUL_BITS:
        return False
    moved = min(_bits(counts, bits[shift:] + bits[:shift]) for shift in range(1, len(bits)))
    return mean > _MOST_BITS or mean - moved / letters > _LEAST_GAIN


def _bits(counts: list[int], bits: list[float]) -> float:
    return sum(count * each for count, each in zip(counts, bits, strict=True))


def visible_characters(text: str) -> int:
    """Return how many characters of ``text`` show something."""
    return _visible(_CID.sub("?", text))


def known_characters(text: str) -> int:
    """Return how many characters of ``text`` show something and are known."""
    return _visible(_NO_CHARACTER.sub("", text))


def without_unknown(text: str) -> str:
    """Return ``text`` without pdfminer's names of glyphs."""
    return _CID.sub("", text)


def _visible(text: str) -> int:
    return sum(map(len, text.split()))
