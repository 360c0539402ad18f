"""Renders a parsed page, or trafilatura's reading of one, as Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from activekg_pipelines.extraction import markdown_writer

# trafilatura names elements as TEI does (head, item, row, cell, lb); the names do not
# collide inside a body.
_HEADINGS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6", "head"})
_ROWS: Final = frozenset({"tr", "row"})
_CELLS: Final = frozenset({"td", "th", "cell"})
_ITEMS: Final = frozenset({"li", "item", "dd"})
_LISTS: Final = frozenset({"ul", "ol", "list", "menu"})
_BREAKS: Final = frozenset({"br", "lb", "hr"})
_BLOCKS: Final = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "dir",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hgroup",
        "legend",
        "main",
        "nav",
        "p",
        "quote",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "list",
        "ul",
        "ol",
        "menu",
        "li",
        "item",
        "row",
        "tr",
        "cell",
        "td",
        "th",
    ]
)
_OWN_LINE: Final = _BLOCKS | _HEADINGS | _BREAKS | {"pre"}
_NEVER: Final = frozenset(
    [
        "script",
        "style",
        "template",
        "noscript",
        "iframe",
        "object",
        "embed",
        "svg",
        "canvas",
        "audio",
        "video",
        "select",
        "option",
        "datalist",
        "button",
        "input",
        "textarea",
        "title",
        "meta",
        "link",
    ]
)
_NOISE: Final = frozenset({"nav", "aside", "header", "footer"})
UNSHOWN: Final = (
    *sorted(_NEVER - {"script", "option", "title"}),
    "aside",
    "img",
    "nav",
    "picture",
    "source",
)
"""Elements that no text is taken from, wherever they stand, and that only cost time."""
_MAIN: Final = frozenset({"article", "main"})
_HIDDEN: Final = re.compile(r"display\s*:\s*none", re.IGNORECASE)
# Cells longer than this are a page's layout, not data.
_MAX_CELL_CHARS: Final = 1_000
_MAX_SPAN: Final = 50
_SPACE: Final = re.compile(r"[ \t\r\f\n]+")
_SPACED_BREAK: Final = re.compile(r" *\x00 *")


@dataclass(frozen=True, slots=True)
class Rendered:
    """Text and the number of Markdown tables in it."""

    text: str
    tables: int


def render(body: Any, *, skip_noise: bool) -> Rendered:
    """Render the lxml element ``body``.

    ``skip_noise`` leaves out navigation, and headers and footers that are not an
    article's own.
    """
    writer = _Writer(skip_noise)
    writer.walk(body, inside_main=False)
    writer.flush()
    return Rendered(writer.text(), writer.tables)


def is_outsized(table: Any) -> bool:
    """Tell whether its rows, filled up to the widest, would hold too many cells.

    They would then be larger than the page by orders of magnitude.
    """
    widths = [
        sum(map(math.prod, map(_spans, _children(row, _CELLS)))) for row in table.iter(*_ROWS)
    ]
    return len(widths) * max(widths, default=0) > markdown_writer.MAX_CELLS


class _Writer:
    """Collects blocks of text; inline text gathers in a buffer until a block ends."""

    def __init__(self, skip_noise: bool) -> None:
        self.tables = 0
        self._skip_noise = skip_noise
        self._blocks: list[tuple[str, bool]] = []
        self._inline: list[str] = []
        self._bullet = ""
        self._list_depth = 0

    def text(self) -> str:
        parts: list[str] = []
        after_item = False
        for block, is_item in self._blocks:
            if parts:
                parts.append("\n" if is_item and after_item else "\n\n")
            parts.append(block)
            after_item = is_item
        return "".join(parts)

    def flush(self) -> None:
        text = _inline_text(self._inline)
        self._inline.clear()
        if text:
            self._blocks.append((self._bullet + text, bool(self._bullet)))
            self._bullet = ""

    def walk(self, element: Any, inside_main: bool) -> None:
        tag = element.tag
        if not isinstance(tag, str) or self._is_skipped(element, inside_main):
            return
        if tag in _BREAKS:
            self._inline.append("\x00")
        elif tag in _HEADINGS:
            self._write_heading(element)
        elif tag == "pre" or (tag == "code" and "\n" in (element.text or "")):
            self._write_preformatted(element)
        elif tag == "table" and self._write_table(element):
            return
        else:
            self._write_element(element, inside_main or tag in _MAIN)

    def _is_skipped(self, element: Any, inside_main: bool) -> bool:
        if element.tag in _NEVER:
            return True
        if not self._skip_noise:
            return False
        if element.tag in _NOISE and not (inside_main and element.tag in ("header", "footer")):
            return True
        return element.get("hidden") is not None or bool(_HIDDEN.search(element.get("style") or ""))

    def _write_element(self, element: Any, inside_main: bool) -> None:
        tag = element.tag
        is_block = tag in _BLOCKS
        if is_block:
            self.flush()
        if tag in _LISTS:
            self._list_depth += 1
        if tag in _ITEMS:
            self._bullet = "  " * max(0, self._list_depth - 1) + "- "
        self._inline.append(element.text or "")
        for child in element:
            self.walk(child, inside_main)
            self._inline.append(child.tail or "")
        if is_block:
            self.flush()
        if tag in _ITEMS:
            self._bullet = ""
        if tag in _LISTS:
            self._list_depth -= 1

    def _write_heading(self, element: Any) -> None:
        self.flush()
        text = markdown_writer.one_line(_plain(element))
        if text:
            level = (element.get("rend") or "h2" if element.tag == "head" else element.tag)[-1]
            self._blocks.append(
                (markdown_writer.heading(int(level) if level.isdigit() else 2, text), False)
            )

    def _write_preformatted(self, element: Any) -> None:
        self.flush()
        text = _plain(element).strip("\n")
        if text.strip():
            self._blocks.append((f"```\n{text}\n```", False))

    def _write_table(self, element: Any) -> bool:
        """Write ``element`` as Markdown; False when it only lays out the page."""
        if next(element.iterdescendants("table"), None) is not None:
            return False
        rows = [
            [
                (markdown_writer.one_line(_plain(cell)), *_spans(cell))
                for cell in _children(row, _CELLS)
            ]
            for row in element.iter(*_ROWS)
        ]
        widest = max((len(row) for row in rows), default=0)
        longest = max((len(cell[0]) for row in rows for cell in row), default=0)
        if len(rows) < 2 or widest < 2 or longest > _MAX_CELL_CHARS or is_outsized(element):
            return False
        self.flush()
        for caption in element.iterchildren("caption"):
            self._inline.append(_plain(caption))
            self.flush()
        if table := markdown_writer.table(_unmerge(rows)):
            self._blocks.append((table, False))
            self.tables += 1
        return True


def _unmerge(rows: list[list[tuple[str, int, int]]]) -> list[list[str]]:
    """Lay cells of (text, colspan, rowspan) out on a grid.

    A merged cell's text stands where the cell starts; the rest of it is empty.
    """
    grid: list[list[str]] = []
    held: dict[int, int] = {}
    for row in rows:
        cells: list[str] = []
        started: dict[int, int] = {}
        for text, columns, depth in row:
            while held.get(len(cells), 0):
                cells.append("")
            started |= {len(cells) + i: depth - 1 for i in range(columns) if depth > 1}
            cells += [text] + [""] * (columns - 1)
        grid.append(cells)
        held = {column: left - 1 for column, left in held.items() if left > 1} | started
    return grid


def _spans(cell: Any) -> tuple[int, int]:
    columns, rows = (_span(cell.get(name)) for name in ("colspan", "rowspan"))
    return columns, rows


def _span(value: str | None) -> int:
    return min(int(value), _MAX_SPAN) or 1 if value and value.isascii() and value.isdigit() else 1


def _children(element: Any, tags: frozenset[str]) -> Iterator[Any]:
    return (child for child in element if child.tag in tags)


def _plain(element: Any) -> str:
    """The text of ``element``, a line a block, without what a page does not show."""
    parts = [element.text or ""]
    for child in element:
        if isinstance(child.tag, str) and child.tag not in _NEVER:
            edge = "\n" if child.tag in _OWN_LINE else ""
            parts += [edge, _plain(child), edge]
        parts.append(child.tail or "")
    return "".join(parts)


def _inline_text(parts: list[str]) -> str:
    text = _SPACE.sub(" ", "".join(parts))
    return _SPACED_BREAK.sub("\x00", text).replace("\x00", "\n").strip()
