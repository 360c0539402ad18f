from __future__ import annotations

import pytest

from activekg_pipelines.errors import Encrypted, UnsupportedType
from activekg_pipelines.extraction import (
    Format,
    detect,
    docx,
    html,
    markdown,
    pdf,
    text,
    unsupported_by_name,
)
from tests.unit.extraction.documents import PNG_HEADER

PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n"
ZIP = b"PK\x03\x04\x14\x00"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(504)
S3_DEFAULT = "binary/octet-stream"


@pytest.mark.parametrize(
    ("key", "head", "content_type", "expected"),
    [
        ("a.pdf", PDF, S3_DEFAULT, pdf.FORMAT),
        ("a.PDF", b"HTTP/1.1 200 OK\r\n\r\n" + PDF, S3_DEFAULT, pdf.FORMAT),
        ("a.pdf", b"truncated", S3_DEFAULT, pdf.FORMAT),
        ("report.txt", PDF, "text/plain", pdf.FORMAT),
        ("no-extension", PDF, None, pdf.FORMAT),
        ("a.docx", ZIP + b"word/document.xml", S3_DEFAULT, docx.FORMAT),
        ("a.docm", ZIP + b"[Content_Types].xml", None, docx.FORMAT),
        ("no-extension", ZIP + b"_rels/.rels word/document.xml", None, docx.FORMAT),
        ("a.docx", b"not a zip", None, docx.FORMAT),
        ("a.html", b"<p>Hi", S3_DEFAULT, html.FORMAT),
        ("a.htm", b"Hi", None, html.FORMAT),
        ("a.xhtml", b"<?xml version='1.0'?><html>", None, html.FORMAT),
        ("a.html", "<p>Grüße".encode("utf-16"), None, html.FORMAT),
        ("a.pdf", b"\n<!-- saved --> <!DOCTYPE html><html>", "application/pdf", html.FORMAT),
        ("page", b"<html lang='en'>", S3_DEFAULT, html.FORMAT),
        ("page", b"<p>Hi", "text/html; charset=utf-8", html.FORMAT),
        ("a.md", b"# Hi", S3_DEFAULT, markdown.FORMAT),
        ("a.md", b"<html>is allowed in Markdown", None, markdown.FORMAT),
        ("a.md", b"%PDF- is how a PDF starts", None, markdown.FORMAT),
        ("a.txt", b"%PDF-1.7 is how a PDF starts", None, text.FORMAT),
        ("a.txt", b"BM, MZ and ID3 start some files", None, text.FORMAT),
        ("a.txt", "ÄÖÜ".encode("cp1252"), None, text.FORMAT),
        ("a.txt", "日本語".encode("shift_jis"), None, text.FORMAT),
        ("a.log", b"\x1b[31mred\x1b[0m", None, text.FORMAT),
        ("a.csv", b"a,b", None, text.FORMAT),
        ("README", b"Read me", S3_DEFAULT, text.FORMAT),
        ("notes of 3.2024", b"Read me", None, text.FORMAT),
        ("v1.2/README", b"Read me", None, text.FORMAT),
        ("a.unknown", b"Some text", "text/plain", text.FORMAT),
        ("a.unknown", b"# Hi", "text/markdown", markdown.FORMAT),
        ("a.bin", b"Some text", "text/plain; charset=utf-8", text.FORMAT),
        ("a.bin", b"<!DOCTYPE html><p>Hi", S3_DEFAULT, html.FORMAT),
        ("a.bin", PDF, S3_DEFAULT, pdf.FORMAT),
        ("a.bak", b"truncated", "application/pdf", pdf.FORMAT),
        ("a.unknown", b"truncated", "application/pdf", pdf.FORMAT),
        ("a.txt", "Текст договора".encode("utf-16-le"), None, text.FORMAT),
        ("a.txt", "合同自双方签字之日起生效".encode("utf-16-be"), None, text.FORMAT),
        ("a.txt", "計画".encode("iso2022_jp") + b"\n", None, text.FORMAT),
        ("a.txt", "변경은 서면으로만 가능합니다".encode("iso2022_kr"), None, text.FORMAT),
    ],
)
def test_format(key: str, head: bytes, content_type: str | None, expected: Format) -> None:
    assert detect(key, head, content_type) is expected


@pytest.mark.parametrize(
    ("key", "head", "content_type", "message"),
    [
        ("a", PNG_HEADER, "text/plain", "A PNG image"),
        ("a.txt", PNG_HEADER, "text/plain", "A PNG image"),
        ("a.pdf", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", "application/pdf", "A JPEG image"),
        ("a.docx", ZIP + b"[Content_Types].xml xl/workbook.xml", None, "An Excel workbook"),
        (
            "a",
            ZIP + b"mimetypeapplication/vnd.oasis.opendocument.text",
            None,
            "An OpenDocument file",
        ),
        ("a", ZIP + b"photo.jpg", None, "A ZIP archive"),
        ("a", OLE, None, "A legacy Office document"),
        ("a", b"MZ\x90\x00\x03\x00\x00\x00", None, "A Windows program"),
        ("a", bytes(range(256)), "text/plain", "A binary file of unknown type"),
        ("a.txt", b"\x01\x00\x02\x00\x03\x00" * 100, None, "A binary file of unknown type"),
        ("a.txt", b"\x00\x04\x00\x04" * 100, None, "A binary file of unknown type"),
        ("a.bin", bytes(range(256)), "text/plain", "A binary file of unknown type"),
        ("a.bin", b"Some text", S3_DEFAULT, "A .bin file"),
        ("a.unknown", b"Some text", S3_DEFAULT, "A .unknown file"),
        ("a.png", b"Some text", "text/plain", "An image"),
        ("a.json", b"{}", "application/json", "A data file"),
    ],
)
def test_what_is_no_document_is_refused_by_name(
    key: str, head: bytes, content_type: str | None, message: str
) -> None:
    with pytest.raises(UnsupportedType, match=f"^{message}"):
        detect(key, head, content_type)


def test_an_ole_container_called_docx_is_encrypted() -> None:
    with pytest.raises(Encrypted):
        detect("a.docx", OLE, None)


@pytest.mark.parametrize(
    "key", ["a.png", "b/c.JPEG", "d.zip", "e.xlsx", "f.tar.gz", "g.parquet", "h.doc", "i.py"]
)
def test_an_extension_alone_can_settle_that_there_is_no_document(key: str) -> None:
    assert unsupported_by_name(key)


@pytest.mark.parametrize(
    "key",
    [
        "a.pdf",
        "a.docx",
        "a.html",
        "a.md",
        "a.txt",
        "README",
        "a.unknown",
        "a.bin",
        "zip",
        "png/a",
        "a.v2",
        "notes.2024",
    ],
)
def test_other_names_settle_nothing(key: str) -> None:
    assert unsupported_by_name(key) is None
