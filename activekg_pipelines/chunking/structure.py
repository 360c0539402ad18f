"""Where a text may be cut, and how good each cut is.

Markdown's blocks come first, then sentences, lines and words. These are pure functions
of the text: they know no tokens and no limits.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import dataclass
from enum import Enum
from typing import Final

Span = tuple[int, int]
"""Code point offsets ``[start, end)``."""


class Boundary(float, Enum):
    """How good a cut is, in units of chunk fill.

    The packer takes the cut with the largest quality + fill. A paragraph's start
    half-way through the limit (0.8 + 0.5) ties with a sentence's start at the limit
    (0.3 + 1.0), so paragraphs win from half a chunk on. Cuts below zero are made only
    when nothing else fits.
    """

    HEADING = 1.0
    PARAGRAPH = 0.8
    ITEM = 0.5
    SENTENCE = 0.3
    ROW = 0.25
    LINE = 0.15
    WORD = 0.0
    BLANK_LINE_IN_CODE = -0.05
    LINE_IN_CODE = -0.2
    INSIDE_WORD = -0.3
    INSIDE_LINE = -0.6
    AFTER_HEADING = -0.9
    """Also around the line of dashes that sets a table's head off."""


@dataclass(frozen=True, slots=True)
class Structure:
    """A text's block structure.

    Positions are code point offsets in ascending order; spans do not overlap. ``rules``
    are the lines of dashes below the heads of tables. They are ``rows`` too.
    ``paragraphs``, ``items``, ``sentences`` and ``lines`` hold the offset at which each
    one but the first may start.
    """

    headings: list[Span]
    code: list[Span]
    rows: list[Span]
    rules: list[Span]
    paragraphs: list[int]
    items: list[int]
    sentences: list[int]
    lines: list[int]


# Possessive quantifiers (`++`) keep each pattern linear on hostile input such as a
# megabyte of blanks. One that begins with a letter or a set of them, not with a choice,
# is looked for several times as fast. A carriage return alone, which no stored text
# has, ends no line.
_ATX_HEADING: Final = re.compile(r"^ {0,3}#{1,6}(?=[ \t\r\n]|\Z)[^\n]*+", re.MULTILINE)
_SETEXT_HEADING: Final = re.compile(
    r"(?:\A|(?<=\n\n)|(?<=\n\r\n)) {0,3}[^\s|#>`~*+\-][^\n]*+\n {0,3}(?:={2,}+|-{2,}+)[ \t\r]*+$",
    re.MULTILINE,
)
_FENCE: Final = re.compile(r"^ {0,3}(`{3,}+|~{3,}+)([^\n]*+)", re.MULTILINE)
_ROW: Final = re.compile(r"^[ \t]*+\|[^\n]*+", re.MULTILINE)
_RULE: Final = re.compile(r"^[ \t]*+\|[ \t:|]*+-[-:| \t\r]*+$", re.MULTILINE)
_PARAGRAPH: Final = re.compile(r"\n(?:[ \t]*+\r?\n)++")
_ITEM: Final = re.compile(r"^(?=[ \t]*+(?:[-*+•]|\d{1,9}[.)])[ \t])", re.MULTILINE)
_LINE: Final = re.compile(r"\n[\r\n]*+")
# A stop before a small letter ends an abbreviation more often than a sentence; an
# ideographic one always ends one.
_SENTENCE: Final = re.compile(
    r"[.!?…؟۔।。！？｡](?:(?<=[。！？｡])[」』）”’]*+|(?<![。！？｡])[)\]\"'»”’]*+\s++(?=[^a-z]))"  # noqa: RUF001
)


def find_structure(text: str) -> Structure:
    """Find the Markdown blocks, sentences and lines of ``text``.

    Plain text has paragraphs, sentences and lines only.
    """
    # A pattern anchored to line starts costs 20 ms a megabyte. Looking for its first
    # character costs nearly nothing.
    code = _fenced_code(text)
    headings = _spans(_ATX_HEADING, text) if "#" in text else []
    if "\n==" in text or "\n--" in text:
        headings = sorted([*headings, *_spans(_SETEXT_HEADING, text)])
    return Structure(
        headings=_outside(code, headings),
        code=code,
        rows=_outside(code, _spans(_ROW, text)) if "|" in text else [],
        rules=_spans(_RULE, text) if "|" in text else [],
        paragraphs=_ends(_PARAGRAPH, text),
        items=[match.start() for match in _ITEM.finditer(text)],
        sentences=_ends(_SENTENCE, text),
        lines=_ends(_LINE, text),
    )


def _spans(pattern: re.Pattern[str], text: str) -> list[Span]:
    return [match.span() for match in pattern.finditer(text)]


def _ends(pattern: re.Pattern[str], text: str) -> list[int]:
    return [match.end() for match in pattern.finditer(text)]


def _fenced_code(text: str) -> list[Span]:
    """Pair opening and closing fences.

    A fence that is never closed opens nothing; CommonMark would let it swallow the rest
    of the document.
    """
    blocks: list[Span] = []
    if "```" not in text and "~~~" not in text:
        return blocks
    opened: tuple[int, str] | None = None
    for match in _FENCE.finditer(text):
        fence, info = match[1], match[2].strip()
        if opened is None:
            if fence[0] == "~" or "`" not in info:
                opened = (match.start(), fence)
        elif not info and fence.startswith(opened[1]):
            blocks.append((opened[0], match.end()))
            opened = None
    return blocks


def _outside(blocks: list[Span], spans: list[Span]) -> list[Span]:
    starts = [start for start, _ in blocks]

    def inside(position: int) -> bool:
        at = bisect_right(starts, position) - 1
        return at >= 0 and position < blocks[at][1]

    return [span for span in spans if not inside(span[0])] if blocks else spans
