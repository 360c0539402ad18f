"""Where a chunk stands in its document: its pages, its headings, its table's head.

Pure functions of the text. What they find is bounded, whatever the text holds.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from activekg_pipelines.chunking.structure import Block, Span

MAX_HEADING_CHARS: Final = 200
MAX_TABLE_HEAD_CHARS: Final = 1000

# Of a heading that is longer, no more is looked at.
_HEADING_CHARS_READ: Final = 2 * MAX_HEADING_CHARS
_HASHES: Final = re.compile(r" {0,3}(#{1,6})")
_CLOSING_HASHES: Final = re.compile(r"[ \t]#++$")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a chunk stands; what its document does not have is None or empty."""

    page_from: int | None = None
    """The page on which it begins, from 1."""
    page_to: int | None = None
    """The page on which it ends."""
    headings: tuple[str, ...] = ()
    """The headings under which it begins, the outermost first.

    Also those that it begins with. Each has :data:`MAX_HEADING_CHARS` characters at most.
    """
    table_head: str | None = None
    """The head row of the table in which it begins, as Markdown.

    :data:`MAX_TABLE_HEAD_CHARS` characters at most.
    """


NOWHERE: Final = Place()
"""The place of a chunk that no document is known of."""


def places(text: str, spans: Iterable[Span], page_starts: Sequence[int] = ()) -> Iterator[Place]:
    """The place of each chunk, in time that grows with the length of the text.

    Args:
        spans: of the chunks, in the order of the text; they do not overlap.
        page_starts: where each page starts in ``text``, ascending; empty for a document
            without pages. A page without text starts where the next one does.
    """
    from activekg_pipelines.chunking.structure import headings_and_rows

    headings, table = _Headings(text), _Table(text)
    blocks = headings_and_rows(text)
    block = next(blocks, None)
    for start, end in spans:
        opening = start
        while block is not None and block.start < end:
            # Beyond the chunk's start, only headings that nothing but blanks comes before
            # are over the chunk.
            if block.start > start and not (
                block.is_heading and text[opening : block.start].isspace()
            ):
                break
            if block.is_heading:
                headings.add(block)
                opening = max(opening, block.end)
            else:
                table.add(block)
            block = next(blocks, None)
        yield Place(
            page_from=_page(page_starts, start),
            page_to=_page(page_starts, end - 1),
            headings=headings.titles(),
            table_head=table.head_at(start),
        )


def _page(page_starts: Sequence[int], position: int) -> int | None:
    return max(1, bisect_right(page_starts, position)) if page_starts else None


class _Headings:
    """The headings that are open: each ends those of its own level and below."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._open: list[tuple[int, Block]] = []
        self._titles: tuple[str, ...] | None = ()

    def add(self, heading: Block) -> None:
        level = self._level(heading)
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        self._open.append((level, heading))
        self._titles = None

    def titles(self) -> tuple[str, ...]:
        """Those of the open headings that have one."""
        if self._titles is None:
            self._titles = tuple(filter(None, (self._title(heading) for _, heading in self._open)))
        return self._titles

    def _level(self, heading: Block) -> int:
        """From 1; the second line of a heading without "#" underlines it, with "=" or "-"."""
        if marks := _HASHES.match(self._text, heading.start):
            return len(marks[1])
        return 1 if self._text[heading.start : heading.end].rstrip().endswith("=") else 2

    def _title(self, heading: Block) -> str:
        end = min(heading.end, heading.start + _HEADING_CHARS_READ)
        line = self._text[heading.start : end].partition("\n")[0].strip()
        if line.startswith("#"):
            line = _CLOSING_HASHES.sub("", line.lstrip("#"))
        return " ".join(line.split())[:MAX_HEADING_CHARS].rstrip()


class _Table:
    """The last table whose rows were added; rows of one table are lines that follow."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._head: str | None = None
        self._end = -1

    def add(self, row: Block) -> None:
        if row.start > self._end + 1 or self._end < 0:
            text = self._text[row.start : row.end].strip()
            self._head = text[:MAX_TABLE_HEAD_CHARS] if row.is_head else None
        self._end = row.end

    def head_at(self, position: int) -> str | None:
        return self._head if position < self._end else None
