"""Walks WordprocessingML in document order and writes it as blocks of Markdown."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from activekg_pipelines.errors import Corrupt
from activekg_pipelines.extraction import markdown_writer
from activekg_pipelines.extraction.docx import drawings
from activekg_pipelines.extraction.docx.equations import equation
from activekg_pipelines.extraction.docx.fields import Field, counts_pages, form_value
from activekg_pipelines.extraction.docx.numbering import Label, Numbering
from activekg_pipelines.extraction.docx.package import Related, Source, parse_xml
from activekg_pipelines.extraction.docx.styles import RunStyle, Style, Styles, font_of, marked_runs
from activekg_pipelines.extraction.docx.symbols import sign, signs_of
from activekg_pipelines.extraction.docx.word_xml import (
    attribute,
    child,
    children,
    is_on,
    local,
    number,
    preferred,
    rows_of,
    val,
    value,
)

# Deleted and moved-away text, properties, phonetic guides and fallbacks are not the
# text, or repeat it.
_SKIPPED: Final = frozenset(
    [
        "del",
        "moveFrom",
        "delText",
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
_CHARACTERS: Final = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
# A table cell longer than this is a page's layout, not data.
_MAX_CELL_CHARS: Final = 1_000
_MAX_SPAN: Final = 64

_Properties: TypeAlias = dict[str | None, Any]
Kind: TypeAlias = Literal["text", "heading", "item", "table"]


class Block(NamedTuple):
    """A paragraph, heading, list item or table."""

    text: str
    kind: Kind = "text"
    depth: int = 0
    """Of a list item, from 0."""


@dataclass(slots=True)
class Left:
    """What a walk did not take into the text."""

    hidden: int = 0
    """Characters."""
    charts: int = 0
    signs: int = 0
    """Characters of fonts that do not say what they show."""


_PLAIN: Final = Style()


@dataclass(slots=True)
class _Line:
    """A paragraph while it is read."""

    parts: list[str] = field(default_factory=list)
    floating: list[Block] = field(default_factory=list)
    """Blocks that stand in it: text boxes, charts, comments."""
    fields: list[Field] = field(default_factory=list)
    run: RunStyle = field(default_factory=RunStyle)
    """What its style says of its runs."""
    signs: dict[int, str] | None = None
    """The same of its letters, where its font is one of signs."""
    is_marked: bool = False
    """Whether its style says something of its runs."""


class _Run(NamedTuple):
    """How the text of a run is read."""

    is_hidden: bool
    signs: dict[int, str] | None
    """Of its letters, where its font is one of signs."""
    is_raised: bool = False


@dataclass(slots=True)
class Walk:
    """State of one walk through a document.

    It knows the styles and lists, the notes and comments met so far, and the number of
    tables written.

    Attributes:
        inserted: reads a document that was inserted into this one.
    """

    styles: Styles
    numbering: Numbering
    comments: dict[str, Any] = field(default_factory=dict)
    """Those that are not written yet, by their ids."""
    inserted: Callable[[Related | None], str] = lambda _: ""
    notes: list[tuple[str, str]] = field(default_factory=list)
    numbers: dict[tuple[str, str], int] = field(default_factory=dict)
    tables: int = 0
    title: str | None = None
    first_heading: str | None = None
    left: Left = field(default_factory=Left)
    _related: Callable[[str], Related | None] = lambda _: None
    _marked: set[Any] = field(default_factory=set)
    _drawn: dict[str, list[Block]] = field(default_factory=dict)
    """What drawings show, by the names of their parts."""
    _is_comment: bool = False
    """Whether a comment is being read."""

    def read(self, source: Source) -> list[Block]:
        """What a part holds, in document order."""
        self._related = source.related
        self.learn(source)
        return self.blocks(source.root)

    def learn(self, source: Source) -> None:
        """Make known which runs of a part are not read as they stand.

        It comes before :meth:`blocks` where a part is read piece by piece.
        """
        self._marked |= marked_runs(source.root, "vertAlign")
        if self.styles.has_marked:
            self._marked |= {
                node.getparent()
                for node in source.root.iter("{*}rStyle")
                if self.styles.run(val(node) or "").is_marked
            }

    def blocks(self, element: Any) -> list[Block]:
        """Return what stands below ``element``, in document order."""
        found: list[Block] = []
        open_line: _Line | None = None
        for node in element:
            name = local(node)
            if name == "p":
                line, open_line = open_line or _Line(), None
                properties = children(child(node, "pPr"))
                style = self._begin(line, properties)
                self._inline(node, line)
                if "rPr" in properties and _is_deleted(properties["rPr"]):
                    # The next paragraph goes on where this one has lost its end.
                    open_line = line
                else:
                    found += self._paragraph(line, properties, style)
                continue
            if open_line is not None and name is not None:
                found += self._paragraph(open_line, {}, _PLAIN)
                open_line = None
            found += self._block(node)
        if open_line is not None:
            found += self._paragraph(open_line, {}, _PLAIN)
        return found

    def _begin(self, line: _Line, properties: _Properties) -> Style:
        style = self.styles.paragraph(val(properties.get("pStyle")) or "")
        line.run = style.run
        line.signs = signs_of(style.run.font) if style.run.font else None
        line.is_marked = style.run.is_marked
        return style

    def comment(self, key: str) -> list[Block]:
        """The comment with the id ``key`` as a block, once.

        One inside another waits for those that the text does not refer to: a chain of
        them would be deeper than the stack.
        """
        element = None if self._is_comment else self.comments.pop(key, None)
        if element is None:
            return []
        self._is_comment = True
        text = markdown_writer.one_line(" ".join(block.text for block in self.blocks(element)))
        self._is_comment = False
        author = (attribute(element, "author") or "").strip()
        return [Block(f"[Comment{f' by {author}' if author else ''}: {text}]")] if text else []

    def _block(self, element: Any) -> list[Block]:
        name = local(element)
        if name is None or name in _SKIPPED:
            return []
        if name == "tbl":
            return self._table(element)
        if name == "AlternateContent":
            return self.blocks(preferred(element))
        if name == "altChunk":
            text = self.inserted(self._related(attribute(element, "id") or ""))
            return [Block(text)] if text else []
        if name in ("oMath", "oMathPara"):
            line = _Line()
            self._node(element, name, line, None)
            return self._paragraph(line, {}, _PLAIN)
        return self.blocks(element)

    def _paragraph(self, line: _Line, properties: _Properties, style: Style) -> list[Block]:
        text = "".join(line.parts).strip(" \n")
        label = self._label(properties, style, is_empty=not text.strip())
        if not text.strip():
            return line.floating
        return [self._marked_up(text, label, properties, style), *line.floating]

    def _label(self, properties: _Properties, style: Style, *, is_empty: bool) -> Label | None:
        numbering = properties.get("numPr")
        own = value(numbering, "numId")
        list_id = own or style.list_id
        if list_id is None or list_id == "0":
            return None
        if is_empty and is_on(child(properties.get("rPr"), "vanish")):
            # Nobody sees it, so nobody counts it.
            return None
        level = number(value(numbering, "ilvl"), 0, 8)
        if level is None:
            level = 0 if own is not None else style.list_level
        style_id = val(properties.get("pStyle"))
        return self.numbering.label(list_id, level, style_id, style.list_style)

    def _marked_up(
        self, text: str, label: Label | None, properties: _Properties, style: Style
    ) -> Block:
        outline = number(val(properties.get("outlineLvl")), 0, 9)
        level = style.level if outline is None or outline == 9 else outline + 1
        prefix = "" if label is None else label.text
        if style.is_title and self.title is None:
            self.title = text
        if level is not None or style.is_title:
            if self.first_heading is None:
                self.first_heading = text
            return Block(markdown_writer.heading(level or 1, prefix + text), "heading")
        if label is None:
            return Block(text)
        if label.is_bullet:
            return Block(f"- {text}", "item", label.level)
        is_item = prefix.strip()[:-1].isdigit() and prefix.strip()[-1:] in (".", ")")
        return Block(prefix + text, "item" if is_item else "text", label.level)

    def _inline(self, element: Any, line: _Line) -> None:
        """Gather the text below ``element`` into ``line``."""
        for node in element:
            name = local(node)
            if name == "r":
                self._run(node, line)
            elif name is not None and name not in _SKIPPED:
                self._node(node, name, line, line.signs)

    def _run(self, run: Any, line: _Line) -> None:
        state = _Run(line.run.is_hidden or False, line.signs)
        for node in run:
            name = local(node)
            if name == "rPr":
                if line.is_marked or node in self._marked:
                    state = self._run_properties(node, line)
            elif state.is_hidden:
                self._hidden(node, name, line)
            elif state.is_raised and name == "t":
                line.parts.append(_raised(node.text or ""))
            elif name is not None and name not in _SKIPPED:
                self._node(node, name, line, state.signs)

    def _run_properties(self, properties: Any, line: _Line) -> _Run:
        found = children(properties)
        style = self.styles.run(val(found.get("rStyle")) or "")
        hidden = is_on(found.get("vanish"))
        if hidden is None:
            hidden = line.run.is_hidden or False
            # A style inside a hidden paragraph turns it round, says the standard.
            hidden = hidden if style.is_hidden is None else hidden != style.is_hidden
        font = font_of(properties) or style.font
        return _Run(
            hidden,
            line.signs if font is None else signs_of(font),
            val(found.get("vertAlign")) == "superscript",
        )

    def _hidden(self, node: Any, name: str | None, line: _Line) -> None:
        if name == "t":
            self.left.hidden += len(node.text or "")
        elif name == "fldChar":
            self._field(node, line)
        elif name == "instrText" and line.fields:
            line.fields[-1].code.append(node.text or "")

    def _node(self, node: Any, name: str, line: _Line, signs: dict[int, str] | None) -> None:  # noqa: PLR0912
        if name == "t":
            text = node.text or ""
            line.parts.append(text if signs is None else text.translate(signs))
        elif name in _CHARACTERS:
            line.parts.append(_CHARACTERS[name])
        elif name == "sym":
            line.parts.append(self._sign(node))
        elif name == "fldChar":
            self._field(node, line)
        elif name == "instrText":
            if line.fields:
                line.fields[-1].code.append(node.text or "")
        elif name in ("footnoteReference", "endnoteReference"):
            line.parts.append(self._note_mark(name.removesuffix("Reference"), node))
        elif name == "commentReference":
            line.floating += self.comment(attribute(node, "id") or "")
        elif name == "AlternateContent":
            self._inline(preferred(node), line)
        elif name == "txbxContent":
            line.floating += self.blocks(node)
        elif name in ("tbl", "p"):
            line.floating += self.blocks((node,))
        elif name == "oMath":
            _append_apart(line.parts, equation(node))
        elif name == "oMathPara":
            self._equations(node, line)
        elif name == "sdt":
            self._control(node, line)
        elif name == "fldSimple" and counts_pages(attribute(node, "instr") or ""):
            pass
        elif name in _DRAWINGS:
            line.floating += self._drawing(node, name)
        elif name == "textpath":
            text = (attribute(node, "string") or "").strip()
            line.floating += [Block(text)] if text else []
        else:
            self._inline(node, line)

    def _sign(self, node: Any) -> str:
        try:
            code = int(attribute(node, "char") or "", 16)
        except ValueError:
            return ""
        shown = sign(attribute(node, "font") or "", code)
        self.left.signs += not shown
        return shown

    def _field(self, node: Any, line: _Line) -> None:
        kind = attribute(node, "fldCharType")
        if kind == "begin":
            line.fields.append(Field(len(line.parts), form_value(node)))
        elif line.fields:
            if kind == "separate":
                line.fields[-1].separate(line.parts)
            elif kind == "end":
                line.fields.pop().end(line.parts)

    def _control(self, node: Any, line: _Line) -> None:
        """A content control; what its text does not say, its properties do."""
        before = len(line.parts)
        self._inline(node, line)
        if not "".join(line.parts[before:]).strip():
            properties = child(node, "sdtPr")
            box, choice = child(properties, "checkbox"), child(properties, "dropDownList")
            if box is not None:
                line.parts.append("☒" if is_on(child(box, "checked")) else "☐")
            elif choice is not None:
                chosen = attribute(choice, "lastValue")
                entries = (each for each in choice if attribute(each, "value") == chosen)
                line.parts += [attribute(each, "displayText") or chosen or "" for each in entries]

    def _equations(self, node: Any, line: _Line) -> None:
        """Equations that stand on lines of their own."""
        for each in node:
            name = local(each)
            if name is None or name in _SKIPPED:
                continue
            if line.parts and not line.parts[-1].endswith("\n"):
                line.parts.append("\n")
            self._node(each, name, line, None)
        line.parts.append("\n")

    def _note_mark(self, kind: str, node: Any) -> str:
        note = (kind, attribute(node, "id") or "")
        if note not in self.numbers:
            self.notes.append(note)
            self.numbers[note] = len(self.notes)
        return f"[^{self.numbers[note]}]"

    def _drawing(self, node: Any, name: str) -> list[Block]:
        """What a chart or SmartArt shows, which lies in a part of its own."""
        found = self._related(attribute(node, _DRAWINGS[name]) or "")
        if found is None:
            self.left.charts += 1
            return []
        if found.name not in self._drawn:
            try:
                root = parse_xml(found.data)
            except Corrupt:
                self._drawn[found.name] = []
            else:
                self._drawn[found.name] = (_chart if name == "chart" else _diagram)(root)
        blocks = self._drawn[found.name]
        self.left.charts += not blocks
        self.tables += sum(block.kind == "table" for block in blocks)
        return blocks

    def _table(self, element: Any) -> list[Block]:
        merged: set[int] = set()
        rows = [self._row(row, merged) for row in rows_of(element, "tr")]
        cells = [cell for row in rows for cell in row if cell]
        width = max((len(row) for row in rows), default=0)
        is_layout = (
            width < 2
            or width * len(rows) > markdown_writer.MAX_CELLS
            or any(block.kind in ("heading", "table") for cell in cells for block in cell)
            or any(sum(len(block.text) for block in cell) > _MAX_CELL_CHARS for cell in cells)
        )
        if is_layout:
            return [block for cell in cells for block in cell]
        table = markdown_writer.table(
            [[" ".join(block.text for block in cell) for cell in row] for row in rows]
        )
        self.tables += bool(table)
        return [Block(table, "table")] if table else []

    def _row(self, row: Any, merged: set[int]) -> list[list[Block]]:
        """One entry a grid column; a merged cell's text stands in its first only.

        Args:
            row: the row's element.
            merged: the columns whose cell goes on from the row above; changed.
        """
        properties = child(row, "trPr")
        if child(properties, "del") is not None:
            return []
        is_hidden = is_on(child(properties, "hidden"))
        cells: list[list[Block]] = [[] for _ in range(_span(properties, "gridBefore", 0))]
        for cell in rows_of(row, "tc"):
            settings = child(cell, "tcPr")
            column = len(cells)
            merge = child(settings, "vMerge")
            goes_on = merge is not None and (attribute(merge, "val") or "continue") == "continue"
            is_repeated = (goes_on and column in merged) or value(settings, "hMerge") == "continue"
            (merged.discard if merge is None else merged.add)(column)
            if child(settings, "cellDel") is not None or is_repeated:
                cells.append([])
            else:
                cells.append(self.blocks(cell))
            cells += [[] for _ in range(_span(settings, "gridSpan", 1) - 1)]
        if is_hidden:
            self.left.hidden += sum(len(block.text) for found in cells for block in found)
            return []
        return cells


# The attribute that names the part where the text is.
_DRAWINGS: Final = {"chart": "id", "relIds": "dm"}


def _chart(root: Any) -> list[Block]:
    return [
        Block(text, "table" if text.startswith("|") else "text") for text in drawings.chart(root)
    ]


def _diagram(root: Any) -> list[Block]:
    return [Block(f"- {text}", "item", depth) for depth, text in drawings.diagram(root)]


def _append_apart(parts: list[str], text: str) -> None:
    """Add an equation, apart from the word or equation before it."""
    last = parts[-1][-1:] if parts else ""
    parts.append(f" {text}" if last.isalnum() or last in ("$", "}", ")") else text)


def _raised(text: str) -> str:
    """Raised numbers as such: 10 to the sixth is not 106."""
    return text.translate(_RAISED) if _RAISABLE.fullmatch(text) else text


_RAISABLE: Final = re.compile("[-+\u2212]?[0-9]{1,4}")
_RAISED: Final = str.maketrans("0123456789+-\u2212", "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁻")


def _is_deleted(mark: Any) -> bool:
    return any(local(node) in ("del", "moveFrom") for node in mark)


def _span(properties: Any, name: str, default: int) -> int:
    found = number(value(properties, name), 0, 10**9)
    return default if found is None else min(found, _MAX_SPAN)
