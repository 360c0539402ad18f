from __future__ import annotations

from pathlib import Path

import pytest

from activekg_pipelines.extraction import Limits, extract_file
from activekg_pipelines.extraction.docx.numbering import numeral
from tests.unit.extraction.documents import bound, word_package


def level(index: int, text: str, form: str = "decimal", more: str = "") -> str:
    return (
        f'<w:lvl w:ilvl="{index}"><w:start w:val="1"/><w:numFmt w:val="{form}"/>{more}'
        f'<w:lvlText w:val="{text}"/></w:lvl>'
    )


def definition(number: int, *levels: str) -> str:
    return f'<w:abstractNum w:abstractNumId="{number}">{"".join(levels)}</w:abstractNum>'


def a_list(number: int, defined: int, more: str = "") -> str:
    return f'<w:num w:numId="{number}"><w:abstractNumId w:val="{defined}"/>{more}</w:num>'


def item(text: str, number: int = 1, at: int = 0, more: str = "") -> str:
    return (
        f'<w:p><w:pPr><w:numPr><w:ilvl w:val="{at}"/><w:numId w:val="{number}"/></w:numPr>{more}'
        f"</w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>"
    )


def styled(text: str, style: str) -> str:
    return f'<w:p><w:pPr><w:pStyle w:val="{style}"/></w:pPr><w:r><w:t>{text}</w:t></w:r></w:p>'


def blocks(folder: Path, body: str, numbering: str, styles: str = "") -> list[str]:
    path = word_package(
        folder / "a.docx",
        body,
        numbering=("numbering.xml", bound("w:numbering", numbering)),
        styles=("styles.xml", bound("w:styles", styles)),
    )
    text = extract_file(path, path.name, None, Limits()).text
    return [line for line in text.split("\n") if line]


CLAUSES = definition(
    0,
    level(0, "%1.", more='<w:pStyle w:val="H1"/>'),
    level(1, "%1.%2"),
    level(2, "(%3)", "lowerLetter"),
)
HEADING = (
    '<w:style w:type="paragraph" w:styleId="H1"><w:name w:val="heading 1"/><w:pPr><w:numPr>'
    '<w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
)


def test_headings_and_clauses_have_their_numbers(tmp_path: Path) -> None:
    body = (
        styled("Definitions", "H1")
        + item("Supplier means", at=1)
        + item("Goods means", at=1)
        + styled("Termination", "H1")
        + item("Either party", at=1)
        + item("insolvency", at=2)
        + item("breach", at=2)
        + item("Notice", at=1)
        + item("again", at=2)
    )
    assert blocks(tmp_path, body, CLAUSES + a_list(1, 0), HEADING) == [
        "# 1. Definitions",
        "1.1 Supplier means",
        "1.2 Goods means",
        "# 2. Termination",
        "2.1 Either party",
        "(a) insolvency",
        "(b) breach",
        "2.2 Notice",
        "(a) again",
    ]


def test_the_title_is_the_heading_without_its_number(tmp_path: Path) -> None:
    path = word_package(
        tmp_path / "a.docx",
        styled("Definitions", "H1"),
        numbering=("numbering.xml", bound("w:numbering", CLAUSES + a_list(1, 0))),
        styles=("styles.xml", bound("w:styles", HEADING)),
    )
    assert extract_file(path, path.name, None, Limits()).title == "Definitions"


def test_lists_are_markdown_and_indented_below_one_another(tmp_path: Path) -> None:
    bullets = definition(1, level(0, "\uf0b7", "bullet"), level(1, "o", "bullet"))
    steps = definition(0, level(0, "%1)"))
    body = (
        item("first") + item("below", 2, 1) + item("deeper", 2, 1) + item("second") + item("top", 2)
    )
    path = word_package(
        tmp_path / "a.docx",
        body,
        numbering=(
            "numbering.xml",
            bound("w:numbering", steps + bullets + a_list(1, 0) + a_list(2, 1)),
        ),
    )
    assert extract_file(path, path.name, None, Limits()).text == (
        "1) first\n    - below\n    - deeper\n2) second\n- top"
    )


def test_lists_of_one_definition_go_on_and_start_again_where_they_say_so(tmp_path: Path) -> None:
    again = '<w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/></w:lvlOverride>'
    lists = a_list(1, 0) + a_list(2, 0) + a_list(3, 0, again)
    body = item("a") + item("b", 2) + item("c", 3) + item("d", 3) + item("e", 1)
    assert blocks(tmp_path, body, definition(0, level(0, "%1.")) + lists) == [
        "1. a",
        "2. b",
        "5. c",
        "6. d",
        "7. e",
    ]


def test_a_list_may_have_levels_of_its_own(tmp_path: Path) -> None:
    own = f'<w:lvlOverride w:ilvl="0">{level(0, "Art. %1", "upperRoman")}</w:lvlOverride>'
    assert blocks(
        tmp_path, item("a") + item("b"), definition(0, level(0, "%1.")) + a_list(1, 0, own)
    ) == ["Art. I a", "Art. II b"]


def test_legal_numbers_are_decimal_and_levels_restart_as_they_say(tmp_path: Path) -> None:
    levels = (
        level(0, "%1", "upperRoman"),
        level(1, "%1.%2", more="<w:isLgl/>"),
        level(2, "%3", more='<w:lvlRestart w:val="0"/>'),
    )
    body = item("a") + item("b", at=1) + item("c", at=2) + item("d") + item("e", at=1)
    body += item("f", at=2)
    assert blocks(tmp_path, body, definition(0, *levels) + a_list(1, 0)) == [
        "I a",
        "1.1 b",
        "1 c",
        "II d",
        "2.1 e",
        "2 f",
    ]


def test_a_level_that_is_left_out_counts_as_begun(tmp_path: Path) -> None:
    levels = (level(0, "%1"), level(1, "%1.%2"), level(2, "%1.%2.%3"))
    body = item("a") + item("b", at=2) + item("c", at=1)
    assert blocks(tmp_path, body, definition(0, *levels) + a_list(1, 0)) == [
        "1 a",
        "1.1.1 b",
        "1.2 c",
    ]


def test_a_style_names_the_list_and_the_list_the_level(tmp_path: Path) -> None:
    linked = definition(
        0, level(0, "%1"), level(1, "%1.%2", more='<w:pStyle w:val="Clause"/>')
    ) + a_list(1, 0)
    styles = (
        '<w:style w:type="paragraph" w:styleId="Clause"><w:name w:val="Clause"/><w:pPr><w:numPr>'
        '<w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
        '<w:style w:type="paragraph" w:styleId="Mine"><w:name w:val="Mine"/>'
        '<w:basedOn w:val="Clause"/></w:style>'
    )
    body = styled("a", "Clause") + styled("b", "Mine") + item("no number", 0)
    assert blocks(tmp_path, body, linked, styles) == ["1.1 a", "1.2 b", "no number"]


def test_a_definition_may_be_that_of_a_numbering_style(tmp_path: Path) -> None:
    numbering = (
        definition(0, level(0, "§ %1"))
        + '<w:abstractNum w:abstractNumId="1"><w:numStyleLink w:val="Legal"/></w:abstractNum>'
        + a_list(1, 0)
        + a_list(2, 1)
    )
    styles = (
        '<w:style w:type="numbering" w:styleId="Legal"><w:name w:val="Legal"/><w:pPr><w:numPr>'
        '<w:numId w:val="1"/></w:numPr></w:pPr></w:style>'
    )
    assert blocks(tmp_path, item("a", 2) + item("b", 1), numbering, styles) == ["§ 1 a", "§ 2 b"]


def test_definitions_that_name_each_other_end(tmp_path: Path) -> None:
    numbering = (
        '<w:abstractNum w:abstractNumId="0"><w:numStyleLink w:val="Round"/></w:abstractNum>'
    ) + a_list(1, 0)
    styles = (
        '<w:style w:type="numbering" w:styleId="Round"><w:pPr><w:numPr><w:numId w:val="1"/>'
        "</w:numPr></w:pPr></w:style>"
    )
    assert blocks(tmp_path, item("a"), numbering, styles) == ["a"]


def test_an_empty_paragraph_counts_and_a_hidden_or_deleted_one_does_not(tmp_path: Path) -> None:
    hidden = (
        '<w:p><w:pPr><w:numPr><w:numId w:val="1"/></w:numPr><w:rPr><w:vanish/></w:rPr></w:pPr>'
        "<w:r><w:rPr><w:vanish/></w:rPr><w:t>secret</w:t></w:r></w:p>"
    )
    deleted = (
        '<w:p><w:pPr><w:numPr><w:numId w:val="1"/></w:numPr><w:rPr><w:del/></w:rPr></w:pPr>'
        "<w:del><w:r><w:delText>gone</w:delText></w:r></w:del></w:p>"
    )
    body = item("a") + item("") + hidden + deleted + item("b")
    assert blocks(tmp_path, body, definition(0, level(0, "%1.")) + a_list(1, 0)) == ["1. a", "3. b"]


@pytest.mark.parametrize(
    ("form", "numerals"),
    [
        ("decimalZero", {1: "01", 10: "10"}),
        ("lowerRoman", {4: "iv", 1999: "mcmxcix", 4000: "4000"}),
        ("upperLetter", {1: "A", 26: "Z", 27: "AA", 53: "AAA"}),
        ("russianLower", {1: "а", 3: "в"}),  # noqa: RUF001
        ("ordinal", {1: "1st", 2: "2nd", 3: "3rd", 4: "4th", 11: "11th", 112: "112th"}),
        ("cardinalText", {1: "One", 20: "Twenty", 42: "Forty-two"}),
        ("ordinalText", {1: "First", 12: "Twelfth", 20: "Twentieth", 21: "Twenty-first"}),
        ("chineseCounting", {1: "一", 10: "十", 12: "十二", 20: "二十", 105: "一百零五"}),
        ("ideographDigital", {10: "一〇"}),
        ("decimalEnclosedCircle", {1: "①", 20: "⑳", 21: "㉑", 90: "90"}),
        ("none", {1: ""}),
        ("somethingNew", {7: "7"}),
        ("lowerLetter", {0: "0", 30_000: "30000"}),
    ],
)
def test_number_formats(form: str, numerals: dict[int, str]) -> None:
    assert {count: numeral(count, form) for count in numerals} == numerals
