"""Tells which pages of a PDF hold no text of their own, as scans do."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Final

from activekg_pipelines.extraction.pdf.blocks import Page
from activekg_pipelines.extraction.pdf.running import pattern

# A picture that covers this part of a page is the page.
_LEAST_PICTURE: Final = 0.5
_MAX_STAMP_CHARS: Final = 200
_STAMP: Final = re.compile(
    r"\W*((scanned|scannt|gescannt|digitali[sz]ed|created|erstellt|numérisé|escaneado)\s+"
    r"(with|by|using|mit|von|avec|par|con)\b.{0,60}|#|page\W*#(\W*(of)?\W*#)?)\W*",
    re.DOTALL,
)


def drop_stamps(pages: Sequence[Page]) -> set[int]:
    """Return the numbers of the pages that are pictures with a stamp for a text.

    That is what a program writes on each page it scanned. It is kept once.
    """
    alike: dict[str, list[int]] = defaultdict(list)
    for number, page in enumerate(pages):
        if page.picture_share >= _LEAST_PICTURE and page.characters <= _MAX_STAMP_CHARS:
            text = page.plain_text
            if text.strip():
                alike[pattern(text)].append(number)
    stamped: set[int] = set()
    for words, numbers in alike.items():
        if len(numbers) > 1 or _STAMP.fullmatch(words):
            stamped.update(numbers)
            for number in numbers[1:]:
                pages[number].blocks = []
    return stamped


def without_text(pages: Sequence[Page], stamped: set[int], running: Sequence[int]) -> set[int]:
    """Return the numbers of the pages that show something and say nothing.

    ``running`` is how many characters of each page are heads and feet.
    """
    return stamped | {
        number
        for number, (page, heads) in enumerate(zip(pages, running, strict=True))
        if _says_nothing(page, heads)
    }


def _says_nothing(page: Page, heads: int) -> bool:
    own = len(page.plain_text.strip())
    if own == 0 and heads == 0:
        return page.shows_something
    return own <= heads and page.picture_share >= _LEAST_PICTURE
