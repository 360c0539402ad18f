"""Which words go into which chunk.

The cuts keep a document's structure, fill chunks evenly and survive edits.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from activekg_pipelines.chunking.structure import Boundary, Span, Structure, StructureReader
from activekg_pipelines.chunking.words import Words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Qualities = NDArray[np.float64]
    Positions = NDArray[np.int64]

# A heading after at least this share of the limit always starts a chunk. From there on
# the cuts depend on nothing before it, so an edit changes the chunks of its own section
# only.
_SECTION_SHARE: Final = 1 / 3
# How much quality a cut gives up per unit of fill away from the middle when the last
# two chunks are balanced.
_BALANCE: Final = 2.0
# How much better a cut may be for the words around it alone. Without it an insertion
# into a long text of sentences changes 24 of 46 chunks on average. With it 5 of 50
# change (median 3), with twice the weight 3 of 54.
_MARK_WEIGHT: Final = 0.5
# The larger, the fewer cuts stand out: a chunk should have one or two that do, among a
# dozen sentences or hundreds of words.
_SENTENCE_MARK_POWER: Final = 4
_WORD_MARK_POWER: Final = 64
# Shorter runs are counted as text. That is cheaper, and ends a chunk that much before
# its character limit at worst.
_MANY_BLANKS: Final = 256
# Two decide whether the last two chunks of a section are balanced, and a third one that
# the section's end is none because the text ends soon after it.
_CHUNKS_AHEAD: Final = 4


class Packed(NamedTuple):
    """A chunk with the blanks after it: ``text[start:end]``, and its tokens."""

    start: int
    end: int
    tokens: int


def pack(
    text: str, parts: Iterable[Words], structure: StructureReader, max_tokens: int, max_chars: int
) -> Iterator[Packed]:
    """Cut the words into chunks within both limits.

    No word may exceed a limit alone. Within a section each cut is the one with the
    largest quality + fill. This rule does not look at where the chunk began, so two
    versions of a text have the same cuts again soon after the point where they differ.

    Args:
        parts: the words, in order. How they are parted makes no difference to the cuts.
    """
    words: Words | None = None
    since_section = 0
    for part in parts:
        words = part if words is None else words.followed_by(part)
        if not len(words):
            continue
        here = structure.between(int(words.starts[0]), words.end)
        quality = cut_qualities(words, here)
        cuts = _section_cuts(words, here, max_tokens, since_section)
        packer = _Packer(text, words, quality, max_tokens, max_chars)
        first = 0
        for begin, cut in packer.chunks([*cuts, len(words)]):
            yield Packed(
                int(words.starts[begin]),
                int(words.starts[cut]) if cut < len(words) else words.end,
                int(words.tokens[cut] - words.tokens[begin]),
            )
            first = cut
        # What is left begins like a chunk, and is cut when more of the text is known.
        section = max((cut for cut in cuts if cut <= first), default=None)
        since_section = int(
            words.tokens[first] + (since_section if section is None else -words.tokens[section])
        )
        words = words.since(first)


def cut_qualities(words: Words, structure: Structure) -> Qualities:
    """float64[n]: how good a cut before each of the ``n`` words is.

    It is the :class:`Boundary` there, and up to half a point that depends on nothing
    but the words next to it. So the same positions stand out in every version of a
    text. This is content-defined chunking (Muthitacharoen et al., A Low-bandwidth
    Network File System, 2001).
    """
    gap = np.ones(len(words), bool)
    gap[1:] = words.starts[1:] > words.ends[:-1]
    quality = np.where(gap, Boundary.WORD.value, Boundary.INSIDE_WORD.value)
    for positions, boundary in (
        (structure.lines, Boundary.LINE),
        ([start for start, _ in structure.rows], Boundary.ROW),
        (structure.sentences, Boundary.SENTENCE),
        (structure.items, Boundary.ITEM),
        (structure.paragraphs, Boundary.PARAGRAPH),
        ([start for start, _ in structure.headings], Boundary.HEADING),
    ):
        at = _words_at(words, positions)
        quality[at] = np.maximum(quality[at], boundary)
    bonus = _MARK_WEIGHT * words.marks ** np.where(
        quality > Boundary.WORD, _SENTENCE_MARK_POWER, _WORD_MARK_POWER
    )
    inside_code = _inside(words, structure.code)
    quality = np.where(inside_code, _in_code(quality), quality + bonus)
    quality[_inside(words, structure.rows) | _inside(words, structure.headings)] = (
        Boundary.INSIDE_LINE
    )
    glued = [*(end for _, end in structure.headings), *chain.from_iterable(structure.rules)]
    quality[_words_at(words, glued)] = Boundary.AFTER_HEADING
    return quality


def _in_code(quality: Qualities) -> Qualities:
    line = np.where(
        quality >= Boundary.LINE, Boundary.LINE_IN_CODE.value, Boundary.INSIDE_LINE.value
    )
    return np.where(quality >= Boundary.PARAGRAPH, Boundary.BLANK_LINE_IN_CODE.value, line)


def _words_at(words: Words, positions: list[int]) -> Positions:
    """The first word at or after each position; none for one after the last word."""
    at = np.searchsorted(words.starts, np.asarray(positions, np.int64))
    return at[at < len(words)]


def _inside(words: Words, spans: list[Span]) -> NDArray[np.bool_]:
    """bool[n]: the words that begin within a span and are not its first."""
    depth = np.zeros(len(words) + 1, np.int64)
    if spans:
        bounds = np.searchsorted(words.starts, np.asarray(spans, np.int64))
        filled = bounds[bounds[:, 1] > bounds[:, 0]]
        np.add.at(depth, filled[:, 0] + 1, 1)
        np.add.at(depth, filled[:, 1], -1)
    return np.cumsum(depth)[:-1] > 0


def _section_cuts(
    words: Words, structure: Structure, max_tokens: int, since_section: int
) -> list[int]:
    """The words at which a section starts a new chunk, and forced cuts, in order.

    Args:
        since_section: tokens of the section that began before the words.
    """
    minimum = max_tokens * _SECTION_SHARE
    after_heading = set(_words_at(words, [end for _, end in structure.headings]).tolist())
    headings = (
        set(_words_at(words, [start for start, _ in structure.headings]).tolist()) - after_heading
    )
    forced = set(np.flatnonzero(words.forced).tolist())
    cuts: list[int] = []
    began = -since_section
    # Whether a cut lies before the first word was decided with the words before it.
    for word in sorted((headings | forced) - {0}):
        if word in forced or words.tokens[word] - began >= minimum:
            cuts.append(word)
            began = words.tokens[word]
    if words.is_last and cuts and cuts[-1] not in forced and words.tokens[-1] - began < minimum / 2:
        cuts.pop()
    return cuts


class _Packer:
    def __init__(
        self, text: str, words: Words, quality: Qualities, max_tokens: int, max_chars: int
    ) -> None:
        self._words = words
        self._quality = quality
        self._ends = _visible_ends(text, words)
        self._max_tokens = max_tokens
        self._max_chars = max_chars

    def chunks(self, sections: list[int]) -> Iterator[tuple[int, int]]:
        """Chunks as ``[first, last)`` of the words.

        It stops where further words could change a cut.

        Args:
            sections: where each ends, in order.
        """
        first = 0
        for last in sections:
            while first < last:
                if not self._is_settled(first):
                    return
                cut = last
                if (furthest := self._furthest(first)) < last:
                    cut = self._cut(first, furthest, last)
                yield first, cut
                first = cut

    def _is_settled(self, first: int) -> bool:
        """Whether no further word has a say in where the chunk at ``first`` ends.

        A section's end counts when two chunks are left of it, and one that is near the
        text's end may be none.
        """
        words = self._words
        ahead = int(words.tokens[-1] - words.tokens[first])
        return words.is_last or ahead >= _CHUNKS_AHEAD * self._max_tokens

    def _furthest(self, first: int) -> int:
        """The last word index at which a chunk that starts at ``first`` may end."""
        words = self._words
        by_tokens = (
            int(words.tokens.searchsorted(words.tokens[first] + self._max_tokens, "right")) - 1
        )
        by_chars = int(self._ends.searchsorted(words.starts[first] + self._max_chars, "right"))
        return max(min(by_tokens, by_chars), first + 1)

    def _cut(self, first: int, furthest: int, last: int) -> int:
        """Where the chunk that starts at ``first`` ends.

        As full as is good, or half-way when two chunks are left.
        """
        tokens = self._words.tokens
        nearest = int(tokens.searchsorted(tokens[last] - self._max_tokens))
        balanced = nearest <= furthest
        window = slice(max(nearest if balanced else 0, first + 1), furthest + 1)
        # From the chunk's start, so that rounding does not depend on what comes before
        # it.
        fill = (tokens[window] - tokens[first]) / self._max_tokens
        if balanced:
            fill = -_BALANCE * np.abs(fill - (tokens[last] - tokens[first]) / self._max_tokens / 2)
        return window.start + int((self._quality[window] + fill).argmax())


def _visible_ends(text: str, words: Words) -> Positions:
    """int64[n]: where each word ends, with all that follows it up to the next word.

    A long run of blanks is left out.
    """
    ends = np.append(words.starts[1:], words.end)
    for word in np.flatnonzero(ends - words.ends > _MANY_BLANKS):
        start = int(words.starts[word])
        ends[word] = start + len(text[start : ends[word]].rstrip())
    return ends
