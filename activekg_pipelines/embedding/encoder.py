"""The contract of an encoder: texts to vectors, wherever they are computed.

Imports no model library: a process that never embeds pays nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from activekg_pipelines.errors import EncoderFailed, ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from activekg_pipelines.chunking import Tokenizer

    Vectors = NDArray[np.float32]

# A query may be megabytes long and only its first tokens count. Chunks have at most 16
# characters a token and are never cut.
_CHARS_PER_TOKEN: Final = 64
# float32 runtimes agree to 1.0000 and bfloat16 to 0.9999; another model, another
# pooling or a broken kernel stays far below.
_SAME_VECTOR_COSINE: Final = 0.99


class Encoder(ABC):
    """Something that embeds texts, ready for use. Safe to use from several threads.

    It may run a model in this process or ask a service. Whoever uses it needs nothing
    but these attributes and :meth:`encode`.
    """

    def __init__(
        self, *, name: str, version: str, dimensions: int, max_tokens: int, tokenizer: Tokenizer
    ) -> None:
        self.name = name
        """For sentences that people read."""
        self.version = version
        """Vectors of equal versions may be compared, whatever backend made them.

        It must change with whatever changes the vectors: stored ones are then made
        again.
        """
        self.dimensions = dimensions
        self.max_tokens = max_tokens
        """The longest input in tokens, special tokens included."""
        self.tokenizer = tokenizer
        """Counts tokens as the model does, without truncation and padding.

        It is what :func:`chunk_document` splits by, and need not come from where the
        vectors do.
        """

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Embed ``texts``: float32[len(texts), dimensions], in their order.

        Each row has length 1. Texts longer than ``max_tokens`` are truncated.

        Raises:
            EncoderFailed: one of the texts cannot be embedded; see
                :func:`encode_resiliently`.
            ModelError: the encoder cannot embed anything now.
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
        """Embed at least one text, none of them of hostile length.

        What is beyond ``max_tokens`` is cut off here. The rows need not have length 1
        yet. How many texts go into one batch or request is decided here too.

        Raises:
            RuntimeError, TypeError, ValueError: one of the texts cannot be embedded.
            ModelError: the fault is not in the texts, for example when a service does
                not answer. The run then ends, and costs no document an attempt.
        """


def encode_resiliently(
    encoder: Encoder, texts: Sequence[str]
) -> tuple[Vectors, dict[int, EncoderFailed]]:
    """Embed what can be embedded, and say what cannot.

    Returns the vectors, and for each text that fails alone its index and error. The row
    of a failed text is NaN, which Postgres refuses as a vector. Batches that fail are
    halved, so one bad text among ``n`` costs about ``2 log2 n`` more calls.
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
    """Embed stored ``texts`` again and compare with their stored ``vectors``.

    The vectors are float[len(texts), dimensions]. A single row that somebody damaged is
    for an audit to find, and must not stop the others.

    Raises:
        ModelError: most cosines are below 0.99, or the dimensions differ. The model or
            its precision is not the one that filled the index, and searches would
            silently return the wrong texts.
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
            f"{np.median(cosines):.3f}): the index was made by another model or the model runs "
            "wrongly here."
        )
