"""Finds what stands at the edge of page after page: running heads, page numbers.

They are kept where they come first and left out after. A line of the text must not go
with them, so a line counts only when it is the outermost of its page, at the same place,
with the same words on enough pages near each other; of its numbers one may count pages.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, TypeAlias

from activekg_pipelines.extraction.pdf.blocks import SAME_ROW, Block, Page

_LEAST_PAGES: Final = 3
# Odd and even pages have heads of their own.
_NEXT: Final = 2
_MAX_DISTANCE: Final = 4
# A run that is on so many of its pages is no chance.
_DENSE: Final = 0.9
_LEAST_SPACE: Final = 1.25
"""How much further than lines of a text from each other heads are from it."""
# How deep heads and feet reach into the page, and how far one may move, as shares of
# the page's height.
_ZONE: Final = 0.13
_SAME_PLACE: Final = 0.02
_MAX_ROWS: Final = 6
_MAX_CHARS: Final = 300
_MAX_NUMBERS: Final = 8
_MAX_PAGE_NUMBER: Final = 20_000
_MAX_OFFSET: Final = 2_000
_LEAST_LETTERS: Final = 15
_LEAST_SENTENCE: Final = 25

_MIDDLE: Final = 0.5
_BROKEN: Final = re.compile("[-\u2010\ufffe\u00ad]\\s*\\Z")
_DIGITS: Final = re.compile(r"\d+")
_ROMAN: Final = re.compile(r"\W*([ivxlc]{1,8})\W*")
_ROMAN_VALUES: Final = {"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}
_PAGE_WORD: Final = re.compile(
    r"\b(page|pages|seite|pag|página|pagina|pág|sida|side|sivu|strona|str|strana|stránka|oldal"
    r"|sayfa|trang|halaman|стр|страница|σελίδα)\b|p\.|s\.|[页頁ページ쪽]"
)

_Signature: TypeAlias = tuple[str, str, tuple[object, ...]]
"""The edge, the words without numbers, and the numbers or how they run."""


class _Row(NamedTuple):
    """Blocks beside each other, by number, and how far they are from the edge."""

    place: float
    blocks: list[int]


class _Run(NamedTuple):
    """Pages with the same line: the first, and whether hardly one between lacks it."""

    first: int
    is_dense: bool


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
    signatures = [
        {
            index: list(_signatures(edge, _text(page.blocks[index]), number))
            for edge, edge_rows in edges.items()
            for row in edge_rows
            if row.place <= _ZONE
            for index in row.blocks
        }
        for number, (page, edges) in enumerate(zip(pages, rows, strict=True))
    ]
    running = _running(pages, signatures)
    counts = []
    for number, (page, edges) in enumerate(zip(pages, rows, strict=True)):
        firsts: dict[int, int] = {}
        for edge_rows in edges.values():
            firsts |= _outermost(edge_rows, signatures[number], number, running)
        counts.append(sum(len(_text(page.blocks[index]).strip()) for index in firsts))
        if firsts:
            page.blocks = _without_dropped(page.blocks, firsts, number)
    return counts


def _without_dropped(blocks: list[Block], firsts: dict[int, int], number: int) -> list[Block]:
    """The blocks of a page that are no repeated heads and feet.

    A foot that is kept goes to the start of a page that ends in the middle of a word or,
    maybe, a table.
    """
    body = [block for index, block in enumerate(blocks) if index not in firsts]
    kept = [index for index, first in sorted(firsts.items()) if first == number]
    feet = [index for index in kept if blocks[index].top > _MIDDLE]
    if not (body and feet and (body[-1].table or _BROKEN.search(body[-1].text))):
        feet = []
    rest = [
        block
        for index, block in enumerate(blocks)
        if index not in feet and (index in kept or index not in firsts)
    ]
    return [blocks[index] for index in feet] + rest


def pattern(text: str) -> str:
    """Return ``text`` with its numbers alike, on one line, in lower case."""
    return " ".join(_DIGITS.sub("#", text).casefold().split())


def _rows(page: Page, edge: str) -> list[_Row]:
    """The rows of blocks nearest to an edge, from there inwards."""
    near = [
        (block.top if edge == "top" else 1 - block.bottom, index)
        for index, block in enumerate(page.blocks)
    ]
    rows: list[_Row] = []
    for place, index in sorted(near):
        if not rows or place - rows[-1].place > SAME_ROW:
            if len(rows) == _MAX_ROWS:
                break
            rows.append(_Row(place, []))
        rows[-1].blocks.append(index)
    return rows


def _running(
    pages: Sequence[Page], signatures: list[dict[int, list[tuple[_Signature, int]]]]
) -> dict[_Signature, dict[int, _Run]]:
    """For each signature that runs, the pages it is on, with the first of each run."""
    places: dict[_Signature, dict[int, _Place]] = defaultdict(dict)
    for number, (page, found_there) in enumerate(zip(pages, signatures, strict=True)):
        for index, several in found_there.items():
            for signature, value in several:
                places[signature].setdefault(number, (page.blocks[index].top, value))
    return {
        signature: found
        for signature, found_on in places.items()
        if (found := _runs(found_on, _least_pages(signature), len(pages)))
    }


def _runs(places: dict[int, _Place], least: int, pages: int) -> dict[int, _Run]:
    """The pages among ``places`` that are close to each other, with the first of each run."""
    if len(places) < least:
        return {}
    middle = sorted(top for top, _ in places.values())[len(places) // 2]
    distance = _MAX_DISTANCE if any(value for _, value in places.values()) else _NEXT
    found: dict[int, _Run] = {}
    run: list[int] = []
    last = -1
    for number, (top, value) in sorted(places.items()):
        if abs(top - middle) > _SAME_PLACE:
            continue
        if run and (number - run[-1] > distance or value < last):
            found |= _run(run, least, pages)
            run = []
        run.append(number)
        last = value
    return found | _run(run, least, pages)


def _run(run: list[int], least: int, pages: int) -> dict[int, _Run]:
    if len(run) < least:
        return {}
    is_dense = len(run) >= _DENSE * (run[-1] - run[0] + 1) and len(run) >= pages / 2
    return dict.fromkeys(run, _Run(run[0], is_dense))


def _least_pages(signature: _Signature) -> int:
    _, words, numbers = signature
    # Two pages that bear their own numbers are no chance.
    return 2 if ("page", 1) in numbers and _names_page(words) else _LEAST_PAGES


def _names_page(words: str) -> bool:
    return _PAGE_WORD.search(words) is not None or not any(map(str.isalpha, words))


def _outermost(
    rows: list[_Row],
    signatures: dict[int, list[tuple[_Signature, int]]],
    number: int,
    running: dict[_Signature, dict[int, _Run]],
) -> dict[int, int]:
    """The blocks that run, from the edge to the first row that holds something else.

    With each goes the page it was first on.
    """
    accepted: list[dict[int, _Run]] = []
    for row in rows:
        found: dict[int, _Run] = {}
        for index in row.blocks:
            runs = [
                running[signature][number]
                for signature, _ in signatures.get(index, ())
                if number in running.get(signature, {})
            ]
            if runs:
                found[index] = min(runs)
        if found:
            accepted.append(found)
        if len(found) < len(row.blocks):
            break
    # The line that a text begins a page with may chance to be the same on some of them.
    while accepted and not (
        _stands_apart(rows, len(accepted)) or all(run.is_dense for run in accepted[-1].values())
    ):
        accepted.pop()
    return {index: run.first for found in accepted for index, run in found.items()}


def _stands_apart(rows: list[_Row], count: int) -> bool:
    """Tell whether more lies between ``count`` rows and the next than between the others."""
    if len(rows) < count + 2:
        return True
    after, following = rows[count].place, rows[count + 1].place
    return after - rows[count - 1].place >= _LEAST_SPACE * (following - after)


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
    may_count = bool(numbers) and _may_count_pages(words)
    for value in set(numbers):
        # A number that starts further off than pages do counts something else.
        if may_count and value <= _MAX_PAGE_NUMBER and abs(value - number) <= _MAX_OFFSET:
            places = [place for place, other in enumerate(numbers) if other == value]
            # "Page 6 of 6" goes on from "Page 5 of 6", and may stand there twice.
            for several in [places, *([place] for place in places if len(places) > 1)]:
                yield (edge, words, _with_page(numbers, several, value - number)), 0
    # Of a document that pages were taken out of, the numbers rise with gaps.
    if sum(map(str.isalpha, words)) >= _LEAST_SENTENCE:
        last = len(numbers) - 1
        for is_there, place in ((words.endswith("#"), last), (words.startswith("#"), 0)):
            if is_there and numbers[place] <= _MAX_OFFSET:
                yield (edge, words, _with_page(numbers, [place], "rising")), numbers[place]


def _with_page(numbers: list[int], places: list[int], runs: int | str) -> tuple[object, ...]:
    return tuple(
        ("page", runs) if place in places else number for place, number in enumerate(numbers)
    )


def _may_count_pages(words: str) -> bool:
    """Tell whether a number beside ``words`` may be a page's.

    "Question 1" at the top of one page and "Question 2" of the next are no page numbers.
    """
    return sum(map(str.isalpha, words)) >= _LEAST_LETTERS or _names_page(words)


def _roman(letters: str) -> int:
    values = [_ROMAN_VALUES[letter] for letter in letters]
    following = [*values[1:], 0]
    return sum(
        -value if value < after else value for value, after in zip(values, following, strict=True)
    )


def _text(block: Block) -> str:
    if block.table is None:
        return block.text
    return "\n".join(" ".join(row) for row in block.table.rows)
