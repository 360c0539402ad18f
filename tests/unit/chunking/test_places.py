"""Pages, headings and table heads of parts of a text."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activekg_pipelines.chunking.places import (
    MAX_HEADING_CHARS,
    MAX_TABLE_HEAD_CHARS,
    Place,
    places,
)

HANDBOOK = """\
Before any heading.

# Handbook

Who it is for.

## Travel ##

### Trains

By train.

| Class | Fare |
| --- | --- |
| first | 10 |
| second | 20 |

After the table.

```
# no heading
| no | row |
```

Hotels
------

The last words.
"""


def place_of(text: str, part: str, page_starts: list[int] | None = None) -> Place:
    start = text.index(part)
    (place,) = places(text, [(start, start + len(part))], page_starts or [])
    return place


@pytest.mark.parametrize(
    ("part", "headings"),
    [
        ("Before any heading.", ()),
        ("# Handbook\n\nWho it is for.", ("Handbook",)),
        ("Who it is for.", ("Handbook",)),
        ("Who it is for.\n\n## Travel ##\n\n### Trains\n\nBy train.", ("Handbook",)),
        ("## Travel ##\n\n### Trains\n\nBy train.", ("Handbook", "Travel", "Trains")),
        ("ins\n\nBy train.", ("Handbook", "Travel", "Trains")),
        ("# no heading", ("Handbook", "Travel", "Trains")),
        ("Hotels\n------", ("Handbook", "Hotels")),
        ("The last words.", ("Handbook", "Hotels")),
    ],
)
def test_a_part_stands_under_the_headings_before_it_and_those_it_begins_with(
    part: str, headings: tuple[str, ...]
) -> None:
    assert place_of(HANDBOOK, part).headings == headings


def test_each_part_of_a_text_is_placed_as_it_would_be_alone() -> None:
    middle = HANDBOOK.index("By train.")
    spans = [(0, middle), (middle, len(HANDBOOK))]
    assert list(places(HANDBOOK, spans)) == [next(places(HANDBOOK, [span])) for span in spans]


@pytest.mark.parametrize(
    ("part", "head"),
    [
        ("By train.\n\n| Class | Fare |", None),
        ("| Class | Fare |\n| --- | --- |", "| Class | Fare |"),
        ("| first | 10 |", "| Class | Fare |"),
        ("cond | 20 |\n\nAfter", "| Class | Fare |"),
        ("After the table.", None),
        ("| no | row |", None),
    ],
)
def test_a_part_that_begins_in_a_table_has_its_head(part: str, head: str | None) -> None:
    assert place_of(HANDBOOK, part).table_head == head


def test_rows_without_a_line_of_dashes_have_no_head() -> None:
    assert place_of("| a | b |\n| c | d |\n", "| c | d |").table_head is None


def test_a_table_after_another_one_has_its_own_head() -> None:
    text = "| a |\n| - |\n| 1 |\n\n| b |\n| - |\n| 2 |\n"
    assert [place_of(text, row).table_head for row in ("| 1 |", "| 2 |")] == ["| a |", "| b |"]


def test_pages_count_from_one_and_those_without_text_are_passed_over() -> None:
    text = "one two four"
    starts = [0, 4, 8, 8, len(text)]
    assert [
        (place_of(text, part, starts).page_from, place_of(text, part, starts).page_to)
        for part in ("one", "two", "one two", "four", text)
    ] == [(1, 1), (2, 2), (1, 2), (4, 4), (1, 4)]
    assert place_of(text, "one").page_from is None


@pytest.mark.parametrize(
    "text",
    [
        "# " + "heading " * 200_000 + "\n\nthe text",
        "#" * 1_000_000 + "\n\nthe text",
        "# a " + "# " * 500_000 + "\n\nthe text",
        "x" * 1_000_000 + "\n===\n\nthe text",
        "| " + "cell |" * 200_000 + "\n| - |\n| the text |",
        "# a\n" * 100_000 + "\nthe text",
        "|" * 1_000_000 + "\n\nthe text",
    ],
)
def test_what_is_found_in_a_hostile_text_is_bounded(text: str) -> None:
    place = place_of(text, "the text")
    assert all(len(heading) <= MAX_HEADING_CHARS for heading in place.headings)
    assert len(place.headings) <= 6
    assert len(place.table_head or "") <= MAX_TABLE_HEAD_CHARS


@given(
    st.lists(
        st.sampled_from(["# a", "## b ##", "c\n===", "d\n--", "| e |", "| - |", "", "```", "f g"]),
        max_size=30,
    ),
    st.integers(1, 20),
)
def test_any_text_has_a_place_for_every_part(lines: list[str], size: int) -> None:
    text = "\n".join(lines)
    spans = [(at, min(at + size, len(text))) for at in range(0, len(text), size)]
    found = list(places(text, spans, [0, len(text) // 2]))
    assert len(found) == len(spans)
    levels = [len(place.headings) for place in found]
    assert all(level <= 6 for level in levels)
    assert [place.page_from for place in found] == sorted(place.page_from or 0 for place in found)
