"""Turns texts into vectors. Knows no source, no Postgres and no Dagster."""

from __future__ import annotations

from activekg_pipelines.embedding.encoder import (
    Backend,
    Encoder,
    Precision,
    encode_resiliently,
    encoder_version,
    verify_encoder,
)
from activekg_pipelines.embedding.loading import load_encoder
from activekg_pipelines.embedding.model import DEFAULT_MODEL, ModelSource, resolve_model

__all__ = [
    "DEFAULT_MODEL",
    "Backend",
    "Encoder",
    "ModelSource",
    "Precision",
    "encode_resiliently",
    "encoder_version",
    "load_encoder",
    "resolve_model",
    "verify_encoder",
]
