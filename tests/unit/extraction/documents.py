"""Builds the real documents that the extraction tests read."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docx
from docx.oxml import parse_xml
from PIL import Image
from reportlab.lib import pdfencrypt
from reportlab.lib.pagesizes import A4
from reportlab.lib.utils import ImageReader
from reportlab.pdfgen.canvas import Canvas

W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
STRICT_W = 'xmlns:w="http://purl.oclc.org/ooxml/wordprocessingml/main"'
MC = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'
PNG_HEADER = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def pdf(
    path: Path, *pages: Callable[[Canvas], None], title: str | None = None, **options: Any
) -> Path:
    """Write a PDF with one page for each function, which draws it."""
    canvas = Canvas(str(path), pagesize=A4, **options)
    if title is not None:
        canvas.setTitle(title)
    for draw in pages:
        draw(canvas)
        canvas.showPage()
    canvas.save()
    return path


def lines(*texts: str, top: float = 780) -> Callable[[Canvas], None]:
    """A page of lines of text."""

    def draw(canvas: Canvas) -> None:
        for index, text in enumerate(texts):
            canvas.drawString(72, top - 16 * index, text)

    return draw


def ruled_table(
    rows: list[list[str]], top: float = 700, rotation: int = 0
) -> Callable[[Canvas], None]:
    """A page with a line above a ruled table and a line below it."""

    def draw(canvas: Canvas) -> None:
        canvas.setPageRotation(rotation)
        width, height = 100, 20
        canvas.drawString(72, top + 10, "Before the table")
        canvas.grid(
            [72 + width * i for i in range(len(rows[0]) + 1)],
            [top - height * i for i in range(len(rows) + 1)],
        )
        for row, cells in enumerate(rows):
            for column, text in enumerate(cells):
                canvas.drawString(76 + width * column, top - height * row - 14, text)
        canvas.drawString(72, top - height * len(rows) - 20, "After the table")

    return draw


def picture(canvas: Canvas) -> None:
    """A page that is one picture, as a scan's."""
    canvas.drawImage(ImageReader(picture_file()), 0, 0, 595, 842)


def encryption(password: str) -> pdfencrypt.StandardEncryption:
    return pdfencrypt.StandardEncryption(password, ownerPassword="owner", strength=128)


def bare_pdf(path: Path, *objects: bytes) -> Path:
    """Write a PDF of the given objects, numbered from 1 on; the first is the catalog.

    Its table of objects is left out. Readers look for the objects themselves then.
    """
    numbered = (
        b"%d 0 obj\n%s\nendobj\n" % (number, each) for number, each in enumerate(objects, 1)
    )
    path.write_bytes(
        b"%%PDF-1.7\n%strailer\n<< /Root 1 0 R /Size %d >>\nstartxref\n9\n%%%%EOF\n"
        % (b"".join(numbered), len(objects) + 1)
    )
    return path


def stream(content: bytes, dictionary: bytes = b"") -> bytes:
    """A stream object."""
    return b"<< %s /Length %d >>\nstream\n%s\nendstream" % (dictionary, len(content), content)


def word(path: Path, *body: str, title: str = "") -> Path:
    """Write a Word file with python-docx whose body is the given WordprocessingML.

    The prefixes ``w`` and ``mc`` are bound.
    """
    document = docx.Document()
    document.core_properties.title = title
    section = document.element.body.sectPr
    for xml in body:
        section.addprevious(parse_xml(f"<w:wrap {W} {MC}>{xml}</w:wrap>")[0])
    document.save(str(path))
    return path


def paragraph(text: str, style: str = "") -> str:
    properties = f'<w:pPr><w:pStyle w:val="{style}"/></w:pPr>' if style else ""
    return f'<w:p>{properties}<w:r><w:t xml:space="preserve">{text}</w:t></w:r></w:p>'


def cell(*blocks: str, properties: str = "") -> str:
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{''.join(blocks)}</w:tc>"


def row(*cells: str) -> str:
    return f"<w:tr>{''.join(cells)}</w:tr>"


def table(*rows: str) -> str:
    return f"<w:tbl>{''.join(rows)}</w:tbl>"


def bare_word(path: Path, document_xml: str, **parts: str) -> Path:
    """Write a Word file part by part, for what python-docx refuses.

    ``parts`` maps relationship types to XML.
    """
    relationships = "".join(
        f'<Relationship Id="r{index}" Type="http://x/{kind}" Target="{kind}.xml"/>'
        for index, kind in enumerate(parts)
    )
    wrapper = "http://schemas.openxmlformats.org/package/2006/relationships"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{wrapper}"><Relationship Id="r1" '
            'Type="http://x/officeDocument" Target="word/document.xml"/></Relationships>',
        )
        archive.writestr("word/document.xml", document_xml)
        archive.writestr(
            "word/_rels/document.xml.rels",
            f'<Relationships xmlns="{wrapper}">{relationships}</Relationships>',
        )
        for kind, xml in parts.items():
            archive.writestr(f"word/{kind}.xml", xml)
    return path


def picture_file() -> io.BytesIO:
    stream = io.BytesIO()
    Image.new("L", (8, 8), 200).save(stream, "PNG")
    stream.seek(0)
    return stream
