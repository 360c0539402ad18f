"""Computes some stored vectors again and compares them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from activekg_pipelines.audit.differences import Difference, Found
from activekg_pipelines.audit.walk import SQL, Piece, external_root, snapshot
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.services import Services

_SAME_COSINE: Final = 0.99
"""The same limit as at the start of a run.

Runtimes agree to 0.9999. Other models and broken kernels stay far below.
"""
_BATCH: Final = 256


def check_vectors(
    services: Services, connector: Connector, *, at_most: int
) -> Iterator[tuple[int, Piece]]:
    """Encode a random sample of the connector's chunks.

    Args:
        at_most: chunks in the sample.

    Returns:
        Batches: how many chunks were encoded, and what was found.

    Raises:
        ModelError: the model cannot be loaded.
    """
    encoder = services.encoder
    parameters = {
        "connector_id": connector.id,
        "tenant_id": connector.tenant_id,
        "root": external_root(connector),
        "encoder": encoder.version,
        "dimensions": encoder.dimensions,
        "limit": at_most,
    }
    with snapshot(services, connector) as conn:
        batch: list[Any] = []
        for row in conn.cursor().stream(SQL["sample"], parameters, binary=True):
            batch.append(row)
            if len(batch) == _BATCH:
                yield len(batch), _compare(services, batch)
                batch = []
        if batch:
            yield len(batch), _compare(services, batch)


def _compare(services: Services, batch: list[Any]) -> Piece:
    import numpy as np

    stored = np.stack([row[4].to_numpy() for row in batch]).astype(np.float64)
    fresh = services.encoder.encode([row[3] for row in batch])
    cosines = np.einsum("ij,ij->i", stored, fresh) / np.linalg.norm(stored, axis=1)
    return Piece(
        [
            Found(Difference.VECTOR_WRONG, 1, key, object_id, node)
            for (object_id, key, node, *_), cosine in zip(batch, cosines, strict=True)
            # Written so that NaN fails too.
            if not cosine >= _SAME_COSINE
        ]
    )
