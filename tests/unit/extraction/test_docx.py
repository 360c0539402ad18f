from __future__ import annotations

import zipfile
from pathlib import Path

import docx
import pytest

from activekg_pipelines.errors import Corrupt, EmptyObject, Encrypted, NoTextLayer, TextTooLarge
from activekg_pipelines.extraction import ExtractedDocument, Limits, extract_file
from tests.hostile.file import deflated
from tests.hostile.word_file import raw_zip
from tests.unit.extraction.documents import (
    MC,
    STRICT_W,
    W,
    bare_word,
    cell,
    paragraph,
    picture_file,
    row,
    table,
    word,
)


def read(path: Path, limits: Limits | None = None) -> ExtractedDocument:
    return extract_file(path, path.name, None, limits or Limits())


def text_of(folder: Path, *body: str) -> str:
    return read(word(folder / "a.docx", *body)).text


def test_paragraphs_headings_and_lists_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    document = docx.Document()
    document.add_heading("The title", 0)
    document.add_paragraph("Intro")
    document.add_heading("Part one", 1)
    document.add_heading("Detail", 2)
    document.add_paragraph("first", style="List Bullet")
    document.add_paragraph("second", style="List Number")
    document.save(str(path))
    extracted = read(path)
    assert extracted.text == "# The title\n\nIntro\n\n# Part one\n\n## Detail\n\n- first\n1. second"
    assert extracted.title == "The title"
    assert extracted.facts["engine"] == "python-docx"


def test_the_title_of_the_properties_comes_first(tmp_path: Path) -> None:
    assert (
        read(word(tmp_path / "a.docx", paragraph("Head", "Heading1"), title="Property")).title
        == "Property"
    )
    assert read(word(tmp_path / "b.docx", paragraph("Head", "Heading1"))).title == "Head"
    assert read(word(tmp_path / "c.docx", paragraph("Plain"))).title is None


def test_tabs_breaks_and_hyphens(tmp_path: Path) -> None:
    runs = (
        "<w:t>a</w:t><w:tab/><w:t>b</w:t><w:br/><w:t>c</w:t>"
        "<w:noBreakHyphen/><w:t>d</w:t><w:softHyphen/><w:t>e</w:t>"
    )
    assert (
        text_of(tmp_path, f"<w:p><w:pPr><w:tabs><w:tab/></w:tabs></w:pPr><w:r>{runs}</w:r></w:p>")
        == "a\tb\nc-de"
    )


def test_insertions_are_read_and_deletions_are_not(tmp_path: Path) -> None:
    body = (
        '<w:p><w:r><w:t xml:space="preserve">kept </w:t></w:r>'
        "<w:ins><w:r><w:t>inserted</w:t></w:r></w:ins>"
        "<w:del><w:r><w:delText>deleted</w:delText></w:r></w:del>"
        "<w:moveFrom><w:r><w:t>moved away</w:t></w:r></w:moveFrom></w:p>"
    )
    assert text_of(tmp_path, body) == "kept inserted"


def test_content_controls_hyperlinks_and_fields_are_read(tmp_path: Path) -> None:
    control = f"<w:sdt><w:sdtPr/><w:sdtContent>{paragraph('in a control')}</w:sdtContent></w:sdt>"
    link = "<w:p><w:hyperlink><w:r><w:t>link</w:t></w:r></w:hyperlink></w:p>"
    field = (
        "<w:p><w:r><w:instrText>PAGE</w:instrText></w:r>"
        "<w:fldSimple><w:r><w:t>7</w:t></w:r></w:fldSimple></w:p>"
    )
    assert text_of(tmp_path, control, link, field) == "in a control\n\nlink\n\n7"


def test_text_boxes_are_read_once_after_their_paragraph(tmp_path: Path) -> None:
    box = f"<w:txbxContent>{paragraph('boxed')}</w:txbxContent>"
    alternate = (
        f"<mc:AlternateContent><mc:Choice Requires='wps'><w:drawing>{box}</w:drawing></mc:Choice>"
        f"<mc:Fallback><w:pict>{box}</w:pict></mc:Fallback></mc:AlternateContent>"
    )
    assert (
        text_of(tmp_path, f"<w:p><w:r>{alternate}</w:r><w:r><w:t>anchor</w:t></w:r></w:p>")
        == "anchor\n\nboxed"
    )


def test_one_branch_of_alternate_content_is_read(tmp_path: Path) -> None:
    def alternate(*branches: str) -> str:
        return f"<mc:AlternateContent>{''.join(branches)}</mc:AlternateContent>"

    def run(name: str, text: str) -> str:
        return f"<mc:{name}><w:r><w:t>{text}</w:t></w:r></mc:{name}>"

    def block(name: str, text: str) -> str:
        return f"<mc:{name}>{paragraph(text)}</mc:{name}>"

    assert (
        text_of(
            tmp_path,
            f"<w:p>{alternate(run('Choice', 'a'), run('Choice', 'b'), run('Fallback', 'c'))}</w:p>",
            f"<w:p>{alternate(run('Fallback', 'd'))}</w:p>",
            alternate(block("Choice", "e"), block("Choice", "f"), block("Fallback", "g")),
            alternate(block("Fallback", "h")),
        )
        == "a\n\nd\n\ne\n\nh"
    )


def test_a_table_is_markdown_with_merged_cells_once(tmp_path: Path) -> None:
    span = '<w:gridSpan w:val="2"/>'
    grid = table(
        row(cell(paragraph("Name")), cell(paragraph("Both"), properties=span)),
        row(
            cell(paragraph("a|b"), properties='<w:vMerge w:val="restart"/>'),
            cell(paragraph("1")),
            cell(paragraph("2")),
        ),
        row(
            cell(paragraph("a|b"), properties="<w:vMerge/>"),
            cell(paragraph("3")),
            cell(paragraph("4"), paragraph("5")),
        ),
    )
    assert text_of(tmp_path, paragraph("before"), grid, paragraph("after")) == (
        "before\n\n| Name | Both |  |\n| --- | --- | --- |\n| a\\|b | 1 | 2 |\n"
        "|  | 3 | 4 5 |\n\nafter"
    )


def test_rows_and_cells_in_content_controls_belong_to_the_table(tmp_path: Path) -> None:
    def control(content: str) -> str:
        return f"<w:sdt><w:sdtContent>{content}</w:sdtContent></w:sdt>"

    grid = table(
        row(cell(paragraph("a")), cell(paragraph("b"))),
        control(row(cell(paragraph("c")), control(cell(paragraph("d"))))),
    )
    assert text_of(tmp_path, grid) == "| a | b |\n| --- | --- |\n| c | d |"


def test_a_nested_table_is_a_table_of_its_own(tmp_path: Path) -> None:
    inner = table(
        row(cell(paragraph("k")), cell(paragraph("v"))),
        row(cell(paragraph("1")), cell(paragraph("2"))),
    )
    outer = table(row(cell(paragraph("left")), cell(paragraph("right"), inner)))
    assert text_of(tmp_path, outer) == "left\n\nright\n\n| k | v |\n| --- | --- |\n| 1 | 2 |"


def test_headers_and_footers_of_many_sections_stand_once(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    document = docx.Document()
    for index in range(3):
        section = document.sections[0] if index == 0 else document.add_section()
        section.header.is_linked_to_previous = section.footer.is_linked_to_previous = False
        section.header.paragraphs[0].text = "Company"
        section.footer.paragraphs[0].text = "Confidential"
        document.add_paragraph(f"Body {index}")
    document.save(str(path))
    assert read(path).text == "Company\n\nBody 0\n\nBody 1\n\nBody 2\n\nConfidential"


def test_notes_are_marked_where_they_belong_and_stand_at_the_end(tmp_path: Path) -> None:
    body = (
        "<w:p><w:r><w:t>One</w:t></w:r><w:r><w:endnoteReference w:id='7'/></w:r>"
        "<w:r><w:t> two</w:t></w:r><w:r><w:footnoteReference w:id='2'/></w:r></w:p>"
    )
    separator = (
        "<w:footnote w:type='separator' w:id='0'><w:p><w:r><w:separator/></w:r></w:p></w:footnote>"
    )
    path = bare_word(
        tmp_path / "a.docx",
        f"<w:document {W}><w:body>{body}</w:body></w:document>",
        footnotes=f"<w:footnotes {W}>{separator}"
        f"<w:footnote w:id='2'>{paragraph('Foot')}</w:footnote></w:footnotes>",
        endnotes=f"<w:endnotes {W}><w:endnote w:id='7'>{paragraph('End')}</w:endnote></w:endnotes>",
    )
    assert read(path).text == "One[^1] two[^2]\n\n[^1]: End\n\n[^2]: Foot"


@pytest.mark.parametrize("namespace", [W, STRICT_W])
def test_what_python_docx_refuses_is_read_from_the_zip(tmp_path: Path, namespace: str) -> None:
    styles = (
        f"<w:styles {namespace}>"
        "<w:style w:type='paragraph' w:styleId='b'><w:name w:val='heading 2'/></w:style>"
        "<w:style w:type='paragraph' w:styleId='mine'>"
        "<w:name w:val='Mine'/><w:basedOn w:val='b'/></w:style></w:styles>"
    )
    body = f"{paragraph('Head', 'mine')}{paragraph('text')}"
    path = bare_word(
        tmp_path / "a.docm",
        f"<w:document {namespace} {MC}><w:body>{body}</w:body></w:document>",
        styles=styles,
    )
    document = read(path)
    assert document.text == "## Head\n\ntext"
    assert document.facts["engine"] == "lxml"


def test_a_zip_that_declares_less_than_it_holds_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(raw_zip([("word/document.xml", deflated(b" " * 10**6, 1000), 1000, 8)]))
    with pytest.raises(Corrupt, match="not a readable ZIP file"):
        read(path)


def test_a_damaged_part_costs_a_warning(tmp_path: Path) -> None:
    path = bare_word(
        tmp_path / "a.docx",
        f"<w:document {W}><w:body>{paragraph('text')}</w:body></w:document>",
        header="<w:hdr",
    )
    document = read(path)
    assert document.text == "text"
    assert document.facts["warnings"] == [{"kind": "part_damaged", "detail": "word/header.xml"}]


def test_entities_are_not_expanded(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
    path = bare_word(
        tmp_path / "a.docx",
        f"{bomb}<w:document {W}><w:body>{paragraph('text &b;')}</w:body></w:document>",
    )
    assert read(path).text == "text"


def test_a_zip_of_nothing_is_corrupt(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(Corrupt, match="holds no Word document"):
        read(path)


@pytest.mark.parametrize("data", [b"plain text", b"PK\x03\x04 and then nothing"])
def test_what_is_no_zip_is_corrupt(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(data)
    with pytest.raises(Corrupt):
        read(path)


def test_damaged_xml_is_corrupt(tmp_path: Path) -> None:
    with pytest.raises(Corrupt, match="XML is damaged"):
        read(bare_word(tmp_path / "a.docx", f"<w:document {W}><w:body>"))


def test_an_ole_container_is_encrypted(tmp_path: Path) -> None:
    path = tmp_path / "a.docx"
    path.write_bytes(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(2000))
    with pytest.raises(Encrypted):
        read(path)


def test_xml_over_the_limit_is_refused_before_it_is_parsed(tmp_path: Path) -> None:
    path = bare_word(
        tmp_path / "a.docx",
        f"<w:document {W}><w:body>{paragraph('x' * 100_000)}</w:body></w:document>",
    )
    with pytest.raises(TextTooLarge, match="bytes of XML"):
        read(path, Limits(max_xml_bytes=50_000))


def test_a_blank_document_is_empty_and_one_of_pictures_has_no_text_layer(tmp_path: Path) -> None:
    with pytest.raises(EmptyObject):
        read(word(tmp_path / "a.docx"))
    document = docx.Document()
    document.add_picture(picture_file())
    document.save(str(tmp_path / "b.docx"))
    with pytest.raises(NoTextLayer):
        read(tmp_path / "b.docx")
