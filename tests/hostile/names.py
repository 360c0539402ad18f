"""Files that are not what their names say."""

from __future__ import annotations

import io
import zipfile

from tests.hostile.file import HostileFile
from tests.hostile.pdf_file import one_page
from tests.hostile.word_file import word
from tests.unit.extraction.documents import PNG_HEADER

_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"


def files() -> list[HostileFile]:
    return [
        HostileFile("names/pdf.docx", one_page(b"A PDF called docx"), holds="A PDF called docx"),
        HostileFile(
            "names/page.pdf", b"<!doctype html><p>A page called pdf", holds="A page called pdf"
        ),
        HostileFile(
            "names/word.pdf",
            word("<w:p><w:r><w:t>Word called pdf</w:t></w:r></w:p>"),
            holds="Word called pdf",
        ),
        HostileFile(
            "names/word.txt",
            word("<w:p><w:r><w:t>Word called txt</w:t></w:r></w:p>"),
            holds="Word called txt",
        ),
        HostileFile("names/archive.md", _archive(), "unsupported_type"),
        HostileFile("names/archive.docx", _archive(), "corrupt"),
        HostileFile("names/picture.txt", PNG_HEADER + bytes(100), "unsupported_type"),
        HostileFile("names/picture.pdf", PNG_HEADER + bytes(100), "unsupported_type"),
        HostileFile("names/program.html", b"\x7fELF" + bytes(range(256)) * 10, "unsupported_type"),
        HostileFile(
            "names/noise.txt",
            bytes((i * 7919 + i * i) % 256 for i in range(5000)),
            "unsupported_type",
        ),
        HostileFile("names/text.pdf", b"Only a text, no PDF.\n" * 50, "corrupt"),
        HostileFile("names/text.docx", b"Only a text, no Word file.\n" * 50, "corrupt"),
        HostileFile("names/encrypted.docx", _OLE + bytes(4096), "encrypted"),
        HostileFile("names/legacy.txt", _OLE + bytes(4096), "unsupported_type"),
        HostileFile("names/nothing.pdf", b"\n", "corrupt"),
        # Thirty comments before something that is no page: where each could end at any
        # later "-->", minutes.
        HostileFile("names/comments.txt", b"<!-- a -->\n" * 700 + b"no page", holds="no page"),
    ]


def _archive() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(zipfile.ZipInfo("readme.txt"), "A text in an archive.")
    return stream.getvalue()
