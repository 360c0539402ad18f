"""Turns texts into vectors. Knows no source, no Postgres and no Dagster."""

from __future__ import annotations

from activekg_pipelines.embedding.backend import Backend, EncoderConfig, Precision
from activekg_pipelines.embedding.encoder import Encoder, encode_resiliently, verify_encoder
from activekg_pipelines.embedding.model import DEFAULT_MODEL, ModelFiles, resolve_model
from activekg_pipelines.embedding.registry import BACKENDS, encoder_version, load_encoder
from activekg_pipelines.embedding.tokenization import load_tokenizer

__all__ = [
    "BACKENDS",
    "DEFAULT_MODEL",
    "Backend",
    "Encoder",
    "EncoderConfig",
    "ModelFiles",
    "Precision",
    "encode_resiliently",
    "encoder_version",
    "load_encoder",
    "load_tokenizer",
    "resolve_model",
    "verify_encoder",
]
