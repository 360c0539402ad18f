"""Reads documents that were inserted into a Word file as they are (altChunk)."""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final

from activekg_pipelines.errors import ObjectError, TextTooLarge
from activekg_pipelines.extraction.decode import decode, looks_like_text
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.docx.package import Related
from activekg_pipelines.extraction.unsupported import ZIP

_HTML_ENDINGS: Final = (".html", ".htm", ".xhtml")
_HEAD_BYTES: Final = 8192


class Inserted:
    """Reads inserted documents, and knows which it could not read.

    Args:
        limits: of the whole document.
        depth: how many documents are around these.
    """

    _MAX_DEPTH: Final = 4

    def __init__(self, limits: Limits, depth: int) -> None:
        self._limits = limits
        self._depth = depth
        self._left = limits.max_xml_bytes
        self.unread: list[str] = []
        """Names of their parts."""

    def text(self, part: Related | None) -> str:
        """The text of an inserted document as Markdown.

        "" where there is none, and where it cannot be read.

        Raises:
            TextTooLarge: together they are longer than the limits allow.
        """
        if part is None:
            self.unread.append("an inserted document")
            return ""
        self._left -= len(part.data)
        if self._left < 0:
            raise TextTooLarge(
                "The documents inserted into the Word document have more than "
                f"{self._limits.max_xml_bytes:,} bytes."
            )
        try:
            text = self._read(part)
        except TextTooLarge:
            raise
        except ObjectError:
            text = None
        if text is None:
            self.unread.append(part.name)
        return text or ""

    def _read(self, part: Related) -> str | None:
        head = part.data[:_HEAD_BYTES]
        if head.startswith(ZIP):
            return self._word(part.data)
        if head.startswith(b"{\\rtf") or not looks_like_text(head):
            return None
        text = decode(part.data).text
        is_html = part.name.lower().endswith(_HTML_ENDINGS) or "<html" in text[:_HEAD_BYTES].lower()
        if head.startswith(b"MIME-Version:"):
            return None
        return _page(text) if is_html else text

    def _word(self, data: bytes) -> str | None:
        from activekg_pipelines.extraction.docx.extractor import read

        if self._depth >= self._MAX_DEPTH:
            return None
        return read(BytesIO(data), self._limits, depth=self._depth + 1).text


def _page(markup: str) -> str:
    """All that an HTML page shows: it was chosen to be inserted, with its edges."""
    from lxml import etree, html

    from activekg_pipelines.extraction.html.flat import flat_text
    from activekg_pipelines.extraction.html.tree import render

    parser = html.HTMLParser(
        encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=False
    )
    try:
        root: Any = html.document_fromstring(
            markup.encode("utf-8", "ignore"), parser=parser, ensure_head_body=True
        )
    except etree.ParserError:
        return ""
    rendered = render(root.find("body"), skip_noise=False).text
    # libxml2 leaves out what nests too deeply.
    return flat_text(markup) if any(parser.error_log) and not rendered else rendered
