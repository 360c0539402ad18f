"""The closed list of what a document's text may miss."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from activekg_pipelines.extraction.warnings import (
    TEXT_IS_MISSING,
    DocumentWarning,
    WarningKind,
    is_not_read_whole,
    kinds_of,
    read_stored,
    stored,
)


@pytest.mark.parametrize("kind", WarningKind)
def test_each_kind_has_a_sentence_and_comes_back_as_it_was_stored(kind: WarningKind) -> None:
    warning = DocumentWarning(kind, 3, 10, "a part")
    assert warning.sentence.strip()
    assert "{" not in warning.sentence
    assert read_stored([warning.as_json()]) == [warning]
    assert DocumentWarning.from_json(DocumentWarning(kind).as_json()) == DocumentWarning(kind)


def test_what_another_version_stored_is_left_out_and_the_rest_is_read() -> None:
    known = {"kind": "partly_read", "count": 9, "total": 10}
    rows = ["Only the first 2 of 5 pages were read.", {"kind": "of_tomorrow"}, known, None]
    assert [each.kind for each in read_stored(rows)] == [WarningKind.PARTLY_READ]
    for nothing in (None, [], {}, "a sentence"):
        assert read_stored(nothing) == []


def test_kinds_are_named_once_and_say_whether_text_is_missing() -> None:
    warnings = [
        DocumentWarning(WarningKind.STRUCTURE_LOST, detail="It is flat."),
        DocumentWarning(WarningKind.PARTLY_READ, 9, 10),
        DocumentWarning(WarningKind.PARTLY_READ, 8, 10),
    ]
    assert kinds_of(warnings) == ["partly_read", "structure_lost"]
    assert is_not_read_whole(kinds_of(warnings))
    assert not is_not_read_whole(set(WarningKind) - TEXT_IS_MISSING)


def test_what_is_stored_is_bounded() -> None:
    warnings = [
        DocumentWarning(WarningKind.PART_DAMAGED, detail=f"{n:03}" * 100) for n in range(99)
    ]
    kept = stored([*warnings, *warnings], 20)
    assert len(kept) == 20
    assert read_stored(kept) == [DocumentWarning.from_json(each) for each in kept]


def test_operators_can_look_up_each_kind_and_whether_text_is_missing() -> None:
    page = Path(__file__).parents[3] / "docs" / "operations" / "connectors.md"
    (section,) = re.findall(
        r"^## Documents that were not read whole\n(.*?)^## ", page.read_text(), re.M | re.S
    )
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| (yes)? ?\|$", section, re.M))
    assert rows.keys() == set(WarningKind)
    assert {kind for kind, missing in rows.items() if missing} == TEXT_IS_MISSING
