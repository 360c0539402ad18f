"""A document's text as chunks that fit the model, cut where a reader would cut."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from activekg_pipelines.chunking.places import NOWHERE, Place, places

if TYPE_CHECKING:
    from activekg_pipelines.chunking.tokenizer import Tokenizer

CHUNKER_VERSION: Final = "2"
"""Raise it when the same text gives other chunks, or chunks with other places.

The ledger then splits every document again.
"""

# English runs at 4 characters a token, indented code and wide tables at up to 10.
# Beyond 16 it is blanks, or words that the model does not know. There tokens no longer
# bound the size of a row or of a search result.
_CHARS_PER_TOKEN: Final = 16


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a document, without blanks at either end.

    ``document[start:end] == text``, in code points.
    """

    index: int
    """Position in the document, from 0."""
    start: int
    end: int
    text: str
    tokens: int
    """Of the chunk encoded alone, special tokens included."""
    text_hash: bytes
    """SHA-256 of the text in UTF-8, 32 bytes."""
    ordinal: int
    """How many earlier chunks of the document have the same text."""
    place: Place = NOWHERE


def chunk_document(
    text: str,
    tokenizer: Tokenizer,
    max_tokens: int,
    *,
    max_chars: int | None = None,
    page_starts: Sequence[int] = (),
) -> list[Chunk]:
    """Split ``text`` into chunks of at most ``max_tokens`` tokens.

    Cuts fall before headings, paragraphs, list items, sentences, lines and words, in
    this order of preference. Wherever the limit allows, fenced code and table rows stay
    whole, and headings stay with what they head. Chunks do not overlap. They leave out
    nothing but blanks and characters that the model does not see.

    Args:
        max_tokens: special tokens included.
        max_chars: characters of a chunk at most, by default 16 for each token.
        page_starts: where each page starts in ``text``, as :func:`places` takes it.

    Raises:
        ValueError: the tokenizer truncates or pads, so that documents would lose their
            text unnoticed; or the limit leaves no room for text.
        EncoderFailed: the tokenizer refuses the text.
    """
    if tokenizer.truncation is not None or tokenizer.padding is not None:
        raise ValueError(
            "The tokenizer must neither truncate nor pad: "
            "call no_truncation() and no_padding() on it."
        )
    room = max_tokens - tokenizer.num_special_tokens_to_add(is_pair=False)
    if room < 1:
        raise ValueError(f"A limit of {max_tokens} tokens leaves no room for text.")

    from activekg_pipelines.chunking.spans import split

    special_tokens = max_tokens - room
    seen: Counter[str] = Counter()
    chunks: list[Chunk] = []
    spans = split(text, tokenizer, room, max_chars or max_tokens * _CHARS_PER_TOKEN)
    standing = places(text, ((span.start, span.end) for span in spans), page_starts)
    for span, place in zip(spans, standing, strict=True):
        part = text[span.start : span.end]
        digest = hashlib.sha256(part.encode()).digest()
        chunks.append(
            Chunk(
                len(chunks),
                span.start,
                span.end,
                part,
                span.tokens + special_tokens,
                digest,
                seen[part],
                place,
            )
        )
        seen[part] += 1
    return chunks
