"""Reads a parsed page into blocks of Markdown, each with its place in the page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from activekg_pipelines.extraction import markdown_writer
from activekg_pipelines.extraction.html import mathml
from activekg_pipelines.extraction.html.lists import Lists
from activekg_pipelines.extraction.html.table_grid import Cell, grid, spans
from activekg_pipelines.extraction.html.tags import (
    BLOCKS,
    BREAKS,
    HEADINGS,
    ITEMS,
    LISTS,
    NEVER,
    OWN_LINE,
)

# Cells longer than this are a page's layout, not data.
_MAX_CELL_CHARS: Final = 1_000
_SPACED_BREAK: Final = "\x00"
# What opens and closes text: its name is text even where it is a button.
_OPENERS: Final = frozenset({"dt", "summary", *HEADINGS})
# Style sheets set these apart where nothing stands between two of them.
_RUNS: Final = frozenset({"a", "span", "label", "time"})
_OPENING: Final = ("aria-expanded", "aria-controls")


@dataclass(slots=True)
class Place:
    """An element that holds blocks: those from ``start`` to before ``end``."""

    element: Any
    parent: Place | None
    number: int
    depth: int
    start: int
    end: int = 0


@dataclass(slots=True)
class Block:
    """A paragraph, heading, item, table or listing.

    ``text`` is Markdown, ``mark`` what an item has before it. ``letters`` counts the
    characters of the text, ``linked`` those of them in links, of which there are
    ``links``.
    """

    text: str
    mark: str
    place: Place
    tag: str
    letters: int
    linked: int
    links: int


@dataclass(slots=True)
class Page:
    """What a page holds, in its order."""

    blocks: list[Block] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    hidden: int = 0
    """Characters that nobody sees and that are in no block."""
    noscript: int = 0
    """Characters for browsers without scripts that are in no block."""


def read(
    body: Any,
    is_hidden: Callable[[Any], bool] = lambda _: False,
    *,
    with_noscript: bool = False,
) -> Page:
    """Read the lxml element ``body`` without the elements that ``is_hidden``."""
    reader = _Reader(is_hidden, with_noscript)
    reader.walk(body)
    return reader.page


def text_of(blocks: list[Block]) -> str:
    """The blocks as one text; the items of a list stand on lines without a gap."""
    parts: list[str] = []
    after_item = False
    for block in blocks:
        is_item = bool(block.mark)
        if parts:
            parts.append("\n" if is_item and after_item else "\n\n")
        parts += [block.mark, block.text]
        after_item = is_item
    return "".join(parts)


class _Reader:
    """Collects blocks; inline text gathers in a buffer until a block ends."""

    def __init__(self, is_hidden: Callable[[Any], bool], with_noscript: bool) -> None:
        self.page = Page()
        self._is_hidden = is_hidden
        self._with_noscript = with_noscript
        self._inline: list[str] = []
        self._linked = 0
        self._links = 0
        self._link_depth = 0
        self._lists = Lists()
        self._mark = ""
        self._open: list[Place] = []

    def walk(self, element: Any) -> None:
        tag = element.tag
        if not isinstance(tag, str) or self._is_skipped(element, tag):
            return
        if tag in BREAKS:
            self._inline.append(_SPACED_BREAK)
        elif tag in HEADINGS:
            self._read_heading(element)
        elif tag == "pre" or (tag == "code" and "\n" in (element.text or "")):
            self._read_listing(element)
        elif tag == "math":
            self._add(f" {mathml.linear(element)} ")
        elif tag == "sup" and (number := _raised(element, self._inline)):
            self._add(number)
        elif tag == "table" and self._read_table(element):
            return
        else:
            self._read_element(element, tag)

    def _is_skipped(self, element: Any, tag: str) -> bool:
        if tag in NEVER and not (tag == "button" and _opens(element)):
            return True
        if tag == "noscript" and not self._with_noscript:
            self.page.noscript += _length(element)
            return True
        if (element.attrib or tag == "dialog") and self._is_hidden(element):
            self.page.hidden += _length(element)
            return True
        return False

    def _read_element(self, element: Any, tag: str) -> None:
        is_block = tag in BLOCKS
        if is_block:
            self._flush()
            self._enter(element)
        if tag in LISTS:
            self._lists.open(element)
        elif tag in ITEMS:
            self._mark = self._lists.mark(element)
        elif tag == "a":
            self._links += 1
        is_link = tag in ("a", "button")
        self._link_depth += is_link
        self._add(element.text)
        before = None
        for child in element:
            if before in _RUNS and child.tag in _RUNS:
                self._inline.append(" ")
            self.walk(child)
            self._add(child.tail)
            before = None if child.tail else child.tag
        self._link_depth -= is_link
        if is_block:
            self._flush()
            self._leave()
        if tag in ITEMS:
            self._mark = ""
        elif tag in LISTS:
            self._lists.close()

    def _add(self, text: str | None) -> None:
        if text:
            self._inline.append(text)
            if self._link_depth:
                self._linked += len(" ".join(text.split()))

    def _enter(self, element: Any) -> None:
        page = self.page
        above = self._open[-1] if self._open else None
        place = Place(element, above, len(page.places), len(self._open), len(page.blocks))
        page.places.append(place)
        self._open.append(place)

    def _leave(self) -> None:
        self._open.pop().end = len(self.page.blocks)

    def _flush(self) -> None:
        if self._inline:
            text = _inline_text(self._inline)
            self._inline.clear()
            if text:
                self._store(text, self._open[-1].element.tag)
        self._linked = self._links = 0

    def _store(self, text: str, tag: str, *, letters: int | None = None) -> None:
        size = len(text) if letters is None else letters
        self.page.blocks.append(
            Block(text, self._mark, self._open[-1], tag, size, min(self._linked, size), self._links)
        )
        self._mark = ""
        self._linked = self._links = 0

    def _count_links(self, element: Any) -> None:
        for link in element.iter("a"):
            self._links += 1
            self._linked += len(" ".join(plain(link).split()))

    def _read_heading(self, element: Any) -> None:
        self._flush()
        self._enter(element)
        text = markdown_writer.one_line(plain(element, self._is_hidden))
        if text:
            self._count_links(element)
            if self._link_depth:
                self._linked = len(text)
            level = int(element.tag[1])
            mark, self._mark = self._mark, ""
            self._store(markdown_writer.heading(level, text), element.tag, letters=len(text))
            self._mark = mark
        self._leave()

    def _read_listing(self, element: Any) -> None:
        self._flush()
        self._enter(element)
        text = plain(element, self._is_hidden).strip("\n")
        if text.strip():
            self._mark = ""
            self._store(f"```\n{text}\n```", "pre")
        self._leave()

    def _read_table(self, element: Any) -> bool:
        """Read ``element`` as one block; False when it only lays out the page."""
        if next(element.iterdescendants("table"), None) is not None:
            return False
        rows = [
            [_cell(cell, self._is_hidden) for cell in _children(row, ("td", "th"))]
            for row in element.iter("tr")
            if not self._is_hidden(row)
        ]
        widest = max(map(len, rows), default=0)
        longest = max((len(cell.text) for row in rows for cell in row), default=0)
        if len(rows) < 2 or widest < 2 or longest > _MAX_CELL_CHARS:
            return False
        laid_out = grid(rows)
        if laid_out is None:
            return False
        self._flush()
        self._enter(element)
        for caption in element.iterchildren("caption"):
            self._add(plain(caption, self._is_hidden))
            self._flush()
        if table := markdown_writer.table(laid_out):
            self._count_links(element)
            self._mark = ""
            self._store(table, "table", letters=sum(len(cell.text) for row in rows for cell in row))
        self._leave()
        return True


def _cell(element: Any, is_hidden: Callable[[Any], bool]) -> Cell:
    """A cell's text on one line: a list's items with their marks."""
    if next(element.iter(*LISTS), None) is not None:
        inside = _Reader(is_hidden, False)
        inside.walk(element)
        text = " ".join(f"{block.mark.strip()} {block.text}" for block in inside.page.blocks)
    else:
        text = plain(element, is_hidden)
    return Cell(markdown_writer.one_line(text), *spans(element))


def _raised(element: Any, before: list[str]) -> str:
    """A power or a footnote's number, set apart from the word it stands behind.

    10 with a raised 6 is not 106. "" where it is something else.
    """
    text = "".join(element.itertext()).strip()
    last = next((part for part in reversed(before) if part), "")
    is_number = text.lstrip("+-\u2212").isdecimal()
    return f"^{text}" if is_number and last[-1:].isalnum() else ""


def _children(element: Any, tags: tuple[str, ...]) -> Iterator[Any]:
    return (child for child in element if child.tag in tags)


def plain(element: Any, is_hidden: Callable[[Any], bool] = lambda _: False) -> str:
    """The text of ``element``, a line a block, without what a page does not show."""
    if len(element) == 0:
        return element.text or ""
    parts = [element.text or ""]
    for child in element:
        tag = child.tag
        if isinstance(tag, str):
            if tag == "math":
                parts.append(f" {mathml.linear(child)} ")
            elif tag == "sup" and (number := _raised(child, parts)):
                parts.append(number)
            elif (tag not in NEVER or tag == "button") and not is_hidden(child):
                edge = "\n" if tag in OWN_LINE else ""
                parts += [edge, plain(child, is_hidden), edge]
        parts.append(child.tail or "")
    return "".join(parts)


def _length(element: Any) -> int:
    return len(" ".join(plain(element).split()))


def _opens(button: Any) -> bool:
    if any(button.get(name) is not None for name in _OPENING):
        return True
    above = button.getparent()
    return above is not None and above.tag in _OPENERS


def _inline_text(parts: list[str]) -> str:
    text = " ".join("".join(parts).split(" "))
    lines = text.split(_SPACED_BREAK)
    return "\n".join(" ".join(line.split()) for line in lines).strip()
