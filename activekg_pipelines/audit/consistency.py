"""Decides whether ledger, text, document, chunks and vectors of an object agree. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from activekg_pipelines.audit.differences import Difference
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.graph.nodes import node_id
from activekg_pipelines.ledger.states import KnownVersion, ObjectState


@dataclass(frozen=True, slots=True)
class Facts:
    """An object's row of the ledger, and what text and graph hold of it.

    Attributes:
        settled: neither a scan nor a run is about to change it. Otherwise text and
            graph were not read.
        claimed: a run holds it.
        text: None where there is none, and where the object is not settled.
        node_id: its document's node, where there is one.
        linked: chunks that edges link to its document.
        dangling: edges to its document that begin at no node.
        other_tenant: linked chunks that carry another tenant.
        without_vector, damaged_vectors: linked chunks whose vector is missing or
            damaged.
        other_model: linked chunks that carry another model than their document.
        linked_chunks: of each linked chunk: index, total, start and end on its edge,
            SHA-256 of its text, and the hash that it carries.
    """

    id: int
    key: str
    etag: str
    size: int
    modified_at: datetime
    arrived_etag: str | None
    etag_is_digest: bool | None
    state: str
    settled: bool
    claimed: bool
    document_id: UUID | None
    indexed_etag: str | None
    indexed_text_hash: bytes | None
    chunks: int
    encoder_version: str | None
    has_text: bool
    text: str | None
    text_hash: bytes | None
    content_hash: bytes | None
    node_id: UUID | None
    node_tenant: str | None
    node_classes: Sequence[str] | None
    node_props: dict[str, Any] | None
    linked: int
    dangling: int
    other_tenant: int
    without_vector: int
    damaged_vectors: int
    other_model: int
    linked_chunks: list[list[Any]] | None

    @property
    def version(self) -> KnownVersion:
        """What a listing is compared with."""
        return KnownVersion(
            self.etag, self.size, self.modified_at, self.arrived_etag, self.etag_is_digest
        )

    @property
    def has_document(self) -> bool:
        """Whether the ledger says that the graph holds a document."""
        return self.document_id is not None or self.state == ObjectState.INDEXED


def disagreements(
    facts: Facts, connector: Connector, *, encoder_version: str | None
) -> Iterator[tuple[Difference, int]]:
    """The differences of one object, and how many chunks, edges or vectors each concerns.

    Args:
        encoder_version: the model in use, if a scan has queued all outdated documents;
            None otherwise.
    """
    if facts.state == ObjectState.EXTRACTED and not facts.has_text and not facts.claimed:
        # No run would ever claim it: there is no text to index.
        yield Difference.TEXT_MISSING, 1
    if not facts.settled:
        return
    yield from _text(facts)
    if not facts.has_document:
        if facts.node_id is not None:
            yield Difference.DOCUMENT_LEFT_OVER, 1
        return
    if facts.encoder_version != encoder_version is not None and facts.state == ObjectState.INDEXED:
        yield Difference.OUTDATED, 1
    if facts.node_id is None:
        yield Difference.DOCUMENT_MISSING, 1
    elif _differs(facts, connector):
        yield Difference.DOCUMENT_DIFFERS, 1
    if wrong := facts.other_tenant + (
        facts.node_id is not None and facts.node_tenant != connector.tenant_id
    ):
        yield Difference.WRONG_TENANT, wrong
    yield from _chunks(facts)


def _text(facts: Facts) -> Iterator[tuple[Difference, int]]:
    if facts.state in {ObjectState.DELETED, ObjectState.SKIPPED}:
        if facts.has_text:
            yield Difference.TEXT_LEFT_OVER, 1
        return
    if facts.text is not None and hashlib.sha256(facts.text.encode()).digest() != facts.text_hash:
        yield Difference.TEXT_DAMAGED, 1
    if facts.state == ObjectState.INDEXED:
        if not facts.has_text:
            yield Difference.TEXT_MISSING, 1
        elif (facts.indexed_etag, facts.indexed_text_hash) != (facts.etag, facts.text_hash):
            yield Difference.STALE, 1


def _differs(facts: Facts, connector: Connector) -> bool:
    external_id = connector.location.external_id(connector.tenant_id, facts.key)
    expected: dict[str, object] = {
        "external_id": external_id,
        "uri": connector.uri(facts.key),
        "etag": facts.indexed_etag,
        "document_text_hash": facts.indexed_text_hash and facts.indexed_text_hash.hex(),
        "total_chunks": facts.chunks,
    }
    if facts.state == ObjectState.INDEXED:
        expected["size"] = facts.size
        if facts.content_hash is not None and facts.indexed_text_hash == facts.text_hash:
            expected["content_hash"] = facts.content_hash.hex()
    props = facts.node_props or {}
    return (
        facts.node_id != node_id(external_id)
        or "Document" not in (facts.node_classes or ())
        or any(props.get(name) != value for name, value in expected.items())
    )


def _chunks(facts: Facts) -> Iterator[tuple[Difference, int]]:
    if facts.linked != facts.chunks:
        yield Difference.CHUNK_COUNT_DIFFERS, 1
    if facts.dangling:
        yield Difference.EDGE_WITHOUT_CHUNK, facts.dangling
    chunks = facts.linked_chunks or []
    if sorted((chunk[0] for chunk in chunks), key=repr) != sorted(
        range(facts.linked), key=repr
    ) or any(chunk[1] != facts.linked for chunk in chunks):
        yield Difference.CHUNKS_OUT_OF_ORDER, 1
    if moved := sum(_text_differs(chunk, facts) for chunk in chunks):
        yield Difference.CHUNK_TEXT_DIFFERS, moved
    if facts.without_vector:
        yield Difference.VECTOR_MISSING, facts.without_vector
    if facts.damaged_vectors:
        yield Difference.VECTOR_DAMAGED, facts.damaged_vectors
    if facts.other_model:
        yield Difference.VECTOR_OF_OTHER_MODEL, facts.other_model


def _text_differs(chunk: list[Any], facts: Facts) -> bool:
    _, _, start, end, digest, carried = chunk
    if digest is None or digest != carried:
        return True
    if facts.text is None or facts.indexed_text_hash != facts.text_hash:
        # The text that the chunks were made of is not stored any more.
        return False
    if not (
        isinstance(start, int) and isinstance(end, int) and 0 <= start < end <= len(facts.text)
    ):
        return True
    return bool(hashlib.sha256(facts.text[start:end].encode()).hexdigest() != digest)
