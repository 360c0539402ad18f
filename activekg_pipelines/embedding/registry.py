"""The backends that there are. A new one is its module and one line here."""

from __future__ import annotations

from typing import Final

from activekg_pipelines.embedding import (
    local_encoder,
    onnx_encoder,
    openvino_encoder,
    torch_encoder,
)
from activekg_pipelines.embedding.backend import Backend, EncoderConfig
from activekg_pipelines.embedding.encoder import Encoder
from activekg_pipelines.errors import ModelError


def _open_first_suitable(config: EncoderConfig) -> Encoder:
    return next(each for each in BACKENDS.values() if each.suits(config)).open(config)


# Whichever backend `auto` takes, the version is the same. Choosing may import torch,
# which takes seconds, and so waits until an encoder is opened.
_AUTO: Final = Backend("auto", open=_open_first_suitable, version=local_encoder.version)

BACKENDS: Final[dict[str, Backend]] = {
    each.name: each
    for each in (
        _AUTO,
        onnx_encoder.BACKEND,
        openvino_encoder.BACKEND,
        torch_encoder.BACKEND,
    )
}
"""By name. ``auto`` takes the first one that suits."""


def load_encoder(config: EncoderConfig) -> Encoder:
    """Open the encoder that ``config`` asks for.

    OpenVINO and ONNX convert a model at the first call and keep the result in the cache
    folder. Later calls do not import torch.

    Raises:
        ModelError: the model, the backend or the precision is not available.
    """
    encoder = _backend(config).open(config)
    if encoder.version != (promised := encoder_version(config)):
        # The ledger compares with the promised one, so every sync would embed again.
        raise ModelError(
            f"The {config.backend} backend makes vectors of {encoder.version}, not of {promised}."
        )
    return encoder


def encoder_version(config: EncoderConfig) -> str:
    """What the vectors of ``load_encoder(config)`` are stored as, without loading it.

    Machines whose hardware differs share it, or each would embed again what the other
    has done.

    Raises:
        ModelError: the model's files are needed and cannot be found, or there is no
            such backend.
    """
    return _backend(config).version(config)


def _backend(config: EncoderConfig) -> Backend:
    try:
        return BACKENDS[config.backend]
    except KeyError:
        raise ModelError(
            f"There is no embedding backend {config.backend}, only {', '.join(BACKENDS)}."
        ) from None
