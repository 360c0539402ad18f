"""Documents as indexing hands them to the graph, made without objects and parsers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import numpy as np
from numpy.typing import NDArray

from activekg_pipelines.chunking import Chunk
from activekg_pipelines.graph.nodes import Document
from activekg_pipelines.sources.source import Location

_SOURCE = Location("s3", "benchmark")

CHUNKS_PER_DOCUMENT: Final = 15


def handbook(
    tenant_id: str, index: int, parts: Sequence[tuple[int, str]], vectors: NDArray[np.float32]
) -> Document:
    """The document number ``index`` of a tenant.

    Args:
        index: the same number gives the same document.
        parts: where each chunk starts in the text, and the chunk.
        vectors: float32[chunks, dimensions].
    """
    chunks = [
        Chunk(
            number, start, start + len(part), part, 200, hashlib.sha256(part.encode()).digest(), 0
        )
        for number, (start, part) in enumerate(parts)
    ]
    key = f"handbooks/{index:06}.md"
    return Document(
        tenant_id=tenant_id,
        external_id=_SOURCE.external_id(tenant_id, key),
        uri=_SOURCE.uri(key),
        etag=f"{index:032x}",
        size=15_000,
        modified_at=datetime(2026, 1, 1, tzinfo=UTC),
        title=f"Handbook {index}",
        mime_type="text/markdown",
        content_hash=hashlib.sha256(b"%d" % index).digest(),
        text_hash=hashlib.sha256(b"text %d" % index).digest(),
        facts={},
        chunks=chunks,
        vectors=vectors,
    )
