"""Where a text may be cut, and how good each cut is.

Markdown's blocks come first, then sentences, lines and words. These are pure functions
of the text: they know no tokens and no limits.
"""

from __future__ import annotations

import heapq
import re
from bisect import bisect_right
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

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
    """The block structure of a part of a text.

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


class StructureReader:
    """Finds the Markdown blocks, sentences and lines of a text, from its start to its end.

    Plain text has paragraphs, sentences and lines only. What lies before the place that
    is asked for is forgotten, so that memory does not grow with the text. Only fenced
    code is found at once: where it begins depends on where it ends.
    """

    def __init__(self, text: str) -> None:
        patterns = _block_patterns(text)
        self._code = _fenced_code(text)
        self._atx = _Found(patterns.atx, text)
        self._setext = _Found(patterns.setext, text)
        self._rows = _Found(patterns.rows, text)
        self._rules = _Found(_RULE if patterns.rows else None, text)
        self._paragraphs = _Found(_PARAGRAPH, text)
        self._items = _Found(_ITEM, text)
        self._sentences = _Found(_SENTENCE, text)
        self._lines = _Found(_LINE, text)

    def between(self, start: int, end: int) -> Structure:
        """The structure of ``text[start:end]``, with what reaches into it.

        Args:
            start, end: code point offsets, neither of them smaller than before.
        """
        headings = [*self._atx.spans(start, end), *self._setext.spans(start, end)]
        code = self._code_between(start, end)
        return Structure(
            headings=_outside(code, sorted(headings)),
            code=code,
            rows=_outside(code, self._rows.spans(start, end)),
            rules=self._rules.spans(start, end),
            paragraphs=self._paragraphs.ends(start, end),
            items=[item for item, _ in self._items.spans(start, end)],
            sentences=self._sentences.ends(start, end),
            lines=self._lines.ends(start, end),
        )

    def _code_between(self, start: int, end: int) -> list[Span]:
        first = int(self._code[:, 1].searchsorted(start))
        last = int(self._code[:, 0].searchsorted(end, "right"))
        return [(int(begin), int(stop)) for begin, stop in self._code[first:last]]


class _Found:
    """The matches of a pattern, found as far as they are asked for."""

    def __init__(self, pattern: re.Pattern[str] | None, text: str) -> None:
        self._matches = iter(pattern.finditer(text) if pattern else ())
        self._kept: deque[Span] = deque()
        self._next = self._following()

    def spans(self, start: int, end: int) -> list[Span]:
        """Those that end at ``start`` or later and begin at ``end`` or before."""
        while self._next is not None and self._next[0] <= end:
            self._kept.append(self._next)
            self._next = self._following()
        while self._kept and self._kept[0][1] < start:
            self._kept.popleft()
        return list(self._kept)

    def ends(self, start: int, end: int) -> list[int]:
        """Where those end that end within the bounds."""
        return [stop for _, stop in self.spans(start, end) if stop <= end]

    def _following(self) -> Span | None:
        match = next(self._matches, None)
        return match.span() if match else None


class Block(NamedTuple):
    """A heading, or a row of a table: ``text[start:end]``."""

    start: int
    end: int
    is_heading: bool
    is_head: bool = False
    """Whether a line of dashes below the row sets it off."""


def headings_and_rows(text: str) -> Iterator[Block]:
    """The headings and the rows of tables of a text, as they come in it.

    They are found as they are asked for, so that memory does not grow with their number.
    """
    patterns = _block_patterns(text)
    code = _fenced_code(text)
    inside = 0
    for block in heapq.merge(
        _headings(patterns.atx, text),
        _headings(patterns.setext, text),
        _rows(patterns.rows, text),
    ):
        while inside < len(code) and code[inside, 1] <= block.start:
            inside += 1
        if inside == len(code) or block.start < code[inside, 0]:
            yield block


def _headings(pattern: re.Pattern[str] | None, text: str) -> Iterator[Block]:
    for match in pattern.finditer(text) if pattern else ():
        yield Block(*match.span(), is_heading=True)


def _rows(pattern: re.Pattern[str] | None, text: str) -> Iterator[Block]:
    for match in pattern.finditer(text) if pattern else ():
        is_head = _RULE.match(text, match.end() + 1) is not None
        yield Block(*match.span(), is_heading=False, is_head=is_head)


class _BlockPatterns(NamedTuple):
    atx: re.Pattern[str] | None
    setext: re.Pattern[str] | None
    rows: re.Pattern[str] | None


def _block_patterns(text: str) -> _BlockPatterns:
    """The patterns that a text may have matches of; None for the others."""
    # A pattern anchored to line starts costs 20 ms a megabyte. Looking for its first
    # character costs nearly nothing.
    has_setext = "\n==" in text or "\n--" in text
    return _BlockPatterns(
        atx=_ATX_HEADING if "#" in text else None,
        setext=_SETEXT_HEADING if has_setext else None,
        rows=_ROW if "|" in text else None,
    )


def _fenced_code(text: str) -> NDArray[np.int64]:
    """int64[n, 2]: pairs of opening and closing fences.

    A fence that is never closed opens nothing; CommonMark would let it swallow the rest
    of the document.
    """
    has_fences = "```" in text or "~~~" in text
    bounds = chain.from_iterable(_fence_pairs(text)) if has_fences else ()
    return np.fromiter(bounds, np.int64).reshape(-1, 2)


def _fence_pairs(text: str) -> Iterator[Span]:
    opened: tuple[int, str] | None = None
    for match in _FENCE.finditer(text):
        fence, info = match[1], match[2].strip()
        if opened is None:
            if fence[0] == "~" or "`" not in info:
                opened = (match.start(), fence)
        elif not info and fence.startswith(opened[1]):
            yield opened[0], match.end()
            opened = None


def _outside(blocks: list[Span], spans: list[Span]) -> list[Span]:
    starts = [start for start, _ in blocks]

    def inside(position: int) -> bool:
        at = bisect_right(starts, position) - 1
        return at >= 0 and position < blocks[at][1]

    return [span for span in spans if not inside(span[0])] if blocks else spans
