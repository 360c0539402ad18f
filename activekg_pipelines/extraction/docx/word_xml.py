"""Reads elements of Open XML by their local names.

Transitional and strict Open XML differ in their namespaces only, so both read alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any


def local(element: Any) -> str | None:
    """Return the name of ``element`` without its namespace.

    None for comments and processing instructions.
    """
    tag = element.tag
    return _local(tag) if isinstance(tag, str) else None


@lru_cache(maxsize=2048)
def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


def child(element: Any, name: str) -> Any:
    """Return the first child called ``name``, or None; ``element`` may be None."""
    for node in () if element is None else element:
        if local(node) == name:
            return node
    return None


def children(element: Any) -> dict[str | None, Any]:
    """The first child of each name; none of None."""
    found: dict[str | None, Any] = {}
    for node in () if element is None else element:
        found.setdefault(local(node), node)
    return found


def attribute(element: Any, name: str) -> str | None:
    """Return the attribute with the local name ``name``, or None."""
    for key, text in element.items():
        if _local(key) == name:
            return text  # type: ignore[no-any-return]
    return None


def value(element: Any, name: str) -> str | None:
    """Return the ``val`` of the child called ``name``, or None.

    WordprocessingML stores a property so.
    """
    return val(child(element, name))


def val(node: Any) -> str | None:
    """Return the ``val`` of a property, or None; ``node`` may be None."""
    return None if node is None else attribute(node, "val")


def is_on(node: Any) -> bool | None:
    """Whether the property ``node`` says yes; None where it is not there."""
    if node is None:
        return None
    return (attribute(node, "val") or "1").lower() not in ("0", "false", "off")


def number(text: str | None, least: int, most: int) -> int | None:
    """The number that an attribute holds, or None where it holds none between the two."""
    if text is None or not (text.isascii() and text.isdigit()) or len(text) > len(str(most)):
        return None
    return int(text) if least <= int(text) <= most else None


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
