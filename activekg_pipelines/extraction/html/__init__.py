"""HTML: a page's main content where it has one, else all that is not navigation."""

from __future__ import annotations

import codecs
import re
from typing import Final

from activekg_pipelines.extraction.format import Format
from activekg_pipelines.extraction.html.extractor import MIME_TYPE, extract

# Possessive throughout: where a comment could end at any later "-->", thirty of them
# take minutes to be refused.
_START: Final = re.compile(
    rb"\s*+(?:<\?xml[^>]{0,200}+>\s*+)?+(?:<!--(?:(?!-->).){0,2000}+-->\s*+)*+"
    rb"<(?:!doctype\s++html|html|head|body)[\s>]",
    re.IGNORECASE | re.DOTALL,
)


def _has_magic(head: bytes, is_named: bool) -> bool:
    del is_named
    return bool(_START.match(head.removeprefix(codecs.BOM_UTF8)))


FORMAT: Final = Format(
    name="HTML",
    mime_type=MIME_TYPE,
    extensions=("html", "htm", "xhtml", "shtml"),
    content_types=(MIME_TYPE, "application/xhtml+xml"),
    has_magic=_has_magic,
    extract=extract,
    preload=("charset_normalizer", "lxml.html", "numpy", "webencodings"),
    version=0,
)
