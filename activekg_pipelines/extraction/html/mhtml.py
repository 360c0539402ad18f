"""Takes the page out of a web archive: MHTML, which browsers and Word save."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

from activekg_pipelines.extraction.html.encoding import codec_of

if TYPE_CHECKING:
    from email.message import Message

_FIRST_FIELD: Final = re.compile(rb"\s*[A-Za-z][A-Za-z0-9-]{0,60}:")
_KIND: Final = re.compile(rb"^content-type:\s*multipart/related\b", re.IGNORECASE | re.MULTILINE)
# Who gets it and how it came: no browser writes these.
_SENT: Final = re.compile(
    rb"^(?:to|received|return-path|delivered-to):", re.IGNORECASE | re.MULTILINE
)
_HEAD_BYTES: Final = 8_192
_MAX_PARTS: Final = 10_000
_PAGES: Final = ("text/html", "application/xhtml+xml")


class Archived(NamedTuple):
    """The page of an archive, in its own encoding unless the archive names it.

    ``others`` are the further pages: frames.
    """

    page: bytes
    encoding: str | None
    others: int


def is_archive(head: bytes) -> bool:
    """Whether a file that starts with ``head`` is a web archive."""
    return _KIND.search(_fields(head)) is not None


def is_letter(head: bytes) -> bool:
    """Whether a file that starts with ``head`` was sent by mail.

    What a letter says of itself stands in its fields, and not in a page that it holds.
    """
    return _SENT.search(_fields(head)) is not None


def _fields(head: bytes) -> bytes:
    if _FIRST_FIELD.match(head) is None:
        return b""
    return head[:_HEAD_BYTES].replace(b"\r\n", b"\n").partition(b"\n\n")[0]


def unpack(data: bytes) -> Archived | None:
    """The page of an archive; None where ``data`` is no archive or holds no page."""
    from email import message_from_bytes

    if not is_archive(data):
        return None
    archive = message_from_bytes(data)
    pages = []
    for number, part in enumerate(archive.walk()):
        if number >= _MAX_PARTS:
            break
        if part.get_content_type() in _PAGES:
            pages.append(part)
    if not pages:
        return None
    root = archive.get_param("start")
    page = next((each for each in pages if root and each.get("Content-ID") == root), pages[0])
    body = page.get_payload(decode=True)
    if not isinstance(body, bytes):
        return None
    return Archived(body, _charset(page), len(pages) - 1)


def _charset(part: Message) -> str | None:
    label = part.get_param("charset")
    return codec_of(label) if isinstance(label, str) else None
