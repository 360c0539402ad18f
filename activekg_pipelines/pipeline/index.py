"""Turns stored texts into the graph: chunk, reuse or compute vectors, swap each document in whole."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.embedding import Chunk, Encoder, chunk_document, encode_resiliently, verify_encoder
from activekg_pipelines.errors import EmptyObject, EncoderFailed, ModelError, ObjectError
from activekg_pipelines.graph.nodes import Document
from activekg_pipelines.ledger.states import ClaimedText, FailedObject, IndexedDocument, RunCounts
from activekg_pipelines.logs import log_fields, logs_connector
from activekg_pipelines.pipeline.extract import failed, failure_counts, log_failure, too_many_deaths
from activekg_pipelines.pipeline.lease import Lease, lease
from activekg_pipelines.services import Services

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

logger = logging.getLogger(__name__)

# Documents of one swap: its seven statements cost 0.1 a document, and a reader's lock on any of them is short.
_BATCH = 64
# Characters of one swap, about 2,000 chunks: bounds the memory, and the work that a killed run repeats.
_BATCH_CHARACTERS = 2_000_000
# Texts encoded between two looks at the lease; enough for the encoder to sort by length.
_ENCODE_SLICE = 512


@logs_connector
def index_extracted(
    services: Services, connector: Connector, run: str, *, max_objects: int, budget_seconds: float
) -> int:
    """Put the connector's extracted texts into the graph.

    Args:
        services: of this process.
        connector: whose objects.
        run: Dagster's run id, which holds the leases.
        max_objects: objects at most.
        budget_seconds: wall time after which nothing more is claimed.

    Returns:
        How many objects it took up.

    Raises:
        ModelError: the model cannot be loaded, or does not make the vectors that the graph holds.
    """
    bounds = lease(
        services.ledger,
        run,
        max_objects=max_objects,
        budget_seconds=budget_seconds,
        lease_seconds=services.settings.activekg_lease_seconds,
    )
    with log_fields(run=run), bounds as held:
        while most := held.claimable(_BATCH):
            claimed = services.ledger.claim_extracted(
                connector.id, run, generation=connector.generation, limit=most, characters=_BATCH_CHARACTERS
            )
            if not claimed:
                break
            if held.objects_left == max_objects:
                _check_encoder(services, connector)
            held.took(len(claimed))
            _index(services, connector, held, claimed)
        if held.objects_left < max_objects:
            services.ledger.note_versions(connector.id, services.versions)
        return max_objects - held.objects_left


def _index(services: Services, connector: Connector, held: Lease, claimed: Sequence[ClaimedText]) -> None:
    errors: dict[int, ObjectError] = {}
    chunks: dict[int, list[Chunk]] = {}
    for text in claimed:
        if died := too_many_deaths(text.deaths):
            errors[text.id] = died
        elif not (made := chunk_document(text.text, services.encoder.tokenizer, services.encoder.max_tokens)):
            errors[text.id] = EmptyObject()
        else:
            chunks[text.id] = made
    vectors, computed, failures = _vectors(services, connector, held, chunks)
    for object_id, made in chunks.items():
        if bad := next((failures[chunk.text_hash] for chunk in made if chunk.text_hash in failures), None):
            errors[object_id] = bad
    documents = {
        text.id: _document(connector, text, chunks[text.id], vectors) for text in claimed if text.id not in errors
    }
    failed_objects = [failed(text, errors[text.id], services.settings) for text in claimed if text.id in errors]
    _swap(services, connector, held.run, documents, failed_objects, computed)
    for text in claimed:
        if text.id in errors:
            log_failure("index", connector.uri(text.key), errors[text.id])


def _vectors(
    services: Services, connector: Connector, held: Lease, chunks: dict[int, list[Chunk]]
) -> tuple[dict[bytes, NDArray[np.float32]], int, dict[bytes, EncoderFailed]]:
    """Vectors by text hash, how many of them were computed, and the texts that could not be embedded.

    Texts that the tenant has embedded before are looked up, in whatever document they were.
    """
    texts = {chunk.text_hash: chunk.text for made in chunks.values() for chunk in made}
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        vectors = services.graph.find_vectors(conn, connector.tenant_id, services.encoder.version, list(texts))
    # Longest first over the whole batch, so that each slice pads little.
    missing = sorted((hash_ for hash_ in texts if hash_ not in vectors), key=lambda hash_: -len(texts[hash_]))
    failures: dict[bytes, EncoderFailed] = {}
    for start in range(0, len(missing), _ENCODE_SLICE):
        hashes = missing[start : start + _ENCODE_SLICE]
        fresh, failed_rows = encode_resiliently(services.encoder, [texts[hash_] for hash_ in hashes])
        failures |= {hashes[row]: error for row, error in failed_rows.items()}
        vectors |= {hash_: fresh[row] for row, hash_ in enumerate(hashes) if row not in failed_rows}
        held.keep()
    return vectors, len(missing) - len(failures), failures


def _swap(
    services: Services,
    connector: Connector,
    run: str,
    documents: dict[int, Document],
    failures: list[FailedObject],
    computed: int,
) -> None:
    tenant_id = connector.tenant_id
    with services.database.transaction(tenant_id=tenant_id) as conn:
        ids = [*documents, *(failure.object_id for failure in failures)]
        holding = services.ledger.lock_claimed(conn, run, ids)
        swapped = {object_id: document for object_id, document in documents.items() if object_id in holding}
        latencies: list[float] = []
        failures = [failure for failure in failures if failure.object_id in holding]
        if swapped:
            services.graph.swap(conn, tenant_id, list(swapped.values()), services.encoder.version)
            latencies = services.ledger.store_indexed(
                conn,
                [IndexedDocument(id_, document.id, len(document.chunks)) for id_, document in swapped.items()],
                services.versions,
            )
        if failures:
            services.graph.remove(conn, tenant_id, services.ledger.store_failures(conn, run, failures))
        counts = failure_counts(failures)
        chunks = sum(len(document.chunks) for document in swapped.values())
        services.ledger.count_run(
            conn,
            run,
            RunCounts(
                indexed=len(swapped),
                chunks=chunks,
                embeddings_computed=computed,
                embeddings_reused=max(0, chunks - computed),
                skipped=counts.skipped,
                failed=counts.failed,
                dead=counts.dead,
                errors=counts.errors,
            ),
            latencies=latencies,
        )


def _document(
    connector: Connector, text: ClaimedText, chunks: list[Chunk], vectors: dict[bytes, NDArray[np.float32]]
) -> Document:
    import numpy as np

    return Document(
        tenant_id=connector.tenant_id,
        bucket=connector.bucket,
        key=text.key,
        etag=text.etag,
        size=text.size,
        modified_at=text.modified_at,
        title=text.title or PurePosixPath(text.key).name,
        mime_type=text.mime_type,
        content_hash=text.content_hash,
        text_hash=text.text_hash,
        facts=text.facts,
        chunks=chunks,
        vectors=np.stack([vectors[chunk.text_hash] for chunk in chunks]),
    )


def _check_encoder(services: Services, connector: Connector) -> None:
    """Once a run: the model fits the graph's column, and still makes the vectors that are stored."""
    encoder: Encoder = services.encoder
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        dimensions = services.graph.dimensions(conn)
        sample: list[tuple[str, Any]] = services.graph.sample_chunks(
            conn, connector.tenant_id, encoder.version, limit=4
        )
    if dimensions not in {encoder.dimensions, None}:
        raise ModelError(
            f"The model {encoder.name} makes vectors of {encoder.dimensions} dimensions, but the column nodes.embedding"
            f" takes {dimensions}. Set ACTIVEKG_EMBEDDING_MODEL to a model with {dimensions} dimensions."
        )
    import numpy as np

    if sample:
        verify_encoder(encoder, [text for text, _ in sample], np.stack([vector for _, vector in sample]))
