"""Settles what an object is: first bytes and extension first, the declared content type
last.

Uploads through boto3 are ``binary/octet-stream`` whatever they hold, so a declared type
only breaks ties.
"""

from __future__ import annotations

import codecs
import re
from enum import StrEnum
from typing import Final

from activekg_pipelines.errors import Encrypted, UnsupportedType
from activekg_pipelines.extraction.decode import utf16_without_mark
from activekg_pipelines.extraction.kinds import SIGNATURES, UNSUPPORTED_EXTENSIONS

HEAD_BYTES: Final = 8192
"""How much of an object's start :func:`detect` wants to see."""


class Format(StrEnum):
    """The document formats that can be read; the value is the canonical MIME type."""

    PDF = "application/pdf"
    DOCX = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
    HTML = "text/html"
    MARKDOWN = "text/markdown"
    TEXT = "text/plain"


_EXTENSIONS: Final = {
    "pdf": Format.PDF,
    "docx": Format.DOCX,
    "docm": Format.DOCX,
    "dotx": Format.DOCX,
    "dotm": Format.DOCX,
    "html": Format.HTML,
    "htm": Format.HTML,
    "xhtml": Format.HTML,
    "shtml": Format.HTML,
    "md": Format.MARKDOWN,
    "markdown": Format.MARKDOWN,
    "txt": Format.TEXT,
    "text": Format.TEXT,
    "rst": Format.TEXT,
    "log": Format.TEXT,
    "csv": Format.TEXT,
}
_CONTENT_TYPES: Final = {
    "application/pdf": Format.PDF,
    "text/html": Format.HTML,
    "application/xhtml+xml": Format.HTML,
    "text/markdown": Format.MARKDOWN,
    "text/x-markdown": Format.MARKDOWN,
}
# ".2024" or ".2 draft" end a title, not a file name.
_EXTENSION: Final = re.compile(r"\.([a-z][a-z0-9]{0,9})$")
_PDF_HEADER: Final = re.compile(rb"\s*%PDF-\d\.\d\s*[\r\n]")
# Possessive throughout: where a comment could end at any later "-->", thirty of them
# take minutes to be refused.
_HTML_START: Final = re.compile(
    rb"\s*+(?:<\?xml[^>]{0,200}+>\s*+)?+(?:<!--(?:(?!-->).){0,2000}+-->\s*+)*+<(?:!doctype\s++html|html|head|body)[\s>]",
    re.IGNORECASE | re.DOTALL,
)
_OLE: Final = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_ZIP: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_ZIP_MEMBERS: Final = (
    (b"xl/workbook", "An Excel workbook (.xlsx)"),
    (b"ppt/presentation", "A PowerPoint presentation (.pptx)"),
    (b"mimetypeapplication/vnd.oasis.opendocument", "An OpenDocument file"),
    (b"mimetypeapplication/epub+zip", "An EPUB book"),
    (b"META-INF/MANIFEST.MF", "A Java archive"),
    (b"AndroidManifest.xml", "An Android application"),
    (b"visio/document", "A Visio drawing (.vsdx)"),
)
_CONTROL: Final = bytes(set(range(32)) - {9, 10, 12, 13, 27}) + b"\x7f"


def unsupported_by_name(key: str) -> str | None:
    """Return why the object under ``key`` cannot be read when its extension alone
    settles that, else None.

    An object with a reason need not be downloaded.
    """
    kind = UNSUPPORTED_EXTENSIONS.get(_extension(key))
    return None if kind is None else _reason(kind)


def detect(key: str, head: bytes, content_type: str | None) -> Format:
    """Return the format of the object named ``key`` whose first bytes
    (:data:`HEAD_BYTES` or all) are ``head``.

    Raises:
        UnsupportedType: it is something else; the message names what.
        Encrypted: it is a Word document inside an encrypted container.
    """
    extension = _extension(key)
    if extension in UNSUPPORTED_EXTENSIONS:
        raise UnsupportedType(_reason(UNSUPPORTED_EXTENSIONS[extension]))
    named = _EXTENSIONS.get(extension)
    declared = (content_type or "").partition(";")[0].strip().lower()
    return _by_signature(head, named) or _by_name(extension, named, declared, head)


def _by_signature(head: bytes, named: Format | None) -> Format | None:
    if _PDF_HEADER.match(head) or (named is Format.PDF and b"%PDF-" in head):
        return Format.PDF
    if head.startswith(_OLE):
        if named is Format.DOCX:
            raise Encrypted("The Word document is protected by a password.")
        raise UnsupportedType(_reason("A legacy Office document (.doc, .xls, .ppt)"))
    if head.startswith(_ZIP):
        return _inside_zip(head, named)
    for signature in SIGNATURES:
        if signature.matches(head) and not (signature.is_weak and is_text(head)):
            raise UnsupportedType(_reason(signature.kind))
    if named is not Format.MARKDOWN and _HTML_START.match(head.removeprefix(codecs.BOM_UTF8)):
        return Format.HTML
    return None


def _inside_zip(head: bytes, named: Format | None) -> Format:
    if b"word/" in head:
        return Format.DOCX
    for member, kind in _ZIP_MEMBERS:
        if member in head:
            raise UnsupportedType(_reason(kind))
    if named is Format.DOCX:
        return Format.DOCX
    raise UnsupportedType(_reason("A ZIP archive"))


def _by_name(extension: str, named: Format | None, declared: str, head: bytes) -> Format:
    if named in (Format.PDF, Format.DOCX):
        return named
    if not extension and declared == Format.PDF:
        return Format.PDF
    if not is_text(head):
        raise UnsupportedType(_reason("A binary file of unknown type"))
    if named is not None:
        return named
    if not extension or declared.startswith("text/") or declared in _CONTENT_TYPES:
        return _CONTENT_TYPES.get(declared, Format.TEXT)
    raise UnsupportedType(
        f"A .{extension} file is not a PDF, Word (.docx), HTML, Markdown or text document."
    )


def is_text(head: bytes) -> bool:
    """Return whether ``head`` looks like the start of a text, in whatever encoding."""
    if head.startswith(
        (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)
    ):
        return True
    if utf16_without_mark(head) is not None:
        return True
    controls = len(head) - len(head.translate(None, _CONTROL))
    return controls <= 0.02 * len(head)


def _extension(key: str) -> str:
    match = _EXTENSION.search(key.rstrip("/").rpartition("/")[2].lower())
    return match.group(1) if match else ""


def _reason(kind: str) -> str:
    return f"{kind} holds no text this system reads."
