"""Makes of an error's body what botocore's parser can take, and no secret is in.

The parser wants one ``Error`` with texts in it. Of a page for people, of an error with a
namespace and of nested ones it makes codes that are none, or other exceptions.
"""

from __future__ import annotations

from collections.abc import Collection
from contextlib import suppress
from html import escape
from io import BytesIO
from typing import Final
from urllib.parse import quote
from xml.etree.ElementTree import Element, ParseError, iterparse

_HIDDEN: Final = "***"
# What is shorter is in every sentence.
_LEAST_HIDDEN: Final = 4


def flat(body: bytes, *, hidden: Collection[str] = ()) -> bytes:
    """One ``Error`` with the texts of the given one; b"" where it is none.

    botocore then takes the status for the code.

    Args:
        body: its beginning.
        hidden: what the texts must not repeat.
    """
    root: Element | None = None
    # Broken where it was cut, or no XML, or of an unknown encoding: what came before counts.
    with suppress(ParseError, ValueError, LookupError):
        # It is small, and expat itself bounds what entities grow to.
        for _, element in iterparse(BytesIO(body), ["start"]):  # noqa: S314
            root = element if root is None else root
    if root is None:
        return b""
    error = root
    if _name(root) == "ErrorResponse":
        error = next((child for child in root if _name(child) == "Error"), root)
    texts = {_name(child): (child.text or "").strip() for child in reversed(error)}
    if _name(error) != "Error" or not texts.get("Code"):
        return b""
    written = "".join(
        f"<{name}>{escape(_without(text, hidden))}</{name}>"
        for name, text in texts.items()
        if name.isascii() and name.isalnum() and name[0].isalpha()
    )
    return f"<Error>{written}</Error>".encode()


def _name(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _without(text: str, hidden: Collection[str]) -> str:
    for one in sorted(hidden, key=len, reverse=True):
        if len(one) >= _LEAST_HIDDEN:
            for form in (one, quote(one, safe="")):
                text = text.replace(form, _HIDDEN)
    return text
