"""Says which elements of a page nobody sees."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Final

# A style sheet inside a page; longer ones are whole frameworks.
_MAX_SHEET_CHARS: Final = 500_000
# Possessive, and a comment without an end goes on to the sheet's: else a sheet of
# nothing but starts costs the square of its length, as white space would below.
_COMMENT: Final = re.compile(r"/\*(?:[^*]|\*(?!/))*+(?:\*/|\Z)")
_BRACE: Final = re.compile(r"[{}]")
_SIMPLE: Final = re.compile(r"\s*([a-z][a-z0-9]*)?([.#])([\w-]+)\s*", re.IGNORECASE)
_NAME: Final = re.compile(r"[.#]([\w-]+)")
_GONE: Final = re.compile(
    r"(?<![\w-])(?:display\s*:\s*none|visibility\s*:\s*hidden)(?![\w-])", re.IGNORECASE
)
_TINY: Final = re.compile(
    r"(?<![\w-])font-size\s*+:\s*+0++(?:\.0++)?+\s*+(?:(?:px|pt|em|rem|%)\s*+)?+(?:!|;|$)",
    re.IGNORECASE,
)
_SHOWN: Final = re.compile(
    r"(?<![\w-])(?:display\s*:(?!\s*none)|visibility\s*:\s*visible)", re.IGNORECASE
)
_WHITE: Final = re.compile(
    r"(?<![\w-])color\s*:\s*(?:#fff(?:fff)?\b|white\b|rgb\(\s*255\s*,\s*255\s*,\s*255\s*\))",
    re.IGNORECASE,
)
# Tabs and what opens on a click: a reader sees them, only not all at once.
_OPENED_LATER: Final = re.compile(
    r"tab|accordion|collaps|panel|pane\b|faq|answer|toggle|expand|more|slide|carousel|step"
    r"|spoiler|reveal|full|content|descr|detail|article|body|main|page|root|app\b",
    re.IGNORECASE,
)
# React sends parts of a page in hidden elements and moves them to their place.
_SENT_LATER: Final = re.compile(r"[BPS]:[0-9a-f]+")


class Hidden:
    """The elements of one page that its own attributes and style sheets hide."""

    def __init__(self, root: Any) -> None:
        sheets = _COMMENT.sub("", "\n".join(root.xpath("//style/text()"))[:_MAX_SHEET_CHARS])
        self._by_sheet = _hidden_names(sheets)
        self._is_plain = (
            "background" not in sheets
            and not root.xpath("boolean(//link[contains(@rel, 'stylesheet')])")
            and not root.xpath("boolean(//*[@bgcolor or @background])")
        )
        self._opened = {
            name
            for value in root.xpath("//@aria-controls | //a/@href[starts-with(., '#')]")
            for name in value.removeprefix("#").split()
        }

    def __call__(self, element: Any) -> bool:
        """Whether nobody sees ``element``, and nothing on the page opens it."""
        if not self._is_out_of_sight(element):
            return False
        return not self._is_opened_later(element) and not _is_formula(element)

    def _is_out_of_sight(self, element: Any) -> bool:
        style = element.get("style")
        if style is not None and (_GONE.search(style) or self._is_invisible(element, style)):
            return True
        if element.get("hidden") not in (None, "until-found", "false"):
            return True
        if element.tag == "dialog" and element.get("open") is None:
            return True
        return bool(self._by_sheet) and self._is_hidden_by_sheet(element)

    def _is_invisible(self, element: Any, style: str) -> bool:
        if _TINY.search(style):
            # Elements inside may well set a size of their own.
            return not element.xpath("boolean(.//*[@style or @class])")
        if not self._is_plain or not _WHITE.search(style):
            return False
        above = [element, *element.iterancestors()]
        return not any("background" in (each.get("style") or "") for each in above)

    def _is_hidden_by_sheet(self, element: Any) -> bool:
        names = [f".{name}" for name in (element.get("class") or "").split()]
        names.append(f"#{element.get('id')}")
        return any(self._by_sheet.get(name) in ("", element.tag) for name in names)

    def _is_opened_later(self, element: Any) -> bool:
        name = element.get("id") or ""
        if name in self._opened or _SENT_LATER.fullmatch(name):
            return True
        if element.get("role") == "tabpanel" or element.get("aria-labelledby") is not None:
            return True
        if _ends_in_opener(element.getprevious()):
            return True
        return bool(_OPENED_LATER.search(f"{name} {element.get('class') or ''}"))


def _ends_in_opener(before: Any) -> bool:
    """Whether ``before`` is nothing but a button that opens what follows it."""
    while before is not None:
        if before.get("aria-expanded") is not None:
            return True
        before = before[0] if len(before) == 1 else None
    return False


def _is_formula(element: Any) -> bool:
    """Whether it is the formula that readers hear where others see a picture of it."""
    math = next(element.iter("math"), None)
    return math is not None and len(element.xpath("string()")) <= len(math.xpath("string()")) + 2


def _hidden_names(sheets: str) -> dict[str, str]:
    """Classes and ids that are always hidden, with the tag they must have or ""."""
    hidden: dict[str, str] = {}
    shown: set[str] = set()
    for selectors, body, is_conditional in _rules(sheets):
        if _SHOWN.search(body):
            shown |= set(_NAME.findall(selectors))
        elif not is_conditional and (_GONE.search(body) or _TINY.search(body)):
            for selector in selectors.split(","):
                if simple := _SIMPLE.fullmatch(selector):
                    tag, kind, name = simple.groups()
                    hidden[kind + name] = (tag or "").lower()
    return {name: tag for name, tag in hidden.items() if name[1:] not in shown}


def _rules(sheets: str) -> Iterator[tuple[str, str, bool]]:
    """The selectors and declarations of each rule, and whether a condition holds it."""
    opened: list[str] = []
    start = 0
    for brace in _BRACE.finditer(sheets):
        if brace.group() == "{":
            opened.append(sheets[start : brace.start()])
        elif opened:
            selectors = opened.pop()
            if not selectors.lstrip().startswith("@"):
                yield selectors, sheets[start : brace.start()], bool(opened)
        start = brace.end()
