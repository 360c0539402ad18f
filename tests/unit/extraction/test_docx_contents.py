from __future__ import annotations

import io
import time
import zipfile
from pathlib import Path

import docx
import pytest

from activekg_pipelines.errors import EmptyObject, TextTooLarge
from activekg_pipelines.extraction import ExtractedDocument, Limits, extract_file
from tests.unit.extraction.documents import (
    bound,
    cell,
    paragraph,
    row,
    table,
    word,
    word_package,
)


def read(path: Path, limits: Limits | None = None) -> ExtractedDocument:
    return extract_file(path, path.name, None, limits or Limits())


def text_of(folder: Path, body: str, **parts: tuple[str, str | bytes]) -> str:
    return read(word_package(folder / "a.docx", body, **parts)).text


def run(text: str, properties: str = "") -> str:
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def sign(font: str, code: str) -> str:
    return f'<w:r><w:sym w:font="{font}" w:char="{code}"/></w:r>'


def font(name: str) -> str:
    return f'<w:rFonts w:ascii="{name}" w:hAnsi="{name}"/>'


# Signs


def test_signs_of_symbol_fonts_are_unicode(tmp_path: Path) -> None:
    body = (
        sign("Wingdings", "F0FE")
        + run(" Passed ")
        + sign("Wingdings", "F0A8")
        + run(" Failed. Tolerance ")
        + sign("Symbol", "F0B1")
        + run("5 ")
        + sign("Symbol", "F06D")
        + run("m, T ")
        + sign("Symbol", "00A3")
        + run(" 80 ")
        + sign("Symbol", "F0B0")
        + run("C")
    )
    text = text_of(tmp_path, f"<w:p>{body}</w:p>")
    assert text == "☑ Passed ☐ Failed. Tolerance ±5 µm, T ≤ 80 °C"


def test_letters_in_a_symbol_font_are_read_as_its_signs(tmp_path: Path) -> None:
    body = (
        run("D", font("Symbol"))
        + run("p ")
        + run("\uf0b3", font("symbol"))
        + run(" 5 ")
        + run("\u00fc", font("Wingdings"))
        + run(" text", font("Arial"))
        + run(" 中", font("Symbol"))
    )
    assert text_of(tmp_path, f"<w:p>{body}</w:p>") == "Δp ≥ 5 ✓ text 中"


def test_a_style_may_name_the_symbol_font(tmp_path: Path) -> None:
    styles = (
        f'<w:style w:type="character" w:styleId="G"><w:rPr>{font("Symbol")}</w:rPr></w:style>'
        f'<w:style w:type="paragraph" w:styleId="P"><w:rPr>{font("Symbol")}</w:rPr></w:style>'
    )
    body = f"<w:p>{run('a', '<w:rStyle w:val=' + chr(34) + 'G' + chr(34) + '/>')}</w:p>"
    body += '<w:p><w:pPr><w:pStyle w:val="P"/></w:pPr>' + run("b ") + run("b", font("Arial"))
    body += "</w:p>"
    text = text_of(tmp_path, body, styles=("styles.xml", bound("w:styles", styles)))
    assert text == "α\n\nβ b"  # noqa: RUF001


def test_signs_that_nobody_knows_are_counted(tmp_path: Path) -> None:
    body = f"<w:p>{run('text')}{sign('Company Logo', 'F041')}{sign('Symbol', 'zz')}</w:p>"
    document = read(word_package(tmp_path / "a.docx", body))
    assert document.text == "text"
    assert document.facts["warnings"] == [{"kind": "characters_unreadable", "count": 1}]


def test_raised_numbers_stay_raised(tmp_path: Path) -> None:
    def raised(text: str) -> str:
        return run(text, '<w:vertAlign w:val="superscript"/>')

    body = run("10") + raised("-6") + run(" m") + raised("2") + run(" on the 1") + raised("st")
    assert text_of(tmp_path, f"<w:p>{body}</w:p>") == "10⁻⁶ m² on the 1st"


# Forms, controls and fields


def field(code: str, result: str | None = None, data: str = "") -> str:
    return (
        f'<w:r><w:fldChar w:fldCharType="begin">{data}</w:fldChar></w:r>'
        f"<w:r><w:instrText>{code}</w:instrText></w:r>"
        + ("" if result is None else f'<w:r><w:fldChar w:fldCharType="separate"/></w:r>{result}')
        + '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )


def box(*settings: str) -> str:
    return field(
        "FORMCHECKBOX", None, f"<w:ffData><w:checkBox>{''.join(settings)}</w:checkBox></w:ffData>"
    )


def test_form_fields_show_what_was_chosen(tmp_path: Path) -> None:
    def choice(chosen: str, result: str | None = None) -> str:
        entries = '<w:listEntry w:val="Low"/><w:listEntry w:val="High"/>'
        data = f"<w:ffData><w:ddList>{chosen}{entries}</w:ddList></w:ffData>"
        return field("FORMDROPDOWN", result, data)

    lines = [
        box('<w:default w:val="0"/>', '<w:checked w:val="1"/>') + run(" Approved"),
        box('<w:default w:val="1"/>', '<w:checked w:val="0"/>') + run(" Rejected"),
        box("<w:checked/>") + run(" Checked"),
        box('<w:default w:val="1"/>') + run(" By default"),
        run("Risk: ") + choice('<w:result w:val="1"/>'),
        run("Risk: ") + choice("", run("High")),
        run("Risk: ") + choice('<w:result w:val="9"/>'),
    ]
    assert text_of(tmp_path, "".join(f"<w:p>{line}</w:p>" for line in lines)).split("\n\n") == [
        "☒ Approved",
        "☐ Rejected",
        "☒ Checked",
        "☒ By default",
        "Risk: High",
        "Risk: High",
        "Risk:",
    ]


def test_empty_content_controls_say_what_they_hold(tmp_path: Path) -> None:
    def control(properties: str, content: str = "") -> str:
        return (
            f"<w:sdt><w:sdtPr>{properties}</w:sdtPr><w:sdtContent>{content}</w:sdtContent></w:sdt>"
        )

    checked = '<w14:checkbox><w14:checked w14:val="1"/></w14:checkbox>'
    entries = (
        '<w:dropDownList w:lastValue="2"><w:listItem w:value="1" w:displayText="No"/>'
        '<w:listItem w:value="2" w:displayText="Yes"/></w:dropDownList>'
    )
    body = (
        control(checked, run("☒"))
        + control(checked)
        + control('<w14:checkbox><w14:checked w14:val="0"/></w14:checkbox>')
        + control(entries)
        + control(entries, run(" Yes"))
    )
    assert text_of(tmp_path, f"<w:p>{body}</w:p>") == "☒☒☐Yes Yes"


def test_results_of_fields_are_text_and_codes_are_not(tmp_path: Path) -> None:
    nested = (
        '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText>IF </w:instrText></w:r>'
        + field("MERGEFIELD sex", run("code"))
        + '<w:r><w:fldChar w:fldCharType="separate"/></w:r>'
        + run("result")
        + '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    )
    lines = [
        run("See ") + field("REF clause1", run("clause 7.2")) + run(" here."),
        nested,
        field("MACROBUTTON NoMacro [Click and type]"),
        run("a") + field('XE "index"') + run("b"),
        run("x = ") + field(r"EQ \f(a,b)"),
        field("EQ \\r(,x) + \\s\\up8(2)"),
        run("an open field ")
        + '<w:r><w:fldChar w:fldCharType="begin"/></w:r>'
        + run("loses nothing"),
    ]
    assert text_of(tmp_path, "".join(f"<w:p>{line}</w:p>" for line in lines)).split("\n\n") == [
        "See clause 7.2 here.",
        "result",
        "[Click and type]",
        "ab",
        "x = a/b",
        "√(x) + ^2",
        "an open field loses nothing",
    ]


def test_numbers_of_pages_are_no_text(tmp_path: Path) -> None:
    simple = f'<w:fldSimple w:instr=" NUMPAGES ">{run("9")}</w:fldSimple>'
    assert text_of(tmp_path, f"<w:p>{run('Page ')}{field(' PAGE ', run('3'))}{simple}</w:p>") == (
        "Page"
    )


# Equations


def letters(text: str) -> str:
    return f"<m:r><m:t>{text}</m:t></m:r>"


def over(above: str, below: str) -> str:
    return f"<m:f><m:num>{above}</m:num><m:den>{below}</m:den></m:f>"


def power(base: str, exponent: str) -> str:
    return f"<m:sSup><m:e>{base}</m:e><m:sup>{exponent}</m:sup></m:sSup>"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (
            letters("Q=") + over(letters("V"), letters("t")) + letters(" + ")
            + power(letters("x"), letters("2")),
            "Q=V/t + x^2",
        ),
        (letters("a") + over(letters("1"), letters("2")) + letters("b"), r"$a\frac{1}{2}b$"),
        (over(letters("a+b"), letters("c")), r"$\frac{a+b}{c}$"),
        (power(over(letters("V"), letters("t")), letters("10")), "(V/t)^{10}"),
        (letters("π") + letters("=") + over(letters("C"), letters("d")), r"$\pi =\frac{C}{d}$"),
        (letters("f") + "<m:d><m:e>" + letters("x") + "</m:e></m:d>" + letters("=x"), "f(x)=x"),
        (
            letters("f") + "<m:d><m:e>" + letters("x") + "</m:e></m:d>" + letters("≤1"),
            r"$f\left(x\right)\leq 1$",
        ),
        (letters("A=πr"), r"$A= \pi r$"),
        (
            "<m:nary><m:naryPr><m:chr m:val='∑'/></m:naryPr><m:sub>" + letters("k=0")
            + "</m:sub><m:sup>" + letters("n") + "</m:sup><m:e>" + letters("k") + "</m:e></m:nary>",
            r"$\sum_{k=0}^n k$",
        ),
        (
            "<m:rad><m:deg>" + letters("3") + "</m:deg><m:e>" + letters("x") + "</m:e></m:rad>",
            r"$\sqrt[3]{x}$",
        ),
        (
            "<m:func><m:fName>" + letters("sin") + "</m:fName><m:e>" + letters("x")
            + "</m:e></m:func>",
            r"$\sin x$",
        ),
        (
            "<m:d><m:dPr><m:begChr m:val='['/><m:endChr m:val=']'/></m:dPr><m:e><m:m><m:mr><m:e>"
            + letters("a") + "</m:e><m:e>" + letters("b") + "</m:e></m:mr><m:mr><m:e>"
            + letters("c") + "</m:e><m:e>" + letters("d") + "</m:e></m:mr></m:m></m:e></m:d>",
            r"$\left[\begin{matrix} a & b \\ c & d \end{matrix}\right]$",
        ),
        (
            "<m:sSub><m:e>" + letters("x") + "</m:e><m:sub>" + letters("ij") + "</m:sub></m:sSub>",
            "x_{ij}",
        ),
        ("<m:bar><m:barPr><m:pos m:val='top'/></m:barPr><m:e>" + letters("x") + "</m:e></m:bar>",
         r"$\overline{x}$"),
        ("<m:acc><m:accPr><m:chr m:val='\u20d7'/></m:accPr><m:e>" + letters("v")
         + "</m:e></m:acc>", r"$\vec{v}$"),
    ],
)  # fmt: skip
def test_equations(tmp_path: Path, content: str, text: str) -> None:
    body = f"<w:p>{run('x: ')}<m:oMath>{content}</m:oMath></w:p>"
    assert text_of(tmp_path, body) == f"x: {text}"


def test_equations_stand_apart(tmp_path: Path) -> None:
    equations = f"<m:oMath>{letters('a=b')}</m:oMath><m:oMath>{letters('c=d')}</m:oMath>"
    assert text_of(tmp_path, f"<w:p>{equations}</w:p>") == "a=b c=d"
    lines = f"<w:p>{run('So')}<m:oMathPara>{equations}</m:oMathPara></w:p>"
    assert text_of(tmp_path, lines) == "So\na=b\nc=d"


def test_an_inserted_equation_and_one_outside_a_paragraph_are_read(tmp_path: Path) -> None:
    one = f"<m:oMath>{letters('a=b')}</m:oMath>"
    body = f"<w:p><m:oMathPara><w:ins>{one}</w:ins></m:oMathPara></w:p><m:oMathPara>{one}"
    assert text_of(tmp_path, f"{body}</m:oMathPara>{one}") == "a=b\n\na=b\n\na=b"


def test_the_text_of_a_watermark_is_read(tmp_path: Path) -> None:
    body = '<w:p><w:r><w:pict><v:shape><v:textpath string="DRAFT"/></v:shape></w:pict></w:r></w:p>'
    assert text_of(tmp_path, body + paragraph("text")) == "DRAFT\n\ntext"


# Parts inside the text


@pytest.mark.parametrize("macros", [False, True])
def test_an_inserted_page_stands_where_it_was_inserted(tmp_path: Path, macros: bool) -> None:
    page = "<html><body><h1>Penalty</h1><p>Three percent a week.</p></body></html>"
    body = paragraph("before") + '<w:altChunk r:id="aFChunk"/>' + paragraph("after")
    path = word_package(tmp_path / "a.docx", body, macros=macros, aFChunk=("chunk.html", page))
    assert read(path).text == "before\n\n# Penalty\n\nThree percent a week.\n\nafter"


def test_texts_mails_and_documents_may_be_inserted(tmp_path: Path) -> None:
    inner = io.BytesIO()
    document = docx.Document()
    document.add_paragraph("inner text")
    document.save(inner)
    mail = (
        "MIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n--b\r\n"
        "Content-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable"
        "\r\n\r\n<html><body><p>one =\r\nline</p></body></html>\r\n--b--\r\n"
    )
    chunk = '<w:altChunk r:id="aFChunk"/>'
    assert text_of(tmp_path, chunk, aFChunk=("c.txt", "Date: 3 May")) == "Date: 3 May"
    assert text_of(tmp_path, chunk, aFChunk=("c.mht", mail)) == "one line"
    assert text_of(tmp_path, chunk, aFChunk=("c.docx", inner.getvalue())) == "inner text"


@pytest.mark.parametrize("data", ["{\\rtf1 text}", "MIME-Version: 1.0\n\nno page", b"PK\x03\x04no"])
def test_what_cannot_be_read_of_an_inserted_document_is_said(
    tmp_path: Path, data: str | bytes
) -> None:
    body = paragraph("text") + '<w:altChunk r:id="aFChunk"/>' + '<w:altChunk r:id="none"/>'
    document = read(word_package(tmp_path / "a.docx", body, aFChunk=("c.bin", data)))
    assert document.text == "text"
    assert document.facts["warnings"] == [
        {"kind": "attachments_not_read", "count": 2, "detail": "word/c.bin"}
    ]


def test_documents_in_documents_end(tmp_path: Path) -> None:
    data: bytes = b"the innermost"
    for _ in range(7):
        path = word_package(
            tmp_path / "inner.docx",
            paragraph("level") + '<w:altChunk r:id="aFChunk"/>',
            aFChunk=("c.docx", data),
        )
        data = path.read_bytes()
    document = read(path)
    assert document.text.count("level") == 5
    assert [each["kind"] for each in document.facts["warnings"]] == ["attachments_not_read"]


def test_inserted_texts_count_together(tmp_path: Path) -> None:
    body = '<w:altChunk r:id="aFChunk"/>' * 3
    path = word_package(tmp_path / "a.docx", body, aFChunk=("c.txt", "x" * 50))
    with pytest.raises(TextTooLarge):
        read(path, Limits(max_text_chars=120))


def drawing(content: str) -> str:
    return (
        f"<w:p><w:r><w:t>see</w:t></w:r><w:r><w:drawing><a:graphic><a:graphicData>{content}"
        "</a:graphicData></a:graphic></w:drawing></w:r></w:p>"
    )


def points(*values: str, form: str = "") -> str:
    code = f"<c:formatCode>{form}</c:formatCode>" if form else ""
    return f"<c:cache>{code}" + "".join(
        f'<c:pt idx="{index}"><c:v>{text}</c:v></c:pt>' for index, text in enumerate(values)
    ) + "</c:cache>"  # fmt: skip


def series(name: str, labels: str, values: str) -> str:
    return (
        f"<c:ser><c:tx>{points(name)}</c:tx><c:cat>{labels}</c:cat><c:val>{values}</c:val></c:ser>"
    )


@pytest.mark.parametrize("macros", [False, True])
def test_charts_are_tables(tmp_path: Path, macros: bool) -> None:
    title = "<c:title><c:tx><a:p><a:r><a:t>Sales</a:t></a:r></a:p></c:tx></c:title>"
    chart = bound(
        "c:chartSpace",
        title
        + series("Pumps", points("Q1", "Q2"), points("4.2999999999999998", "2"))
        + series("Valves", points("Q1", "Q2"), points("7", "")),
    )
    path = word_package(
        tmp_path / "a.docx",
        drawing('<c:chart r:id="chart"/>'),
        macros=macros,
        chart=("charts/chart1.xml", chart),
    )
    document = read(path)
    assert document.text == (
        "see\n\nSales\n\n|  | Pumps | Valves |\n| --- | --- | --- |\n| Q1 | 4.3 | 7 |\n"
        "| Q2 | 2 |  |"
    )
    assert document.facts["tables"] == 1


def test_dates_newer_charts_and_charts_that_are_not_there(tmp_path: Path) -> None:
    dates = bound("c:chartSpace", series("a", points("45658", form="m/d/yyyy"), points("1")))
    body = drawing('<c:chart r:id="chart"/>') + drawing('<cx:chart r:id="chartEx"/>')
    newer = bound(
        "cx:chartSpace",
        '<cx:data id="0"><cx:strDim><cx:lvl><cx:pt idx="0">start</cx:pt></cx:lvl></cx:strDim>'
        '<cx:numDim><cx:lvl><cx:pt idx="0">12</cx:pt></cx:lvl></cx:numDim></cx:data>'
        "<cx:series><cx:tx><cx:txData><cx:v>Cash</cx:v></cx:txData></cx:tx>"
        '<cx:dataId val="0"/></cx:series>',
    )
    path = word_package(
        tmp_path / "a.docx",
        body + drawing('<c:chart r:id="lost"/>'),
        chart=("charts/chart1.xml", dates),
        chartEx=("charts/chartEx1.xml", newer),
    )
    document = read(path)
    assert document.text == (
        "see\n\n|  | a |\n| --- | --- |\n| 2025-01-01 | 1 |\n\n"
        "see\n\n|  | Cash |\n| --- | --- |\n| start | 12 |\n\nsee"
    )
    assert document.facts["warnings"] == [{"kind": "charts_left_out", "count": 1}]


def test_charts_of_many_series_and_points_are_read_in_time(tmp_path: Path) -> None:
    numbers = range(4_000)
    newer = "".join(f'<cx:data id="{number}"/>' for number in numbers) + "".join(
        f'<cx:series><cx:dataId val="{number}"/></cx:series>' for number in numbers
    )
    levels = '<c:pt idx="0"><c:v>ab</c:v></c:pt>' * 100_000
    body = drawing('<cx:chart r:id="chartEx"/>') + drawing('<c:chart r:id="chart"/>')
    began = time.process_time()
    found = text_of(
        tmp_path,
        paragraph("Text") + body,
        chartEx=("charts/chartEx1.xml", bound("cx:chartSpace", newer)),
        chart=("charts/chart1.xml", bound("c:chartSpace", series("a", levels, points("1")))),
    )
    assert time.process_time() - began < 5
    assert found.startswith("Text")


def test_the_texts_of_smart_art_are_a_list(tmp_path: Path) -> None:
    def point(key: str, text: str, kind: str = "") -> str:
        told = f' type="{kind}"' if kind else ""
        content = f"<dgm:t><a:p><a:r><a:t>{text}</a:t></a:r></a:p></dgm:t>"
        return f'<dgm:pt modelId="{key}"{told}>{content}</dgm:pt>'

    def edge(above: str, below: str, place: int) -> str:
        return f'<dgm:cxn modelId="x" srcId="{above}" destId="{below}" srcOrd="{place}"/>'

    data = bound(
        "dgm:dataModel",
        "<dgm:ptLst>"
        + point("0", "", "doc")
        + point("2", "Second")
        + point("1", "First")
        + point("3", "Below")
        + point("4", "[Text]", "pres")
        + "</dgm:ptLst><dgm:cxnLst>"
        + edge("0", "1", 0)
        + edge("0", "2", 1)
        + edge("1", "3", 0)
        + edge("3", "1", 0)
        + "</dgm:cxnLst>",
    )
    text = text_of(
        tmp_path,
        drawing('<dgm:relIds r:dm="diagramData"/>'),
        diagramData=("diagrams/data1.xml", data),
    )
    assert text == "see\n\n- First\n    - Below\n- Second"


@pytest.mark.parametrize("macros", [False, True])
def test_files_inside_are_named(tmp_path: Path, macros: bool) -> None:
    path = word_package(
        tmp_path / "a.docx",
        paragraph("text"),
        macros=macros,
        package=("embeddings/sheet.xlsx", b"PK"),
        oleObject=("embeddings/old.bin", b"x"),
    )
    (warning,) = read(path).facts["warnings"]
    assert warning["kind"] == "attachments_not_read"
    assert warning["count"] == 2


# What people did to the text


@pytest.mark.parametrize("macros", [False, True])
def test_comments_stand_after_their_paragraph(tmp_path: Path, macros: bool) -> None:
    comments = bound(
        "w:comments",
        f'<w:comment w:id="0" w:author="Legal">{paragraph("Rejected")}{paragraph("on 3 May.")}'
        f'</w:comment><w:comment w:id="1">{paragraph("Of the whole.")}</w:comment>',
    )
    body = (
        f'<w:p>{run("Payment is due.")}<w:r><w:commentReference w:id="0"/></w:r></w:p>'
        + paragraph("Next")
    )
    path = word_package(
        tmp_path / "a.docx", body, macros=macros, comments=("comments.xml", comments)
    )
    assert read(path).text == (
        "Payment is due.\n\n[Comment by Legal: Rejected on 3 May.]\n\nNext\n\n"
        "[Comment: Of the whole.]"
    )


def test_a_chain_of_comments_in_comments_ends(tmp_path: Path) -> None:
    comments = "".join(
        f'<w:comment w:id="{number}"><w:p>{run(f"c{number}")}'
        f'<w:r><w:commentReference w:id="{number + 1}"/></w:r></w:p></w:comment>'
        for number in range(500)
    )
    body = f'<w:p>{run("Text")}<w:r><w:commentReference w:id="0"/></w:r></w:p>'
    found = text_of(tmp_path, body, comments=("comments.xml", bound("w:comments", comments)))
    assert found == "\n\n".join(["Text", *(f"[Comment: c{number}]" for number in range(500))])


def test_a_deleted_end_of_a_paragraph_joins_it_with_the_next(tmp_path: Path) -> None:
    deleted = "<w:pPr><w:rPr><w:del/></w:rPr></w:pPr>"
    body = (
        f"<w:p>{deleted}{run('one ')}</w:p><w:p>{deleted}{run('two ')}</w:p>"
        + f"<w:p>{run('three')}</w:p><w:p>{deleted}{run('before a table')}</w:p>"
        + table(row(cell(paragraph("a")), cell(paragraph("b"))))
        + f"<w:p>{deleted}{run('last')}</w:p>"
    )
    assert text_of(tmp_path, body) == (
        "one two three\n\nbefore a table\n\n| a | b |\n| --- | --- |\n\nlast"
    )


def test_deleted_rows_and_cells_are_left_out(tmp_path: Path) -> None:
    gone = f"<w:tr><w:trPr><w:del/></w:trPr>{cell(paragraph('x'))}{cell(paragraph('y'))}</w:tr>"
    grid = table(
        row(cell(paragraph("a")), cell(paragraph("b"))),
        gone,
        row(cell(paragraph("c")), cell(paragraph("z"), properties="<w:cellDel/>")),
    )
    assert text_of(tmp_path, grid) == "| a | b |\n| --- | --- |\n| c |  |"


def test_a_cell_that_goes_on_from_nowhere_keeps_its_text(tmp_path: Path) -> None:
    grid = table(
        row(cell(paragraph("a"), properties="<w:vMerge/>"), cell(paragraph("b"))),
        row(cell(paragraph("a"), properties="<w:vMerge/>"), cell(paragraph("c"))),
    )
    assert text_of(tmp_path, grid) == "| a | b |\n| --- | --- |\n|  | c |"


HIDDEN = (
    '<w:style w:type="character" w:styleId="Secret"><w:rPr><w:vanish/></w:rPr></w:style>'
    '<w:style w:type="paragraph" w:styleId="Secrets"><w:rPr><w:vanish/></w:rPr></w:style>'
    '<w:style w:type="paragraph" w:styleId="More"><w:basedOn w:val="Secrets"/></w:style>'
)


def test_hidden_text_is_kept_out_and_counted(tmp_path: Path) -> None:
    def in_style(text: str, style: str) -> str:
        return f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr>{text}</w:p>'

    body = (
        f"<w:p>{run('seen ')}{run('1234', '<w:vanish/>')}"
        f"{run('again', '<w:vanish w:val=' + chr(34) + '0' + chr(34) + '/>')}</w:p>"
        + f"<w:p>{run('5678', '<w:rStyle w:val=' + chr(34) + 'Secret' + chr(34) + '/>')}</w:p>"
        + in_style(run("90"), "Secrets")
        + in_style(run("12"), "More")
        + in_style(run("shown", '<w:vanish w:val="false"/>'), "More")
    )
    document = read(
        word_package(tmp_path / "a.docx", body, styles=("styles.xml", bound("w:styles", HIDDEN)))
    )
    assert document.text == "seen again\n\nshown"
    assert document.facts["warnings"] == [
        {"kind": "hidden_text_left_out", "count": 12, "detail": "formatted as hidden"}
    ]


def test_hidden_rows_are_kept_out(tmp_path: Path) -> None:
    hidden = (
        f"<w:tr><w:trPr><w:hidden/></w:trPr>{cell(paragraph('x'))}{cell(paragraph('y'))}</w:tr>"
    )
    grid = table(row(cell(paragraph("a")), cell(paragraph("b"))), hidden)
    document = read(word_package(tmp_path / "a.docx", grid))
    assert document.text == "| a | b |\n| --- | --- |"
    assert document.facts["warnings"] == [
        {"kind": "hidden_text_left_out", "count": 2, "detail": "formatted as hidden"}
    ]


def test_a_document_of_hidden_text_says_so(tmp_path: Path) -> None:
    path = word_package(tmp_path / "a.docx", f"<w:p>{run('secret', '<w:vanish/>')}</w:p>")
    with pytest.raises(EmptyObject, match="hidden"):
        read(path)


# Titles


@pytest.mark.parametrize(
    ("given", "title"),
    [
        (None, "Head"),
        ("Word Document", "Head"),
        ("Microsoft Word - Document1.docx", "Head"),
        ("Untitled", "Head"),
        ("[Document title]", "Head"),
        ("Microsoft Word - Travel policy.doc", "Travel policy.doc"),
        ("Word processing in offices", "Word processing in offices"),
        ("Title IX", "Title IX"),
    ],
)
def test_a_program_gives_no_title(tmp_path: Path, given: str | None, title: str) -> None:
    if given is None:
        styles = bound(
            "w:styles",
            '<w:style w:styleId="Heading1"><w:name w:val="heading 1"/></w:style>',
        )
        body = paragraph("Head", "Heading1")
        path = word_package(tmp_path / "a.docx", body, styles=("styles.xml", styles))
    else:
        path = word(tmp_path / "a.docx", paragraph("Head", "Heading1"), title=given)
    assert read(path).title == title


def test_a_file_that_python_docx_refuses_keeps_its_title(tmp_path: Path) -> None:
    made = word(tmp_path / "made.docx", paragraph("Text"), title="Travel policy")
    path = tmp_path / "a.docm"
    main = b"wordprocessingml.document.main+xml"
    with zipfile.ZipFile(made) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            new.writestr(name, data.replace(main, b"wordprocessingml.macros.main+xml"))
    document = read(path)
    assert (document.facts["engine"], document.title) == ("lxml", "Travel policy")


def test_styles_in_a_circle_end(tmp_path: Path) -> None:
    styles = (
        '<w:style w:styleId="a"><w:basedOn w:val="b"/></w:style>'
        '<w:style w:styleId="b"><w:basedOn w:val="a"/></w:style>'
    )
    text = text_of(tmp_path, paragraph("text", "a"), styles=("s.xml", bound("w:styles", styles)))
    assert text == "text"


@pytest.mark.parametrize("level", ["\u00b2", "x", "9" * 5_000])
def test_a_style_of_no_outline_level_is_no_heading(tmp_path: Path, level: str) -> None:
    style = (
        '<w:style w:type="paragraph" w:styleId="a"><w:name w:val="a"/>'
        f'<w:pPr><w:outlineLvl w:val="{level}"/></w:pPr></w:style>'
    )
    body = f'<w:p><w:pPr><w:pStyle w:val="a"/></w:pPr>{run("Text")}</w:p>'
    styles = ("styles.xml", bound("w:styles", style))
    assert text_of(tmp_path, body, styles=styles) == "Text"
