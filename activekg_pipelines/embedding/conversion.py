"""A sentence-transformers model as one module that other runtimes can take over.

Pooling and normalisation are included. It needs torch, and is imported only while a
model is converted.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from activekg_pipelines.embedding.backend import Precision
from activekg_pipelines.embedding.model import ModelFiles
from activekg_pipelines.embedding.torch_encoder import load_sentence_transformer
from activekg_pipelines.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]

INPUTS: Final = ("input_ids", "attention_mask")

_SAMPLES: Final = (
    "A short query",
    "Dagster runs the pipeline once an hour; objects whose ETag changed are parsed, split and "
    "embedded again.",
    "Ünïcode, CAPITALS and 数字 12345 — all at once (and punctuation!)",
)
# bfloat16 reaches 0.9999 on average, int8 0.989 and at worst 0.975.
_SAME_COSINE: Final = {Precision.INT8: 0.96}
_SAME_FLOAT_COSINE: Final = 0.999


def embedding_module(model: Any) -> tuple[Any, tuple[Any, Any]]:
    """A torch module from token ids to vectors, and example inputs for it.

    ``forward(input_ids, attention_mask)`` takes int64[batch, width] twice and returns
    float32[batch, dimensions] of length 1.

    The mask that is added to the attention scores is -10,000 instead of transformers'
    -3.4e38, which in bfloat16 gives vectors with a cosine of 0.36 to the right ones,
    without any error.
    """
    import torch

    class EmbeddingModule(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
            transformer, *others = self.model
            visible = attention_mask[:, None, None, :].expand(-1, 1, input_ids.shape[1], -1)
            states = transformer.auto_model(
                input_ids=input_ids, attention_mask=(visible.float() - 1) * 10_000.0
            )
            features = {
                "token_embeddings": states.last_hidden_state,
                "attention_mask": attention_mask,
            }
            for module in others:
                features = module(features)
            return torch.nn.functional.normalize(features["sentence_embedding"], dim=1)

    example = (torch.full((2, 16), 100), torch.tensor([[1] * 16, [1] * 9 + [0] * 7]))
    return EmbeddingModule().eval(), example


def load_for_conversion(files: ModelFiles) -> Any:
    return load_sentence_transformer(files, Precision.FLOAT32, "cpu")


def check_conversion(
    files: ModelFiles,
    model: Any,
    run: Callable[[Ids, Ids], NDArray[np.float32]],
    precision: Precision,
) -> None:
    """Compare the new graph, ``run(input_ids, attention_mask)``, with ``model``.

    Raises:
        ModelError: they disagree.
    """
    features = model.preprocess(list(_SAMPLES))
    vectors = run(*(features[name].numpy() for name in INPUTS))
    expected = model.encode(list(_SAMPLES), normalize_embeddings=True, show_progress_bar=False)
    cosine = float(np.einsum("ij,ij->i", expected, vectors).min())
    if not cosine >= _SAME_COSINE.get(precision, _SAME_FLOAT_COSINE):
        raise ModelError(
            f"The converted {files.name} disagrees with the original (cosine {cosine:.4f}): "
            "use the torch backend."
        )
