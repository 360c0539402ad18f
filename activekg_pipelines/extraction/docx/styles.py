"""Reads what the styles of a Word file say that matters to text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from activekg_pipelines.extraction.docx.symbols import signs_of
from activekg_pipelines.extraction.docx.word_xml import (
    attribute,
    child,
    is_on,
    local,
    number,
    value,
)

_HEADING_NAME: Final = re.compile(r"heading\s*([1-9])$", re.IGNORECASE)
_PARAGRAPH: Final = "paragraph"
# Styles may be based on each other in a circle, or thousands one on the other.
_MAX_ANCESTRY: Final = 30


@dataclass(frozen=True, slots=True)
class RunStyle:
    """What properties of runs say, in a style or beside the text itself."""

    is_hidden: bool | None = None
    font: str | None = None

    @property
    def is_marked(self) -> bool:
        """Whether they hide text, show what others hide, or have a font of signs."""
        return self.is_hidden is not None or signs_of(self.font or "") is not None


@dataclass(frozen=True, slots=True)
class Style:
    """What a paragraph style says."""

    level: int | None = None
    """Of a heading, from 1."""
    is_title: bool = False
    list_id: str | None = None
    """Of the list that its paragraphs are numbered in; "0" for none."""
    list_level: int | None = None
    """From 0; None where the list itself tells."""
    list_style: str | None = None
    """The style, it or one it is based on, that names the list."""
    run: RunStyle = RunStyle()


class Styles:
    """The styles of a document; each is read when it is first asked for.

    Args:
        root: of the styles part; None without one.
    """

    def __init__(self, root: Any) -> None:
        self._elements: dict[str, dict[str, Any]] = {}
        self._paragraphs: dict[str, Style] = {"": Style()}
        self._runs: dict[str, RunStyle] = {}
        self.has_marked: Final = root is not None and bool(marked_runs(root))
        """Whether a style hides its text, or has a font of signs."""
        for element in () if root is None else root:
            if local(element) == "style":
                kind = attribute(element, "type") or _PARAGRAPH
                self._elements.setdefault(kind, {})[attribute(element, "styleId") or ""] = element

    def paragraph(self, style_id: str) -> Style:
        """The paragraph style called ``style_id``, with what it inherits."""
        if style_id not in self._paragraphs:
            ancestry = list(self._ancestry(_PARAGRAPH, style_id))
            self._paragraphs[style_id] = _style(ancestry) if ancestry else Style()
        return self._paragraphs[style_id]

    def run(self, style_id: str) -> RunStyle:
        """The character style called ``style_id``, with what it inherits."""
        if style_id not in self._runs:
            self._runs[style_id] = _run_style(list(self._ancestry("character", style_id)))
        return self._runs[style_id]

    def list_id(self, style_id: str) -> str | None:
        """The list that the numbering style called ``style_id`` names."""
        element = self._elements.get("numbering", {}).get(style_id)
        return value(child(child(element, "pPr"), "numPr"), "numId")

    def _ancestry(self, kind: str, style_id: str) -> Iterator[Any]:
        elements = self._elements.get(kind, {})
        current: str | None = style_id
        for _ in range(_MAX_ANCESTRY):
            if current not in elements:
                return
            yield elements[current]
            current = value(elements[current], "basedOn")


def marked_runs(root: Any, *others: str) -> set[Any]:
    """The run properties below ``root`` that hide text or have a font of signs.

    Few do, and looking at all of them would take a third of a document's time.

    Args:
        root: of a part.
        others: local names of properties that are looked for, too.
    """
    names = [f"{{*}}{name}" for name in ("vanish", "rFonts", *others)]
    return {
        node.getparent()
        for node in root.iter(*names)
        if local(node) != "rFonts" or any(map(signs_of, node.values()))
    }


def font_of(properties: Any) -> str | None:
    """The font of Latin letters that run properties name."""
    fonts = child(properties, "rFonts")
    return None if fonts is None else _latin(fonts)


def _latin(fonts: Any) -> str | None:
    return attribute(fonts, "ascii") or attribute(fonts, "hAnsi")


def _style(ancestry: list[Any]) -> Style:
    level: int | None = None
    for element in ancestry:
        outline = number(value(child(element, "pPr"), "outlineLvl"), 0, 9)
        named = _HEADING_NAME.match(value(element, "name") or "")
        if outline is not None:
            level = outline + 1 if outline < 9 else None
            break
        if named:
            level = int(named.group(1))
            break
    lists = [(element, child(child(element, "pPr"), "numPr")) for element in ancestry]
    naming = next((each for each in lists if value(each[1], "numId") is not None), None)
    levels = (number(value(numbering, "ilvl"), 0, 8) for _, numbering in lists)
    return Style(
        level=level,
        is_title=(value(ancestry[0], "name") or "").lower() == "title",
        list_id=None if naming is None else value(naming[1], "numId"),
        list_level=next((each for each in levels if each is not None), None),
        list_style=None if naming is None else attribute(naming[0], "styleId"),
        run=_run_style(ancestry),
    )


def _run_style(ancestry: list[Any]) -> RunStyle:
    found = [child(element, "rPr") for element in ancestry]
    hidden = (is_on(child(properties, "vanish")) for properties in found)
    return RunStyle(
        next((each for each in hidden if each is not None), None),
        next((font for font in map(font_of, found) if font), None),
    )
