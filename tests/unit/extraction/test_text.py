from __future__ import annotations

import codecs
from pathlib import Path

import pytest

from activekg_pipelines.errors import EmptyObject, TextTooLarge
from activekg_pipelines.extraction import ExtractedDocument, Limits, extract_file

GERMAN = "Die Größe der Übung: „schön“ für 5 €."
POLISH = "Książka leży na półce obok łóżka, a źródło jest w ogrodzie."
HUNGARIAN = "Az őszi szünet után a gyerekek újra iskolába mennek."
CROATIAN = (
    "Građani će moći posuđivati knjige i čitati novine; javite što još nedostaje, prije četvrtka."
)
BULGARIAN = "Утре сутринта ще бъде открита новата библиотека на главната улица."
JAPANESE = "吾輩は猫である。名前はまだ無い。\nどこで生れたかとんと見当がつかぬ。"


def read(
    folder: Path, data: bytes, name: str = "a.txt", limits: Limits | None = None
) -> ExtractedDocument:
    path = folder / "object"
    path.write_bytes(data)
    return extract_file(path, name, None, limits or Limits())


@pytest.mark.parametrize(
    ("text", "data", "encoding", "guessed"),
    [
        (GERMAN, GERMAN.encode(), "utf-8", False),
        (GERMAN, codecs.BOM_UTF8 + GERMAN.encode(), "utf-8", False),
        (GERMAN, codecs.BOM_UTF16_LE + GERMAN.encode("utf-16-le"), "utf-16", False),
        (GERMAN, codecs.BOM_UTF16_BE + GERMAN.encode("utf-16-be"), "utf-16", False),
        (GERMAN, codecs.BOM_UTF32_LE + GERMAN.encode("utf-32-le"), "utf-32", False),
        (GERMAN, GERMAN.encode("utf-16-le"), "utf-16-le", True),
        (GERMAN, GERMAN.encode("utf-16-be"), "utf-16-be", True),
        (GERMAN, GERMAN.encode("cp1252"), "cp1252", True),
        ("café au lait", "café au lait".encode("latin-1"), "cp1252", True),
        ("Ça coûte 5 €, très cher", "Ça coûte 5 €, très cher".encode("cp1252"), "cp1252", True),
        (JAPANESE, JAPANESE.encode("shift_jis"), "cp932", True),
        (JAPANESE, JAPANESE.encode("euc_jp"), "euc_jp", True),
        (JAPANESE, JAPANESE.encode("iso2022_jp"), "iso2022_jp_2", True),
        (POLISH, None, "cp1250", True),
        (POLISH, None, "iso8859_2", True),
        (HUNGARIAN, None, "cp1250", True),
        (CROATIAN, None, "cp1250", True),
        (CROATIAN, None, "iso8859_2", True),
        ("As opiniões não são más; a reunião é amanhã.", None, "cp1252", True),
        (BULGARIAN, None, "cp1251", True),
        (BULGARIAN, None, "cp866", True),
        ("Это тестовый файл на русском языке.\n" * 8, None, "cp1251", True),
        ("Это тестовый файл на русском языке.\n" * 8, None, "koi8_r", True),
    ],
)
def test_encodings(
    tmp_path: Path, text: str, data: bytes | None, encoding: str, guessed: bool
) -> None:
    document = read(tmp_path, text.encode(encoding) if data is None else data)
    assert document.text == text.rstrip("\n")
    assert document.facts["encoding"] == encoding
    assert document.facts["encoding_guessed"] is guessed
    assert document.facts["warnings"] == []


def test_late_legacy_characters_are_found_beyond_the_sample(tmp_path: Path) -> None:
    text = "plain ascii line\n" * 10_000 + GERMAN
    assert read(tmp_path, text.encode("cp1252")).text.endswith(GERMAN)


def test_one_stray_byte_does_not_garble_a_utf8_file(tmp_path: Path) -> None:
    document = read(tmp_path, (GERMAN * 10).encode() + b"\xff")
    assert document.text == GERMAN * 10 + "\ufffd"
    assert document.facts["encoding"] == "utf-8"
    assert document.facts["warnings"] == [{"kind": "bytes_replaced", "detail": "utf-8"}]


@pytest.mark.parametrize("bad", [b"\xff", b"\xe9\xe8", b"caf\xe9"])
def test_stray_bytes_do_not_garble_a_short_utf8_file(tmp_path: Path, bad: bytes) -> None:
    document = read(tmp_path, "déjà été ça là\n".encode() + bad)
    assert document.text.startswith("déjà été ça là\n")
    assert document.facts["warnings"] == [{"kind": "bytes_replaced", "detail": "utf-8"}]


def test_a_few_nuls_are_dropped(tmp_path: Path) -> None:
    assert read(tmp_path, b"a" * 99 + b"\x00" + b"b").text == "a" * 99 + "b"


@pytest.mark.parametrize(
    "data", [b"", b" \r\n\t\n", codecs.BOM_UTF8, codecs.BOM_UTF16_LE + "  ".encode("utf-16-le")]
)
@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
def test_nothing_but_white_space_is_empty(tmp_path: Path, data: bytes, name: str) -> None:
    true = "file holds nothing but white space" if data else r"object is empty \(0 bytes\)"
    with pytest.raises(EmptyObject, match=f"^The {true}\\.$"):
        read(tmp_path, data, name)


@pytest.mark.parametrize("name", ["a.txt", "a.md"])
def test_a_file_of_characters_that_do_not_show_is_not_said_to_be_white_space(
    tmp_path: Path, name: str
) -> None:
    with pytest.raises(EmptyObject, match=r"^The file holds nothing but characters that do not"):
        read(tmp_path, "\u200b\u2060".encode() * 20, name)


@pytest.mark.parametrize("name", ["a.txt", "a.md", "a.html"])
def test_text_over_the_limit_is_refused(tmp_path: Path, name: str) -> None:
    words = b"word " * 30
    assert read(tmp_path, words, name, Limits(max_text_chars=150)).text
    with pytest.raises(TextTooLarge, match="100 characters"):
        read(tmp_path, words, name, Limits(max_text_chars=100))


def test_plain_text_has_no_title_and_its_facts_are_small(tmp_path: Path) -> None:
    document = read(tmp_path, b"# not a heading\nbody")
    assert document.title is None
    assert document.mime_type == "text/plain"
    assert document.facts == {
        "engine": "text",
        "characters": 20,
        "warnings": [],
        "encoding": "utf-8",
        "encoding_guessed": False,
    }
