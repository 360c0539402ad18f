"""The nodes and edges of one document, with identities that follow from its content."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from activekg_pipelines.chunking import Chunk
from activekg_pipelines.extraction.warnings import WarningKind, is_not_read_whole
from activekg_pipelines.graph.words import folded

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Document:
    """A document as the graph holds it.

    Attributes:
        external_id, uri: its names, as its source gives them.
        etag: the version that the text came from.
        title_from: "document" or "name", of its file.
        folders: those that the file lies in, as words; only with the title of a name.
        content_hash, text_hash: SHA-256 of the bytes and of the text.
        warnings: kinds of what a reader of the text should know.
        chunks: in the order of the text.
        vectors: one a chunk, float32[dimensions], L2-normalised.
    """

    tenant_id: str
    external_id: str
    uri: str
    etag: str
    size: int
    modified_at: datetime
    title: str
    mime_type: str
    content_hash: bytes
    text_hash: bytes
    facts: dict[str, Any]
    chunks: Sequence[Chunk]
    vectors: Sequence[NDArray[np.float32]]
    title_from: str = "document"
    folders: Sequence[str] = ()
    warnings: Sequence[WarningKind] = ()

    @property
    def id(self) -> UUID:
        """The node's id: the same object always has the same node."""
        return node_id(self.external_id)

    def props(self) -> dict[str, Any]:
        """The node's properties."""
        return {
            "external_id": self.external_id,
            "uri": self.uri,
            "etag": self.etag,
            "title": self.title,
            "title_from": self.title_from,
            **({"folders": list(self.folders)} if self.folders else {}),
            "content_hash": self.content_hash.hex(),
            "document_text_hash": self.text_hash.hex(),
            "mime_type": self.mime_type,
            "size": self.size,
            "modified_at": self.modified_at.isoformat(),
            "is_parent": True,
            "has_chunks": bool(self.chunks),
            "total_chunks": len(self.chunks),
            "extraction": self.facts,
            "warnings": list(self.warnings),
            "not_read_whole": is_not_read_whole(self.warnings),
        }

    def chunk_external_id(self, chunk: Chunk) -> str:
        """A chunk's identity: its text, and its number among chunks with the same text.

        It does not depend on the position: a chunk that an edit only moved keeps its
        node and its vector. The prefix distinguishes it from every document. Without
        it, an object could have the name of another one's chunk, and replace it.
        """
        return f"chunk:{self.external_id}#{chunk.text_hash.hex()[:32]}:{chunk.ordinal}"

    def chunk_props(self, chunk: Chunk, encoder_version: str) -> dict[str, Any]:
        """A chunk node's properties.

        Its position lies on its edge. So the node of a moved chunk, and its entry in
        the vector index, need not be written again.
        """
        return {
            "external_id": self.chunk_external_id(chunk),
            "parent_id": self.external_id,
            "parent_title": self.title,
            "title": self.title,
            "uri": self.uri,
            "text": chunk.text,
            "text_hash": chunk.text_hash.hex(),
            "tokens": chunk.tokens,
            "embedding_model": encoder_version,
        }

    def chunk_words(self, chunk: Chunk) -> dict[str, str] | None:
        """Title and text as words are looked up, where they differ from what is shown."""
        shown = {"title": self.title, "text": chunk.text}
        words = {name: folded(value) for name, value in shown.items()}
        return None if words == shown else words

    def edge_props(self, chunk: Chunk) -> dict[str, Any]:
        """The ``DERIVED_FROM`` edge's properties: all that says where the chunk stands.

        ``text[char_start:char_end]`` is the chunk. The others are those of its
        :class:`~activekg_pipelines.chunking.places.Place`; what it does not have is left
        out.
        """
        place = chunk.place
        return {
            "chunk_index": chunk.index,
            "total_chunks": len(self.chunks),
            "char_start": chunk.start,
            "char_end": chunk.end,
        } | {
            name: value
            for name, value in (
                ("page_from", place.page_from),
                ("page_to", place.page_to),
                ("headings", list(place.headings)),
                ("table_head", place.table_head),
            )
            if value
        }


def node_id(external_id: str) -> UUID:
    """ActiveKG's rule: uuid5 of the external id in the URL namespace."""
    return uuid.uuid5(uuid.NAMESPACE_URL, external_id)
