"""Counts the words of texts and of expected Markdown, and compares the two.

A word is a run of letters, digits and underscores after NFKC and case folding. Texts
are compared as bags of words, so that neither order nor layout counts.
"""

from __future__ import annotations

import html
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

_WORD: Final = re.compile(r"\w+")
_COMMENT: Final = re.compile(r"<!--.*?-->", re.DOTALL)
# A target holds no line end; the parentheses inside it are pairs, one in the other at
# most.
_TARGET: Final = r"\((?:[^()\n]|\([^()\n]*\))*\)"
_LINK: Final = re.compile(rf"!?\[((?:[^\[\]\n]|\[[^\[\]\n]*\])*)\]{_TARGET}")
_ESCAPE: Final = re.compile(r"\\([!-/:-@\[-`{-~])")
_COLUMN: Final = re.compile(r"(?<!\\)\|")
_RULE: Final = re.compile(r"[\s|:-]+")


@dataclass(frozen=True, slots=True)
class Score:
    """How far the words found are those expected; each number is from 0 to 1."""

    recall: float
    """Share of the expected words that were found."""
    precision: float
    """Share of the found words that are expected."""

    @property
    def noise(self) -> float:
        """Share of the found words that are not expected."""
        return 1 - self.precision

    @property
    def f1(self) -> float:
        """The harmonic mean of recall and precision."""
        both = self.recall + self.precision
        return 2 * self.recall * self.precision / both if both else 0.0


def words(text: str) -> Counter[str]:
    """How often each word stands in ``text``."""
    return Counter(words_in_order(text))


def words_in_order(text: str) -> list[str]:
    """The words of ``text`` as they stand there."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


def markdown_words(markdown: str, *, spans_once: bool = True) -> Counter[str]:
    """The words of an expected text in Markdown.

    Targets of links, placeholders of pictures, comments and rules of tables are no
    words. Markdown repeats a cell that spans several in each of them.

    Args:
        markdown: the expected text.
        spans_once: count cells that say the same as the cell before or above them once.
    """
    text = _COMMENT.sub(" ", markdown)
    # Twice, for a picture inside a link.
    text = _LINK.sub(r"\1", _LINK.sub(r"\1", text))
    if spans_once:
        text = "\n".join(_without_repeats(text.splitlines()))
    return words(html.unescape(_ESCAPE.sub(r"\1", text)))


def score(
    found: Counter[str], expected: Counter[str], allowed: Counter[str] | None = None
) -> Score:
    """Compare two bags of words.

    Args:
        found: the words of our text.
        expected: what has to be found.
        allowed: what is no noise; ``expected`` where it is left out.
    """
    allowed = expected if allowed is None else allowed
    return Score(
        recall=(found & expected).total() / expected.total() if expected else 1.0,
        precision=(found & allowed).total() / found.total() if found else 1.0,
    )


def markdown_score(text: str, markdown: str) -> Score:
    """Compare ``text`` with the expected ``markdown``.

    A cell that the Markdown repeats has to be found once and may be found so often.
    """
    return score(words(text), markdown_words(markdown), markdown_words(markdown, spans_once=False))


@dataclass(frozen=True, slots=True)
class Mean:
    """The means over the scores of ``files`` files."""

    files: int
    recall: float
    noise: float
    precision: float
    f1: float


def mean(scores: Iterable[Score]) -> Mean:
    """The means over one score or more."""
    each = list(scores)
    return Mean(
        len(each),
        *(
            sum(values) / len(each)
            for values in zip(
                *((one.recall, one.noise, one.precision, one.f1) for one in each), strict=True
            )
        ),
    )


def _without_repeats(lines: list[str]) -> list[str]:
    """The lines, without the cells of tables that repeat their neighbour."""
    kept: list[str] = []
    above: list[str] = []
    for line in lines:
        if not line.lstrip().startswith("|"):
            above = []
            kept.append(line)
        elif not _RULE.fullmatch(line):
            cells = [cell.strip() for cell in _COLUMN.split(line.strip())]
            pairs = zip_longest(cells, above[: len(cells)], fillvalue="")
            before = ["", *cells]
            kept.append(
                " | ".join(
                    "" if cell in (upper, before[index]) else cell
                    for index, (cell, upper) in enumerate(pairs)
                )
            )
            above = cells
    return kept
