"""What the backends without torch share.

They run on the CPU, in batches of texts of similar length.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING

from activekg_pipelines.embedding.backend import EncoderConfig, Precision
from activekg_pipelines.embedding.local_encoder import LocalEncoder
from activekg_pipelines.embedding.model import ModelFiles
from activekg_pipelines.embedding.tokenization import load_tokenizer
from activekg_pipelines.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from activekg_pipelines.embedding.batching import Batch


class CompiledEncoder(LocalEncoder):
    """An encoder whose graph takes token ids and gives finished vectors."""

    def __init__(self, files: ModelFiles, precision: Precision, dimensions: int) -> None:
        super().__init__(files, precision, dimensions, load_tokenizer(files.path))
        self._truncating = load_tokenizer(files.path)
        self._truncating.enable_truncation(self.max_tokens)
        self._pad_id = int(files.setting("config.json", "pad_token_id") or 0)

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        import numpy as np

        from activekg_pipelines.embedding.batching import length_sorted_batches

        sequences = [encoding.ids for encoding in self._truncating.encode_batch_fast(texts)]
        batches = length_sorted_batches(sequences, self._pad_id, self.max_tokens)
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for rows, values in self._infer(batches):
            vectors[rows] = values
        return vectors

    @abstractmethod
    def _infer(self, batches: Iterable[Batch]) -> list[tuple[list[int], NDArray[np.float32]]]:
        """Run the graph on each batch.

        Returns the rows of each with float32[len(rows), dimensions], in any order.
        """


def refuse_other_devices(config: EncoderConfig, backend: str) -> None:
    """Raise :class:`ModelError` when ``config`` names another device than the CPU."""
    if config.device not in {None, "cpu"}:
        raise ModelError(
            f"The {backend} backend runs on the CPU only; use the torch backend for "
            f"{config.device}."
        )
