"""Pictures and files that are written into a text as letters are left out and counted."""

from __future__ import annotations

import base64
import random
from pathlib import Path

import pytest

from activekg_pipelines.extraction import ExtractedDocument, Limits, extract_file

PICTURE = b"\x89PNG\r\n\x1a\n" + random.Random(14).randbytes(3000)
LETTERS = base64.b64encode(PICTURE).decode()
LINES = base64.encodebytes(PICTURE).decode()
BOOK = base64.b64encode(b"%PDF-1.7\n" + random.Random(15).randbytes(900)).decode()
DIGESTS = base64.b64encode(random.Random(16).randbytes(960)).decode()
FULL_LINES = base64.encodebytes(random.Random(17).randbytes(57 * 12)).decode()


def read(folder: Path, text: str, name: str = "a.md") -> ExtractedDocument:
    path = folder / "object"
    path.write_text(text)
    return extract_file(path, name, None, Limits())


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f'a ![Chart of sales](data:image/png;base64,{LETTERS} "2026") b', "a Chart of sales b"),
        (f"a\n\n![](data:image/jpeg;base64,{LETTERS})\n\nb", "a\n\n\nb"),
        (
            f"a <img src='data:image/png;base64,{LETTERS}' alt='pie'> b",
            "a <img src='' alt='pie'> b",
        ),
        (f"![Fig 1][f]\n\nb ![f]\n\n[f]: <data:image/png;base64,{LETTERS}>", "Fig 1\n\nb f"),
        (f"a\n\n{LINES}\nb", "a\n\n\nb"),
        (f"a data:image/png;base64,\n{LINES}\nb", "a\n\nb"),
        (f"key: {LETTERS}\nb", "key:\nb"),
        ("a url(data:image/svg+xml,%3Csvg" + "%20a" * 100 + "%3E) b", "a url() b"),
    ],
)
@pytest.mark.parametrize("name", ["a.md", "a.txt"])
def test_a_picture_is_left_out_and_counted(tmp_path: Path, text: str, left: str, name: str) -> None:
    document = read(tmp_path, text, name)
    assert document.text == left
    assert document.facts["warnings"] == [{"kind": "pictures_left_out", "count": 1}]


def test_a_file_is_no_picture(tmp_path: Path) -> None:
    document = read(tmp_path, f"[the book](data:application/pdf;base64,{BOOK}) is here")
    assert document.text == "the book is here"
    assert document.facts["warnings"] == [
        {"kind": "attachments_not_read", "count": 1, "detail": "a block of base64"}
    ]


@pytest.mark.parametrize(
    "text",
    [
        "Write data:image/png;base64,iVBORw0KGgo= into the page.",
        "ACGT" * 400,
        "0123abcdef" * 100,
        "Internationalisierungsbeauftragtenversammlung\n" * 50,
        "Metadata:see,also and data:here,there. " * 20,
        "![a picture](picture.png) and [a link](page.html), ![f]\n\n[f]: picture.png",
        "/usr/share/doc/packages/" * 30,
        "/" + "Projects/2024/Quarterly-Reports/Region_North/" * 20 + " holds it",
        "\n".join(f"Projects/2024/Quarterly-Reports/Region-{n}/Summary-v2" for n in range(40)),
        "\n".join(f"How-to-replace-the-Filter-of-Pump-{n:04}-in-2026" for n in range(40)),
        "\n".join(f"ACTIVEKG_Setting_of_Part_{n:03}_of_the_System_v2" for n in range(40)),
        "\n".join(f"sha384-{DIGESTS[n : n + 64]}" for n in range(0, 1280, 64)),
        ("Aa1" + "-" * 61 + "\n") * 12,
    ],
)
def test_what_people_wrote_stays(tmp_path: Path, text: str) -> None:
    document = read(tmp_path, text)
    assert document.text == text.strip()
    assert document.facts["warnings"] == []


@pytest.mark.parametrize(
    ("text", "left"),
    [
        (f"a\n{FULL_LINES}Hello world", "a\nHello world"),
        (f"a\n{FULL_LINES}Appendix\nb", "a\nAppendix\nb"),
        (f"a\n{FULL_LINES}-----END CERTIFICATE-----", "a\n-----END CERTIFICATE-----"),
        (f"a\n{FULL_LINES}{BOOK[:40]}\nAppendix\nb", "a\nAppendix\nb"),
        (f"a\n{FULL_LINES}aB1+\nb", "a\n\nb"),
        (f"> a\n{FULL_LINES}aB==\nb".replace("\n", "\r\n> "), "> a\n\n> b"),
    ],
)
def test_the_line_below_a_block_stays(tmp_path: Path, text: str, left: str) -> None:
    document = read(tmp_path, text, "a.txt")
    assert document.text == left
    (warning,) = document.warnings
    assert (warning.kind, warning.count) == ("attachments_not_read", 1)


@pytest.mark.parametrize(
    "text",
    [
        "![a" * 200_000,
        "![][" * 200_000,
        "data:image/png;base64," * 50_000,
        "a" * 1_000_000,
        "aB1+" * 10 + ("aB1+" * 15 + "\n") * 60_000,
        ("aB3/" * 127 + " ") * 2_000,
        f"[f]: data:image/png;base64,{LETTERS}\n" + "![f](" * 200_000,
    ],
    ids=str.__len__,
)
def test_no_text_costs_more_than_its_length(tmp_path: Path, text: str) -> None:
    """A search that is quadratic in one of them would take minutes."""
    read(tmp_path, text + "\nend")


def test_the_title_is_not_looked_for_in_a_picture(tmp_path: Path) -> None:
    text = f"![](data:image/png;base64,{LETTERS * 10})\n\n# Travel policy\n\nTrains first."
    assert read(tmp_path, text).title == "Travel policy"
