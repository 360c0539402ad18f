"""Reading order of PDF: heads, feet, columns, and what a line or page end cuts."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from reportlab.pdfbase import pdfmetrics
from reportlab.pdfbase.cidfonts import UnicodeCIDFont
from reportlab.pdfgen.canvas import Canvas

from activekg_pipelines.extraction import ExtractedDocument, Limits, extract_file
from activekg_pipelines.extraction.pdf.words import Vocabulary, join_pages
from tests.unit.extraction.documents import lines, pdf

WORDS = re.findall(
    r"\w+",
    "every pump that leaves the works is tested with water at twice its pressure and the "
    "result goes into a book which two people sign before the crate is closed and shipped",
)

Draw = Callable[[Canvas], None]


def read(path: Path) -> ExtractedDocument:
    return extract_file(path, "a.pdf", None, Limits())


def body(page: int, count: int = 8, top: float = 700) -> list[tuple[float, str]]:
    """Lines of a text, other ones on each page."""
    return [
        (top - 16 * line, " ".join(WORDS[(7 * page + 5 * line + i) % len(WORDS)] for i in range(9)))
        for line in range(count)
    ]


def placed(*texts: tuple[float, str], left: float = 72) -> Draw:
    def draw(canvas: Canvas) -> None:
        for y, text in texts:
            canvas.drawString(left, y, text)

    return draw


def test_heads_and_feet_are_kept_once(tmp_path: Path) -> None:
    pages = [
        placed(
            (810, "Nordwind Pumps - Quality Manual Rev. 7"),
            *body(page),
            (30, f"QM-0042 Page {page + 1} of 6 Printed copies are not controlled"),
        )
        for page in range(6)
    ]
    text = read(pdf(tmp_path / "a.pdf", *pages)).text
    assert text.count("Nordwind") == 1
    assert text.count("Printed copies") == 1
    assert "Page 1 of 6" in text
    for page in range(6):
        for _, line in body(page):
            assert line in text


def test_odd_and_even_pages_have_heads_of_their_own(tmp_path: Path) -> None:
    pages = [
        placed(
            (810, "Annual Report" if page % 2 else "Nordwind Holding"),
            *body(page),
            (30, str(page + 17)),
        )
        for page in range(8)
    ]
    text = read(pdf(tmp_path / "a.pdf", *pages)).text
    assert (text.count("Annual Report"), text.count("Nordwind Holding")) == (1, 1)
    assert [line for line in text.splitlines() if line.isdigit()] == ["17"]


@pytest.mark.parametrize(
    "first",
    [
        # The same words, but figures of their own.
        [f"V-{300 + 7 * page} Pump {1000 + 13 * page}" for page in range(6)],
        # A number that rises with the pages, and is none of a page.
        [f"Question {page + 1}" for page in range(6)],
        [f"Invoice number {4001 + page}" for page in range(6)],
        # Words that come again, but not on pages near each other.
        ["Summary", "Alpha", "Beta", "Gamma", "Summary", "Delta"],
    ],
)
def test_a_line_that_only_looks_like_a_head_stays(tmp_path: Path, first: list[str]) -> None:
    pages = [placed((800, text), *body(page)) for page, text in enumerate(first)]
    text = read(pdf(tmp_path / "a.pdf", *pages)).text
    assert [line for line in text.splitlines() if line in first] == first


def test_first_lines_of_a_text_that_repeats_itself_stay(tmp_path: Path) -> None:
    pages = [
        placed((810, "Quality Manual of the works"), *body(0 if page % 2 else 3))
        for page in range(7)
    ]
    text = read(pdf(tmp_path / "a.pdf", *pages)).text
    assert text.count(body(0)[0][1]) == 3
    assert text.count("Quality Manual") == 1


@pytest.mark.parametrize(
    ("before", "after", "word"),
    [
        ("greased with the recom-", "mended grease", "recommended grease"),
        ("this is a well-", "known part", "well-known part"),
        ("the company Rolls-", "Royce built it", "Rolls-Royce built"),
        ("see form 12-", "b of the book", "12-b of"),
        ("all Vor-", "und Nachteile", "Vor- und Nachteile"),
    ],
)
def test_a_word_that_a_line_breaks_is_whole(
    tmp_path: Path, before: str, after: str, word: str
) -> None:
    assert word in read(pdf(tmp_path / "a.pdf", lines(before, after))).text


def test_the_words_of_the_document_tell_how_a_broken_one_is_written(tmp_path: Path) -> None:
    path = pdf(
        tmp_path / "a.pdf",
        lines("The co-worker and the highlight", "are a co-", "worker and a high-", "light."),
    )
    assert read(path).text.splitlines()[1] == "are a co-worker and a highlight."


def test_a_word_that_a_page_breaks_is_whole_on_the_page_it_begins_on(tmp_path: Path) -> None:
    document = read(
        pdf(
            tmp_path / "a.pdf",
            placed((700, "Bearings are lubricated with the re-"), (40, "Page 1")),
            placed((780, "commended grease of class two, for a well-"), (40, "Page 2")),
            placed((780, "known reason."), (40, "Page 3")),
        )
    )
    assert document.text == (
        "Page 1\nBearings are lubricated with the recommended\n"
        "grease of class two, for a well-known\nreason."
    )
    assert document.facts["page_starts"] == [0, 52, 90]


def test_pages_start_where_their_text_does(tmp_path: Path) -> None:
    document = read(
        pdf(
            tmp_path / "a.pdf",
            lines("First page"),
            lambda canvas: None,
            lines("Third", "page \U0001f600"),
            lambda canvas: None,
        )
    )
    assert document.text.startswith("First page\n\nThird\n")
    assert document.facts["page_starts"] == [0, 12, 12, len(document.text)]


def grid(rows: list[list[str]], top: float, left: float = 72) -> Draw:
    def draw(canvas: Canvas) -> None:
        canvas.grid(
            [left + 120 * column for column in range(len(rows[0]) + 1)],
            [top - 20 * row for row in range(len(rows) + 1)],
        )
        for number, row in enumerate(rows):
            for column, text in enumerate(row):
                canvas.drawString(left + 4 + 120 * column, top - 20 * number - 14, text)

    return draw


HEAD = ["Article", "Description", "Price"]


def rows(first: int, count: int) -> list[list[str]]:
    return [[f"V-{n}", f"Pump model {n}", str(7 * n)] for n in range(first, first + count)]


@pytest.mark.parametrize("repeated", [[], [HEAD]])
def test_a_table_that_goes_on_over_the_page_has_one_head(
    tmp_path: Path, repeated: list[list[str]]
) -> None:
    document = read(
        pdf(
            tmp_path / "a.pdf",
            grid([HEAD, *rows(100, 30)], 720),
            grid([*repeated, *rows(130, 30)], 780),
            grid([*repeated, *rows(160, 3)], 780, left=90),
        )
    )
    table = document.text.splitlines()
    assert table[:2] == ["| Article | Description | Price |", "| --- | --- | --- |"]
    assert table[2:] == [f"| {' | '.join(row)} |" for row in rows(100, 63)]
    starts = document.facts["page_starts"]
    assert isinstance(starts, list)
    assert [document.text[start:].split(" |")[0] for start in starts] == [
        "| Article",
        "| V-130",
        "| V-160",
    ]


def test_a_table_below_other_text_begins_anew(tmp_path: Path) -> None:
    def second(canvas: Canvas) -> None:
        canvas.drawString(72, 800, "Spare parts")
        grid([["Part", "Use", "Price"], *rows(200, 2)], 780)(canvas)

    text = read(pdf(tmp_path / "a.pdf", grid([HEAD, *rows(100, 30)], 720), second)).text
    assert "Spare parts\n\n| Part | Use | Price |\n| --- | --- | --- |\n| V-200 |" in text


LEFT = [
    "The committee reviewed the annual",
    "report of the Bremen plant and",
    "decided to close the foundry in",
    "March because the ovens no longer",
    "meet the rules for emissions.",
]
RIGHT = [
    "The Hamburg plant keeps its press",
    "shop and takes over all orders of",
    "the pump division until June, when",
    "the new assembly line is ready for",
    "production of all small pumps.",
]


def across(left: list[str], right: list[str]) -> Draw:
    """Draw two columns line by line, from the left one to the right one."""

    def draw(canvas: Canvas) -> None:
        canvas.setFont("Helvetica", 11)
        canvas.drawString(60, 760, "A heading over both columns, as wide as they are or nearly")
        for number, texts in enumerate(zip(left, right, strict=True)):
            for x, text in zip((60, 330), texts, strict=True):
                canvas.drawString(x, 720 - 14 * number, text)

    return draw


def test_columns_that_were_drawn_row_by_row_come_one_after_the_other(tmp_path: Path) -> None:
    text = read(pdf(tmp_path / "a.pdf", across(LEFT, RIGHT))).text
    assert text.splitlines()[1:] == LEFT + RIGHT


@pytest.mark.parametrize(
    ("left", "right"),
    [
        (["Name of the tenant", "Date of birth", "Street and number", "Town", "Country"], RIGHT),
        (LEFT, ["12 500 EUR", "13 250 EUR", "9 400 EUR", "11 000 EUR", "8 320 EUR"]),
        # Each row begins anew, as rows of a table do.
        (
            [f"{name} has been with us since then" for name in ("Ada", "Bo", "Cy", "Di", "Ed")],
            [
                f"{name} is where the work is done"
                for name in ("Rome", "Oslo", "Kiel", "Bonn", "Graz")
            ],
        ),
    ],
)
def test_rows_without_rulings_stay_rows(tmp_path: Path, left: list[str], right: list[str]) -> None:
    text = read(pdf(tmp_path / "a.pdf", across(left, right))).text
    assert text.splitlines()[1:] == [f"{a} {b}" for a, b in zip(left, right, strict=True)]


def test_single_glyphs_of_a_font_that_is_nowhere_are_read(tmp_path: Path) -> None:
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))

    def draw(canvas: Canvas) -> None:
        canvas.setFont("STSong-Light", 11)
        for row, cells in enumerate([["性别", "男"], ["合格", "是"]]):
            for column, text in enumerate(cells):
                canvas.drawString(60 + 80 * column, 700 - 20 * row, text)

    assert read(pdf(tmp_path / "a.pdf", draw)).text.split() == ["性别", "男", "合格", "是"]


def test_a_page_of_nothing_but_such_glyphs_is_read(tmp_path: Path) -> None:
    pdfmetrics.registerFont(UnicodeCIDFont("STSong-Light"))

    def draw(canvas: Canvas) -> None:
        canvas.setFont("STSong-Light", 11)
        for row, glyph in enumerate("合格男"):
            canvas.drawString(300, 700 - 14 * row, glyph)

    assert read(pdf(tmp_path / "a.pdf", draw)).text.split() == ["合", "格", "男"]


@pytest.mark.parametrize("is_one_text", [True, False])
def test_lines_from_top_to_bottom_are_lines(tmp_path: Path, is_one_text: bool) -> None:
    font = UnicodeCIDFont("HeiseiKakuGo-W5", isVertical=is_one_text)
    pdfmetrics.registerFont(font)
    columns = ["縦書きの文章は上から下へ", "二行目の文章である"]

    def draw(canvas: Canvas) -> None:
        canvas.setFont(font.fontName, 12)
        for x, text in zip((400, 380), columns, strict=True):
            if is_one_text:
                canvas.drawString(x, 700, text)
            else:
                for row, glyph in enumerate(text):
                    canvas.drawString(x, 700 - 13 * row, glyph)

    assert read(pdf(tmp_path / "a.pdf", draw)).text.split() == columns


@pytest.mark.parametrize("end", ["", "-"])
def test_a_page_that_is_one_long_word_is_looked_through_once(end: str) -> None:
    page = "a" * 100_000 + end
    began = time.process_time()
    joined = join_pages(page, "bc and more", Vocabulary([]))
    assert time.process_time() - began < 1
    assert joined == (("a" * 100_000 + "bc", "and more") if end else None)
