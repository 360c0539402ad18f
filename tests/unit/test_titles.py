"""A document without a title has its file's name, taken apart into words."""

from __future__ import annotations

import pytest

from activekg_pipelines.pipeline.titles import Title, TitleFrom, title_of


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Travel_Policy-2026.pdf", "Travel Policy 2026"),
        ("travel.policy.final.docx", "travel policy final"),
        ("TravelPolicy2026.pdf", "Travel Policy 2026"),
        ("HTTPServerGuide.md", "HTTP Server Guide"),
        ("ÜbersichtÄnderungen.txt", "Übersicht Änderungen"),
        ("2026-03-01_minutes.docx", "2026-03-01 minutes"),
        ("release-1.2.html", "release 1.2"),
        ("Travel%20Policy.pdf", "Travel Policy"),
        ("100%_cotton%FF.txt", "100% cotton%FF"),
        # In a name with blanks, hyphens and dots are the words' own.
        ("co-op agreement of St. Gallen.txt", "co-op agreement of St. Gallen"),
        ("GitHub-setup.md", "GitHub setup"),
        ("C++ guide.pdf", "C++ guide"),
        ("minutes.docx.pdf", "minutes"),
        ("cafe\u0301.txt", "caf\u00e9"),
        ("旅費規程.pdf", "旅費規程"),
        ("notes.unknown", "notes unknown"),
        ("README", "README"),
        (".txt", "txt"),
        ("___.pdf", "___.pdf"),
    ],
)
def test_a_name_becomes_words(name: str, title: str) -> None:
    assert title_of(None, name) == Title(title, TitleFrom.NAME)


def test_the_folders_come_with_the_name() -> None:
    found = title_of(None, "HR_Docs/2026/travelPolicy/rates.pdf")
    assert found == Title("rates", TitleFrom.NAME, ("HR Docs", "2026", "travel Policy"))
    many = title_of(None, "/".join(f"{'a' * 300}{number}" for number in range(500)))
    assert len(many.folders) <= 10
    assert max(map(len, many.folders)) <= 100


def test_a_title_of_its_own_is_kept() -> None:
    found = title_of("Rates (2026)", "HR_Docs/rates.pdf")
    assert found == Title("Rates (2026)", TitleFrom.DOCUMENT)


@pytest.mark.parametrize(
    "key", ["a" * 100_000, "_-" * 50_000, "aB" * 50_000, "." * 100_000 + "txt"]
)
def test_no_name_costs_more_than_its_length(key: str) -> None:
    assert title_of(None, key).text
