"""What is read of a page: its blocks in reading order, and what it shows besides."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

# A head or foot has a few rows. Those further in need no place of their own in memory.
_EDGE_ROWS: Final = 6
# One glyph of a script that is also written from top to bottom.
_ANY_GLYPH: Final = r"[\u2e80-\ufaff\uff00-\uffef\U00020000-\U0003ffff]"
_FIRST_GLYPH: Final = re.compile(_ANY_GLYPH)
_GLYPH: Final = re.compile(rf"\s*{_ANY_GLYPH}\s*")
_GLYPHS: Final = re.compile(rf"(?:^[ \t]*{_ANY_GLYPH}[ \t]*[\r\n]+){{4}}", re.MULTILINE)
_LEAST_GLYPHS: Final = 5
_SAME_LINE: Final = 3.0  # points
_MAX_STEP: Final = 0.04
SAME_ROW: Final = 0.004
"""How far apart, as a share of the page's height, blocks of one row may lie."""


class Line(NamedTuple):
    """A line of text, with what ends it, and where it stands.

    ``left`` and ``right`` are in points, ``top`` and ``bottom`` shares of the page's
    height from its top.
    """

    text: str
    top: float
    bottom: float
    left: float = 0.0
    right: float = 0.0


@dataclass(frozen=True, slots=True)
class Table:
    """A ruled table: its rows, and where each of its columns begins, in points."""

    rows: list[list[str]]
    columns: tuple[float, ...]


class Block(NamedTuple):
    """Lines that follow each other, or a table, at shares of the page's height."""

    text: str
    top: float
    bottom: float
    table: Table | None = None


@dataclass(slots=True)
class Page:
    """A page as it was read.

    ``picture_share`` is the part of it that pictures cover, from 0 to 1. ``unreadable``
    counts characters whose fonts do not say which they are.
    """

    blocks: list[Block] = field(default_factory=list)
    tables: int = 0
    picture_share: float = 0.0
    shows_something: bool = False
    unreadable: int = 0
    hidden: int = 0

    @property
    def characters(self) -> int:
        return sum(
            len(block.text)
            if block.table is None
            else sum(len(cell) for row in block.table.rows for cell in row)
            for block in self.blocks
        )

    @property
    def plain_text(self) -> str:
        """Its words, for those who look at them and not at their order."""
        return "\n".join(
            block.text
            if block.table is None
            else "\n".join(" ".join(row) for row in block.table.rows)
            for block in self.blocks
        )


def blocks_of(parts: Iterable[Line | Block]) -> list[Block]:
    """Join the lines of a page that lie between others.

    Those in its outer rows and the tables stay blocks of their own.
    """
    found = _without_upright_lines(parts)
    at_edge = _at_edges({part.top for part in found})
    blocks: list[Block] = []
    inner: list[Line] = []
    for part in found:
        if isinstance(part, Line) and part.top not in at_edge:
            inner.append(part)
            continue
        if inner:
            blocks.append(_joined(inner))
            inner = []
        blocks.append(_joined([part]) if isinstance(part, Line) else part)
    if inner:
        blocks.append(_joined(inner))
    return blocks


def blocks_of_lines(text: str, ends: Sequence[int], tops: Sequence[float]) -> list[Block]:
    """Return what :func:`blocks_of` does for a page whose text is nothing but lines.

    Each line of ``text`` begins where the one before it ends, and ``tops`` says at which
    height.
    """
    at_edge = _at_edges(set(tops))
    blocks: list[Block] = []
    begin = start = 0
    inner: list[float] = []
    for end, top in zip(ends, tops, strict=True):
        if top in at_edge:
            if inner:
                blocks.append(Block(text[begin:start], min(inner), max(inner)))
                inner = []
            blocks.append(Block(text[start:end], top, top))
            begin = end
        else:
            inner.append(top)
        start = end
    if inner:
        blocks.append(Block(text[begin:start], min(inner), max(inner)))
    return blocks


def has_upright_lines(text: str) -> bool:
    """Tell whether a text may have lines for :func:`blocks_of` to join."""
    # The second search takes several times as long.
    return (
        not text.isascii()
        and _FIRST_GLYPH.search(text) is not None
        and _GLYPHS.search(text) is not None
    )


def _without_upright_lines(parts: Iterable[Line | Block]) -> list[Line | Block]:
    """Join glyphs that stand one below the other, as in Chinese and Japanese books."""
    found: list[Line | Block] = []
    run: list[Line] = []

    def close() -> None:
        nonlocal run
        if len(run) >= _LEAST_GLYPHS:
            glyphs = "".join(line.text.strip() for line in run)
            run = [run[0]._replace(text=f"{glyphs}\n", bottom=run[-1].bottom)]
        found.extend(run)
        run = []

    for part in parts:
        if not (isinstance(part, Line) and _GLYPH.fullmatch(part.text)):
            close()
            found.append(part)
            continue
        if run and not (
            abs(part.left - run[-1].left) <= _SAME_LINE and 0 < part.top - run[-1].top <= _MAX_STEP
        ):
            close()
        run.append(part)
    close()
    return found


def _at_edges(tops: set[float]) -> set[float]:
    """Those of ``tops`` that are in the outer rows of a page."""
    ordered = sorted(tops)
    return _edge(ordered) | _edge(ordered[::-1])


def _edge(tops: list[float]) -> set[float]:
    """The first of ``tops``, as many as make the rows at an edge."""
    edge: set[float] = set()
    rows, last = 0, None
    for top in tops:
        if last is None or abs(top - last) > SAME_ROW:
            rows, last = rows + 1, top
            if rows > _EDGE_ROWS:
                break
        edge.add(top)
    return edge


def _joined(lines: list[Line]) -> Block:
    return Block(
        "".join(line.text for line in lines),
        min(line.top for line in lines),
        max(line.bottom for line in lines),
    )
