"""What the encoders share that run a model from its files on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from activekg_pipelines.embedding.backend import EncoderConfig, Precision
from activekg_pipelines.embedding.encoder import Encoder
from activekg_pipelines.embedding.model import ModelFiles

if TYPE_CHECKING:
    from tokenizers import Tokenizer


class LocalEncoder(Encoder):
    """An encoder that runs a model from its files."""

    def __init__(
        self, files: ModelFiles, precision: Precision, dimensions: int, tokenizer: Tokenizer
    ) -> None:
        super().__init__(
            name=files.name,
            version=_version(files, precision),
            dimensions=dimensions,
            max_tokens=files.max_tokens,
            tokenizer=tokenizer,
        )
        self.precision = precision


def version(config: EncoderConfig) -> str:
    """The version of every local encoder of this model and precision."""
    return _version(config.files, config.precision)


def _version(files: ModelFiles, precision: Precision) -> str:
    return f"{files.label}/{precision.interchangeable}"
