"""The model run by sentence-transformers, on every device that torch knows.

It takes every model that sentence-transformers knows. It is the reference that the
other backends are checked against.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from activekg_pipelines.embedding import local_encoder
from activekg_pipelines.embedding.backend import Backend, EncoderConfig, Precision
from activekg_pipelines.embedding.local_encoder import LocalEncoder
from activekg_pipelines.embedding.model import ModelFiles
from activekg_pipelines.embedding.tokenization import load_tokenizer, without_limits
from activekg_pipelines.errors import ModelError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from tokenizers import Tokenizer

# sentence-transformers' own.
_CPU_BATCH_SIZE: Final = 32
# The index step hands over 512 texts at a time.
_GPU_BATCH_SIZE: Final = 512
# Of NVIDIA's and AMD's drivers; torch calls both `cuda`.
_GPU_DEVICE_FILES: Final = ("/dev/nvidiactl", "/dev/kfd")


class TorchEncoder(LocalEncoder):
    """The model as sentence-transformers loads it."""

    def __init__(self, config: EncoderConfig) -> None:
        import torch

        files, precision, device = config.files, config.precision, config.device
        if config.threads is not None:
            torch.set_num_threads(config.threads)
        if precision is Precision.INT8:
            raise ModelError("The torch backend does not compute in int8; use the onnx backend.")
        if precision is Precision.AUTO:
            precision = _fastest_precision(device)
        self._model = load_sentence_transformer(files, precision, device)
        self._model.max_seq_length = files.max_tokens
        self._batch_size = _CPU_BATCH_SIZE
        if self._model.device.type == "cuda":
            free, _ = torch.cuda.mem_get_info(self._model.device)
            self._batch_size = gpu_batch_size(free, files)
        super().__init__(
            files,
            precision,
            self._model.get_embedding_dimension(),
            _own_tokenizer(files, self._model),
        )

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        vectors = self._model.encode(
            texts,
            batch_size=self._batch_size,
            normalize_embeddings=True,
            convert_to_numpy=True,
            show_progress_bar=False,
        )
        return cast("NDArray[np.float32]", vectors.astype("float32", copy=False))


def has_gpu(device_files: Sequence[str] = _GPU_DEVICE_FILES) -> bool:
    """Whether torch can use a GPU.

    Importing torch takes seconds, and is done only where a driver's device file is
    there.
    """
    if not any(Path(file).exists() for file in device_files):
        return False
    import torch

    return torch.cuda.is_available()


def gpu_batch_size(free_bytes: int, files: ModelFiles) -> int:
    """How many texts of the greatest length a GPU takes at once.

    They may use half of ``free_bytes``, which the device has once the model is loaded.
    The model's width, heads and limit give the bytes that one text needs.
    """
    width = int(files.setting("config.json", "hidden_size") or 1024)
    heads = int(files.setting("config.json", "num_attention_heads") or 16)
    # A layer keeps about twelve activations of its width, its attention scores twice;
    # two bytes each.
    bytes_a_text = 2 * files.max_tokens * (12 * width + 2 * heads * files.max_tokens)
    return max(1, min(_GPU_BATCH_SIZE, free_bytes // 2 // bytes_a_text))


def _fastest_precision(device: str | None) -> Precision:
    import torch

    on_gpu = torch.cuda.is_available() if device is None else device.startswith("cuda")
    return Precision.FLOAT16 if on_gpu else Precision.FLOAT32


def load_sentence_transformer(files: ModelFiles, precision: Precision, device: str | None) -> Any:
    """The model as a ``SentenceTransformer`` in evaluation mode, from local files.

    Raises:
        ModelError: it cannot be loaded, or the device does not exist.
    """
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging

    logging.disable_progress_bar()  # type: ignore[no-untyped-call]

    try:
        model = SentenceTransformer(
            str(files.path),
            device=device,
            local_files_only=True,
            model_kwargs={"dtype": precision.value},
        )
    except (OSError, RuntimeError, ValueError, AssertionError) as error:
        raise ModelError(f"{files.name} cannot be loaded from {files.path}: {error}") from error
    return model.eval()


def _own_tokenizer(files: ModelFiles, model: Any) -> Tokenizer:
    from tokenizers import Tokenizer

    if (files.path / "tokenizer.json").is_file():
        return load_tokenizer(files.path)
    backend = getattr(model.tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(f"{files.name} has no fast tokenizer, which splitting documents needs.")
    return without_limits(Tokenizer.from_str(backend.to_str()))


def _suits(config: EncoderConfig) -> bool:
    return True


BACKEND: Final = Backend("torch", open=TorchEncoder, version=local_encoder.version, suits=_suits)
