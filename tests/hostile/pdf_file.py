"""Builds PDF files object by object, with any table, trailer and junk."""

from __future__ import annotations

import io
from typing import Final

_CATALOG: Final = b"<< /Type /Catalog /Pages 2 0 R >>"
_PAGES: Final = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"
_FONT: Final = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>"


def stream(data: bytes, entries: bytes = b"") -> bytes:
    return b"<< /Length %d %s >>\nstream\n%s\nendstream" % (len(data), entries, data)


def page(contents: bytes = b"4 0 R", more: bytes = b"", resources: bytes = b"") -> bytes:
    return (
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents %s"
        b" /Resources << /Font << /F1 5 0 R >> %s >> %s >>" % (contents, resources, more)
    )


def shown(text: bytes) -> bytes:
    return b"BT /F1 12 Tf 72 700 Td (%s) Tj ET" % text


def build(
    objects: dict[int, bytes], trailer: bytes = b"", *, junk: bytes = b"", xref: bytes | None = None
) -> bytes:
    """A PDF of numbered objects.

    The usual catalog, page tree, page and font stand in for those not given.
    """
    usual = {1: _CATALOG, 2: _PAGES, 3: page(), 4: stream(shown(b"Hello")), 5: _FONT}
    everything = usual | objects
    out = io.BytesIO()
    out.write(b"%PDF-1.7\n")
    offsets = {}
    for number, body in everything.items():
        offsets[number] = out.tell()
        out.write(b"%d 0 obj\n%s\nendobj\n" % (number, body))
    start = out.tell()
    if xref is None:
        out.write(b"xref\n0 1\n0000000000 65535 f \n")
        for number, offset in offsets.items():
            out.write(b"%d 1\n%010d 00000 n \n" % (number, offset))
        out.write(b"trailer\n<< /Size %d /Root 1 0 R %s >>\n" % (max(everything) + 1, trailer))
    else:
        out.write(xref)
    out.write(b"startxref\n%d\n%%%%EOF\n" % start)
    return junk + out.getvalue()


def one_page(text: bytes) -> bytes:
    return build({4: stream(shown(text))})
