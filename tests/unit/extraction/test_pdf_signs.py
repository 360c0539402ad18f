"""Signs of text that is missing in a PDF, and what is left out of it on purpose."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pypdfium2
import pytest
from reportlab.pdfgen.canvas import Canvas

from activekg_pipelines.errors import Corrupt, NoTextLayer
from activekg_pipelines.extraction import ExtractedDocument, Limits, extract_file
from activekg_pipelines.extraction.pdf import pdfium
from activekg_pipelines.extraction.pdf.readable import is_unreadable, may_be_known
from activekg_pipelines.extraction.pdf.recursion import refuse_endless_drawings
from activekg_pipelines.extraction.pdf.rescue import Rescue
from tests.unit.extraction.documents import bare_pdf, lines, pdf, picture, stream

Draw = Callable[[Canvas], None]

FONT = b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /Encoding /WinAnsiEncoding >>"
PAGES = b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>"


def read(path: Path) -> ExtractedDocument:
    return extract_file(path, "a.pdf", None, Limits())


def warnings(document: ExtractedDocument) -> dict[str, dict[str, Any]]:
    found = document.facts["warnings"]
    assert isinstance(found, list)
    return {str(each["kind"]): each for each in found if isinstance(each, dict)}


def stamped(text: str, y: float = 20) -> Draw:
    def draw(canvas: Canvas) -> None:
        picture(canvas)
        canvas.drawString(200, y, text)

    return draw


def page(contents: bytes, more: bytes = b"", annotations: bytes = b"") -> list[bytes]:
    """The objects 1 to 5 of a PDF with one page, whose font is /F1."""
    return [
        b"<< /Type /Catalog /Pages 2 0 R %s >>" % more,
        PAGES,
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> %s >> >>" % annotations,
        stream(contents),
        FONT,
    ]


def test_a_document_of_which_most_pages_are_scans_says_so(tmp_path: Path) -> None:
    document = read(pdf(tmp_path / "a.pdf", lines("Cover letter"), *[picture] * 9))
    assert document.text == "Cover letter"
    assert warnings(document)["partly_read"] == {"kind": "partly_read", "count": 9, "total": 10}


def test_empty_pages_are_no_scans(tmp_path: Path) -> None:
    document = read(pdf(tmp_path / "a.pdf", lines("Cover letter"), *[lambda canvas: None] * 9))
    assert document.facts["warnings"] == []
    assert document.facts["empty_pages"] == 9


def test_a_document_that_shows_nothing_is_not_called_a_scan(tmp_path: Path) -> None:
    with pytest.raises(NoTextLayer, match=r"\(2 in all\) shows any text or picture"):
        read(pdf(tmp_path / "a.pdf", *[lambda canvas: None] * 2))


@pytest.mark.parametrize("y", [20, 400])
@pytest.mark.parametrize("text", ["Scanned with CamScanner", "Kopie {} vom 3. 5. 2024"])
def test_scans_that_a_program_wrote_its_name_on_hold_no_text(
    tmp_path: Path, text: str, y: float
) -> None:
    pages = [stamped(text.format(number), y) for number in range(1, 6)]
    with pytest.raises(NoTextLayer, match=r"\(5 in all\) is a picture"):
        read(pdf(tmp_path / "a.pdf", *pages))


def test_scans_with_a_stamp_behind_a_letter_are_not_read(tmp_path: Path) -> None:
    document = read(
        pdf(tmp_path / "a.pdf", lines("Cover letter"), *[stamped("Scanned with CamScanner")] * 4)
    )
    assert document.text == "Cover letter\n\nScanned with CamScanner"
    assert warnings(document)["partly_read"]["count"] == 4


def test_pictures_with_a_text_of_their_own_are_read(tmp_path: Path) -> None:
    texts = ["The old harbour in spring", "A crane that nobody uses", "Ships wait for the tide"]
    document = read(pdf(tmp_path / "a.pdf", *map(stamped, texts)))
    assert document.text.split("\n\n") == texts
    assert document.facts["warnings"] == []


SENTENCE = "the current data suggests that exercise improves fitness of old and young people"


def moved(text: str, steps: int) -> str:
    return "".join(
        chr((ord(letter) - 97 + steps) % 26 + 97) if letter.isalpha() else letter for letter in text
    )


@pytest.mark.parametrize("steps", range(1, 26))
def test_letters_that_stand_for_others_are_a_sign(steps: int) -> None:
    assert is_unreadable(moved(SENTENCE, steps))


@pytest.mark.parametrize(
    "text",
    [
        SENTENCE,
        "Die Prüfung der Pumpen erfolgt zweimal jährlich durch zwei Personen des Werks",
        "Le comité a examiné le rapport annuel de l'usine et décidé de fermer la fonderie",
        "Komitea tarkasti tehtaan vuosikertomuksen ja päätti sulkea valimon maaliskuussa",
        "Wszystkie pompy są sprawdzane dwa razy przez dwie osoby przed wysyłką do klienta",
        "Gyárunk éves jelentését átnézték, és úgy döntöttek, hogy bezárják az öntödét",
        "V-320 XKZ 7781 QQW 1200 ZX-81 PKW LKW GmbH KG WLAN HTTP XML QXZ 55 WWW DSL",
        "委员会审查了工厂的年度报告 并决定关闭铸造厂 因为熔炉不再符合规定 委员会审查了工厂",
        "\uf0b7 First point of the list \uf0b7 Second point of it \uf0b7 Third point of all",
    ],
)
def test_texts_of_languages_and_codes_are_no_sign(text: str) -> None:
    assert not is_unreadable(text)


def test_a_document_in_letters_that_stand_for_others_says_so(tmp_path: Path) -> None:
    document = read(pdf(tmp_path / "a.pdf", lines(*moved(SENTENCE, 3).split(" of "))))
    assert warnings(document)["characters_unreadable"]["count"] == 68


@pytest.mark.parametrize("code", [0xE000, 0xFFFD])
def test_glyphs_without_a_character_are_a_sign(tmp_path: Path, code: int) -> None:
    cmap = b"1 beginbfrange <20> <7e> <%04x> endbfrange" % code
    if code == 0xFFFD:
        cmap = b"95 beginbfchar %s endbfchar" % b"".join(
            b"<%02x> <fffd> " % each for each in range(0x20, 0x7F)
        )
    objects = page(b"BT /F1 12 Tf 72 700 Td (Bearings are lubricated twice) Tj ET")
    objects[4] = FONT.replace(b">>", b"/ToUnicode 6 0 R >>")
    document = read(bare_pdf(tmp_path / "a.pdf", *objects, stream(cmap)))
    assert warnings(document)["characters_unreadable"]["count"] >= 25


XDP = b"""<xdp:xdp xmlns:xdp="http://ns.adobe.com/xdp/">
<template xmlns="http://www.xfa.org/schema/xfa-template/3.3/"><subform name="form1">
<draw><value><text>Application for a garden</text></value></draw>
<field name="applicant"><caption><value><text>Name of applicant:</text></value></caption></field>
<field name="size"><caption><value><text>Size</text></value></caption>
<value><text>200</text></value></field>
</subform></template>
<xfa:datasets xmlns:xfa="http://www.xfa.org/schema/xfa-data/1.0/"><xfa:data><form1>
<applicant>Petra Olsen</applicant><amount>4100</amount></form1></xfa:data></xfa:datasets>
</xdp:xdp>"""
WAIT = b"BT /F1 12 Tf 72 700 Td (Please wait... If this message is not replaced, ...) Tj ET"


@pytest.mark.parametrize("needs", [b"/NeedsRendering true", b""])
def test_a_form_that_a_program_builds_is_read_from_its_xml(tmp_path: Path, needs: bytes) -> None:
    more = needs + b" /AcroForm << /Fields [] /XFA 6 0 R >>"
    document = read(bare_pdf(tmp_path / "a.pdf", *page(WAIT, more), stream(XDP)))
    assert document.text.splitlines() == [
        "Application for a garden",
        "Name of applicant: Petra Olsen",
        "Size: 200",
        "amount: 4100",
    ]
    assert list(warnings(document)) == ["form_not_read"]
    assert document.facts["page_starts"] == [0]


def test_a_form_with_pages_of_its_own_is_read_from_them(tmp_path: Path) -> None:
    contents = b"BT /F1 12 Tf 72 700 Td (Application for a garden in the north) Tj ET"
    more = b"/AcroForm << /Fields [] /XFA 6 0 R >>"
    document = read(bare_pdf(tmp_path / "a.pdf", *page(contents, more), stream(XDP)))
    assert document.text == "Application for a garden in the north"
    assert document.facts["warnings"] == []


@pytest.mark.parametrize("xml", [b"", b"no XML at all", b"<a>" * 3000])
def test_a_form_whose_xml_cannot_be_read_says_so(tmp_path: Path, xml: bytes) -> None:
    more = b"/NeedsRendering true /AcroForm << /Fields [] /XFA 6 0 R >>"
    document = read(bare_pdf(tmp_path / "a.pdf", *page(WAIT, more), stream(xml)))
    assert document.text.startswith("Please wait")
    assert list(warnings(document)) == ["form_not_read"]


def test_files_inside_a_document_are_named(tmp_path: Path) -> None:
    source = pdf(tmp_path / "a.pdf", lines("See the files"))
    opened = pypdfium2.PdfDocument(source)
    for name in ("prices 2026.xlsx", "b.docx"):
        opened.new_attachment(name).set_data(b"content")
    opened.save(tmp_path / "b.pdf")
    document = read(tmp_path / "b.pdf")
    assert document.text == "See the files"
    found = warnings(document)["attachments_not_read"]
    assert found["count"] == 2
    assert found["detail"] in ("prices 2026.xlsx", "b.docx")


APPEARANCE = b"/Subtype /Form /BBox [0 0 300 20] /Resources << /Font << /F1 5 0 R >> >>"


def test_what_is_written_and_stamped_on_a_page_is_read(tmp_path: Path) -> None:
    notes = b"/Annots [6 0 R 7 0 R 8 0 R 9 0 R]"
    objects = page(b"BT /F1 12 Tf 72 700 Td (Name of tenant:) Tj ET")
    objects[2] = objects[2].replace(b"/Contents 4 0 R", b"/Contents 4 0 R " + notes)
    annotation = b"<< /Type /Annot /Rect [150 %d 450 %d] /F %d /Subtype "
    objects += [
        annotation % (690, 710, 4) + b"/FreeText /Contents (Petra Olsen) /AP << /N 10 0 R >> >>",
        annotation % (600, 620, 4) + b"/FreeText /Contents (without appearance) >>",
        annotation % (500, 520, 4) + b"/Stamp /AP << /N 11 0 R >> >>",
        annotation % (400, 420, 2) + b"/FreeText /Contents (hidden from all) >>",
        stream(b"BT /F1 12 Tf 2 5 Td (Petra Olsen) Tj ET", APPEARANCE),
        stream(b"BT /F1 12 Tf 2 5 Td (VOID SINCE MAY) Tj ET", APPEARANCE),
    ]
    text = read(bare_pdf(tmp_path / "a.pdf", *objects)).text
    for found in ("Name of tenant:", "without appearance", "VOID SINCE MAY"):
        assert text.count(found) == 1
    assert text.count("Petra Olsen") == 1
    assert "hidden" not in text


def in_color(red: float, green: float, blue: float, text: str, y: float) -> Draw:
    def draw(canvas: Canvas) -> None:
        canvas.setFillColorRGB(red, green, blue)
        canvas.drawString(72, y, text)

    return draw


def box(red: float, green: float, blue: float, y: float, alpha: float = 1) -> Draw:
    def draw(canvas: Canvas) -> None:
        canvas.setFillColorRGB(red, green, blue, alpha)
        canvas.rect(60, y - 6, 400, 22, stroke=0, fill=1)

    return draw


def together(*draws: Draw) -> Draw:
    def draw(canvas: Canvas) -> None:
        for each in draws:
            each(canvas)

    return draw


def at(x: float, y: float, size: float = 12) -> Draw:
    def draw(canvas: Canvas) -> None:
        canvas.setFillColorRGB(0, 0, 0)
        canvas.setFont("Helvetica", size)
        canvas.drawString(x, y, "The price is secret")
        canvas.setFont("Helvetica", 12)

    return draw


@pytest.mark.parametrize(
    ("signs", "expected"),
    [
        ("\x93\x94" * 6, False),
        ("\uf0b7" * 12, False),
        ("\ue001\ue002\ue003\ue004\ue005" * 2, True),
        ("\ufffd" * 200, True),
    ],
    ids=["quotation marks", "bullets", "words", "words without any code"],
)
def test_another_engine_is_asked_for_words_and_not_for_marks(signs: str, expected: bool) -> None:
    assert may_be_known(SENTENCE * 20 + signs) is expected


@pytest.mark.parametrize(("texts", "expected"), [(20, 1), (10_001, 0)])
def test_no_other_engine_is_asked_for_a_page_too_large_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, texts: int, expected: int
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(Rescue, "page", lambda _, index, __: asked.append(index))
    monkeypatch.setattr(pdfium, "may_be_known", lambda _: True)

    def draw(canvas: Canvas) -> None:
        canvas.drawString(72, 780, SENTENCE)
        for number in range(texts):
            x, y = 40 + number % 80 * 6, 760 - number // 80 * 5
            canvas.drawString(x, y, "a")

    read(pdf(tmp_path / "a.pdf", draw))
    assert len(asked) == expected


def test_a_page_of_thousands_of_hidden_texts_is_read_in_time(tmp_path: Path) -> None:
    def draw(canvas: Canvas) -> None:
        canvas.drawString(72, 740, "Seen")
        canvas.setFillColorRGB(1, 1, 1)
        for number in range(4_000):
            canvas.drawString(40 + number % 20 * 25, 720 - number // 20 * 3, f"{number:05}")

    path = pdf(tmp_path / "a.pdf", draw)
    began = time.process_time()
    document = extract_file(path, "a.pdf", None, Limits())
    assert time.process_time() - began < 5
    assert document.text == "Seen"
    assert warnings(document)["hidden_text_left_out"]["count"] == 20_000


@pytest.mark.parametrize(
    ("why", "draw"),
    [
        ("in the colour of what is under it", in_color(1, 1, 1, "The price is secret", 600)),
        (
            "in the colour of what is under it",
            together(box(1, 0, 0, 600), in_color(1, 0, 0, "The price is secret", 600)),
        ),
        ("covered", together(at(72, 600), box(1, 1, 1, 600))),
        ("off the page", at(72, 1200)),
        ("off the page", at(-900, 600)),
        ("too small to see", at(72, 600, 0.3)),
    ],
)
def test_text_that_nobody_sees_is_left_out_and_counted(
    tmp_path: Path, why: str, draw: Draw
) -> None:
    document = read(pdf(tmp_path / "a.pdf", together(lines("Seen"), draw)))
    assert document.text == "Seen"
    assert warnings(document) == {
        "hidden_text_left_out": {"kind": "hidden_text_left_out", "count": 19, "detail": why}
    }


def unpainted(canvas: Canvas) -> None:
    text = canvas.beginText(72, 600)
    text.setTextRenderMode(3)
    text.textLine("The price is secret")
    canvas.drawText(text)


@pytest.mark.parametrize(
    "draw",
    [
        together(box(0, 0, 0.4, 600), in_color(1, 1, 1, "The price is secret", 600)),
        together(picture, in_color(1, 1, 1, "The price is secret", 600)),
        together(at(72, 600), picture),
        together(at(72, 600), box(1, 1, 0, 600, alpha=0.3)),
        together(box(1, 1, 1, 600), at(72, 600)),
        together(in_color(1, 1, 1, "The price is secret", 600), at(72, 600)),
        unpainted,
        together(unpainted, picture),
    ],
)
def test_text_that_is_seen_or_lies_under_a_scan_stays(tmp_path: Path, draw: Draw) -> None:
    document = read(pdf(tmp_path / "a.pdf", together(lines("Seen"), draw)))
    assert document.text.count("The price is secret") == 1
    assert document.facts["warnings"] == []


@pytest.mark.parametrize(
    "state", [b"/OFF [6 0 R]", b"/BaseState /OFF /ON [7 0 R]", b"/BaseState /ON /OFF [6 0 R]"]
)
def test_text_of_a_layer_that_is_off_is_left_out(tmp_path: Path, state: bytes) -> None:
    shown = b"BT /F1 12 Tf 72 %d Td (%s) Tj ET"
    contents = b"%s /OC /MC0 BDC %s EMC /OC /MC1 BDC %s EMC" % (
        shown % (700, b"Seen"),
        shown % (600, b"Draft of May"),
        shown % (500, b"Final"),
    )
    objects = page(contents, b"/OCProperties << /OCGs [6 0 R 7 0 R] /D << %s >> >>" % state)
    objects[2] = objects[2].replace(b"/Font", b"/Properties << /MC0 6 0 R /MC1 7 0 R >> /Font")
    objects += [b"<< /Type /OCG /Name (Draft) >>", b"<< /Type /OCG /Name (Final) >>"]
    document = read(bare_pdf(tmp_path / "a.pdf", *objects))
    assert document.text.split() == ["Seen", "Final"]
    found = warnings(document)["hidden_text_left_out"]
    assert (found["count"], found["detail"]) == (12, "in a layer that is off")


def drawing(*draws: bytes, resources: bytes = b"") -> bytes:
    return stream(
        b"\n".join(draws), b"/Type /XObject /Subtype /Form /BBox [0 0 612 792] " + resources
    )


def with_drawings(path: Path, *drawings: bytes) -> Path:
    """A page that draws /X6, and drawings from object 6 on."""
    objects = page(b"BT /F1 12 Tf 72 700 Td (Hello) Tj ET /X6 Do")
    objects[2] = objects[2].replace(b"/Font", b"/XObject << /X6 6 0 R >> /Font")
    return bare_pdf(path, *objects, *drawings)


def calling(*numbers: int, times: int = 1) -> bytes:
    entries = b" ".join(b"/X%d %d 0 R" % (number, number) for number in numbers)
    draws = [b"/X%d Do" % number for number in numbers] * times
    return drawing(*draws, resources=b"/Resources << /XObject << %s >> >>" % entries)


@pytest.mark.parametrize(
    "drawings",
    [
        [calling(6, times=2)],
        [calling(7, times=2), calling(8, times=2), calling(6)],
        [calling(number + 1, times=2) for number in range(6, 40)] + [drawing(b"")],
        [
            drawing(b"/Again Do " * 2, resources=b"/Resources 7 0 R"),
            b"<< /XObject << /Again 6 0 R >> >>",
        ],
    ],
)
def test_drawings_without_an_end_end_the_document_once(
    tmp_path: Path, drawings: list[bytes]
) -> None:
    with pytest.raises(Corrupt, match=r"^A drawing of the PDF \(form XObject \d+\) draws "):
        read(with_drawings(tmp_path / "a.pdf", *drawings))


def test_a_drawing_that_draws_itself_once_is_left_at_that(tmp_path: Path) -> None:
    assert read(with_drawings(tmp_path / "a.pdf", calling(7), calling(6))).text == "Hello"


def test_a_drawing_that_names_itself_and_does_not_draw_itself_is_read(tmp_path: Path) -> None:
    # Some programs give all drawings of a document the same resources.
    shared = b"/Resources << /Font << /F1 5 0 R >> /XObject << /X6 6 0 R /X7 7 0 R >> >>"
    path = with_drawings(
        tmp_path / "a.pdf",
        drawing(b"/X7 Do", resources=shared),
        drawing(b"BT /F1 12 Tf 72 600 Td (World) Tj ET", resources=shared),
    )
    assert read(path).text.split() == ["Hello", "World"]


def test_a_large_file_is_not_searched_once_for_each_drawing(tmp_path: Path) -> None:
    path = tmp_path / "a.pdf"
    drawing = b"%d 0 obj\n<< /Subtype /Form /Resources %d 0 R >>\n" + stream(b"q") + b"\nendobj\n"
    with path.open("wb") as file:
        file.write(b"%PDF-1.7\n" + b"".join(drawing % (at, at + 500) for at in range(10, 120)))
        file.truncate(300_000_000)
    began = time.process_time()
    refuse_endless_drawings(path)
    assert time.process_time() - began < 10
