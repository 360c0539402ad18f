"""Makes strings fit for PostgreSQL and for people.

Every text that is stored passes through here.
"""

from __future__ import annotations

import re
import unicodedata
from typing import Final

_NUL_OR_SURROGATE: Final = re.compile("[\x00\ud800-\udfff]")
# U+2028, U+2029 and U+0085 are Unicode's line ends; form feed and vertical tab are page
# and line breaks in text files.
_LINE_ENDS: Final = re.compile("\r\n?|[\x0b\x0c\x85\u2028\u2029]")
# PDFium writes U+FFFE for a hyphen at a line's end, some programs the soft hyphen
# U+00AD: without it the word rejoins.
_WORD_SPLITS: Final = re.compile("[\ufffe\u00ad]\n?")
_UNWANTED: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff\ufeff\uffff]")
# Without the look behind, a run of n spaces inside a line costs n * n / 2 steps: a
# megabyte of them, a day.
_TRAILING_SPACE: Final = re.compile("(?<![ \t\u00a0])[ \t\u00a0]++$", re.MULTILINE)
_SPACES: Final = (" ", "\t", "\u00a0")
_BLANK_LINES: Final = re.compile("\n{4,}")
_WHITE_SPACE: Final = re.compile(r"\s+")
# Anything but white space and characters that show nothing: zero-width, joining and
# directing ones, fillers.
_VISIBLE: Final = re.compile(
    r"[^\s\u115f\u1160\u17b4\u17b5\u180b-\u180e\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\uffa0]"
)


def clean_value(s: str) -> str:
    """Return ``s`` without what PostgreSQL refuses in text: NUL and lone surrogates."""
    return _NUL_OR_SURROGATE.sub("", s)


def clean_text(s: str) -> str:
    r"""Return ``s`` as stored text.

    Newlines are ``\n``, no other control character than tab is left, words split over a
    line are joined, lines end without spaces, at most two blank lines follow each
    other, and the text neither starts nor ends with blank lines. A text of nothing that
    shows is "". Characters are composed (NFC). Cleaning twice changes nothing.
    """
    s = _UNWANTED.sub("", s)
    s = _LINE_ENDS.sub("\n", s)
    # A search for a single string takes a hundredth of what an expression does, and most
    # texts have none of these.
    if not s.isascii():
        s = unicodedata.normalize("NFC", _WORD_SPLITS.sub("", s))
    if s.endswith(_SPACES) or any(f"{space}\n" in s for space in _SPACES):
        s = _TRAILING_SPACE.sub("", s)
    if "\n\n\n\n" in s:
        s = _BLANK_LINES.sub("\n\n\n", s)
    return s.strip("\n") if _VISIBLE.search(s) else ""


def clean_title(s: str | None, max_chars: int = 300) -> str | None:
    """Return ``s`` on one line and at most ``max_chars`` long.

    None when nothing readable is left.
    """
    if not s:
        return None
    one_line = _WHITE_SPACE.sub(" ", clean_text(s)).strip()
    return one_line[:max_chars].rstrip() or None
