"""Finds what stands at the edge of page after page: running heads, page numbers.

They are kept where they come first and left out after. A line of the text must not go
with them, so a line counts only when it is the outermost of its page, at the same place,
with the same words on enough pages near each other; of its numbers one may count pages.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

from activekg_pipelines.extraction.pdf.blocks import SAME_ROW, Block, Page

_LEAST_PAGES: Final = 3
# Odd and even pages have heads of their own, and a page of pictures has none.
_MAX_DISTANCE: Final = 4
# How deep heads and feet reach into the page, and how far one may move, as shares of
# the page's height.
_ZONE: Final = 0.2
_SAME_PLACE: Final = 0.02
_MAX_ROWS: Final = 6
_MAX_CHARS: Final = 300
_MAX_NUMBERS: Final = 8
_MAX_PAGE_NUMBER: Final = 20_000
# A number that runs with the pages and starts further off counts something else.
_MAX_OFFSET: Final = 2_000
_LEAST_LETTERS: Final = 15
_LEAST_SENTENCE: Final = 25

_DIGITS: Final = re.compile(r"\d+")
_ROMAN: Final = re.compile(r"\W*([ivxlc]{1,8})\W*")
_ROMAN_VALUES: Final = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}
_PAGE_WORD: Final = re.compile(
    r"\b(page|pages|seite|pag|página|pagina|pág|sida|side|sivu|strona|str|strana|stránka|oldal"
    r"|sayfa|trang|halaman|стр|страница|σελίδα)\b|p\.|s\.|[页頁ページ쪽]"
)

_Signature: TypeAlias = tuple[str, str, tuple[object, ...]]
"""The edge, the words without numbers, and the numbers or how they run."""

_Place: TypeAlias = tuple[float, int]
"""Where on the page a line stands, and the number that must not fall."""


def drop_running(pages: Sequence[Page]) -> list[int]:
    """Take repeated heads and feet out of the pages, but where they come first.

    Returns:
        For each page, how many characters of it were such, kept or not.
    """
    rows = [
        {edge: _rows(page, edge) for edge in ("top", "bottom")} if len(pages) > 1 else {}
        for page in pages
    ]
    running = _running(pages, rows)
    counts = []
    for number, (page, edges) in enumerate(zip(pages, rows, strict=True)):
        firsts: dict[int, int] = {}
        for edge, edge_rows in edges.items():
            firsts |= _outermost(edge_rows, page, edge, number, running)
        counts.append(sum(len(_text(page.blocks[index]).strip()) for index in firsts))
        dropped = {index for index, first in firsts.items() if first < number}
        if dropped:
            page.blocks = [
                block for index, block in enumerate(page.blocks) if index not in dropped
            ]
    return counts


def pattern(text: str) -> str:
    """Return ``text`` with its numbers alike, on one line, in lower case."""
    return " ".join(_DIGITS.sub("#", text).casefold().split())


def _rows(page: Page, edge: str) -> list[list[int]]:
    """The rows of blocks at an edge, as indexes, from the edge inwards."""
    if edge == "top":
        near = [
            (block.top, index) for index, block in enumerate(page.blocks) if block.bottom <= _ZONE
        ]
    else:
        near = [
            (1 - block.bottom, index)
            for index, block in enumerate(page.blocks)
            if block.top >= 1 - _ZONE
        ]
    rows: list[list[int]] = []
    last = None
    for place, index in sorted(near):
        if last is None or place - last > SAME_ROW:
            rows.append([])
            last = place
        rows[-1].append(index)
    return rows[:_MAX_ROWS]


def _running(
    pages: Sequence[Page], rows: list[dict[str, list[list[int]]]]
) -> dict[_Signature, dict[int, int]]:
    """For each signature that runs, the pages it is on, with the first of each run."""
    places: dict[_Signature, dict[int, _Place]] = defaultdict(dict)
    for number, (page, edges) in enumerate(zip(pages, rows, strict=True)):
        for edge, edge_rows in edges.items():
            for index in [index for row in edge_rows for index in row]:
                block = page.blocks[index]
                for signature, value in _signatures(edge, _text(block), number):
                    places[signature].setdefault(number, (block.top, value))
    return {
        signature: found
        for signature, found_on in places.items()
        if (found := _runs(found_on, _least_pages(signature)))
    }


def _runs(places: dict[int, _Place], least: int) -> dict[int, int]:
    """The pages among ``places`` that are close to each other, with the first of each run."""
    if len(places) < least:
        return {}
    middle = sorted(top for top, _ in places.values())[len(places) // 2]
    found: dict[int, int] = {}
    run: list[int] = []
    last = -1
    for number, (top, value) in sorted(places.items()):
        if abs(top - middle) > _SAME_PLACE:
            continue
        if run and (number - run[-1] > _MAX_DISTANCE or value < last):
            found |= _run(run, least)
            run = []
        run.append(number)
        last = value
    return found | _run(run, least)


def _run(run: list[int], least: int) -> dict[int, int]:
    return dict.fromkeys(run, run[0]) if len(run) >= least else {}


def _least_pages(signature: _Signature) -> int:
    # Two pages that bear their own numbers are no chance.
    return 2 if ("page", 1) in signature[2] else _LEAST_PAGES


def _outermost(
    rows: list[list[int]],
    page: Page,
    edge: str,
    number: int,
    running: dict[_Signature, dict[int, int]],
) -> dict[int, int]:
    """The blocks that run, from the edge to the first row that holds something else.

    With each goes the page it was first on.
    """
    found: dict[int, int] = {}
    for row in rows:
        for index in row:
            firsts = [
                running[signature][number]
                for signature, _ in _signatures(edge, _text(page.blocks[index]), number)
                if number in running.get(signature, {})
            ]
            if firsts:
                found[index] = min(firsts)
        if any(index not in found for index in row):
            break
    return found


def _signatures(edge: str, text: str, number: int) -> Iterator[tuple[_Signature, int]]:
    """What a line has in common with those it repeats, if it repeats any.

    With each goes the number that must not fall from page to page, or 0.
    """
    if not text.strip() or len(text) > _MAX_CHARS:
        return
    words = pattern(text)
    if (roman := _ROMAN.fullmatch(words)) is not None:
        numeral = words.replace(roman[1], "#")
        yield (edge, numeral, (("page", _roman(roman[1]) - number),)), 0
    numbers = [int(digits[:9]) for digits in _DIGITS.findall(text)]
    if len(numbers) > _MAX_NUMBERS:
        return
    yield (edge, words, tuple(numbers)), 0
    for value in set(numbers):
        if value <= _MAX_PAGE_NUMBER and _may_count_pages(words, value - number):
            yield (edge, words, _with_page(numbers, value, value - number)), 0
    # Of a document that pages were taken out of, the numbers rise with gaps.
    if sum(map(str.isalpha, words)) >= _LEAST_SENTENCE:
        for at_end, value in ((words.endswith("#"), -1), (words.startswith("#"), 0)):
            if at_end and numbers[value] <= _MAX_OFFSET:
                rising = _with_page(numbers, numbers[value], "rising")
                yield (edge, words, rising), numbers[value]


def _with_page(numbers: list[int], page: int, runs: int | str) -> tuple[object, ...]:
    return tuple(("page", runs) if number == page else number for number in numbers)


def _may_count_pages(words: str, offset: int) -> bool:
    """Tell whether a number beside ``words`` may be a page's.

    "Question 1" at the top of one page and "Question 2" of the next are no page numbers.
    """
    if not -_MAX_OFFSET <= offset <= _MAX_OFFSET:
        return False
    letters = sum(map(str.isalpha, words))
    return letters == 0 or letters >= _LEAST_LETTERS or _PAGE_WORD.search(words) is not None


def _roman(letters: str) -> int:
    values = [_ROMAN_VALUES[letter] for letter in letters]
    following = [*values[1:], 0]
    return sum(
        -value if value < after else value
        for value, after in zip(values, following, strict=True)
    )


def _text(block: Block) -> str:
    if block.table is None:
        return block.text
    return "\n".join(" ".join(row) for row in block.table.rows)
