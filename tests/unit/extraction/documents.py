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


_NAMESPACES = {
    "w": "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "r": "http://schemas.openxmlformats.org/officeDocument/2006/relationships",
    "m": "http://schemas.openxmlformats.org/officeDocument/2006/math",
    "w14": "http://schemas.microsoft.com/office/word/2010/wordml",
    "a": "http://schemas.openxmlformats.org/drawingml/2006/main",
    "c": "http://schemas.openxmlformats.org/drawingml/2006/chart",
    "cx": "http://schemas.microsoft.com/office/drawing/2014/chartex",
    "dgm": "http://schemas.openxmlformats.org/drawingml/2006/diagram",
    "mc": "http://schemas.openxmlformats.org/markup-compatibility/2006",
    "v": "urn:schemas-microsoft-com:vml",
}


def bound(name: str, content: str) -> str:
    """An element with all prefixes of Open XML bound."""
    prefixes = " ".join(f'xmlns:{key}="{value}"' for key, value in _NAMESPACES.items())
    return f"<{name} {prefixes}>{content}</{name}>"


def word_package(
    path: Path, body: str, *, macros: bool = False, **parts: tuple[str, str | bytes]
) -> Path:
    """Write a Word file with parts, each of which has its kind for relationship id.

    Args:
        path: where it is written.
        body: WordprocessingML, whose prefixes are bound.
        macros: as a macro-enabled file, which python-docx refuses.
        parts: kind of relationship to the part's name and what it holds.
    """
    office = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    wrapper = "http://schemas.openxmlformats.org/package/2006"
    main = (
        "application/vnd.ms-word.document.macroEnabled.main+xml"
        if macros
        else "application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"
    )
    endings = {name.rpartition(".")[2] for name, _ in parts.values()} | {"rels", "xml"}
    types = "".join(
        f'<Default Extension="{ending}" ContentType="application/{ending}"/>' for ending in endings
    )
    relationships = "".join(
        f'<Relationship Id="{kind}" Type="{office}/{kind}" Target="{name}"/>'
        for kind, (name, _) in parts.items()
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(
            "[Content_Types].xml",
            f'<Types xmlns="{wrapper}/content-types">{types}'
            f'<Override PartName="/word/document.xml" ContentType="{main}"/></Types>',
        )
        archive.writestr(
            "_rels/.rels",
            f'<Relationships xmlns="{wrapper}/relationships"><Relationship Id="r1" '
            f'Type="{office}/officeDocument" Target="word/document.xml"/></Relationships>',
        )
        archive.writestr("word/document.xml", bound("w:document", f"<w:body>{body}</w:body>"))
        archive.writestr(
            "word/_rels/document.xml.rels",
            f'<Relationships xmlns="{wrapper}/relationships">{relationships}</Relationships>',
        )
        for name, data in parts.values():
            archive.writestr(f"word/{name}", data)
    return path


def picture_file() -> io.BytesIO:
    stream = io.BytesIO()
    Image.new("L", (8, 8), 200).save(stream, "PNG")
    stream.seek(0)
    return stream
