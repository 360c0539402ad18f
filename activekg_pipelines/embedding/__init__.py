"""Chunks and vectors: splitting text by the model's own tokenizer and encoding it.
Knows no S3, Postgres or Dagster.
"""

from __future__ import annotations

from activekg_pipelines.embedding.chunking import CHUNKER_VERSION, Chunk, chunk_document
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
    "CHUNKER_VERSION",
    "DEFAULT_MODEL",
    "Backend",
    "Chunk",
    "Encoder",
    "ModelSource",
    "Precision",
    "chunk_document",
    "encode_resiliently",
    "encoder_version",
    "load_encoder",
    "resolve_model",
    "verify_encoder",
]
