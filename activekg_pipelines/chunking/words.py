"""A text as its tokenizer sees it: where each word starts, and its number of tokens.

The words come in parts, so that memory does not grow with the text: a text of numbers has
a word for every two characters.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Final

import numpy as np

from activekg_pipelines.chunking.tokenizer import BLANKS, encode_all

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from activekg_pipelines.chunking.tokenizer import Encoding, Tokenizer

    Positions = NDArray[np.int64]

# One encode() of 100 MB aborts the process. Slices of this size in small batches also
# keep both cores of a small machine busy.
_SLICE_CHARS: Final = 50_000
_SLICES_AT_ONCE: Final = 8
_GAP: Final = re.compile(rf"([{BLANKS}]+)")
# Odd constants of xxHash64 (Yann Collet); the products are taken modulo 2**64.
_HASH: Final = np.array([0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)


@dataclass(frozen=True, slots=True)
class Words:
    """Some words of a text that follow each other, as parallel arrays over ``n`` words."""

    starts: Positions
    """int64[n]: code point offset of each word's first character."""
    ends: Positions
    """int64[n]: code point offset after its last character that the model sees."""
    tokens: Positions
    """int64[n + 1]: of these words, tokens before each. The last entry is the total."""
    marks: NDArray[np.float64]
    """float64[n]: in [0, 1), from the word and its two neighbours only."""
    forced: NDArray[np.bool_]
    """bool[n]: before which words the text must be cut.

    The tokenizer sees both sides of such a cut as one word.
    """
    end: int
    """Where the next word starts; the text's length where there is none."""
    is_last: bool
    """The text has no further words."""

    def __len__(self) -> int:
        return len(self.starts)

    def since(self, word: int) -> Words:
        """The words from this one on."""
        return Words(
            self.starts[word:],
            self.ends[word:],
            self.tokens[word:] - self.tokens[word],
            self.marks[word:],
            self.forced[word:],
            self.end,
            self.is_last,
        )

    def followed_by(self, others: Words) -> Words:
        """These words, and those that follow them in the text."""
        return Words(
            np.concatenate([self.starts, others.starts]),
            np.concatenate([self.ends, others.ends]),
            np.concatenate([self.tokens, self.tokens[-1] + others.tokens[1:]]),
            np.concatenate([self.marks, others.marks]),
            np.concatenate([self.forced, others.forced]),
            others.end,
            others.is_last,
        )


def read_words(
    text: str, tokenizer: Tokenizer, max_tokens: int, max_chars: int, *, blanks_separate: bool
) -> Iterator[Words]:
    """Encode ``text`` without special tokens and yield its words, part by part.

    A word over a limit is cut into parts that fit, each of them encoded alone, since
    part of a word has other tokens than the word: five megabytes of one letter are a
    single unknown token, ten letters of them are several known ones. The cuts between
    them are forced.

    Args:
        max_tokens, max_chars: of a word.
        blanks_separate: whether what stands between blanks has the same tokens alone as
            within the text. What comes several times is then encoded once.

    Raises:
        EncoderFailed: the tokenizer refuses the text (lone surrogates).
    """
    waiting = _NO_WORDS
    # The ids before and after a word count for its mark. The text's last word is
    # followed by its first one.
    first, before = np.zeros(1, np.int64), np.zeros(1, np.int64)
    has_first = False

    def finished(words: _Encoded, after: Positions, end: int, *, is_last: bool) -> Words:
        ids = np.concatenate([before, words.first_ids, after])
        read = Words(
            starts=words.starts,
            ends=words.ends,
            tokens=np.concatenate([[0], np.cumsum(words.tokens)]),
            marks=_marks(ids)[1:-1],
            forced=words.forced,
            end=end,
            is_last=is_last,
        )
        return _split_oversized(text, read, tokenizer, max_tokens, max_chars)

    for found in _encoded_parts(text, tokenizer, blanks_separate=blanks_separate):
        waiting = waiting.followed_by(found)
        if not has_first and len(waiting):
            first, has_first = waiting.first_ids[:1], True
        if len(waiting) < 2:
            continue
        # The last word's end and mark depend on the word that follows it.
        ready, waiting = waiting[:-1], waiting[-1:]
        yield finished(ready, waiting.first_ids, int(waiting.starts[0]), is_last=False)
        before = ready.first_ids[-1:]
    yield finished(waiting, first, len(text), is_last=True)


def _encoded_parts(text: str, tokenizer: Tokenizer, *, blanks_separate: bool) -> Iterator[_Encoded]:
    slices = list(_slices(text))
    is_forced = False
    for at in range(0, len(slices), _SLICES_AT_ONCE):
        bounds = slices[at : at + _SLICES_AT_ONCE]
        parts = [text[start:end] for start, end in bounds]
        runs = [_find_runs(part) for part in parts] if blanks_separate else []
        encodings = encode_all(tokenizer, [each.distinct for each in runs] or parts)
        for number, ((start, _), encoding) in enumerate(zip(bounds, encodings, strict=True)):
            here = _encoded(encoding)
            if runs:
                here = runs[number].spread(here)
            # A slice of which the tokenizer sees nothing leaves the cut to the next one.
            is_forced = is_forced or bool(start and text[start - 1] not in BLANKS)
            if len(here):
                here.forced[0] = is_forced
                is_forced = False
            yield replace(here, starts=here.starts + start, ends=here.ends + start)


def _split_oversized(
    text: str, words: Words, tokenizer: Tokenizer, max_tokens: int, max_chars: int
) -> Words:
    """Cut each word that is over a limit into parts that fit."""
    bounds = np.append(words.starts, words.end)
    suspects = np.flatnonzero((np.diff(bounds) > max_chars) | (np.diff(words.tokens) > max_tokens))
    parts = {
        int(word): _parts(
            text, (int(bounds[word]), int(bounds[word + 1])), tokenizer, max_tokens, max_chars
        )
        for word in suspects
        if words.tokens[word + 1] - words.tokens[word] > max_tokens
        or len(text[bounds[word] : bounds[word + 1]].rstrip()) > max_chars
    }
    return _replaced(words, parts) if parts else words


@dataclass(frozen=True, slots=True)
class _Part:
    start: int
    end: int
    tokens: int


def _slices(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    while len(text) - start > _SLICE_CHARS:
        end = _slice_end(text, start, start + _SLICE_CHARS)
        yield start, end
        start = end
    if start < len(text):
        yield start, len(text)


def _slice_end(text: str, start: int, limit: int) -> int:
    newline = text.rfind("\n", start + _SLICE_CHARS // 2, limit)
    if newline >= 0:
        return newline + 1
    blank = max(text.rfind(character, start + _SLICE_CHARS // 2, limit) for character in BLANKS)
    return blank + 1 if blank >= 0 else limit


@dataclass(frozen=True, slots=True)
class _Encoded:
    """The words of an encoded text. Each array is int64[words]."""

    starts: Positions
    ends: Positions
    tokens: Positions
    """How many tokens each word has."""
    first_ids: Positions
    """The id of each word's first token."""
    forced: NDArray[np.bool_]
    """Where the text must be cut, as in :class:`Words`."""

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, which: slice) -> _Encoded:
        return _Encoded(
            self.starts[which],
            self.ends[which],
            self.tokens[which],
            self.first_ids[which],
            self.forced[which],
        )

    def followed_by(self, others: _Encoded) -> _Encoded:
        """These words, and those that follow them."""
        return _Encoded(
            np.concatenate([self.starts, others.starts]),
            np.concatenate([self.ends, others.ends]),
            np.concatenate([self.tokens, others.tokens]),
            np.concatenate([self.first_ids, others.first_ids]),
            np.concatenate([self.forced, others.forced]),
        )


_NOTHING: Final[Positions] = np.zeros(0, np.int64)
_NO_WORDS: Final = _Encoded(_NOTHING, _NOTHING, _NOTHING, _NOTHING, np.zeros(0, bool))


def _encoded(encoding: Encoding) -> _Encoded:
    offsets = encoding.offsets
    spans = np.fromiter(chain.from_iterable(offsets), np.int64, 2 * len(offsets)).reshape(-1, 2)
    # As floats, because a token that belongs to no word has None, and NaN differs from
    # its neighbours.
    words = np.array(encoding.word_ids, np.float64)
    begins = np.ones(len(words), bool)
    np.not_equal(words[1:], words[:-1], out=begins[1:])
    first = np.flatnonzero(begins)
    end = np.append(first[1:], len(words))[: len(first)]
    return _Encoded(
        spans[first, 0],
        spans[end - 1, 1],
        end - first,
        np.array(encoding.ids, np.int64)[first],
        np.zeros(len(first), bool),
    )


@dataclass(frozen=True, slots=True)
class _Runs:
    """A text as runs of characters between blanks."""

    distinct: str
    """Each run once, with a blank between two of them."""
    bounds: Positions
    """int64[distinct + 1]: where each begins in that, and where one more would."""
    starts: Positions
    """int64[runs]: where each run of the text begins."""
    which: Positions
    """int64[runs]: which of the distinct ones it is."""

    def spread(self, encoded: _Encoded) -> _Encoded:
        """The text's words, from those of ``distinct``."""
        first = np.searchsorted(encoded.starts, self.bounds)
        counts = np.diff(first)[self.which]
        before = np.cumsum(counts) - counts
        at = np.repeat(first[self.which] - before, counts) + np.arange(counts.sum())
        shift = np.repeat(self.starts - self.bounds[self.which], counts)
        return _Encoded(
            encoded.starts[at] + shift,
            encoded.ends[at] + shift,
            encoded.tokens[at],
            encoded.first_ids[at],
            np.zeros(len(at), bool),
        )


def _find_runs(text: str) -> _Runs:
    parts = _GAP.split(text)
    ends = np.cumsum(np.fromiter(map(len, parts), np.int64, len(parts)))
    runs = parts[::2]
    numbers = {run: number for number, run in enumerate(dict.fromkeys(runs))}
    lengths = np.fromiter(map(len, numbers), np.int64, len(numbers))
    return _Runs(
        distinct=" ".join(numbers),
        bounds=np.concatenate([[0], np.cumsum(lengths + 1)]),
        starts=np.concatenate([[0], ends[1::2]]),
        which=np.fromiter(map(numbers.__getitem__, runs), np.int64, len(runs)),
    )


def _marks(first_ids: Positions) -> NDArray[np.float64]:
    """float64[n]: each word's first token, hashed with its neighbours'.

    Hashing by multiplication: Knuth, The Art of Computer Programming, 6.4.
    """
    words = first_ids.astype(np.uint64)
    before, after = np.roll(words, 1), np.roll(words, -1)
    mixed: NDArray[np.uint64] = words * _HASH[0] + before * _HASH[1] + after * _HASH[2]
    mixed = (mixed ^ (mixed >> np.uint64(29))) * _HASH[0]
    return (mixed >> np.uint64(32)) / 2**32


def _parts(
    text: str, span: tuple[int, int], tokenizer: Tokenizer, max_tokens: int, max_chars: int
) -> list[_Part]:
    parts: list[_Part] = []
    end = span[0] + len(text[span[0] : span[1]].rstrip())
    pending = [(at, min(at + max_chars, end)) for at in range(span[0], end, max_chars)][::-1]
    while pending:
        start, stop = pending.pop()
        count = len(encode_all(tokenizer, [text[start:stop]])[0].ids)
        if count <= max_tokens or stop - start == 1:
            parts.append(_Part(start, stop, count))
        else:
            middle = (start + stop) // 2
            pending += [(middle, stop), (start, middle)]
    return parts


def _replaced(words: Words, parts: dict[int, list[_Part]]) -> Words:
    """``words`` with each word in ``parts`` replaced by its parts."""
    counts = np.diff(words.tokens)
    kept = np.ones(len(words), np.int64)
    for word, pieces in parts.items():
        kept[word] = len(pieces)
    first = np.concatenate([[0], np.cumsum(kept)])
    starts, ends, tokens = (np.repeat(array, kept) for array in (words.starts, words.ends, counts))
    forced = np.zeros(int(first[-1]), bool)
    forced[first[:-1]] = words.forced
    for word, pieces in parts.items():
        at = slice(int(first[word]), int(first[word + 1]))
        starts[at] = [piece.start for piece in pieces]
        ends[at] = [piece.end for piece in pieces]
        tokens[at] = [piece.tokens for piece in pieces]
        forced[at.start + 1 : at.stop] = True
    return Words(
        starts,
        ends,
        np.concatenate([[0], np.cumsum(tokens)]),
        np.repeat(words.marks, kept),
        forced,
        words.end,
        words.is_last,
    )
