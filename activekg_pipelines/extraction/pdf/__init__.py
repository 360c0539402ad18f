"""PDF: text by PDFium, ruled tables as Markdown in their place."""

from __future__ import annotations

import re
from typing import Final

from activekg_pipelines.extraction.format import Format
from activekg_pipelines.extraction.pdf.extractor import MIME_TYPE, extract

_HEADER: Final = re.compile(rb"\s*%PDF-\d\.\d\s*[\r\n]")


def _has_magic(head: bytes, is_named: bool) -> bool:
    # A text may speak of "%PDF-"; in a file with the right name it ends the junk that
    # some gateways put before the header.
    return bool(_HEADER.match(head)) or (is_named and b"%PDF-" in head)


FORMAT: Final = Format(
    name="PDF",
    mime_type=MIME_TYPE,
    extensions=("pdf",),
    content_types=(MIME_TYPE,),
    is_binary=True,
    has_magic=_has_magic,
    extract=extract,
    preload=("pypdfium2", "pdfplumber"),
    version=1,
)
