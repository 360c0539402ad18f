"""From a text to the spans of its chunks.

Words, structure and packing come together here, and the limit is made exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from activekg_pipelines.chunking.packing import pack
from activekg_pipelines.chunking.structure import StructureReader
from activekg_pipelines.chunking.tokenizer import blanks_separate, encode_all, is_word_piece
from activekg_pipelines.chunking.words import read_words

if TYPE_CHECKING:
    from collections.abc import Iterator

    from activekg_pipelines.chunking.tokenizer import Tokenizer


_SPANS_AT_ONCE: Final = 256


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """``text[start:end]`` and its number of tokens, special tokens not included."""

    start: int
    end: int
    tokens: int


def split(text: str, tokenizer: Tokenizer, max_tokens: int, max_chars: int) -> list[TokenSpan]:
    """Split ``text`` into spans of at most ``max_tokens`` tokens, each encoded alone.

    Spans of which the model sees nothing are left out.
    """
    spans = _packed(text, tokenizer, max_tokens, max_chars)
    if not is_word_piece(tokenizer):
        spans = list(_measured(text, spans, tokenizer, max_tokens, max_chars))
    return [span for span in spans if span.tokens]


def _packed(text: str, tokenizer: Tokenizer, max_tokens: int, max_chars: int) -> list[TokenSpan]:
    words = read_words(
        text, tokenizer, max_tokens, max_chars, blanks_separate=blanks_separate(tokenizer)
    )
    packed = pack(text, words, StructureReader(text), max_tokens, max_chars)
    return [_stripped(text, start, end, tokens) for start, end, tokens in packed]


def _stripped(text: str, start: int, end: int, tokens: int) -> TokenSpan:
    part = text[start:end]
    return TokenSpan(end - len(part.lstrip()), start + len(part.rstrip()), tokens)


def _counted(
    text: str, spans: list[TokenSpan], tokenizer: Tokenizer
) -> Iterator[tuple[TokenSpan, int]]:
    for at in range(0, len(spans), _SPANS_AT_ONCE):
        some = spans[at : at + _SPANS_AT_ONCE]
        encodings = encode_all(tokenizer, [text[span.start : span.end] for span in some])
        for span, encoding in zip(some, encodings, strict=True):
            yield span, len(encoding.ids)


def _measured(
    text: str, spans: list[TokenSpan], tokenizer: Tokenizer, max_tokens: int, max_chars: int
) -> Iterator[TokenSpan]:
    """Each span with its own count. One over the limit is split under a lower one."""
    for span, count in _counted(text, spans, tokenizer):
        if count <= max_tokens or span.end - span.start == 1:
            yield TokenSpan(span.start, span.end, count)
            continue
        part = text[span.start : span.end]
        lower = max(1, min(max_tokens, span.tokens - (count - max_tokens)))
        inner = _packed(part, tokenizer, lower, max(1, len(part) - 1))
        moved = [
            TokenSpan(span.start + each.start, span.start + each.end, each.tokens) for each in inner
        ]
        yield from _measured(text, moved, tokenizer, max_tokens, max_chars)
