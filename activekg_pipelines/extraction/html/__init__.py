"""HTML: all of a page that is not navigation."""

from __future__ import annotations

import codecs
import re
from typing import Final

from activekg_pipelines.extraction.format import Format
from activekg_pipelines.extraction.html.extractor import MIME_TYPE, extract
from activekg_pipelines.extraction.html.mhtml import is_archive, is_letter

# Possessive throughout: where a comment could end at any later "-->", thirty of them
# take minutes to be refused.
_START: Final = re.compile(
    rb"\s*+(?:<\?xml[^>]{0,200}+>\s*+)?+(?:<!--(?:(?!-->).){0,2000}+-->\s*+)*+"
    rb"<(?:!doctype\s++html|html|head|body)[\s>]",
    re.IGNORECASE | re.DOTALL,
)


def _has_magic(head: bytes, is_named: bool) -> bool:
    if _START.match(head.removeprefix(codecs.BOM_UTF8)):
        return True
    return is_archive(head) and (is_named or not is_letter(head))


FORMAT: Final = Format(
    name="HTML",
    mime_type=MIME_TYPE,
    extensions=("html", "htm", "xhtml", "shtml", "mht", "mhtml"),
    content_types=(MIME_TYPE, "application/xhtml+xml", "multipart/related"),
    has_magic=_has_magic,
    extract=extract,
    preload=(
        "activekg_pipelines.extraction.html.content",
        "activekg_pipelines.extraction.legacy_tables",
        "bs4.dammit",
        "email.parser",
        "lxml.html",
        "webencodings",
    ),
    version=1,
)
