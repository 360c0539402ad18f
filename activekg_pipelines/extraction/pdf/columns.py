"""Puts columns of text that were drawn row by row one after the other.

PDFium gives the text in the order of drawing. Where a program drew the first line of
each column, then the second, it reads across the gap between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Final, TypeAlias

from activekg_pipelines.extraction.pdf.blocks import Line
from activekg_pipelines.extraction.pdf.objects import Text

Gutter: TypeAlias = tuple[float, float]
"""The left and the right end of a gap between columns, in points."""

_LEAST_ROWS: Final = 4
# Between columns of text lies at least the height of a letter, and no less than this in
# points.
_LEAST_GAP: Final = 9.0
_MAX_GUTTERS: Final = 3
_LEAST_WORDS: Final = 3.0
_LEAST_LETTERS: Final = 16.0
_MAX_DIGITS: Final = 0.15
_LEAST_FULL: Final = 0.6
_LEAST_GOING_ON: Final = 0.45
_WORD: Final = re.compile(r"\S+")
_MAX_TEXTS: Final = 5_000


def find_gutters(texts: Sequence[Text]) -> list[Gutter]:
    """Return the gaps that many rows of a page share, from left to right."""
    if len(texts) < 2 * _LEAST_ROWS or len(texts) > _MAX_TEXTS:
        return []
    gaps: list[Gutter] = []
    last = texts[0].area
    for text in texts[1:]:
        area = text.area
        if area[2] <= area[0]:
            continue
        gap = area[0] - last[2]
        if gap > _LEAST_GAP:
            height = min(area[3] - area[1], last[3] - last[1])
            common = min(area[3], last[3]) - max(area[1], last[1])
            if common > height / 2 and gap > height:
                gaps.append((last[2], area[0]))
        last = area
    return _shared(gaps)


def _shared(gaps: list[Gutter]) -> list[Gutter]:
    """The parts that enough of the gaps have in common, from left to right."""
    found: list[Gutter] = []
    left = sorted(gaps)
    while len(left) >= _LEAST_ROWS and len(found) < _MAX_GUTTERS:
        ends = sorted([(start, 0) for start, _ in left] + [(end, 1) for _, end in left])
        most, open_gaps, best = 0, 0, 0.0
        for (place, closes), (following, _) in pairwise(ends):
            open_gaps += -1 if closes else 1
            if open_gaps > most:
                most, best = open_gaps, (place + following) / 2
        if most < _LEAST_ROWS:
            break
        common = [gap for gap in left if gap[0] <= best <= gap[1]]
        found.append((max(start for start, _ in common), min(end for _, end in common)))
        left = [gap for gap in left if not gap[0] <= best <= gap[1]]
    return sorted(found)


def in_columns(
    lines: list[Line],
    gutters: list[Gutter],
    cut: Callable[[int, Gutter], Line | None],
) -> list[Line]:
    """Return ``lines`` with those that cross gutters cut there, column after column.

    ``cut`` gives what of a line, by number, lies left of a gutter, with its white space,
    or None when something of the line lies in the gutter.
    """
    ordered: list[Line] = []
    run: list[list[Line | None]] = []
    whole: list[Line] = []

    def close() -> None:
        nonlocal run, whole
        if sum(sum(part is not None for part in row) > 1 for row in run) >= _LEAST_ROWS:
            ordered.extend(_by_column(run, whole))
        else:
            ordered.extend(whole)
        run, whole = [], []

    for number, line in enumerate(lines):
        row = _cells(line, number, gutters, cut)
        if row is None:
            close()
            ordered.append(line)
        else:
            run.append(row)
            whole.append(line)
    close()
    return ordered


def _cells(
    line: Line, number: int, gutters: list[Gutter], cut: Callable[[int, Gutter], Line | None]
) -> list[Line | None] | None:
    """The parts of a line by column; None when it goes through a gutter."""
    row: list[Line | None] = []
    rest: Line | None = line
    for gutter in gutters:
        middle = sum(gutter) / 2
        if rest is None or rest.left >= middle:
            row.append(None)
        elif rest.right <= middle:
            row.append(rest)
            rest = None
        else:
            part = cut(number, gutter)
            if part is None:
                return None
            taken = len(line.text) - len(rest.text)
            own = part.text[taken:]
            following = line.text[len(part.text) :]
            row.append(rest._replace(text=f"{own.rstrip()}\n", right=min(part.right, middle)))
            rest = rest._replace(text=following, left=middle) if following.strip() else None
    row.append(rest)
    return row


def _by_column(rows: list[list[Line | None]], whole: list[Line]) -> list[Line]:
    columns = [
        [line for row in rows if (line := row[place]) is not None] for place in range(len(rows[0]))
    ]
    columns = [column for column in columns if column]
    if len(columns) < 2 or not all(map(_is_prose, columns)):
        return whole
    return [line for column in columns for line in column]


def _is_prose(column: list[Line]) -> bool:
    """Tell whether lines are a text that goes on from one to the next.

    The cells of a table are short, figures, or begin anew in each row.
    """
    if len(column) < _LEAST_ROWS:
        return False
    texts = [line.text.strip() for line in column]
    letters = sum(map(len, texts))
    words = sum(len(_WORD.findall(text)) for text in texts)
    if letters < _LEAST_LETTERS * len(texts) or words < _LEAST_WORDS * len(texts):
        return False
    if sum(character.isdigit() for text in texts for character in text) > _MAX_DIGITS * letters:
        return False
    longest = max(map(len, texts))
    full = sum(len(text) >= _LEAST_FULL * longest for text in texts)
    # In scripts without small letters nothing begins with a capital either.
    going_on = sum(not text[0].isupper() and not text[0].isdigit() for text in texts[1:])
    return full >= _LEAST_FULL * len(texts) and going_on >= _LEAST_GOING_ON * (len(texts) - 1)
