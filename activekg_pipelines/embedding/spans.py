"""From text to the spans of its chunks: words, structure and packing put together, and
the limit made exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from activekg_pipelines.embedding.packing import pack
from activekg_pipelines.embedding.structure import find_structure
from activekg_pipelines.embedding.words import (
    BLANKS,
    ChunkTokenizer,
    encode_all,
    find_words,
    split_oversized,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """``text[start:end]`` and its number of word pieces, special tokens not included."""

    start: int
    end: int
    tokens: int


def split(text: str, tokenizer: ChunkTokenizer, max_tokens: int, max_chars: int) -> list[TokenSpan]:
    """Split ``text`` into spans that, encoded alone, have at most ``max_tokens`` word
    pieces.

    Spans the model sees nothing of are left out.
    """
    spans = _packed(text, tokenizer, max_tokens, max_chars)
    if not _is_word_piece(tokenizer):
        spans = list(_measured(text, spans, tokenizer, max_tokens, max_chars))
    return [span for span in spans if span.tokens]


def _packed(
    text: str, tokenizer: ChunkTokenizer, max_tokens: int, max_chars: int
) -> list[TokenSpan]:
    words = find_words(text, tokenizer, blanks_separate=_blanks_separate(tokenizer))
    words = split_oversized(text, words, tokenizer, max_tokens, max_chars)
    bounds = [*words.starts.tolist(), len(text)]
    tokens = words.tokens.tolist()
    return [
        _stripped(text, bounds[first], bounds[last], tokens[last] - tokens[first])
        for first, last in pack(text, words, find_structure(text), max_tokens, max_chars)
    ]


def _stripped(text: str, start: int, end: int, tokens: int) -> TokenSpan:
    part = text[start:end]
    return TokenSpan(end - len(part.lstrip()), start + len(part.rstrip()), tokens)


def _is_word_piece(tokenizer: ChunkTokenizer) -> bool:
    """Whether a part of the text has the same word pieces alone as within it.

    BERT does: it splits at blanks and punctuation before it looks for pieces.
    Byte-level and SentencePiece models spell a word differently at the start of a text,
    so their chunks are measured again.
    """
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import BertPreTokenizer

    return isinstance(getattr(tokenizer, "model", None), WordPiece) and isinstance(
        getattr(tokenizer, "pre_tokenizer", None), BertPreTokenizer
    )


def _blanks_separate(tokenizer: ChunkTokenizer) -> bool:
    """Whether what stands between blanks has the same word pieces alone as within the
    text.

    BERT's normalizer keeps blanks, and looks at one character after the other. A token
    that was added may take the blanks beside it along, as MPNet's ``<mask>`` does.
    """
    from tokenizers.normalizers import BertNormalizer

    return (
        _is_word_piece(tokenizer)
        and isinstance(getattr(tokenizer, "normalizer", None), BertNormalizer)
        and not any(
            token.lstrip or token.rstrip or set(token.content) & set(BLANKS)
            for token in getattr(tokenizer, "get_added_tokens_decoder", dict)().values()
        )
    )


def _measured(
    text: str, spans: list[TokenSpan], tokenizer: ChunkTokenizer, max_tokens: int, max_chars: int
) -> Iterator[TokenSpan]:
    """Each span with its own count; one that is over the limit is split again under a
    lower one.
    """
    encodings = encode_all(tokenizer, [text[span.start : span.end] for span in spans])
    for span, encoding in zip(spans, encodings, strict=True):
        count = len(encoding.ids)
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
