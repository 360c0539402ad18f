"""Writes documents into the graph.

Each is replaced as a whole. Every method runs in the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg.types.json import Jsonb

from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.graph.nodes import Document, node_id
from activekg_pipelines.ledger.states import DocumentMetadata

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SQL = load_queries(Path(__file__).with_name("queries.sql"))
_SECONDS_A_DAY = 86_400.0
_RELEASED_BATCH = 10_000


class Graph:
    """Nodes and edges of tenants' documents.

    Args:
        reuse_days: for which the vectors of removed chunks are kept, in case their
            texts come back.
    """

    def __init__(self, *, reuse_days: float) -> None:
        self._reuse_seconds = reuse_days * _SECONDS_A_DAY

    def swap(
        self,
        conn: Connection[TupleRow],
        tenant_id: str,
        documents: Sequence[Document],
        encoder_version: str,
    ) -> None:
        """Swap in documents: readers see the old version of each or the new one.

        Args:
            conn: the transaction that also writes the ledger.
            documents: with chunks and vectors, all of this tenant.
            encoder_version: of the model that made the vectors.
        """
        conn.execute(_SQL["make_incoming"])
        with conn.cursor().copy(_SQL["copy_incoming"]) as copy:
            copy.set_types(["uuid", "uuid", "jsonb", "vector", "jsonb", "jsonb"])
            for document in documents:
                for row in _rows(document, encoder_version):
                    copy.write_row(row)
        conn.execute(_SQL["write_nodes"], {"tenant_id": tenant_id})
        conn.execute(_SQL["write_words"], {"tenant_id": tenant_id})
        self._remove_chunks(conn, tenant_id, [document.id for document in documents])
        conn.execute(_SQL["write_edges"], {"tenant_id": tenant_id})

    def remove(self, conn: Connection[TupleRow], tenant_id: str, documents: Sequence[UUID]) -> None:
        """Remove documents with their chunks and edges."""
        if not documents:
            return
        conn.execute(_SQL["make_incoming"])
        self._remove_chunks(conn, tenant_id, documents)
        conn.execute(
            _SQL["remove_documents"], {"tenant_id": tenant_id, "documents": list(documents)}
        )

    def touch(
        self, conn: Connection[TupleRow], tenant_id: str, documents: Sequence[DocumentMetadata]
    ) -> None:
        """Update the metadata of documents whose text did not change."""
        if not documents:
            return
        conn.execute(
            _SQL["touch_documents"],
            {
                "tenant_id": tenant_id,
                "ids": [document.document_id for document in documents],
                "etags": [document.etag for document in documents],
                "sizes": [document.size for document in documents],
                "modified": [document.modified_at.isoformat() for document in documents],
            },
        )

    def find_vectors(
        self,
        conn: Connection[TupleRow],
        tenant_id: str,
        encoder_version: str,
        text_hashes: Sequence[bytes],
    ) -> dict[bytes, NDArray[np.float32]]:
        """Vectors that the tenant already has for texts with these hashes, by hash."""
        rows = conn.execute(
            _SQL["find_vectors"],
            {
                "tenant_id": tenant_id,
                "encoder": encoder_version,
                "hashes": [hash_.hex() for hash_ in text_hashes],
            },
            binary=True,
        )
        return {bytes.fromhex(text_hash): vector.to_numpy() for text_hash, vector in rows}

    def sample_chunks(
        self, conn: Connection[TupleRow], tenant_id: str, encoder_version: str, *, limit: int
    ) -> list[tuple[str, NDArray[np.float32]]]:
        """A few stored texts with their vectors."""
        parameters = {"tenant_id": tenant_id, "encoder": encoder_version, "limit": limit}
        rows = conn.execute(_SQL["sample_chunks"], parameters, binary=True)
        return [(text, vector.to_numpy()) for text, vector in rows]

    def dimensions(self, conn: Connection[TupleRow]) -> int | None:
        """Dimensions of the vector column; None when it takes any."""
        row = conn.execute(_SQL["dimensions"]).fetchone()
        return row[0] if row else None

    def purge_released(self, conn: Connection[TupleRow]) -> int:
        """Drop a batch of kept vectors that are too old; returns how many."""
        return conn.execute(_SQL["purge_released"], {"limit": _RELEASED_BATCH}).rowcount

    def _remove_chunks(
        self, conn: Connection[TupleRow], tenant_id: str, documents: Sequence[UUID]
    ) -> None:
        conn.execute(
            _SQL["remove_chunks"],
            {
                "tenant_id": tenant_id,
                "documents": list(documents),
                "reuse_seconds": self._reuse_seconds,
            },
        )


def _rows(document: Document, encoder_version: str) -> Iterator[tuple[Any, ...]]:
    yield document.id, document.id, Jsonb(document.props()), None, None, None
    for chunk, vector in zip(document.chunks, document.vectors, strict=True):
        words = document.chunk_words(chunk)
        yield (
            node_id(document.chunk_external_id(chunk)),
            document.id,
            Jsonb(document.chunk_props(chunk, encoder_version)),
            vector,
            Jsonb(document.edge_props(chunk)),
            None if words is None else Jsonb(words),
        )
