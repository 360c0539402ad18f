"""Writes MathML on a line, so that a fraction and a power stay what they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

_TEXTS: Final = frozenset({"mi", "mn", "mo", "ms", "mtext"})
_LEFT_OUT: Final = frozenset({"annotation", "annotation-xml", "mphantom"})
_INVISIBLE: Final = dict.fromkeys(map(ord, "\u2061\u2062\u2063\u2064"))


def linear(element: Any) -> str:
    """The formula of a ``math`` element, such as ``(a+b)/2`` for a fraction."""
    return " ".join(_write(element).split()) or (element.get("alttext") or "")


def _write(element: Any) -> str:
    tag = element.tag
    if not isinstance(tag, str) or tag in _LEFT_OUT:
        return ""
    if tag in _TEXTS:
        text = "".join(element.itertext()).translate(_INVISIBLE)
        return f" {text.strip()} " if tag == "mtext" else text.strip()
    written = [_write(child) for child in element if isinstance(child.tag, str)]
    rule = _RULES.get(tag)
    least = 1 if tag == "msqrt" else 2
    if rule is not None and len(written) >= least:
        return rule(written)
    return "".join([element.text or "", *written])


def _fraction(parts: list[str]) -> str:
    return f"{_grouped(parts[0])}/{_grouped(parts[1])}"


def _both(parts: list[str]) -> str:
    above = f"^{_grouped(parts[2])}" if len(parts) > 2 else ""
    return f"{parts[0]}_{_grouped(parts[1])}{above}"


def _grouped(part: str) -> str:
    bare = part.strip()
    return bare if len(bare) < 2 or bare.isalnum() else f"({bare})"


_RULES: Final[dict[str, Callable[[list[str]], str]]] = {
    "mfrac": _fraction,
    "msqrt": lambda parts: f"√{_grouped(''.join(parts))}",
    "mroot": lambda parts: f"{_grouped(parts[0])}^(1/{parts[1]})",
    "msup": lambda parts: f"{parts[0]}^{_grouped(parts[1])}",
    "mover": lambda parts: f"{parts[0]}{parts[1]}",
    "msub": _both,
    "munder": _both,
    "msubsup": _both,
    "munderover": _both,
    "mtr": "; ".join,
    "mtable": lambda parts: f"[{' | '.join(parts)}]",
}
