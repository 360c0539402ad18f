"""Regenerate the sample documents of the fictional Acme Corp.

``content/<folder>/<name>.<ext>.md`` becomes ``documents/<folder>/<name>.<ext>`` (pdf,
docx or html). ``.md`` files are copied as they are, ``.txt`` files are written in the
encoding that ``TEXT_ENCODINGS`` names. ``content_changes`` is treated the same way and
fills ``documents_changes``. The output is reproducible byte for byte.

The Markdown parser is markdown-it-py, which rich brings along.
"""

from __future__ import annotations

import html
import io
import re
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from string import Template
from typing import Any

import docx
from docx.enum.text import WD_ALIGN_PARAGRAPH
from docx.oxml import OxmlElement
from docx.oxml.ns import qn
from docx.shared import Cm, Pt, RGBColor
from markdown_it import MarkdownIt
from markdown_it.token import Token
from reportlab.lib import colors
from reportlab.lib.pagesizes import A4
from reportlab.lib.styles import ParagraphStyle
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas
from reportlab.platypus import (
    BaseDocTemplate,
    Flowable,
    ListFlowable,
    ListItem,
    Paragraph,
    Preformatted,
    SimpleDocTemplate,
    Spacer,
    Table,
    TableStyle,
)

HERE = Path(__file__).parent
TREES = {HERE / "content": HERE / "documents", HERE / "content_changes": HERE / "documents_changes"}
# The codec, and the line ending that the system which wrote such a file would have
# used.
TEXT_ENCODINGS = {
    "hr/betriebsvereinbarung-arbeitszeit.txt": ("cp1252", "\r\n"),
    "operations/shift-log-brno-2025-04-17.txt": ("utf-16-le", "\r\n"),
    "operations/supplier-note-takasaki-seal.txt": ("shift_jis", "\r\n"),
}
UTF16_BOM = "\ufeff"
MARKDOWN = MarkdownIt("commonmark").enable("table")
REFERENCE_LINE = re.compile(
    r"<!-- (?P<ref>[^|]+) \| (?P<owner>[^|]+) \| (?P<date>\d{4}-\d\d-\d\d) -->\n"
)
ACCENT = "#1F4E79"
FIXED_DATE = datetime(2025, 1, 1, tzinfo=UTC)
ZIP_DATE = (1980, 1, 1, 0, 0, 0)
MARGIN = 22 * mm
FRAME_PADDING = 6  # reportlab's own, in points
CELL_PADDING = 13  # both sides and the rule, in points
FRAME_WIDTH = A4[0] - 2 * MARGIN


@dataclass(frozen=True)
class Span:
    """A run of text in one style."""

    text: str
    bold: bool = False
    code: bool = False


@dataclass(frozen=True)
class Block:
    """One heading, paragraph, list, table or code block; ``parts`` are its paragraphs,
    items or rows of cells.
    """

    kind: str
    level: int = 0
    parts: tuple[tuple[tuple[Span, ...], ...], ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Source:
    """A parsed Markdown source file with the reference line that goes into headers and
    footers.
    """

    ref: str
    owner: str
    date: str
    title: str
    body: str
    blocks: tuple[Block, ...]

    @classmethod
    def read(cls, path: Path) -> Source:
        text = path.read_text(encoding="utf-8")
        match = REFERENCE_LINE.match(text)
        if match is None:
            raise ValueError(
                f"{path}: the first line must be '<!-- reference | owner | YYYY-MM-DD -->'"
            )
        body = text[match.end() :]
        blocks = tuple(read_blocks(MARKDOWN.parse(body)))
        title = "".join(span.text for span in blocks[0].parts[0][0])
        return cls(match["ref"], match["owner"], match["date"], title, body, blocks)

    @property
    def footer(self) -> str:
        return f"{self.ref} · {self.owner} · {self.date}"


def read_spans(inline: Token) -> tuple[Span, ...]:
    spans: list[Span] = []
    bold = False
    for token in inline.children or []:
        if token.type in {"strong_open", "strong_close"}:
            bold = token.type == "strong_open"
        elif token.type in {"softbreak", "hardbreak"}:
            spans.append(Span(" ", bold))
        elif token.content:
            spans.append(Span(token.content, bold, code=token.type == "code_inline"))
    return tuple(spans)


def read_blocks(tokens: list[Token]) -> Iterator[Block]:
    """Flatten the token stream; lists are one level deep, which is all the sources use."""
    stream = iter(tokens)
    for token in stream:
        if token.type == "heading_open":
            yield Block("heading", level=int(token.tag[1]), parts=((read_spans(next(stream)),),))
        elif token.type == "paragraph_open":
            yield Block("paragraph", parts=((read_spans(next(stream)),),))
        elif token.type in {"bullet_list_open", "ordered_list_open"}:
            end = token.type.replace("open", "close")
            items: list[tuple[tuple[Span, ...], ...]] = []
            while (inner := next(stream)).type != end:
                if inner.type == "inline":
                    items.append((read_spans(inner),))
            yield Block(end.removesuffix("_list_close"), parts=tuple(items))
        elif token.type == "table_open":
            rows: list[list[tuple[Span, ...]]] = []
            while (inner := next(stream)).type != "table_close":
                if inner.type == "tr_open":
                    rows.append([])
                elif inner.type == "inline":
                    rows[-1].append(read_spans(inner))
            yield Block("table", parts=tuple(tuple(row) for row in rows))
        elif token.type in {"fence", "code_block"}:
            yield Block("code", text=token.content.rstrip("\n"))


# ---------------------------------------------------------------- PDF

BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=10, leading=13.5, spaceAfter=6)
CELL = ParagraphStyle("cell", parent=BODY, fontSize=8.8, leading=11.5, spaceAfter=0)
CELL_HEAD = ParagraphStyle(
    "cell-head", parent=CELL, fontName="Helvetica-Bold", textColor=colors.white
)
MONO = ParagraphStyle("mono", parent=BODY, fontName="Courier", fontSize=8.5, leading=11)
HEADINGS = {
    level: ParagraphStyle(
        f"h{level}",
        parent=BODY,
        fontName="Helvetica-Bold",
        fontSize=size,
        leading=size * 1.25,
        spaceBefore=before,
        spaceAfter=5,
        textColor=colors.HexColor(ACCENT),
        keepWithNext=1,
    )
    for level, size, before in ((1, 19, 0), (2, 13, 12), (3, 11, 8))
}
GRID = TableStyle(
    [
        ("GRID", (0, 0), (-1, -1), 0.5, colors.HexColor("#7F8FA0")),
        ("BACKGROUND", (0, 0), (-1, 0), colors.HexColor(ACCENT)),
        ("ROWBACKGROUNDS", (0, 1), (-1, -1), [colors.white, colors.HexColor("#F2F5F9")]),
        ("VALIGN", (0, 0), (-1, -1), "TOP"),
    ]
)


def pdf_markup(spans: tuple[Span, ...]) -> str:
    out = []
    for span in spans:
        span.text.encode(
            "cp1252"
        )  # The built-in fonts have no other characters: fail here, not with a black box.
        text = html.escape(span.text, quote=False)
        text = f'<font face="Courier">{text}</font>' if span.code else text
        out.append(f"<b>{text}</b>" if span.bold else text)
    return "".join(out)


def column_widths(block: Block) -> list[float]:
    """Shares of the page width: each column gets room for its longest word, and the
    rest goes to the longest cells.
    """
    needs, wishes = [], []
    for column in zip(*block.parts, strict=True):
        cells = ["".join(span.text for span in cell) for cell in column]
        words = [word for cell in cells for word in cell.split()]
        needs.append(
            max(stringWidth(word, CELL_HEAD.fontName, CELL.fontSize) for word in words)
            + CELL_PADDING
        )
        widest = (
            max(stringWidth(cell, CELL.fontName, CELL.fontSize) for cell in cells) + CELL_PADDING
        )
        wishes.append(max(min(widest, FRAME_WIDTH * 0.45) - needs[-1], 6))
    rest = FRAME_WIDTH - sum(needs)
    return [
        (need + rest * wish / sum(wishes)) / FRAME_WIDTH
        for need, wish in zip(needs, wishes, strict=True)
    ]


def pdf_flowables(block: Block) -> Iterator[Flowable]:
    if block.kind == "heading":
        yield Paragraph(pdf_markup(block.parts[0][0]), HEADINGS[block.level])
    elif block.kind == "paragraph":
        yield Paragraph(pdf_markup(block.parts[0][0]), BODY)
    elif block.kind == "code":
        yield Preformatted(block.text, MONO)
    elif block.kind == "table":
        rows = [
            [Paragraph(pdf_markup(cell), CELL if index else CELL_HEAD) for cell in row]
            for index, row in enumerate(block.parts)
        ]
        widths = [FRAME_WIDTH * share for share in column_widths(block)]
        yield Spacer(1, 2 * mm)
        yield Table(rows, colWidths=widths, style=GRID, repeatRows=1)
        yield Spacer(1, 4 * mm)
    else:
        items = [ListItem(Paragraph(pdf_markup(item[0]), BODY)) for item in block.parts]
        bullet = (
            {"bulletType": "1", "bulletFormat": "%s."}
            if block.kind == "ordered"
            else {"bulletType": "bullet"}
        )
        yield ListFlowable(items, leftIndent=16, bulletFontSize=9, **bullet)


def decorate_page(source: Source, canvas: Canvas, template: BaseDocTemplate) -> None:
    canvas.saveState()
    canvas.setFont("Helvetica", 8)
    canvas.setFillColor(colors.HexColor("#5A6675"))
    left, right, top = MARGIN, A4[0] - MARGIN, A4[1] - 14 * mm
    canvas.drawString(left, top, "Acme Corp")
    canvas.drawRightString(right, top, source.title)
    canvas.line(left, top - 2 * mm, right, top - 2 * mm)
    canvas.drawString(left, 12 * mm, source.footer)
    canvas.drawRightString(right, 12 * mm, f"Page {template.page}")
    canvas.restoreState()


def render_pdf(source: Source) -> bytes:
    out = io.BytesIO()
    template = SimpleDocTemplate(
        out,
        pagesize=A4,
        leftMargin=MARGIN - FRAME_PADDING,
        rightMargin=MARGIN - FRAME_PADDING,
        topMargin=24 * mm,
        bottomMargin=22 * mm,
        title=source.title,
        author=f"Acme Corp, {source.owner}",
        subject=source.ref,
        invariant=1,
    )
    page = partial(decorate_page, source)
    template.build(
        [flowable for block in source.blocks for flowable in pdf_flowables(block)],
        onFirstPage=page,
        onLaterPages=page,
    )
    return out.getvalue()


# ---------------------------------------------------------------- DOCX


def add_spans(paragraph: Any, spans: tuple[Span, ...]) -> None:
    for span in spans:
        run = paragraph.add_run(span.text)
        run.bold = span.bold or None
        if span.code:
            run.font.name = "Courier New"


def add_page_number(paragraph: Any) -> None:
    for kind, instruction in (("begin", None), (None, "PAGE"), ("end", None)):
        element = OxmlElement("w:fldChar" if kind else "w:instrText")
        if kind:
            element.set(qn("w:fldCharType"), kind)
        else:
            element.text = instruction
        paragraph.add_run()._r.append(element)


def new_numbering(document: Any) -> int:
    """A fresh numbered list that starts at 1; lists of the style alone would go on
    counting through the document.
    """
    style_number = document.styles["List Number"].element.pPr.numPr.numId.val
    numbering = document.part.numbering_part.element
    number = numbering.add_num(numbering.num_having_numId(style_number).abstractNumId.val)
    number.add_lvlOverride(ilvl=0).add_startOverride(1)
    return int(number.numId)


def add_table(document: Any, block: Block) -> None:
    table = document.add_table(rows=len(block.parts), cols=len(block.parts[0]), style="Table Grid")
    table.autofit = False
    for row_index, row in enumerate(block.parts):
        for cell, spans, share in zip(
            table.rows[row_index].cells, row, column_widths(block), strict=True
        ):
            cell.width = Cm(16.2 * share)
            add_spans(cell.paragraphs[0], spans)
            for run in cell.paragraphs[0].runs:
                run.bold = run.bold or row_index == 0
                run.font.size = Pt(9)
            if row_index == 0:
                shading = OxmlElement("w:shd")
                shading.set(qn("w:val"), "clear")
                shading.set(qn("w:fill"), "DCE6F1")
                cell._tc.get_or_add_tcPr().append(shading)
    document.add_paragraph()


def add_block(document: Any, block: Block) -> None:
    if block.kind == "heading":
        add_spans(document.add_heading(level=block.level), block.parts[0][0])
    elif block.kind == "paragraph":
        add_spans(document.add_paragraph(), block.parts[0][0])
    elif block.kind == "code":
        document.add_paragraph().add_run(block.text).font.name = "Courier New"
    elif block.kind == "table":
        add_table(document, block)
    else:
        numbering = new_numbering(document) if block.kind == "ordered" else None
        for item in block.parts:
            paragraph = document.add_paragraph(style="List Number" if numbering else "List Bullet")
            if numbering:
                properties = paragraph._p.get_or_add_pPr().get_or_add_numPr()
                properties.get_or_add_numId().val = numbering
                properties.get_or_add_ilvl().val = 0
            add_spans(paragraph, item[0])


def render_docx(source: Source) -> bytes:
    document = docx.Document()
    section = document.sections[0]
    section.page_width, section.page_height = Cm(21), Cm(29.7)
    section.left_margin = section.right_margin = Cm(2.4)
    normal = document.styles["Normal"].font
    normal.name, normal.size = "Calibri", Pt(10.5)
    for level in (1, 2, 3):
        document.styles[f"Heading {level}"].font.color.rgb = RGBColor.from_string(
            ACCENT.removeprefix("#")
        )
    section.header.paragraphs[0].text = f"Acme Corp · {source.title}"
    footer = section.footer.paragraphs[0]
    footer.alignment = WD_ALIGN_PARAGRAPH.CENTER
    footer.add_run(f"{source.footer} · Page ")
    add_page_number(footer)
    for block in source.blocks:
        add_block(document, block)
    properties = document.core_properties
    properties.title, properties.subject, properties.author = source.title, source.ref, source.owner
    properties.last_modified_by, properties.comments, properties.revision = source.owner, "", 1
    properties.created = properties.modified = FIXED_DATE
    out = io.BytesIO()
    document.save(out)
    return with_fixed_zip_dates(out)


def with_fixed_zip_dates(package: io.BytesIO) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(package) as old, zipfile.ZipFile(out, "w") as new:
        for name in old.namelist():
            new.writestr(zipfile.ZipInfo(name, ZIP_DATE), old.read(name), zipfile.ZIP_DEFLATED)
    return out.getvalue()


# ---------------------------------------------------------------- HTML


def render_html(source: Source, folder: str) -> bytes:
    page = Template((HERE / "content" / "page.html").read_text(encoding="utf-8"))
    values = {
        "title": html.escape(source.title),
        "folder": folder,
        "section": {"hr": "People"}.get(folder, folder.title()),
        "ref": html.escape(source.ref),
        "owner": html.escape(source.owner),
        "date": source.date,
        "article": MARKDOWN.render(source.body).rstrip("\n"),
    }
    return page.substitute(values).encode()


def render(path: Path, key: str) -> tuple[str, bytes]:
    """The key of the finished document and its bytes."""
    if path.suffix == ".txt":
        codec, newline = TEXT_ENCODINGS.get(key, ("utf-8", "\n"))
        text = path.read_text(encoding="utf-8").replace("\n", newline)
        return key, ((UTF16_BOM if codec == "utf-16-le" else "") + text).encode(codec)
    target = key.removesuffix(".md")
    match Path(target).suffix:
        case ".pdf":
            return target, render_pdf(Source.read(path))
        case ".docx":
            return target, render_docx(Source.read(path))
        case ".html":
            return target, render_html(Source.read(path), path.parent.name)
        case _:
            return key, path.read_bytes()


def main() -> None:
    for source_root, target_root in TREES.items():
        written = [
            render(path, path.relative_to(source_root).as_posix())
            for path in sorted(source_root.glob("*/*.*"))
        ]
        shutil.rmtree(target_root, ignore_errors=True)
        for key, data in written:
            target = target_root / key
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        size = sum(len(data) for _, data in written)
        print(f"{target_root.name}: {len(written)} documents, {size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
