"""Numbers and bullets of list items, as a browser shows them."""

from __future__ import annotations

import string
from dataclasses import dataclass
from typing import Any, Final

_ROMAN: Final = (
    (1000, "m"),
    (900, "cm"),
    (500, "d"),
    (400, "cd"),
    (100, "c"),
    (90, "xc"),
    (50, "l"),
    (40, "xl"),
    (10, "x"),
    (9, "ix"),
    (5, "v"),
    (4, "iv"),
    (1, "i"),
)
_MOST_ROMAN: Final = 3999
_MAX_DIGITS: Final = 9
# Lists that are nested more deeply are indented no further.
_MAX_LEVELS: Final = 10


@dataclass(slots=True)
class _List:
    is_ordered: bool
    kind: str
    next: int
    step: int
    width: int = 2
    """Of the mark of its last item, so of what stands under that."""


class Lists:
    """The lists that are open while a page is read."""

    def __init__(self) -> None:
        self._open: list[_List] = []

    def open(self, element: Any) -> None:
        """Begin the list ``element``."""
        is_ordered = element.tag == "ol"
        step = -1 if is_ordered and element.get("reversed") is not None else 1
        first = _number(element.get("start"))
        if first is None:
            first = len(element.findall("li")) if step < 0 else 1
        self._open.append(_List(is_ordered, element.get("type") or "1", first, step))

    def close(self) -> None:
        """End the list that was opened last."""
        self._open.pop()

    def mark(self, item: Any) -> str:
        """What stands before ``item``, an indent and a space included."""
        if not self._open:
            return "- "
        own = self._open[-1]
        indent = " " * sum(each.width for each in self._open[:-1][:_MAX_LEVELS])
        if item.tag == "dd" or not own.is_ordered:
            own.width = 2
            return f"{indent}- "
        given = _number(item.get("value"))
        number = own.next if given is None else given
        own.next = number + own.step
        mark = f"{_written(number, item.get('type') or own.kind)}. "
        own.width = len(mark)
        return indent + mark


def _number(value: str | None) -> int | None:
    digits = (value or "").strip()
    bare = digits.removeprefix("-")
    is_number = bare.isascii() and bare.isdigit() and len(bare) <= _MAX_DIGITS
    return int(digits) if is_number else None


def _written(number: int, kind: str) -> str:
    if kind in ("a", "A") and number > 0:
        letters = ""
        while number > 0:
            number, rest = divmod(number - 1, 26)
            letters = string.ascii_lowercase[rest] + letters
        return letters.upper() if kind == "A" else letters
    if kind in ("i", "I") and 0 < number <= _MOST_ROMAN:
        roman = ""
        for value, sign in _ROMAN:
            count, number = divmod(number, value)
            roman += sign * count
        return roman.upper() if kind == "I" else roman
    return str(number)
