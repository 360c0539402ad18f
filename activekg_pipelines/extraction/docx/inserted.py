"""Reads documents that were inserted into a Word file as they are (altChunk)."""

from __future__ import annotations

import re
from io import BytesIO
from typing import Any, Final

from activekg_pipelines.errors import EmptyObject, ObjectError, TextTooLarge
from activekg_pipelines.extraction.decode import decode, looks_like_text
from activekg_pipelines.extraction.document import check_length
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.docx.package import Related
from activekg_pipelines.extraction.unsupported import ZIP
from activekg_pipelines.extraction.warnings import DocumentWarning

_HTML_ENDINGS: Final = (".html", ".htm", ".xhtml")
_HEAD_BYTES: Final = 8192
_DEPTH_ERROR: Final = "Excessive depth"
# A page saved with its pictures, as a mail.
_MAIL: Final = re.compile(rb"^(?:MIME-Version|Content-Type):", re.IGNORECASE | re.MULTILINE)
_FIRST_FIELD: Final = re.compile(rb"\s*[A-Za-z-]{1,60}:")


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
        self._characters = 0
        self._texts: dict[str, str] = {}
        self.unread: list[str] = []
        """Names of their parts."""
        self.warnings: list[DocumentWarning] = []
        """Those of the documents themselves."""

    def text(self, part: Related | None) -> str:
        """The text of an inserted document as Markdown.

        "" where there is none, and where it cannot be read.

        Raises:
            TextTooLarge: together they are longer than the limits allow.
        """
        if part is None:
            self.unread.append("an inserted document")
            return ""
        if part.name in self._texts:
            return self._counted(self._texts[part.name])
        try:
            text = self._read(part)
        except TextTooLarge:
            raise
        except EmptyObject:
            text = ""
        except ObjectError:
            text = None
        if text is None:
            self.unread.append(part.name)
        self._texts[part.name] = text or ""
        return self._counted(text or "")

    def _counted(self, text: str) -> str:
        self._characters += len(text)
        check_length(self._characters, self._limits)
        return text

    def _read(self, part: Related) -> str | None:
        data = part.data
        if data.startswith(ZIP):
            return self._word(data)
        is_page = part.name.lower().endswith(_HTML_ENDINGS)
        if _FIRST_FIELD.match(data) and _MAIL.search(data[:_HEAD_BYTES]):
            page = _page_of_mail(data)
            if page is None:
                return None
            data, is_page = page, True
        head = data[:_HEAD_BYTES]
        if head.startswith(b"{\\rtf") or not looks_like_text(head):
            return None
        text = decode(data).text
        return _page(text) if is_page or "<html" in text[:_HEAD_BYTES].lower() else text

    def _word(self, data: bytes) -> str | None:
        from activekg_pipelines.extraction.docx.extractor import read

        if self._depth >= self._MAX_DEPTH:
            return None
        document = read(BytesIO(data), self._limits, depth=self._depth + 1)
        told = document.facts["warnings"]
        self.warnings += map(DocumentWarning.from_json, told if isinstance(told, list) else ())
        return document.text


def _page_of_mail(data: bytes) -> bytes | None:
    """The HTML page in a mail."""
    import email

    for part in email.message_from_bytes(data).walk():
        page = part.get_payload(decode=True) if part.get_content_type() == "text/html" else None
        if isinstance(page, bytes):
            return page
    return None


def _page(markup: str) -> str:
    """All that an HTML page shows: it was chosen to be inserted, with its edges."""
    from lxml import etree, html

    from activekg_pipelines.extraction.html.flat import flat_text
    from activekg_pipelines.extraction.html.tree import read, text_of

    parser = html.HTMLParser(
        encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=False
    )
    try:
        root: Any = html.document_fromstring(
            markup.encode("utf-8", "ignore"), parser=parser, ensure_head_body=True
        )
    except etree.ParserError:
        return ""
    if any(_DEPTH_ERROR in entry.message for entry in parser.error_log):
        return flat_text(markup)
    return text_of(read(root.find("body")).blocks)
