"""Turns stored texts into documents of the graph.

Texts are chunked, vectors are reused or computed, and each document is swapped in as a
whole.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from activekg_pipelines.chunking import Chunk, chunk_document
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.batches import write_apart
from activekg_pipelines.embedding import Encoder, encode_resiliently, verify_encoder
from activekg_pipelines.errors import (
    EncoderFailed,
    ModelError,
    NoTextLayer,
    NotStorable,
    ObjectError,
)
from activekg_pipelines.extraction.warnings import kinds_of, read_stored
from activekg_pipelines.graph.nodes import Document
from activekg_pipelines.ledger.run_counts import taken_up
from activekg_pipelines.ledger.states import ClaimedText, IndexedDocument
from activekg_pipelines.logs import log_fields, logs_connector
from activekg_pipelines.pipeline.backlog import Backlog
from activekg_pipelines.pipeline.batching import DEFAULT, Batching
from activekg_pipelines.pipeline.failures import (
    failed,
    failure_counts,
    log_failure,
    not_storable,
    too_many_deaths,
)
from activekg_pipelines.pipeline.lease import Lease, lease
from activekg_pipelines.pipeline.stop import Stop, threads
from activekg_pipelines.pipeline.titles import title_of
from activekg_pipelines.services import Services

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vectors = dict[bytes, NDArray[np.float32]]


@logs_connector
def index_extracted(
    services: Services,
    connector: Connector,
    run: str,
    *,
    max_objects: int,
    budget_seconds: float,
    batching: Batching = DEFAULT,
    stop: Stop | None = None,
) -> int:
    """Put the connector's extracted texts into the graph, without extracting more.

    Args:
        run: Dagster's run id, which holds the leases.
        max_objects: objects at most.
        budget_seconds: wall time after which nothing more is claimed.
        batching: the sizes of its batches.
        stop: says when somebody asked for the end of the run.

    Returns:
        How many objects it claimed.

    Raises:
        RunCancelled: somebody did; what was finished is stored.
        ModelError: the model cannot be loaded, or does not make the vectors that the
            graph holds.
    """
    backlog = Backlog(extracts=False, indexes=True, batching=batching)
    with (
        log_fields(run=run),
        lease(
            services, run, max_objects=max_objects, budget_seconds=budget_seconds, stop=stop
        ) as held,
    ):
        return index(services, connector, held, backlog, batching)


def index(
    services: Services,
    connector: Connector,
    held: Lease,
    backlog: Backlog,
    batching: Batching = DEFAULT,
) -> int:
    """Index under a lease, until no text is left and the backlog gets no further ones.

    While one batch is encoded, the next one is claimed and chunked, and the one before
    is swapped in.

    Returns:
        How many objects it claimed.

    Raises:
        ModelError: the model cannot be loaded, or does not make the vectors that the
            graph holds.
    """
    indexing = _Indexing(services, connector, held, backlog, batching)
    with (
        threads(1, name="chunk") as chunk_thread,
        threads(1, name="swap") as swap_thread,
    ):
        try:
            indexing.drain(chunk_thread, swap_thread)
        except BaseException as error:
            held.stop(error)
            raise
        finally:
            # Also wakes the thread that waits for texts.
            backlog.end_indexing()
    if indexing.taken:
        with services.database.transaction() as conn:
            services.ledger.note_versions(conn, connector.id, services.versions)
    return indexing.taken


@dataclass(frozen=True, slots=True)
class _Batch:
    """Documents of one swap.

    Attributes:
        claimed: without their texts, which the chunks hold.
        chunks, errors: by object.
        known: vectors that the tenant has already for some of their texts, by hash.
    """

    claimed: Sequence[ClaimedText]
    chunks: dict[int, list[Chunk]]
    errors: dict[int, ObjectError]
    known: Vectors

    @property
    def tokens(self) -> int:
        return sum(chunk.tokens for made in self.chunks.values() for chunk in made)


class _Indexing:
    """The loop of one run over its batches."""

    def __init__(
        self,
        services: Services,
        connector: Connector,
        held: Lease,
        backlog: Backlog,
        batching: Batching,
    ) -> None:
        self.taken = 0
        self._services = services
        self._connector = connector
        self._held = held
        self._backlog = backlog
        self._batching = batching
        self._encoder: Encoder | None = None
        self._unprepared: deque[ClaimedText] = deque()

    def drain(self, chunk_thread: ThreadPoolExecutor, swap_thread: ThreadPoolExecutor) -> None:
        following = chunk_thread.submit(copy_context().run, self._next)
        swapping: Future[None] | None = None
        # Vectors of the last two batches: the next one looks for known vectors before
        # they are committed.
        recent: list[Vectors] = [{}, {}]
        while (batch := following.result()) is not None:
            # More than a full batch and one more text of its size: a document of its own.
            is_large = batch.tokens > 2 * self._batching.index_tokens
            if not is_large:
                following = chunk_thread.submit(copy_context().run, self._next)
            known = recent[0] | recent[1] | batch.known
            fresh, failures = self._encode(batch, known)
            if swapping is not None:
                swapping.result()
            if self._held.stopped:
                return
            swapping = swap_thread.submit(
                copy_context().run, self._swap, batch, known | fresh, failures, set(fresh)
            )
            recent = [recent[1], fresh]
            if is_large:
                # Such a document alone takes as much memory as several batches.
                swapping.result()
                swapping, batch, known, fresh, recent = None, None, {}, {}, [{}, {}]
                following = chunk_thread.submit(copy_context().run, self._next)
        if swapping is not None:
            swapping.result()

    def _next(self) -> _Batch | None:
        """The next batch, once there is one; None when no text is left and none comes."""
        if self._unprepared:
            return self._prepare()
        while most := self._held.claimable(self._batching.index_objects, self.taken):
            seen, more_may_come = self._backlog.observe()
            with self._held.claiming() as may_claim, self._services.database.transaction() as conn:
                if not may_claim:
                    return None
                claimed = self._services.ledger.claim_extracted(
                    conn,
                    self._connector.id,
                    self._held.run,
                    generation=self._connector.generation,
                    limit=most,
                    characters=self._batching.index_characters,
                )
            if claimed:
                self.taken += len(claimed)
                self._backlog.remove(text.id for text in claimed)
                self._unprepared.extend(claimed)
                return self._prepare()
            if not more_may_come:
                return None
            if self._encoder is None and self._backlog.begun:
                self._load_encoder()
            else:
                self._backlog.wait(seen)
        return None

    def _prepare(self) -> _Batch:
        """Chunk claimed texts, until they are none or the batch has its tokens."""
        encoder = self._encoder or self._load_encoder()
        claimed: list[ClaimedText] = []
        errors: dict[int, ObjectError] = {}
        chunks: dict[int, list[Chunk]] = {}
        tokens = 0
        while self._unprepared and tokens < self._batching.index_tokens:
            text = self._unprepared.popleft()
            claimed.append(replace(text, text=""))
            if died := too_many_deaths(text.deaths):
                errors[text.id] = died
                continue
            try:
                made = chunk_document(
                    text.text,
                    encoder.tokenizer,
                    encoder.max_tokens,
                    page_starts=text.facts.get("page_starts", ()),
                )
            except EncoderFailed as error:
                errors[text.id] = error
                continue
            if made:
                chunks[text.id] = made
                tokens += sum(chunk.tokens for chunk in made)
            else:
                errors[text.id] = NoTextLayer(
                    f"The model reads none of the text's {len(text.text):,} characters. They are "
                    "damaged or private ones, or marks that belong to letters."
                )
        hashes = list({chunk.text_hash for made in chunks.values() for chunk in made})
        tenant_id = self._connector.tenant_id
        with self._services.database.transaction(tenant_id=tenant_id) as conn:
            known = self._services.graph.find_vectors(conn, tenant_id, encoder.version, hashes)
        return _Batch(claimed, chunks, errors, known)

    def _encode(self, batch: _Batch, known: Vectors) -> tuple[Vectors, dict[bytes, EncoderFailed]]:
        """Encode the batch's texts that have no known vector.

        Returns:
            New vectors, and the texts that could not be embedded, both by hash. They
            are not complete when the run's other step fails meanwhile.
        """
        encoder = self._encoder or self._load_encoder()
        texts = {chunk.text_hash: chunk.text for made in batch.chunks.values() for chunk in made}
        # Longest first over the whole batch, so that each slice pads little.
        missing = sorted(
            (hash_ for hash_ in texts if hash_ not in known), key=lambda hash_: -len(texts[hash_])
        )
        fresh: Vectors = {}
        failures: dict[bytes, EncoderFailed] = {}
        size = self._batching.encode_texts
        for start in range(0, len(missing), size):
            if self._held.stopped:
                break
            hashes = missing[start : start + size]
            vectors, failed_rows = encode_resiliently(encoder, [texts[hash_] for hash_ in hashes])
            failures |= {hashes[row]: error for row, error in failed_rows.items()}
            fresh |= {
                hash_: vectors[row] for row, hash_ in enumerate(hashes) if row not in failed_rows
            }
            self._held.heartbeat()
        return fresh, failures

    def _swap(
        self,
        batch: _Batch,
        vectors: Vectors,
        failures: dict[bytes, EncoderFailed],
        computed: set[bytes],
    ) -> None:
        errors = dict(batch.errors)
        for object_id, made in batch.chunks.items():
            if bad := next(
                (failures[chunk.text_hash] for chunk in made if chunk.text_hash in failures), None
            ):
                errors[object_id] = bad

        def refused(text: ClaimedText, error: Exception) -> ClaimedText:
            if isinstance(errors.get(text.id), NotStorable):
                raise error
            errors[text.id] = not_storable(error)
            return text

        def write(claimed: Sequence[ClaimedText]) -> None:
            mine = {chunk.text_hash for text in claimed for chunk in batch.chunks.get(text.id, ())}
            self._write(claimed, batch.chunks, vectors, errors, len(mine & computed))
            # A text of two documents was computed once.
            computed.difference_update(mine)

        write_apart(batch.claimed, write, refused)

    def _write(
        self,
        claimed: Sequence[ClaimedText],
        chunks_of: dict[int, list[Chunk]],
        vectors: Vectors,
        errors: dict[int, ObjectError],
        computed: int,
    ) -> None:
        services, run, tenant_id = self._services, self._held.run, self._connector.tenant_id
        encoder = self._encoder or self._load_encoder()
        with services.database.transaction(tenant_id=tenant_id) as conn:
            holding = services.ledger.lock_claimed(conn, run, [text.id for text in claimed])
            # An object that changed meanwhile, or that another run claimed, is neither
            # written nor counted.
            ours = [text for text in claimed if text.id in holding]
            documents = {
                text.id: _document(self._connector, text, chunks_of[text.id], vectors)
                for text in ours
                if text.id not in errors
            }
            failed_objects = [
                failed(text, errors[text.id], services.settings)
                for text in ours
                if text.id in errors
            ]
            latencies: list[float] = []
            if documents:
                services.graph.swap(conn, tenant_id, list(documents.values()), encoder.version)
                latencies = services.ledger.store_indexed(
                    conn,
                    [
                        IndexedDocument(id_, document.id, len(document.chunks))
                        for id_, document in documents.items()
                    ],
                    services.versions,
                )
            if failed_objects:
                services.graph.remove(
                    conn, tenant_id, services.ledger.store_failures(conn, run, failed_objects)
                )
            chunks = sum(len(document.chunks) for document in documents.values())
            again, withdrawn = taken_up(holding, holding)
            services.ledger.count_run(
                conn,
                run,
                replace(
                    failure_counts(failed_objects),
                    again=again,
                    indexed=len(documents),
                    chunks=chunks,
                    embeddings_computed=computed,
                    embeddings_reused=max(0, chunks - computed),
                ),
                withdrawn=withdrawn,
                latencies=latencies,
            )
        for text in claimed:
            if text.id in errors:
                log_failure("index", self._connector.uri(text.key), errors[text.id])

    def _load_encoder(self) -> Encoder:
        """The encoder, checked once a run.

        Its vectors fit the graph's column, and it still makes those that are stored.
        """
        encoder = self._services.encoder
        tenant_id = self._connector.tenant_id
        with self._services.database.transaction(tenant_id=tenant_id) as conn:
            dimensions = self._services.graph.dimensions(conn)
            sample: list[tuple[str, Any]] = self._services.graph.sample_chunks(
                conn, tenant_id, encoder.version, limit=4
            )
        if dimensions not in {encoder.dimensions, None}:
            raise ModelError(
                f"The model {encoder.name} makes vectors of {encoder.dimensions} dimensions, but "
                f"the column nodes.embedding takes {dimensions}. Set ACTIVEKG_EMBEDDING_MODEL to "
                f"a model with {dimensions} dimensions."
            )
        import numpy as np

        if sample:
            verify_encoder(
                encoder, [text for text, _ in sample], np.stack([vector for _, vector in sample])
            )
        self._encoder = encoder
        return encoder


def _document(
    connector: Connector, text: ClaimedText, chunks: list[Chunk], vectors: Vectors
) -> Document:
    title = title_of(text.title, text.key)
    return Document(
        tenant_id=connector.tenant_id,
        external_id=connector.location.external_id(connector.tenant_id, text.key),
        uri=connector.uri(text.key),
        etag=text.etag,
        size=text.size,
        modified_at=text.modified_at,
        title=title.text,
        title_from=title.source.value,
        folders=title.folders,
        mime_type=text.mime_type,
        content_hash=text.content_hash,
        text_hash=text.text_hash,
        # Each chunk has its pages; they need not stand in the node once more.
        facts={name: fact for name, fact in text.facts.items() if name != "page_starts"},
        warnings=kinds_of(read_stored(text.facts.get("warnings"))),
        chunks=chunks,
        vectors=[vectors[chunk.text_hash] for chunk in chunks],
    )
