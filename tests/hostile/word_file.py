"""Builds Word files by hand: every member and size as it is wanted, true or not."""

from __future__ import annotations

import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Iterable
from typing import Final

from tests.unit.extraction.documents import W

PACKAGE: Final = "http://schemas.openxmlformats.org/package/2006"
DOCUMENT: Final = "word/document.xml"
_OFFICE: Final = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def paragraph(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def document(body: str, namespace: str = W, doctype: str = "") -> str:
    return (
        f'<?xml version="1.0"?>{doctype}'
        f"<w:document {namespace}><w:body>{body}</w:body></w:document>"
    )


def word(
    body: str = "",
    *,
    xml: str | bytes | None = None,
    more: Iterable[tuple[str, str | bytes]] = (),
    main: str = "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml",
    relationships: str = "",
    core: str = "",
    namespace: str = W,
) -> bytes:
    """A Word file.

    ``more`` are further members, which may replace a member or stand beside it under
    its name.
    """
    members = [
        (
            "[Content_Types].xml",
            f'<Types xmlns="{PACKAGE}/content-types">'
            '<Default Extension="rels" '
            'ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
            '<Default Extension="xml" ContentType="application/xml"/>'
            '<Default Extension="bin" ContentType="application/octet-stream"/>'
            f'<Override PartName="/word/document.xml" ContentType="{main}"/>'
            '<Override PartName="/docProps/core.xml" '
            'ContentType="application/vnd.openxmlformats-package.core-properties+xml"/></Types>',
        ),
        (
            "_rels/.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships">'
            f'<Relationship Id="r1" Type="{_OFFICE}/officeDocument" Target="word/document.xml"/>'
            + (
                f'<Relationship Id="r2" Type="{PACKAGE}/relationships/metadata/core-properties" '
                'Target="docProps/core.xml"/>'
                if core
                else ""
            )
            + "</Relationships>",
        ),
        (DOCUMENT, document(body, namespace) if xml is None else xml),
        (
            "word/_rels/document.xml.rels",
            f'<Relationships xmlns="{PACKAGE}/relationships">{relationships}</Relationships>',
        ),
    ]
    if core:
        members.append(("docProps/core.xml", core_properties(core)))
    stream = io.BytesIO()
    with (
        warnings.catch_warnings(action="ignore"),
        zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive,
    ):
        for name, data in [*members, *more]:
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED)
    return stream.getvalue()


def core_properties(inside: str, doctype: str = "") -> str:
    return (
        f'<?xml version="1.0"?>{doctype}'
        f'<cp:coreProperties xmlns:cp="{PACKAGE}/metadata/core-properties" '
        f'xmlns:dc="http://purl.org/dc/elements/1.1/">{inside}</cp:coreProperties>'
    )


def relationship(kind: str, target: str, mode: str = "") -> str:
    external = f' TargetMode="{mode}"' if mode else ""
    return (
        f'<Relationship Id="x{zlib.crc32(target.encode())}" Type="{_OFFICE}/{kind}" '
        f'Target="{target}"{external}/>'
    )


def raw_zip(
    members: Iterable[tuple[str, bytes, int, int]],
    *,
    one_body: bool = False,
    count: int | None = None,
    crc: int = 0,
) -> bytes:
    """A ZIP file of deflate streams: name, stream, declared size and method of each.

    What is declared need not be true. ``one_body`` lets all entries share the first
    one's bytes; ``count`` is how many the end record claims.
    """
    out, directory, total = io.BytesIO(), io.BytesIO(), 0
    first: tuple[int, bytes] | None = None
    for name, own, size, method in members:
        offset, body = first if one_body and first else (out.tell(), own)
        fields = (20, 0, method, 0, 0x21, crc, len(body), size, len(name.encode()), 0)
        if not (one_body and first):
            out.write(struct.pack("<4sHHHHHLLLHH", b"PK\x03\x04", *fields) + name.encode() + body)
        first = first or (offset, body)
        directory.write(
            struct.pack("<4sHHHHHHLLLHHHHHLL", b"PK\x01\x02", 20, *fields, 0, 0, 0, 0, offset)
            + name.encode()
        )
        total += 1
    end = struct.pack(
        "<4sHHHHLLH",
        b"PK\x05\x06",
        0,
        0,
        count or total,
        count or total,
        directory.tell(),
        out.tell(),
        0,
    )
    return out.getvalue() + directory.getvalue() + end
