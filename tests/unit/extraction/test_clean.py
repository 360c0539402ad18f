from __future__ import annotations

import pytest

from activekg_pipelines.extraction import clean_text, clean_title, clean_value


@pytest.mark.parametrize(
    ("dirty", "clean"),
    [
        ("a\x00b", "ab"),
        ("a\ud800b\udfff", "ab"),
        ("a\x07\x1bb\x7f", "ab"),
        ("tab\tand\nline", "tab\tand\nline"),
        ("one\r\ntwo\rthree", "one\ntwo\nthree"),
        ("page\x0cbreak", "page\nbreak"),
        ("infor\ufffemation", "information"),
        ("infor\ufffe\r\nmation", "information"),
        ("in\u00adfor\u00ad\nmation", "information"),
        ("\ufeffmark\uffff", "mark"),
        ("spaces  \t\nend ", "spaces\nend"),
        ("a\n\n\n\n\nb", "a\n\n\nb"),
        ("a\n \n\t\n \n \nb", "a\n\n\nb"),
        ("\n\n  indented\n\n", "  indented"),
        ("日本語 🎉 é", "日本語 🎉 é"),
        ("\u200b\u2060 \ufe0f\u3164\n\u00a0", ""),
        ("zero\u200bwidth", "zero\u200bwidth"),
    ],
)
def test_text_is_cleaned(dirty: str, clean: str) -> None:
    assert clean_text(dirty) == clean


def test_cleaning_twice_changes_nothing() -> None:
    dirty = "a \u00ad\n\u00ad\n\r\r\n\x00\n \x0c\ufffe\ufeff \r b\ud800\n\n\n\n\nc"
    assert clean_text(clean_text(dirty)) == clean_text(dirty)


def test_millions_of_spaces_within_a_line_take_no_time_and_are_kept() -> None:
    line = "a" + " " * 5_000_000 + "b"
    assert clean_text(line) == line


def test_a_cleaned_text_can_be_stored() -> None:
    every_character = "".join(map(chr, range(0x11000)))
    assert "\x00" not in clean_text(every_character)
    clean_text(every_character).encode("utf-8")


def test_a_value_loses_only_what_postgres_refuses() -> None:
    assert clean_value("key\x00 with\ud83d \r\n\ufffe space ") == "key with \r\n\ufffe space "


@pytest.mark.parametrize(
    ("title", "expected"),
    [
        (None, None),
        ("", None),
        (" \x00\n ", None),
        (" Two\r\n lines ", "Two lines"),
        ("x" * 400, "x" * 300),
    ],
)
def test_a_title_is_one_line_of_bounded_length(title: str | None, expected: str | None) -> None:
    assert clean_title(title) == expected
