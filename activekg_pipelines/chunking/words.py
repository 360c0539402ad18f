"""A text as its tokenizer sees it: where each word starts, and its number of tokens."""

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
    """The words of a text, in order, as parallel arrays over ``n`` words."""

    starts: Positions
    """int64[n]: code point offset of each word's first character."""
    ends: Positions
    """int64[n]: code point offset after its last character that the model sees."""
    tokens: Positions
    """int64[n + 1]: tokens before each word. The last entry is the total."""
    marks: NDArray[np.float64]
    """float64[n]: in [0, 1), from the word and its two neighbours only."""
    forced: list[int]
    """Indices, in order, of the words before which the text must be cut.

    The tokenizer sees both sides of such a cut as one word.
    """

    def __len__(self) -> int:
        return len(self.starts)


def find_words(text: str, tokenizer: Tokenizer, *, blanks_separate: bool) -> Words:
    """Encode ``text`` without special tokens and return its words.

    Args:
        blanks_separate: whether what stands between blanks has the same tokens alone as
            within the text. What comes several times is then encoded once.

    Raises:
        EncoderFailed: the tokenizer refuses the text (lone surrogates).
    """
    empty = np.zeros(0, np.int64)
    found = [_Encoded(empty, empty, empty, empty)]
    forced: list[int] = []
    words = 0
    slices = list(_slices(text))
    for at in range(0, len(slices), _SLICES_AT_ONCE):
        bounds = slices[at : at + _SLICES_AT_ONCE]
        parts = [text[start:end] for start, end in bounds]
        runs = [_find_runs(part) for part in parts] if blanks_separate else []
        encodings = encode_all(tokenizer, [each.distinct for each in runs] or parts)
        for number, ((start, _), encoding) in enumerate(zip(bounds, encodings, strict=True)):
            here = _encoded(encoding)
            if runs:
                here = runs[number].spread(here)
            if start and text[start - 1] not in BLANKS:
                forced.append(words)
            found.append(replace(here, starts=here.starts + start, ends=here.ends + start))
            words += len(here.starts)
    tokens = np.concatenate([each.tokens for each in found])
    return Words(
        starts=np.concatenate([each.starts for each in found]),
        ends=np.concatenate([each.ends for each in found]),
        tokens=np.concatenate([[0], np.cumsum(tokens)]),
        marks=_marks(np.concatenate([each.first_ids for each in found])),
        forced=[word for word in forced if 0 < word < words],
    )


def split_oversized(
    text: str, words: Words, tokenizer: Tokenizer, max_tokens: int, max_chars: int
) -> Words:
    """Cut each word that is over a limit into parts that fit.

    The cuts between the parts are forced. Each part is encoded alone, since part of a
    word has other tokens than the word: five megabytes of one letter are a single
    unknown token, ten letters of them are several known ones.
    """
    bounds = np.append(words.starts, len(text))
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
        spans[first, 0], spans[end - 1, 1], end - first, np.array(encoding.ids, np.int64)[first]
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
    forced = {int(first[word]) for word in words.forced}
    for word, pieces in parts.items():
        at = slice(int(first[word]), int(first[word + 1]))
        starts[at] = [piece.start for piece in pieces]
        ends[at] = [piece.end for piece in pieces]
        tokens[at] = [piece.tokens for piece in pieces]
        forced.update(range(at.start + 1, at.stop))
    return Words(
        starts,
        ends,
        np.concatenate([[0], np.cumsum(tokens)]),
        np.repeat(words.marks, kept),
        sorted(forced),
    )
