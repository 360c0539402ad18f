"""Markdown as every extractor writes it."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

_WHITE_SPACE: Final = re.compile(r"\s+")
MAX_HEADING_LEVEL: Final = 6
MAX_CELLS: Final = 1_000_000
"""Rows times columns of a table at most.

A row of 20,000 cells above 20,000 rows of one would be filled up to gigabytes.
"""


def heading(level: int, text: str) -> str:
    """Return ``text`` as a Markdown heading.

    ``level`` counts from 1 and is held to Markdown's six.
    """
    return f"{'#' * max(1, min(level, MAX_HEADING_LEVEL))} {one_line(text)}"


def one_line(text: str) -> str:
    """Return ``text`` with every run of white space as one space."""
    return _WHITE_SPACE.sub(" ", text).strip()


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return ``rows`` as a Markdown table whose first row is the header.

    Ragged rows are filled up. Rows and columns without any text are left out. The table
    is "" when no cell holds text.
    """
    filled = [[one_line(cell).replace("|", "\\|") for cell in row] for row in rows]
    filled = [row for row in filled if any(row)]
    if not filled:
        return ""
    width = max(len(row) for row in filled)
    square = [row + [""] * (width - len(row)) for row in filled]
    kept = [column for column in range(width) if any(row[column] for row in square)]
    lines = ["| " + " | ".join(row[column] for column in kept) + " |" for row in square]
    return "\n".join([lines[0], "|" + " --- |" * len(kept), *lines[1:]])
