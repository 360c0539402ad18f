"""The kinds of difference that an audit finds, and its report. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, Self
from uuid import UUID

EXAMPLES: Final = 5
"""Examples kept of each kind at most."""


class Difference(StrEnum):
    """A kind of difference; ``sentence`` describes it for people."""

    sentence: str

    def __new__(cls, value: str, sentence: str) -> Self:
        member = str.__new__(cls, value)
        member._value_ = value
        member.sentence = sentence
        return member

    # Listing and ledger
    NOT_IN_LEDGER = (
        "not_in_ledger",
        "objects in the bucket since before the last scan are not in the ledger",
    )
    ETAG_DIFFERS = (
        "etag_differs",
        "objects changed before the last scan, and the ledger has their old version",
    )
    NOT_IN_BUCKET = (
        "not_in_bucket",
        "objects of the ledger are not in the bucket; a completed scan decides about them",
    )
    # Ledger and texts
    TEXT_MISSING = "text_missing", "objects that are extracted or indexed have no stored text"
    TEXT_DAMAGED = "text_damaged", "stored texts do not match their hash"
    TEXT_LEFT_OVER = (
        "text_left_over",
        "stored texts of objects that are deleted or hold nothing to index",
    )
    # Ledger and documents
    STALE = "stale", "documents were made of another version or text than the ledger holds"
    OUTDATED = "outdated", "documents were made by another model than the one in use"
    DOCUMENT_MISSING = "document_missing", "indexed objects have no document in the graph"
    DOCUMENT_LEFT_OVER = (
        "document_left_over",
        "documents of objects that are deleted or hold nothing to index",
    )
    DOCUMENT_ORPHANED = (
        "document_orphaned",
        "documents of the connector's bucket and prefix are not in the ledger",
    )
    DOCUMENT_DIFFERS = "document_differs", "documents' properties differ from the ledger"
    WRONG_TENANT = "wrong_tenant", "documents, chunks or edges carry another tenant"
    # Documents and chunks
    CHUNK_COUNT_DIFFERS = (
        "chunk_count_differs",
        "documents have more or fewer chunks than the ledger counts",
    )
    CHUNK_WITHOUT_EDGE = "chunk_without_edge", "chunks have no edge to their document"
    EDGE_WITHOUT_CHUNK = "edge_without_chunk", "edges to a document begin at no node"
    EDGE_WITHOUT_DOCUMENT = "edge_without_document", "edges of chunks end at no node"
    CHUNKS_OUT_OF_ORDER = (
        "chunks_out_of_order",
        "documents' chunk positions have holes or repeat",
    )
    CHUNK_TEXT_DIFFERS = (
        "chunk_text_differs",
        "chunks do not hold what their document's text has at their place",
    )
    # Vectors
    VECTOR_MISSING = "vector_missing", "chunks have no vector"
    VECTOR_DAMAGED = "vector_damaged", "vectors have the wrong dimensions, or not the length 1"
    VECTOR_OF_OTHER_MODEL = (
        "vector_of_other_model",
        "chunks carry another model than their document's",
    )
    VECTOR_WRONG = "vector_wrong", "vectors are not those that the model makes of their chunk"


BY_SCAN: Final = frozenset(
    {Difference.NOT_IN_LEDGER, Difference.ETAG_DIFFERS, Difference.NOT_IN_BUCKET}
)
"""Differences that only the next scan of the source settles."""
_AT_CHUNKS: Final = frozenset(
    {Difference.CHUNK_WITHOUT_EDGE, Difference.EDGE_WITHOUT_DOCUMENT, Difference.VECTOR_WRONG}
)


@dataclass(frozen=True, slots=True)
class Found:
    """A difference at one object or node.

    Attributes:
        count: how many of its chunks, edges or vectors differ; 1 for the object itself.
        key: the object's, or that of the document that a node belongs to.
        object_id: the ledger's row, if there is one.
        node_id: the document's or chunk's node, if there is one.
    """

    difference: Difference
    count: int
    key: str
    object_id: int | None = None
    node_id: UUID | None = None


@dataclass(slots=True)
class Tally:
    """How often a kind of difference was found, with the first examples."""

    count: int = 0
    examples: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Report:
    """What an audit of one connector found.

    Attributes:
        listed: objects in the source.
        objects: rows of the ledger, deleted ones left out.
        nodes: documents and chunks of the connector.
        in_flight: objects that a scan or a run is about to settle. They are no
            differences.
        vectors_checked: vectors that were computed again.
        wrong_vectors: those of them that differ. The repair needs them, because another
            sample would find others.
        differences: only those that were found, in the order of :class:`Difference`.
    """

    listed: int = 0
    objects: int = 0
    nodes: int = 0
    in_flight: int = 0
    vectors_checked: int = 0
    wrong_vectors: list[Found] = field(default_factory=list)
    differences: dict[Difference, Tally] = field(default_factory=dict)

    @property
    def clean(self) -> bool:
        """Whether everything agrees."""
        return not self.differences

    def add(self, found: Found, uri: str) -> None:
        """Count one more difference, at the object with this URI."""
        tally = self.differences.setdefault(found.difference, Tally())
        tally.count += found.count
        if len(tally.examples) < EXAMPLES:
            tally.examples.append(
                f"{uri} (chunk {found.node_id})" if found.difference in _AT_CHUNKS else uri
            )

    def sort(self) -> None:
        """Bring the differences into their order."""
        self.differences = {
            kind: self.differences[kind] for kind in Difference if kind in self.differences
        }
