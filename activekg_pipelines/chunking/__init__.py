"""Splits a document's text into chunks that fit a model's input.

Knows a tokenizer only: no model, no vectors, no file.
"""

from __future__ import annotations

from activekg_pipelines.chunking.chunks import CHUNKER_VERSION, Chunk, chunk_document
from activekg_pipelines.chunking.places import Place
from activekg_pipelines.chunking.tokenizer import Encoding, Tokenizer

__all__ = ["CHUNKER_VERSION", "Chunk", "Encoding", "Place", "Tokenizer", "chunk_document"]
