"""Reads fields: what Word computed stands in the text, how it did does not."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any, Final

from activekg_pipelines.extraction.docx.word_xml import (
    attribute,
    child,
    is_on,
    local,
    number,
    value,
)

_CHECKED: Final = "☒"
_UNCHECKED: Final = "☐"
# What such a field shows is the end of its code.
_BUTTONS: Final = frozenset({"MACROBUTTON", "GOTOBUTTON"})
# What they say holds for a sheet of paper, and is as old as the last time it was drawn.
_PAGES: Final = re.compile(r"\s*(?:PAGE|NUMPAGES|SECTIONPAGES)\b", re.IGNORECASE)


@dataclass(slots=True)
class Field:
    """A field of a paragraph, from its begin on."""

    start: int
    """Where the paragraph's parts were when it began, and later where its result is."""
    form: str | None = None
    """What a field of a form holds."""
    has_result: bool = False
    code: list[str] = field(default_factory=list)

    def separate(self, parts: list[str]) -> None:
        """Its code ends here; fields in it wrote no text."""
        if not self.has_result:
            del parts[self.start :]
            self.has_result = True

    def end(self, parts: list[str]) -> None:
        """It ends here: leave of ``parts`` what it shows."""
        code = "".join(self.code)
        if not self.has_result or counts_pages(code):
            del parts[self.start :]
        is_box = self.form in (_CHECKED, _UNCHECKED)
        if self.form is not None and (is_box or not "".join(parts[self.start :]).strip()):
            del parts[self.start :]
            parts.append(self.form)
        elif not self.has_result:
            parts.append(_shown(code))


def counts_pages(code: str) -> bool:
    """Whether a field of this code shows the number of a page, or how many there are."""
    return _PAGES.match(code) is not None


def _shown(code: str) -> str:
    """What a field shows that stores no result."""
    words = code.split(maxsplit=2)
    if len(words) > 2 and words[0].upper() in _BUTTONS:
        return words[2].rstrip()
    return _formula(code) if words and words[0].upper() == "EQ" else ""


def _formula(code: str) -> str:
    """A formula as Word wrote them before it had equations."""
    text = code.strip()[2:_MAX_FORMULA].strip()
    for _ in range(_MAX_NESTED):
        nested = text
        text = _OVER.sub(r"\1/\2", text)
        text = _ROOT.sub(r"√(\1)", text)
        text = _SCRIPT.sub(lambda found: ("^" if found[1] == "up" else "_") + found[2], text)
        text = _OTHER.sub(lambda found: found[1].replace(",", " "), text)
        if text == nested:
            break
    return text


_MAX_FORMULA: Final = 2_000
_MAX_NESTED: Final = 20
_OVER: Final = re.compile(r"\\f\(([^(),;\\]*)[,;]([^(),;\\]*)\)", re.IGNORECASE)
_ROOT: Final = re.compile(r"\\r\((?:[^(),;\\]*[,;])?([^(),;\\]*)\)", re.IGNORECASE)
_SCRIPT: Final = re.compile(r"\\s\\(up|do)\d*\(([^()\\]*)\)", re.IGNORECASE)
_OTHER: Final = re.compile(r"(?:\\[a-z]{1,2}\d*\s*)+\(([^()\\]*)\)", re.IGNORECASE)


def form_value(begin: Any) -> str | None:
    """What the form field that begins at ``begin`` holds; None for text and other fields."""
    data = child(begin, "ffData")
    for kind in () if data is None else data:
        name = local(kind)
        if name == "checkBox":
            checked = is_on(child(kind, "checked"))
            is_checked = is_on(child(kind, "default")) if checked is None else checked
            return _CHECKED if is_checked else _UNCHECKED
        if name == "ddList":
            entries = [each for each in kind if local(each) == "listEntry"]
            chosen = value(kind, "result") or value(kind, "default")
            index = number(chosen or "0", 0, len(entries))
            if index is not None and index < len(entries):
                return attribute(entries[index], "val") or ""
    return None
