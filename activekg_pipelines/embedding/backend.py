"""The contract of a backend: when it is chosen, how it opens, what its vectors are.

Imports no model library: a process that only asks for a version pays for none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from activekg_pipelines.embedding.model import ModelFiles, resolve_model

if TYPE_CHECKING:
    from activekg_pipelines.embedding.encoder import Encoder


class Precision(StrEnum):
    """The number format of the model's arithmetic; vectors are float32 in any case."""

    AUTO = "auto"
    """The fastest that the hardware has and that gives float32's vectors.

    It is float16 on a GPU, bfloat16 on a CPU that computes in it, float32 elsewhere.
    """
    FLOAT32 = "float32"
    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    INT8 = "int8"
    """Weights and activations in 8 bits, for CPUs with instructions for them.

    The vectors are other ones: about 7 in 100 neighbours differ.
    """

    @property
    def interchangeable(self) -> Precision:
        """What its vectors may be compared with.

        Those of 16 bits agree with float32's to a cosine of 0.9999.
        """
        return Precision.INT8 if self is Precision.INT8 else Precision.FLOAT32


@dataclass(frozen=True)
class EncoderConfig:
    """What a process asks of its encoder. Each backend reads what concerns it."""

    model: str
    """A model's name or its folder."""
    cache_dir: Path
    """Folder for what is expensive to make, such as converted models."""
    backend: str = "auto"
    """Name of a backend in the registry."""
    device: str | None = None
    """torch's name for one: ``cuda``, ``cuda:1``, ``mps``, ``cpu``.

    Without it a GPU is taken where there is one and the backend can use it, else the
    CPU.
    """
    precision: Precision = Precision.AUTO
    threads: int | None = None
    """CPU threads, by default the backend's own choice."""
    single_texts: bool = False
    """Whether texts come one by one, as questions do.

    All threads of OpenVINO then encode one text together, and not each texts of its
    own. Other backends ignore it.
    """

    @cached_property
    def files(self) -> ModelFiles:
        """The model's files on this machine. Only a backend that needs them asks.

        Raises:
            ModelError: they cannot be found, or are not the published ones.
        """
        return resolve_model(self.model, self.cache_dir)


def _never(config: EncoderConfig) -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Backend:
    """One way to make vectors: a library that runs a model here, or a service."""

    name: str
    """Its value of ``ACTIVEKG_EMBEDDING_BACKEND``."""
    open: Callable[[EncoderConfig], Encoder]
    """Loads the encoder. Raises :class:`ModelError` when it cannot.

    The backend's library is imported here and not before.
    """
    version: Callable[[EncoderConfig], str]
    """The version of the encoder that ``open`` returns, without loading it."""
    suits: Callable[[EncoderConfig], bool] = _never
    """Whether ``auto`` takes it, when no backend before it in the registry suits.

    ``auto`` promises the version of a model that runs from its files. A backend with
    versions of another form is taken by its name only.
    """
