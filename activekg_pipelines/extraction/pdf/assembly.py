"""Makes one text of a document's pages, and keeps where each page starts in it.

Words and tables that a page's end cuts are whole again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, TypeAlias

from activekg_pipelines.extraction import markdown_writer
from activekg_pipelines.extraction.clean import clean_text
from activekg_pipelines.extraction.pdf.blocks import Page, Table
from activekg_pipelines.extraction.pdf.words import (
    Vocabulary,
    join_lines,
    join_pages,
    may_break,
)

# A table goes on where one ends in the lower part of a page and one with the same
# columns is the first thing on the next. Shares of the page's height.
_LEAST_END: Final = 0.55
_MOST_START: Final = 0.45
_SAME_COLUMN: Final = 4.0  # points

_Place: TypeAlias = tuple[int, int]
"""The number of a page and of a block on it."""


def assemble(pages: Sequence[Page]) -> tuple[str, list[int]]:
    """Return the text of the pages, and the offset in it at which each page starts.

    A page without text starts where the next one does. The text is as
    :func:`~activekg_pipelines.extraction.clean.clean_text` leaves it.
    """
    groups = _tables_over_pages(pages)
    vocabulary = _vocabulary(pages)
    tables = _rendered(pages, groups, vocabulary)
    goes_on = {place[0] for group in groups for place in group[1:]}
    texts = [_text(number, page, tables, vocabulary) for number, page in enumerate(pages)]
    if vocabulary is not None:
        goes_on |= _join_over_pages(texts, vocabulary)
    text: list[str] = []
    starts: list[int] = []
    length, waiting = 0, 0
    for number, page_text in enumerate(texts):
        waiting += 1
        if not page_text:
            continue
        if text:
            text.append("\n" if number in goes_on else "\n\n")
            length += len(text[-1])
        starts += [length] * waiting
        text.append(page_text)
        length, waiting = length + len(page_text), 0
    return "".join(text), starts + [length] * waiting


def _vocabulary(pages: Sequence[Page]) -> Vocabulary | None:
    """The document's words, where they are needed."""
    if not any(may_break(page.plain_text) for page in pages):
        return None
    return Vocabulary(page.plain_text for page in pages)


def _tables_over_pages(pages: Sequence[Page]) -> list[list[_Place]]:
    """The tables of the document by place, those together that go on over a page's end."""
    groups: list[list[_Place]] = []
    last: _Place | None = None
    for number, page in enumerate(pages):
        for index, block in enumerate(page.blocks):
            if block.table is None:
                continue
            place = (number, index)
            if last is not None and index == 0 and _goes_on(pages, last, place):
                groups[-1].append(place)
            else:
                groups.append([place])
            last = place
    return groups


def _goes_on(pages: Sequence[Page], last: _Place, place: _Place) -> bool:
    before, after = pages[last[0]].blocks, pages[place[0]].blocks
    if place[0] != last[0] + 1 or last[1] != len(before) - 1:
        return False
    above, below = before[last[1]], after[place[1]]
    return (
        above.table is not None
        and below.table is not None
        and above.bottom >= _LEAST_END
        and below.top <= _MOST_START
        and _have_same_columns(above.table, below.table)
    )


def _have_same_columns(first: Table, second: Table) -> bool:
    if len(first.columns) != len(second.columns):
        return False
    # Even pages may have another margin than odd ones.
    shift = second.columns[0] - first.columns[0]
    return all(
        abs(b - a - shift) <= _SAME_COLUMN
        for a, b in zip(first.columns, second.columns, strict=True)
    )


def _rendered(
    pages: Sequence[Page], groups: list[list[_Place]], vocabulary: Vocabulary | None
) -> dict[_Place, str]:
    """Each table as Markdown; one that goes on has no head of its own."""
    rendered: dict[_Place, str] = {}
    for group in groups:
        parts = [_rows(pages, place, vocabulary) for place in group]
        parts = [parts[0], *(_without_head(part, parts[0]) for part in parts[1:])]
        lines = markdown_writer.table([row for part in parts for row in part]).split("\n")
        # The head and the rule below it.
        taken = 0
        for place, part in zip(group, parts, strict=True):
            end = taken + len(part) + (1 if taken == 0 else 0)
            rendered[place] = "\n".join(lines[taken:end])
            taken = end
    return rendered


def _rows(pages: Sequence[Page], place: _Place, vocabulary: Vocabulary | None) -> list[list[str]]:
    table = pages[place[0]].blocks[place[1]].table
    rows = [] if table is None else table.rows
    if vocabulary is not None:
        rows = [[join_lines(cell, vocabulary) for cell in row] for row in rows]
    # What the Markdown has no line for.
    return [row for row in rows if any(map(str.strip, row))]


def _without_head(rows: list[list[str]], first: list[list[str]]) -> list[list[str]]:
    """The rows of a part without those that repeat the head of the first part."""
    repeated = 0
    for row, head in zip(rows, first, strict=False):
        if [cell.split() for cell in row] != [cell.split() for cell in head]:
            break
        repeated += 1
    return rows[repeated:]


def _text(number: int, page: Page, tables: dict[_Place, str], vocabulary: Vocabulary | None) -> str:
    segments: list[list[str]] = [[]]
    for index, block in enumerate(page.blocks):
        if block.table is not None:
            segments += [[tables[number, index]], []]
        else:
            if segments[-1] and segments[-1][-1][-1:] not in ("\r", "\n"):
                segments[-1].append("\n")
            segments[-1].append(block.text)
    stripped = ("".join(segment).strip("\r\n") for segment in segments)
    text = "\n\n".join(segment for segment in stripped if segment.strip()).strip()
    if vocabulary is not None:
        text = join_lines(text, vocabulary)
    return clean_text(text).strip()


def _join_over_pages(texts: list[str], vocabulary: Vocabulary) -> set[int]:
    """Make the words whole that pages' ends break; the pages that go on with one."""
    goes_on: set[int] = set()
    last: int | None = None
    for number, text in enumerate(texts):
        if not text:
            continue
        if last is not None and (joined := join_pages(texts[last], text, vocabulary)):
            texts[last], texts[number] = joined
            goes_on.add(number)
        last = number
    return goes_on
