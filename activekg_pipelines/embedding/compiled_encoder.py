"""What the backends without torch share: the tokenizer, batches of similar length, rows
put back in order.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from activekg_pipelines.embedding.batching import Batch, length_sorted_batches
from activekg_pipelines.embedding.encoder import Encoder, Precision
from activekg_pipelines.embedding.model import ModelSource
from activekg_pipelines.embedding.tokenization import load_tokenizer

if TYPE_CHECKING:
    from numpy.typing import NDArray


class CompiledEncoder(Encoder):
    """An encoder whose graph takes token ids and gives finished vectors."""

    def __init__(self, source: ModelSource, precision: Precision, dimensions: int) -> None:
        super().__init__(source, precision, dimensions, load_tokenizer(source.path))
        self._truncating = load_tokenizer(source.path)
        self._truncating.enable_truncation(self.max_tokens)
        self._pad_id = int(source.setting("config.json", "pad_token_id") or 0)

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        sequences = [encoding.ids for encoding in self._truncating.encode_batch_fast(texts)]
        batches = length_sorted_batches(sequences, self._pad_id, self.max_tokens)
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for rows, values in self._infer(batches):
            vectors[rows] = values
        return vectors

    @abstractmethod
    def _infer(self, batches: Iterable[Batch]) -> list[tuple[list[int], NDArray[np.float32]]]:
        """Run the graph: each batch's rows with float32[len(rows), dimensions], in any
        order.
        """
