"""Chooses the backend for a model and loads it. Imports a backend's library only when
it is chosen.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Final

from activekg_pipelines.embedding.encoder import Backend, Encoder, Precision
from activekg_pipelines.embedding.model import ModelSource, resolve_model
from activekg_pipelines.errors import ModelError

# The converted graphs are checked for these architectures only; others take the torch
# backend unless another is asked for.
_CONVERTIBLE: Final = frozenset({"bert", "distilbert", "roberta", "xlm-roberta", "mpnet"})

# Of NVIDIA's and AMD's drivers; torch calls both `cuda`.
_GPU_DEVICE_FILES: Final = ("/dev/nvidiactl", "/dev/kfd")


def load_encoder(
    model: str,
    backend: Backend,
    device: str | None,
    cache_dir: Path,
    threads: int | None,
    *,
    precision: Precision = Precision.AUTO,
    single_texts: bool = False,
) -> Encoder:
    """Load a model, by name or from a folder.

    ``device`` is torch's name for one (``cuda``, ``cuda:1``, ``mps``, ``cpu``); without
    it a GPU is taken where there is one and the backend allows it, else the CPU.
    ``threads`` is the number of CPU threads, by default the backend's own choice; with
    ``single_texts`` all threads of OpenVINO encode one text together, which suits
    questions that come one by one, and not each texts of its own. Other backends ignore
    it. OpenVINO and ONNX convert the model at the first call and keep the result in
    ``cache_dir``; later calls do not import torch.

    Raises :class:`ModelError` when the model, the backend or the precision is not
    available.
    """
    source = resolve_model(model, cache_dir)
    on_cpu = device is None or device == "cpu"
    if backend is Backend.AUTO:
        backend = Backend.ONNX if precision is Precision.INT8 else _best_backend(source, device)
    if backend is Backend.TORCH:
        from activekg_pipelines.embedding.torch_encoder import TorchEncoder

        return TorchEncoder(source, precision, device, threads)
    if not on_cpu:
        raise ModelError(
            f"The {backend} backend runs on the CPU only; use the torch backend for {device}."
        )
    if backend is Backend.OPENVINO:
        from activekg_pipelines.embedding.openvino_encoder import OpenVinoEncoder

        return OpenVinoEncoder(source, precision, cache_dir, threads, single_texts=single_texts)

    from activekg_pipelines.embedding.onnx_encoder import OnnxEncoder

    return OnnxEncoder(source, precision, cache_dir, threads)


def _best_backend(source: ModelSource, device: str | None) -> Backend:
    on_cpu = device == "cpu" or (device is None and not _has_gpu())
    convertible = (
        source.setting("config.json", "model_type") in _CONVERTIBLE
        and source.setting("config_sentence_transformers.json", "default_prompt_name") is None
        and (source.path / "tokenizer.json").is_file()
    )
    return (
        Backend.OPENVINO
        if on_cpu and convertible and find_spec("openvino") is not None
        else Backend.TORCH
    )


def _has_gpu() -> bool:
    """Whether torch can use a GPU; importing it, which takes seconds, only where the
    driver's device file is there.
    """
    if not any(Path(file).exists() for file in _GPU_DEVICE_FILES):
        return False
    import torch

    return torch.cuda.is_available()
