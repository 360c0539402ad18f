from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas

from activekg_pipelines.errors import Corrupt, Encrypted, NoTextLayer, TextTooLarge
from activekg_pipelines.extraction import ExtractedDocument, Limits, PdfEngine, extract_file
from activekg_pipelines.extraction.pdf.extractor import sensible_title
from tests.unit.extraction.documents import encryption, lines, pdf, picture, ruled_table

ENGINES: list[PdfEngine] = ["pdfium", "pdfplumber"]
ROWS = [["Name", "Year", "Cost"], ["Wall", "2023", "5"], ["Pier", "2024", "7"]]
MARKDOWN = "| Name | Year | Cost |\n| --- | --- | --- |\n| Wall | 2023 | 5 |\n| Pier | 2024 | 7 |"

# Bytes by which reading the second file raises the peak that reading the first one
# left.
GROWTH = """
import resource, sys
from pathlib import Path
from activekg_pipelines.extraction import Limits, extract_file
peaks = []
for name in sys.argv[1:]:
    extract_file(Path(name), name, None, Limits())
    peaks.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
print((peaks[1] - peaks[0]) * (1 if sys.platform == "darwin" else 1024))
"""


def table_text(canvas: Canvas) -> None:
    """Write ROWS into cells of 100 by 20 points, the first at (72, 700)."""
    for row, cells in enumerate(ROWS):
        for column, text in enumerate(cells):
            canvas.drawString(76 + 100 * column, 686 - 20 * row, text)


def with_unicode_of_a(data: bytes, character: str) -> bytes:
    """Tell readers that the font's "A" stands for ``character``.

    ``data`` is a file that reportlab wrote uncompressed.
    """
    cmap = f"1 beginbfchar <41> <{character.encode('utf-16-be').hex()}> endbfchar".encode()
    stream = b"900 0 obj\n<< /Length %d >>\nstream\n%s\nendstream\nendobj\n" % (len(cmap), cmap)
    data = data.replace(b"/Type /Font\n", b"/Type /Font /ToUnicode 900 0 R\n")
    # Its table of objects is wrong now; readers then look for the objects themselves.
    return data.replace(b"\nxref\n", b"\n" + stream + b"xref\n").replace(
        b"startxref", b"startxref\n9"
    )


def read(path: Path, engine: PdfEngine = "pdfium", **limits: int) -> ExtractedDocument:
    return extract_file(path, "a.pdf", None, Limits(pdf_engine=engine, **limits))  # type: ignore[arg-type]


@pytest.mark.parametrize("engine", ENGINES)
def test_pages_are_joined_by_blank_lines(tmp_path: Path, engine: PdfEngine) -> None:
    path = pdf(
        tmp_path / "a.pdf",
        lines("First line", "second line"),
        picture,
        lines("Last page"),
        title="Title of it",
    )
    document = read(path, engine)
    assert document.text == "First line\nsecond line\n\nLast page"
    assert document.title == "Title of it"
    assert document.mime_type == "application/pdf"
    assert document.facts == {
        "engine": engine,
        "characters": 33,
        "warnings": [{"kind": "partly_read", "count": 1, "total": 3}],
        "pages": 3,
        "empty_pages": 1,
        "tables": 0,
        "page_starts": [0, 24, 24],
    }


@pytest.mark.parametrize("engine", ENGINES)
def test_a_ruled_table_is_markdown_in_its_place_and_nowhere_else(
    tmp_path: Path, engine: PdfEngine
) -> None:
    document = read(pdf(tmp_path / "a.pdf", ruled_table(ROWS)), engine)
    assert [block.strip() for block in document.text.split("\n\n")] == [
        "Before the table",
        MARKDOWN,
        "After the table",
    ]
    assert document.facts["tables"] == 1


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_table_on_a_rotated_page_is_read_as_it_is_shown(tmp_path: Path, rotation: int) -> None:
    def draw(canvas: object) -> None:
        # Turned against the page's rotation, so that it is shown upright.
        canvas.translate(300, 400)  # type: ignore[attr-defined]
        canvas.rotate(rotation)  # type: ignore[attr-defined]
        canvas.translate(-200, -650)  # type: ignore[attr-defined]
        ruled_table(ROWS, rotation=rotation)(canvas)  # type: ignore[arg-type]

    assert MARKDOWN in read(pdf(tmp_path / "a.pdf", draw)).text


def test_lines_that_form_no_grid_are_no_table(tmp_path: Path) -> None:
    def draw(canvas: object) -> None:
        for y in range(300, 700, 20):
            canvas.line(72, y, 500, y)  # type: ignore[attr-defined]
        canvas.rect(60, 60, 480, 720)  # type: ignore[attr-defined]
        lines("Framed", "text")(canvas)  # type: ignore[arg-type]

    document = read(pdf(tmp_path / "a.pdf", draw))
    assert document.text == "Framed\ntext"
    assert document.facts["tables"] == 0


def test_an_empty_grid_is_no_table(tmp_path: Path) -> None:
    document = read(
        pdf(tmp_path / "a.pdf", ruled_table([["only", "", ""], ["", "", ""], ["", "", ""]]))
    )
    assert document.facts["tables"] == 0
    assert document.text.splitlines() == ["Before the table", "only", "After the table"]


def test_text_beside_a_table_stays_out_of_it(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        ruled_table(ROWS)(canvas)
        for row in range(3):
            canvas.drawString(400, 686 - 20 * row, f"Margin {row}")

    text = read(pdf(tmp_path / "a.pdf", draw)).text
    assert MARKDOWN in text
    assert re.findall(r"^Margin \d$", text, re.MULTILINE) == ["Margin 0", "Margin 1", "Margin 2"]


def test_a_table_ruled_with_filled_bars_is_a_table(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        table_text(canvas)
        for x in (72, 172, 272, 372):
            canvas.rect(x, 640, 0.75, 60, stroke=0, fill=1)
        for y in (700, 680, 660, 640):
            canvas.rect(72, y, 300, 0.75, stroke=0, fill=1)

    assert read(pdf(tmp_path / "a.pdf", draw)).text == MARKDOWN


def test_a_table_ruled_with_the_borders_of_its_cells_is_a_table(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        for row in range(3):
            for column in range(3):
                canvas.rect(72 + 100 * column, 680 - 20 * row, 100, 20)
        table_text(canvas)

    assert read(pdf(tmp_path / "a.pdf", draw)).text == MARKDOWN


def test_a_table_in_a_scaled_and_shifted_form_is_a_table(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.beginForm("table")
        canvas.grid([72, 172, 272, 372], [700, 680, 660, 640])
        table_text(canvas)
        canvas.endForm()
        canvas.translate(30, 20)
        canvas.scale(0.8, 0.8)
        canvas.doForm("table")

    assert read(pdf(tmp_path / "a.pdf", draw)).text == MARKDOWN


def test_figures_of_neighbouring_cells_that_touch_are_told_apart(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.grid([100, 124, 148], [700, 680, 660, 640])
        for row, pair in enumerate([("1111", "2222"), ("3333", "4444"), ("5555", "6666")]):
            for column, figures in enumerate(pair):
                # Four figures fill the cell from border to border.
                canvas.setFont("Courier", 10)
                canvas.drawString(100 + 24 * column, 686 - 20 * row, figures)

    text = read(pdf(tmp_path / "a.pdf", draw)).text
    assert text == "| 1111 | 2222 |\n| --- | --- |\n| 3333 | 4444 |\n| 5555 | 6666 |"


def test_lines_of_a_cell_stay_together(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.grid([72, 272, 472], [700, 650, 600])
        for column, texts in enumerate([("North of the", "river"), ("South of the", "hills")]):
            for row in range(2):
                for line, text in enumerate(texts):
                    canvas.drawString(76 + 200 * column, 680 - 50 * row - 14 * line, text)

    row = "| North of the river | South of the hills |"
    assert read(pdf(tmp_path / "a.pdf", draw)).text == f"{row}\n| --- | --- |\n{row}"


def test_a_table_holds_characters_outside_the_basic_plane(tmp_path: Path) -> None:
    path = pdf(
        tmp_path / "a.pdf",
        ruled_table([["Sign", "Value"], ["A", "1"], ["B", "2"]]),
        pageCompression=0,
    )
    path.write_bytes(with_unicode_of_a(path.read_bytes(), "\U0001d400"))
    assert "| \U0001d400 | 1 |" in read(path).text


def test_a_page_with_too_many_lines_keeps_its_text_and_gets_a_warning(tmp_path: Path) -> None:
    def drawing(canvas: Canvas) -> None:
        ruled_table(ROWS)(canvas)
        for step in range(10_100):
            canvas.line(72, 100 + step / 100, 500, 100 + step / 100)

    document = read(pdf(tmp_path / "a.pdf", drawing, ruled_table(ROWS)))
    first, second = document.text.split("After the table\n\nBefore the table")
    assert "Wall" in first
    assert "|" not in first
    assert MARKDOWN in second
    assert document.facts["warnings"] == [
        {
            "kind": "structure_lost",
            "detail": "Some pages have too many lines to look for tables in them.",
        }
    ]


def test_pages_leave_memory_once_they_are_read(tmp_path: Path) -> None:
    page = lines(*["A line of text that fills the page from one border to the other, nearly."] * 45)
    short, long = (
        pdf(tmp_path / "short.pdf", *[page] * 20),
        pdf(tmp_path / "long.pdf", *[page] * 600),
    )
    grown = int(
        subprocess.run(
            [sys.executable, "-c", GROWTH, short, long], capture_output=True, check=True
        ).stdout
    )
    assert grown < 30 * 2**20


def test_figures_whose_rows_are_not_ruled_stay_with_their_labels(tmp_path: Path) -> None:
    def draw(canvas: object) -> None:
        canvas.grid([200, 300, 400, 500], [700, 680, 560])  # type: ignore[attr-defined]
        for column, name in enumerate(["2021", "2022", "2023"]):
            canvas.drawString(210 + 100 * column, 686, name)  # type: ignore[attr-defined]
        for row in range(6):
            canvas.drawString(72, 664 - 18 * row, f"Label {row}")  # type: ignore[attr-defined]
            for column in range(3):
                canvas.drawString(210 + 100 * column, 664 - 18 * row, f"{row}{column}")  # type: ignore[attr-defined]

    document = read(pdf(tmp_path / "a.pdf", draw))
    assert document.facts["tables"] == 0
    assert "Label 4 40 41 42" in document.text


def test_a_word_split_over_two_lines_is_whole_again(tmp_path: Path) -> None:
    text = read(pdf(tmp_path / "a.pdf", lines("The infor-", "mation of Rolls-", "Royce"))).text
    assert text == "The information of Rolls-Royce"


def test_values_of_form_fields_are_read(tmp_path: Path) -> None:
    def draw(canvas: object) -> None:
        canvas.drawString(72, 700, "Name:")  # type: ignore[attr-defined]
        canvas.acroForm.textfield(value="Ada Lovelace", x=150, y=690, width=200, height=20)  # type: ignore[attr-defined]

    assert "Ada Lovelace" in read(pdf(tmp_path / "a.pdf", draw)).text


@pytest.mark.parametrize("engine", ENGINES)
def test_a_password_means_encrypted(tmp_path: Path, engine: PdfEngine) -> None:
    path = pdf(tmp_path / "a.pdf", lines("Secret"), encrypt=encryption("user"))
    with pytest.raises(Encrypted):
        read(path, engine)


def test_a_document_that_only_forbids_copying_is_read(tmp_path: Path) -> None:
    assert (
        read(pdf(tmp_path / "a.pdf", lines("Readable"), encrypt=encryption(""))).text == "Readable"
    )


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("data", [b"%PDF-1.7\ngarbage", b"no PDF at all", b"%PDF-1.4\n%%EOF"])
def test_what_cannot_be_opened_is_corrupt(tmp_path: Path, engine: PdfEngine, data: bytes) -> None:
    path = tmp_path / "a.pdf"
    path.write_bytes(data)
    with pytest.raises(Corrupt):
        read(path, engine)


def test_what_only_pdfplumber_can_open_is_read_with_a_warning(tmp_path: Path) -> None:
    path = pdf(tmp_path / "a.pdf", lines("Rescued"))
    path.write_bytes(path.read_bytes().partition(b"\n")[2])
    document = read(path)
    assert document.text == "Rescued"
    assert document.facts["engine"] == "pdfplumber"
    assert "other_engine" in str(document.facts["warnings"])


@pytest.mark.parametrize("engine", ENGINES)
def test_a_scan_has_no_text_layer(tmp_path: Path, engine: PdfEngine) -> None:
    with pytest.raises(NoTextLayer, match=r"\(2 in all\)"):
        read(pdf(tmp_path / "a.pdf", picture, picture), engine)


@pytest.mark.parametrize("engine", ENGINES)
def test_junk_before_the_header_is_cut(tmp_path: Path, engine: PdfEngine) -> None:
    path = pdf(tmp_path / "a.pdf", lines("After the junk"))
    path.write_bytes(b"X-Header: junk\r\n" * 200 + path.read_bytes())
    document = read(path, engine)
    assert document.text == "After the junk"
    # The other engine must not have come to the rescue.
    assert (document.facts["engine"], document.facts["warnings"]) == (engine, [])


@pytest.mark.parametrize("engine", ENGINES)
def test_pages_over_the_limit_are_left_out_with_a_warning(
    tmp_path: Path, engine: PdfEngine
) -> None:
    document = read(
        pdf(tmp_path / "a.pdf", *[lines(f"Page {i}") for i in range(5)]), engine, max_pages=2
    )
    assert document.text == "Page 0\n\nPage 1"
    assert document.facts["pages"] == 5
    assert document.facts["warnings"] == [{"kind": "pages_left_out", "count": 3, "total": 5}]


@pytest.mark.parametrize("engine", ENGINES)
def test_text_over_the_limit_is_refused(tmp_path: Path, engine: PdfEngine) -> None:
    with pytest.raises(TextTooLarge):
        read(pdf(tmp_path / "a.pdf", *[lines("word " * 10)] * 3), engine, max_text_chars=100)


def test_a_broken_page_costs_a_warning_and_the_others_are_kept(tmp_path: Path) -> None:
    path = pdf(
        tmp_path / "a.pdf", lines("First"), lines("Second"), lines("Third"), pageCompression=0
    )
    data = path.read_bytes()
    second = data.index(b"/Type /Page\n", data.index(b"/Type /Page\n") + 1)
    path.write_bytes(data[:second] + data[second:].replace(b"/Type /Page\n", b"/Type /Pxge\n", 1))
    document = read(path)
    assert document.text == "First\n\nThird"
    assert "page 2, " in str(document.facts["warnings"])


@pytest.mark.parametrize(
    ("metadata", "title"),
    [
        ("Annual report", "Annual report"),
        ("Microsoft Word - Annual report", "Annual report"),
        ("Microsoft Word - report_final2.doc", None),
        ("untitled", None),
        ("Untitled-2", None),
        ("20260412-7", None),
        ("1.0", None),
        ("Microsoft Word", None),
        ("Microsoft Word - Document1", None),
        ("Adobe InDesign CC 2019", None),
        ("LaTeX with hyperref package", None),
        ("PowerPoint-Präsentation", None),
        ("Folie 1", None),
        ("Template", None),
        ("[Document title]", None),
        ("Insert title here", None),
        ("1984", None),
        ("Word processing in offices", "Word processing in offices"),
        ("Form 1040: U.S. Individual Income Tax Return",) * 2,
        ("Template for offers of pumps", "Template for offers of pumps"),
        ("報告書", "報告書"),
        ("scan0001.PDF", None),
        ("", None),
        (None, None),
    ],
)
def test_only_sensible_titles_are_taken(metadata: str | None, title: str | None) -> None:
    assert sensible_title(metadata) == title
