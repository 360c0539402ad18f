"""Word (.docx and its relatives): all text once, in document order, as Markdown."""

from __future__ import annotations

from typing import Final

from activekg_pipelines.errors import Encrypted
from activekg_pipelines.extraction.docx.extractor import MIME_TYPE, extract
from activekg_pipelines.extraction.format import Format
from activekg_pipelines.extraction.unsupported import OLE, ZIP, kind_inside_zip


def _has_magic(head: bytes, is_named: bool) -> bool:
    # Word's password protection makes an OLE container of a file.
    if is_named and head.startswith(OLE):
        raise Encrypted("The Word document is protected by a password.")
    if not head.startswith(ZIP):
        return False
    # The first members may be parts of the package that any Office file has.
    return b"word/" in head or (is_named and kind_inside_zip(head) is None)


FORMAT: Final = Format(
    name="Word (.docx)",
    mime_type=MIME_TYPE,
    extensions=("docx", "docm", "dotx", "dotm"),
    is_binary=True,
    has_magic=_has_magic,
    extract=extract,
    preload=("docx",),
    version=1,
)
