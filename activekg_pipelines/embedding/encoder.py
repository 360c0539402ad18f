"""Texts to vectors: one interface over sentence-transformers, OpenVINO and ONNX
Runtime.

Imports no model library: a process that never embeds pays nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from activekg_pipelines.embedding.model import ModelSource
from activekg_pipelines.errors import EncoderFailed, ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

    Vectors = NDArray[np.float32]

# A query may be megabytes long and only its first tokens count. Chunks have at most 16
# characters a token and are never cut.
_CHARS_PER_TOKEN: Final = 64
# float32 runtimes agree to 1.0000 and bfloat16 to 0.9999; another model, another
# pooling or a broken kernel stays far below.
_SAME_VECTOR_COSINE: Final = 0.99


class Backend(StrEnum):
    """The library that runs the model."""

    AUTO = "auto"
    """OpenVINO for models it is checked for on a CPU, torch for all else."""
    TORCH = "torch"
    OPENVINO = "openvino"
    ONNX = "onnx"


class Precision(StrEnum):
    """The number format of the model's arithmetic; vectors are float32 in any case."""

    AUTO = "auto"
    """The fastest that the hardware has and that gives float32's vectors: float16 on a
    GPU, bfloat16 on a CPU that computes in it, float32 elsewhere."""
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"
    """Weights and activations in 8 bits, for CPUs with instructions for them: other
    vectors, of which about 7 in 100 neighbours differ."""

    @property
    def interchangeable(self) -> Precision:
        """What its vectors may be compared with: 16-bit ones agree with float32's to a
        cosine of 0.9999.
        """
        return Precision.INT8 if self is Precision.INT8 else Precision.FLOAT32


class Encoder(ABC):
    """A loaded embedding model. Safe to use from several threads."""

    def __init__(
        self, source: ModelSource, precision: Precision, dimensions: int, tokenizer: Tokenizer
    ) -> None:
        self.name = source.name
        self.precision = precision
        self.version = encoder_version(source, precision)
        """Vectors of equal versions may be compared, whatever backend made them."""
        self.dimensions = dimensions
        self.max_tokens = source.max_tokens
        """The longest input in word pieces, special tokens included."""
        self.tokenizer = tokenizer
        """The model's own, without truncation and padding: for :func:`chunk_document`."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Embed ``texts``: float32[len(texts), dimensions] in their order, each row of
        length 1.

        Texts longer than ``max_tokens`` are truncated. Raises :class:`EncoderFailed`
        when any of them cannot be embedded; see :func:`encode_resiliently`.
        """
        import numpy as np

        if not len(texts):
            return np.zeros((0, self.dimensions), np.float32)
        limit = self.max_tokens * _CHARS_PER_TOKEN
        try:
            vectors = self._encode([text[:limit] for text in texts])
        except (RuntimeError, TypeError, ValueError) as error:
            raise EncoderFailed(f"The model cannot embed the text: {error}") from error
        # In bfloat16 the model's own normalisation is off by up to 0.3 %.
        lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise EncoderFailed("The model gave a vector without a direction.")
        directions: Vectors = vectors / lengths
        return directions

    @abstractmethod
    def _encode(self, texts: list[str]) -> Vectors:
        """Embed at least one text, none of them of hostile length."""


def encoder_version(source: ModelSource, precision: Precision) -> str:
    """What the vectors of a model in a precision are stored as; known without loading
    the model.

    Machines whose hardware differs share it, or each would embed again what the other
    has done.
    """
    return f"{source.label}/{precision.interchangeable}"


def encode_resiliently(
    encoder: Encoder, texts: Sequence[str]
) -> tuple[Vectors, dict[int, EncoderFailed]]:
    """Embed what can be embedded: the vectors, and for each text that fails alone its
    index and error.

    The row of a failed text is NaN, which Postgres refuses as a vector. Batches that
    fail are halved, so one bad text among ``n`` costs about ``2 log2 n`` further calls.
    """
    import numpy as np

    vectors = np.full((len(texts), encoder.dimensions), np.nan, np.float32)
    failures: dict[int, EncoderFailed] = {}
    pending = [range(len(texts))]
    while pending:
        rows = pending.pop()
        try:
            vectors[rows.start : rows.stop] = encoder.encode(texts[rows.start : rows.stop])
        except EncoderFailed as error:
            if len(rows) == 1:
                failures[rows.start] = error
            else:
                middle = len(rows) // 2
                pending += [rows[middle:], rows[:middle]]
    return vectors, failures


def verify_encoder(encoder: Encoder, texts: Sequence[str], vectors: NDArray[np.floating]) -> None:
    """Embed stored ``texts`` again and compare with their stored ``vectors``,
    float[len(texts), dimensions].

    Raises :class:`ModelError` when most cosines are below 0.99 or the dimensions
    differ: the model or its precision is not the one that filled the index, and
    searches would silently return the wrong texts. A row that somebody damaged is an
    audit's to find, and must not stop the others.
    """
    import numpy as np

    if not len(texts):
        return
    fresh = encoder.encode(texts)
    stored = np.asarray(vectors, np.float64)
    if stored.shape != fresh.shape:
        raise ModelError(
            f"The stored vectors have shape {stored.shape}, those of {encoder.version} "
            f"{fresh.shape}."
        )
    lengths = np.linalg.norm(stored, axis=1) * np.linalg.norm(fresh, axis=1)
    cosines = np.einsum("ij,ij->i", stored, fresh) / np.maximum(lengths, np.finfo(np.float64).tiny)
    # Written so that NaN fails too.
    if not (cosines >= _SAME_VECTOR_COSINE).sum() * 2 > len(cosines):
        raise ModelError(
            f"{encoder.version} gives other vectors than the stored ones (cosine "
            f"{np.median(cosines):.3f}): "
            "the index was made by another model or the model runs wrongly here."
        )
