"""Joins words that were broken at the end of a line or page, and leaves the others.

"recom-" and "mended" are one word, "well-" and "known" stay two with their hyphen. The
document's own words decide, then what is known of such halves.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Final

# PDFium writes U+FFFE for a hyphen at a line's end. U+00AD is one that the writer
# allowed, and never part of the word.
_BREAK: Final = re.compile("([\ufffe\u00ad]|-(?=[ \t]*[\r\n]))[ \t]*(?:\r\n?|\n)?(?=(\\w+))")
_LEFT: Final = re.compile(r"\w+\Z")
_MAX_LEFT: Final = 60
_SIGNS: Final = ("\ufffe", "\u00ad", "-\r", "-\n", "- \r", "- \n")
_MARKS: Final = re.compile("[\ufffe\u00ad]")
_PAGE_END: Final = ("-", "\ufffe", "\u00ad", "\u2010")
_PAGE_START: Final = re.compile(r"\s*([^\W\d_]+)((?:-\w+)*[^\w\s]*)(?:[ \t]+|\s*\n|\Z)")
_ENDS: Final = ("", ",", ".", ";", ":", ")", "?", "!")
# Halves of words that are written with a hyphen far more often than as one word.
_BEFORE: Final = frozenset(
    {
        "well", "self", "quasi", "high", "low", "long", "short", "full", "real", "first",
        "second", "third", "single", "double", "triple", "fixed", "large", "small", "one",
        "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten",
    }
)  # fmt: skip
_AFTER: Final = frozenset(
    {
        "based", "known", "defined", "specific", "related", "oriented", "driven",
        "dependent", "level", "quality", "pressure", "temperature", "friendly", "resistant",
        "efficient", "effective", "established", "documented", "equipped", "purpose",
        "aware", "sized", "adjusted", "assembled", "built",
    }
)  # fmt: skip
# "Vor-" at a line's end before "und Nachteile" lacks what the next word ends with.
_SUSPENDED: Final = frozenset(
    {
        "und", "oder", "bis", "bzw", "sowie", "and", "or", "to", "et", "ou", "y", "o", "e",
        "ed", "en", "of", "och", "eller", "og", "i", "lub",
    }
)  # fmt: skip


class Vocabulary:
    """The words of a document, with and without hyphens inside them."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._parts: Counter[str] = Counter()
        for text in texts:
            self._parts.update(text.casefold().split())

    def __getitem__(self, word: str) -> int:
        """How often a word is there, alone or before a mark."""
        count = self._parts.get
        return sum([count(word + mark, 0) for mark in _ENDS])

    def joined(self, left: str, right: str, mark: str) -> str:
        """Return the two halves of a word as the word that they are."""
        if mark == "\u00ad":
            return left + right
        if right.casefold() in _SUSPENDED:
            return f"{left}- {right}"
        if self._keeps_hyphen(left, right):
            return f"{left}-{right}"
        return left + right

    def _keeps_hyphen(self, left: str, right: str) -> bool:
        # "Rolls-Royce", "COVID-19", "DIN-en"
        if right[0].isdigit() or right[0].isupper() or left[-1].isdigit() or left[-1].isupper():
            return True
        whole, hyphened = f"{left}{right}".casefold(), f"{left}-{right}".casefold()
        if self[whole] != self[hyphened]:
            return self[hyphened] > self[whole]
        first, second = left.casefold(), right.casefold()
        return first in _BEFORE or (second in _AFTER and self[first] > 0)


def may_break(text: str) -> bool:
    """Tell whether a word of a page's text may be broken, also at its end."""
    return any(mark in text for mark in _SIGNS) or text.rstrip().endswith(("-", "\u2010"))


def join_lines(text: str, vocabulary: Vocabulary) -> str:
    """Return ``text`` with the words that its lines break whole again."""
    if not any(mark in text for mark in _SIGNS):
        return text

    def between(match: re.Match[str]) -> str:
        start = match.start()
        left = _LEFT.search(text, max(0, start - _MAX_LEFT), start)
        if left is None:
            return match.group() if match[1] == "-" else ""
        joined = vocabulary.joined(left.group(), match[2], match[1])
        return joined[len(left.group()) : len(joined) - len(match[2])]

    return _MARKS.sub("", _BREAK.sub(between, text))


def join_pages(before: str, after: str, vocabulary: Vocabulary) -> tuple[str, str] | None:
    """Move the rest of a word that a page's end breaks to the page it begins on.

    None when there is no such word.
    """
    ended = before.rstrip()
    if not ended.endswith(_PAGE_END):
        return None
    end = len(ended) - 1
    left, right = _LEFT.search(ended, max(0, end - _MAX_LEFT), end), _PAGE_START.match(after)
    if left is None or right is None or not right[1][0].islower():
        return None
    mark = "\u00ad" if ended[end] == "\u00ad" else "-"
    if right[1].casefold() in _SUSPENDED:
        return None
    word = vocabulary.joined(left.group(), right[1], mark)
    return before[: left.start()] + word + right[2], after[right.end() :].lstrip("\n")
