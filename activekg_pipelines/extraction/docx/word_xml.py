"""Walks WordprocessingML in document order and writes it as Markdown.

Elements are matched by local name, so transitional and strict Open XML read alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from activekg_pipelines.extraction import markdown_writer

# Deleted and moved-away text, properties, field codes, phonetic guides and fallbacks
# are not the text, or repeat it.
_SKIPPED: Final = frozenset(
    [
        "del",
        "moveFrom",
        "delText",
        "instrText",
        "delInstrText",
        "Fallback",
        "pPr",
        "rPr",
        "tblPr",
        "tblGrid",
        "trPr",
        "tcPr",
        "sectPr",
        "sdtPr",
        "sdtEndPr",
        "rt",
        "separator",
        "continuationSeparator",
        "annotationRef",
    ]
)
_SYMBOL_FONTS_PRIVATE: Final = range(0xE000, 0xF900)
# A table cell longer than this is a page's layout, not data.
_MAX_CELL_CHARS: Final = 1_000
_MAX_SPAN: Final = 64
_HEADING_NAME: Final = re.compile(r"heading\s*([1-9])$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Style:
    """What a paragraph style says that matters to text."""

    level: int | None = None
    """Of a heading, from 1."""
    is_list: bool = False
    is_title: bool = False


@dataclass(slots=True)
class Walk:
    """State of one walk through a document.

    It knows the styles, the notes met so far and the number of tables written.
    """

    styles: dict[str, Style]
    notes: list[tuple[str, str]] = field(default_factory=list)
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    tables: int = 0
    title: str | None = None

    def blocks(self, element: Any) -> list[str]:
        """Return what stands below ``element``, in document order.

        That is paragraphs, headings, list items and tables.
        """
        return [block for child in element for block in self._block(child)]

    def _block(self, element: Any) -> list[str]:
        name = local(element)
        if name == "p":
            return self._paragraph(element)
        if name == "tbl":
            return self._table(element)
        if name == "AlternateContent":
            return self.blocks(preferred(element))
        if name is None or name in _SKIPPED:
            return []
        return self.blocks(element)

    def _paragraph(self, element: Any) -> list[str]:
        inline: list[str] = []
        floating: list[str] = []
        self._inline(element, inline, floating)
        text = "".join(inline).strip(" \n")
        if not text.strip():
            return floating
        return [self._marked_up(element, text), *floating]

    def _marked_up(self, element: Any, text: str) -> str:
        properties = child(element, "pPr")
        style = self.styles.get(value(properties, "pStyle") or "", Style())
        outline = value(properties, "outlineLvl")
        level = (
            int(outline) + 1 if outline and outline.isdigit() and int(outline) < 9 else style.level
        )
        if style.is_title and self.title is None:
            self.title = text
        if level is not None or style.is_title:
            return markdown_writer.heading(level or 1, text)
        numbering = child(properties, "numPr")
        number = value(numbering, "numId")
        if number == "0" or (number is None and not style.is_list):
            return text
        depth = value(numbering, "ilvl") or "0"
        return "  " * (int(depth) if depth.isdigit() else 0) + "- " + text

    def _inline(self, element: Any, inline: list[str], floating: list[str]) -> None:
        """Gather the text below ``element`` into ``inline``.

        Blocks that float in it (text boxes) go into ``floating``.
        """
        for node in element:
            name = local(node)
            if name is None or name in _SKIPPED:
                continue
            if name == "t":
                inline.append(node.text or "")
            elif name in _CHARACTERS:
                inline.append(_CHARACTERS[name])
            elif name == "sym":
                inline.append(_symbol(node))
            elif name in ("footnoteReference", "endnoteReference"):
                inline.append(self._note_mark(name.removesuffix("Reference"), node))
            elif name == "AlternateContent":
                self._inline(preferred(node), inline, floating)
            elif name == "txbxContent":
                floating.extend(self.blocks(node))
            elif name in ("tbl", "p"):
                floating.extend(self._block(node))
            else:
                self._inline(node, inline, floating)

    def _note_mark(self, kind: str, node: Any) -> str:
        note = (kind, attribute(node, "id") or "")
        if note not in self.numbers:
            self.notes.append(note)
            self.numbers[note] = len(self.notes)
        return f"[^{self.numbers[note]}]"

    def _table(self, element: Any) -> list[str]:
        rows = [self._row(row) for row in rows_of(element, "tr")]
        cells = [cell for row in rows for cell in row if cell]
        width = max((len(row) for row in rows), default=0)
        is_layout = (
            width < 2
            or width * len(rows) > markdown_writer.MAX_CELLS
            or any(_is_block(block) for cell in cells for block in cell)
            or any(sum(map(len, cell)) > _MAX_CELL_CHARS for cell in cells)
        )
        if is_layout:
            return [block for cell in cells for block in cell]
        table = markdown_writer.table([[" ".join(cell) for cell in row] for row in rows])
        self.tables += bool(table)
        return [table] if table else []

    def _row(self, row: Any) -> list[list[str]]:
        """One entry a grid column; a merged cell's text stands in its first only."""
        cells: list[list[str]] = [[] for _ in range(_span(child(row, "trPr"), "gridBefore", 0))]
        for cell in rows_of(row, "tc"):
            properties = child(cell, "tcPr")
            merge = child(properties, "vMerge")
            continues = merge is not None and (attribute(merge, "val") or "continue") == "continue"
            cells.append([] if continues else self.blocks(cell))
            cells += [[] for _ in range(_span(properties, "gridSpan", 1) - 1)]
        return cells


_CHARACTERS: Final = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def read_styles(root: Any) -> dict[str, Style]:
    """Return what the styles part says of each paragraph style, by its id.

    What a style inherits is resolved.
    """
    elements = {
        attribute(element, "styleId") or "": element
        for element in ([] if root is None else root)
        if local(element) == "style" and (attribute(element, "type") or "paragraph") == "paragraph"
    }
    return {style_id: _style(list(_ancestry(style_id, elements))) for style_id in elements}


def _ancestry(style_id: str, elements: dict[str, Any]) -> Iterator[Any]:
    seen: set[str] = set()
    current: str | None = style_id
    while current in elements and current not in seen:
        seen.add(current)
        yield elements[current]
        current = value(elements[current], "basedOn")


def _style(ancestry: list[Any]) -> Style:
    level: int | None = None
    for element in ancestry:
        outline = value(child(element, "pPr"), "outlineLvl")
        named = _HEADING_NAME.match(value(element, "name") or "")
        if outline and outline.isdigit():
            level = int(outline) + 1 if int(outline) < 9 else None
            break
        if named:
            level = int(named.group(1))
            break
    is_list = any(child(child(element, "pPr"), "numPr") is not None for element in ancestry)
    is_title = (value(ancestry[0], "name") or "").lower() == "title"
    return Style(level=level, is_list=is_list, is_title=is_title)


def local(element: Any) -> str | None:
    """Return the name of ``element`` without its namespace.

    None for comments and processing instructions.
    """
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else None


def child(element: Any, name: str) -> Any:
    """Return the first child called ``name``, or None; ``element`` may be None."""
    return (
        None if element is None else next((node for node in element if local(node) == name), None)
    )


def attribute(element: Any, name: str) -> str | None:
    """Return the attribute with the local name ``name``, or None."""
    return next(
        (value for key, value in element.attrib.items() if key.rpartition("}")[2] == name), None
    )


def value(element: Any, name: str) -> str | None:
    """Return the ``val`` of the child called ``name``, or None.

    WordprocessingML stores a property so.
    """
    node = child(element, name)
    return None if node is None else attribute(node, "val")


def preferred(alternate: Any) -> Any:
    """Return the branch of an mc:AlternateContent that is read.

    It is the first Choice, else the Fallback, else nothing.
    """
    for name in ("Choice", "Fallback"):
        branch = child(alternate, name)
        if branch is not None:
            return branch
    return ()


def rows_of(element: Any, name: str) -> Iterator[Any]:
    """Yield the rows of a table or the cells of a row.

    Content controls and tracked insertions may stand between.
    """
    for node in element:
        found = local(node)
        if found == name:
            yield node
        elif found in ("sdt", "sdtContent", "customXml", "ins", "moveTo", "smartTag"):
            yield from rows_of(node, name)


def _span(properties: Any, name: str, default: int) -> int:
    text = value(properties, name)
    return min(int(text), _MAX_SPAN) if text and text.isascii() and text.isdigit() else default


def _symbol(node: Any) -> str:
    code = int(attribute(node, "char") or "0", 16)
    # Symbol and Wingdings have their glyphs in the private use area, where they mean
    # nothing to a reader.
    return "" if code in _SYMBOL_FONTS_PRIVATE or code == 0 else chr(code)


def _is_block(block: str) -> bool:
    return block.startswith("#") or block.startswith("| ")
