"""How much a run handles at once: the sizes of its batches, and when they are written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Batching:
    """The sizes of a run's batches.

    Attributes:
        extract_objects: objects that extraction claims and writes with one statement
            each. With indexing, that is half a statement an object.
        extract_characters: of texts that wait to be written, those included that are
            being parsed. It bounds the memory of a run over large documents.
        flush_seconds: after these, finished texts are written even if the batch is not
            full, so that progress shows.
        starved_flush_seconds: the same while indexing has nothing to do. Smaller
            batches cost statements, an idle encoder costs more.
        index_objects: documents of one swap. Its seven statements cost 0.1 a document,
            and a reader's lock on any of them is short.
        index_characters: of one swap, about 2,000 chunks. It bounds the memory, and the
            work that a killed run repeats.
        index_tokens: of one swap, about 4,000 chunks. Numbers and Chinese have up to a
            token for each character. A document that has twice as many is swapped in
            before the next one is chunked.
        encode_texts: texts encoded between two looks at the lease. They are enough for
            the encoder to keep every core busy to the end of most of it.
        backlog_objects, backlog_characters: texts that may wait for indexing. They make
            a few swaps: enough that neither step waits for the other's batches, and
            little to hold while many runs work at once.
    """

    extract_objects: int = 32
    extract_characters: int = 8_000_000
    flush_seconds: float = 5.0
    starved_flush_seconds: float = 1.0
    index_objects: int = 64
    index_characters: int = 2_000_000
    index_tokens: int = 1_000_000
    encode_texts: int = 256
    backlog_objects: int = 256
    backlog_characters: int = 8_000_000


DEFAULT: Final = Batching()
