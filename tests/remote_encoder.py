"""An encoder like one behind HTTP: it has no folder of weights, and its own tokenizer.

Its service is simulated in this process. A text's vector counts its words.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from activekg_pipelines.embedding import Backend, Encoder, EncoderConfig
from activekg_pipelines.errors import ModelError

MODEL = "text-embedding-of-a-service"
VERSION = f"{MODEL}@2026-11"
DIMENSIONS = 384
MAX_TOKENS = 32


@dataclass(frozen=True)
class Encoded:
    """The tokens of a text."""

    ids: list[int]
    offsets: list[tuple[int, int]]

    @property
    def word_ids(self) -> list[int | None]:
        return list(range(len(self.ids)))


class WordTokenizer:
    """Each word is a token. It is no object of the library ``tokenizers``."""

    truncation = padding = None

    def encode(self, sequence: str, *, add_special_tokens: bool = True) -> Encoded:
        found = list(re.finditer(r"\w+|[^\w\s]", sequence))
        return Encoded(
            [zlib.crc32(match[0].lower().encode()) for match in found],
            [match.span() for match in found],
        )

    def encode_batch(
        self, input: Sequence[str], *, add_special_tokens: bool = True
    ) -> list[Encoded]:
        return [self.encode(text) for text in input]

    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        return 0


class Remote(Encoder):
    """An encoder that asks its service for every batch."""

    def __init__(self, *, version: str = VERSION) -> None:
        super().__init__(
            name=MODEL,
            version=version,
            dimensions=DIMENSIONS,
            max_tokens=MAX_TOKENS,
            tokenizer=WordTokenizer(),
        )
        self.asked: list[str] = []
        self.answers = True

    def _encode(self, texts: list[str]) -> np.ndarray:
        if not self.answers:
            raise ModelError("The service of the encoder does not answer.")
        self.asked += texts
        vectors = np.full((len(texts), DIMENSIONS), 0.001, np.float32)
        for row, text in enumerate(texts):
            if "forbidden" in text:
                raise ValueError("the service refuses the text")
            for token in self.tokenizer.encode(text).ids:
                vectors[row, token % DIMENSIONS] += 1
        return vectors


def version(config: EncoderConfig) -> str:
    """The version of its vectors, without a request to the service."""
    return VERSION


def open_remote(config: EncoderConfig) -> Remote:
    """The encoder of a service."""
    return Remote()


BACKEND = Backend("remote", open=open_remote, version=version)
