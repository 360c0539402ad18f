"""Turns pending objects into stored texts: download, parse in the sandbox, write in
batches.
"""

from __future__ import annotations

import contextvars
import hashlib
import tempfile
import time
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from pathlib import Path

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.errors import ObjectError, SourceError
from activekg_pipelines.extraction import EXTRACTOR_VERSION, Sandbox
from activekg_pipelines.ledger.states import ClaimedObject, ExtractedText, UnchangedBytes
from activekg_pipelines.logs import log_fields, logs_connector
from activekg_pipelines.pipeline.backlog import Backlog
from activekg_pipelines.pipeline.failures import (
    failed,
    failure_counts,
    log_failure,
    too_many_deaths,
)
from activekg_pipelines.pipeline.lease import Lease, lease
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.source import Fetched, Source

# Claims, and writes, of this many objects are one statement each: with indexing, half a
# statement an object.
_BATCH = 32
# Texts that wait to be written, in characters; bounds the memory of a run over large
# documents.
_BATCH_CHARACTERS = 8_000_000
# Finished texts are written after this many seconds even if the batch is not full, so
# that progress shows.
_FLUSH_SECONDS = 5.0
# And after these while indexing has nothing to do: smaller batches cost statements, an
# idle encoder costs more.
_STARVED_FLUSH_SECONDS = 1.0
# How long to wait for running objects before looking whether the run goes on at all.
_WAIT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one object; exactly one of the three is set."""

    claimed: ClaimedObject
    text: ExtractedText | None = None
    unchanged: UnchangedBytes | None = None
    error: ObjectError | None = None
    bytes_fetched: int = 0

    @property
    def characters(self) -> int:
        return len(self.text.text) if self.text else 0


@logs_connector
def extract_pending(
    services: Services, connector: Connector, run: str, *, max_objects: int, budget_seconds: float
) -> int:
    """Extract the text of the connector's pending objects, without indexing them.

    Args:
        services: of this process.
        connector: whose objects.
        run: Dagster's run id, which holds the leases.
        max_objects: objects at most.
        budget_seconds: wall time after which nothing more is claimed.

    Returns:
        How many objects it took up.

    Raises:
        SourceError: no object of the source can be had.
    """
    bounds = lease(services, run, max_objects=max_objects, budget_seconds=budget_seconds)
    with log_fields(run=run), bounds as held:
        return extract(services, connector, held, Backlog(extracts=True, indexes=False))


def extract(services: Services, connector: Connector, held: Lease, backlog: Backlog) -> int:
    """Extract under a lease, no faster than the backlog allows.

    An object that fails costs itself an attempt; the others go on. When the run ends
    early, what is finished is stored and the rest given back.

    Returns:
        How many objects it took up.

    Raises:
        SourceError: no object of the source can be had.
    """
    settings = services.settings
    extraction = _Extraction(services, connector, held, backlog)
    first = extraction.claim()
    if not first:
        return 0
    backlog.begin()
    with (
        tempfile.TemporaryDirectory(prefix="activekg-") as folder,
        ThreadPoolExecutor(
            settings.activekg_download_threads, thread_name_prefix="download"
        ) as threads,
        # Closed before the threads, which wait for it, when the run ends early.
        Sandbox(
            services.limits, workers=settings.activekg_parse_workers, documents=Path(folder)
        ) as sandbox,
    ):
        extractor = _Extractor(
            services.source(connector), connector, sandbox, Path(folder), settings
        )
        try:
            extraction.drain(threads, extractor, first)
        except SourceError as error:
            extraction.flush()
            with services.database.transaction(tenant_id=connector.tenant_id) as conn:
                services.connectors.record_error(conn, connector.id, error.code, error.message)
            raise
        finally:
            # What was not begun when it ended early is somebody else's.
            threads.shutdown(wait=False, cancel_futures=True)
    with services.database.transaction() as conn:
        services.ledger.note_versions(conn, connector.id, services.versions)
    return extraction.taken


class _Extraction:
    """The loop of one run: claims, hands to the threads, stores what is finished."""

    def __init__(
        self, services: Services, connector: Connector, held: Lease, backlog: Backlog
    ) -> None:
        self.taken = 0
        self._services = services
        self._connector = connector
        self._held = held
        self._backlog = backlog
        self._running: dict[Future[_Outcome], int] = {}
        self._outcomes: list[_Outcome] = []
        self._flushed_at = time.monotonic()

    def claim(self) -> list[ClaimedObject]:
        most = self._held.claimable(_BATCH, self.taken)
        if most == 0:
            return []
        with self._services.database.transaction() as conn:
            claimed = self._services.ledger.claim_pending(
                conn,
                self._connector.id,
                self._held.run,
                generation=self._connector.generation,
                limit=most,
                extractor=EXTRACTOR_VERSION,
                busy=self._busy(),
            )
        self.taken += len(claimed)
        return claimed

    def drain(
        self, threads: ThreadPoolExecutor, extractor: _Extractor, claimed: list[ClaimedObject]
    ) -> None:
        while True:
            # Each in a copy of the context, which says what the records made in the
            # thread are about.
            self._running |= {
                threads.submit(
                    contextvars.copy_context().run, extractor.extract, object_
                ): object_.id
                for object_ in claimed
            }
            self._collect()
            if self._held.stopped:
                self.flush()
                return
            if self._is_flush_due():
                self.flush()
            if self._running:
                self._held.keep()
            elif not self._backlog.has_room:
                # Holding nothing, it does not renew either: whether the run's claims
                # live on is for indexing to show.
                self._backlog.wait_for_room(_WAIT_SECONDS)
            may_claim = len(self._running) < _BATCH and self._backlog.has_room
            claimed = self.claim() if may_claim else []
            if may_claim and not claimed and not self._running:
                return

    def _collect(self) -> None:
        if not self._running:
            return
        done, _ = wait(self._running, timeout=_WAIT_SECONDS, return_when=FIRST_COMPLETED)
        for future in done:
            del self._running[future]
        self._outcomes += [future.result() for future in done if future.exception() is None]
        for future in done:
            if error := future.exception():
                raise error

    def _is_flush_due(self) -> bool:
        if not self._outcomes:
            return False
        flush_after = _STARVED_FLUSH_SECONDS if self._backlog.starved else _FLUSH_SECONDS
        return (
            not self._running
            or len(self._outcomes) >= _BATCH
            or sum(outcome.characters for outcome in self._outcomes) >= _BATCH_CHARACTERS
            or time.monotonic() - self._flushed_at >= flush_after
        )

    def flush(self) -> None:
        if self._outcomes:
            stored = _store(self._services, self._connector, self._held.run, self._outcomes)
            self._backlog.add(stored)
        self._outcomes = []
        self._flushed_at = time.monotonic()

    def _busy(self) -> Collection[int]:
        return {*self._running.values(), *(outcome.claimed.id for outcome in self._outcomes)}


def _store(
    services: Services, connector: Connector, run: str, outcomes: list[_Outcome]
) -> dict[int, int]:
    """Write what became of objects that the run still holds; returns the stored texts'
    lengths by object.
    """
    tenant_id = connector.tenant_id
    with services.database.transaction(tenant_id=tenant_id) as conn:
        holding = services.ledger.lock_claimed(
            conn, run, [outcome.claimed.id for outcome in outcomes]
        )
        # What was taken away meanwhile, by a change or by another run, is neither
        # written nor counted.
        ours = [outcome for outcome in outcomes if outcome.claimed.id in holding]
        texts = [outcome.text for outcome in ours if outcome.text]
        unchanged = [outcome.unchanged for outcome in ours if outcome.unchanged]
        failures = [
            failed(outcome.claimed, outcome.error, services.settings)
            for outcome in ours
            if outcome.error
        ]
        if texts:
            services.ledger.store_extracted(conn, run, texts)
        if unchanged:
            documents = services.ledger.store_unchanged(conn, run, unchanged, services.versions)
            services.graph.touch(conn, tenant_id, documents)
        if failures:
            services.graph.remove(
                conn, tenant_id, services.ledger.store_failures(conn, run, failures)
            )
        services.ledger.count_run(
            conn,
            run,
            replace(
                failure_counts(failures),
                extracted=len(texts),
                unchanged=len(unchanged),
                bytes_fetched=sum(outcome.bytes_fetched for outcome in outcomes),
            ),
        )
    for outcome in outcomes:
        if outcome.error:
            log_failure("extract", connector.uri(outcome.claimed.key), outcome.error)
    return {text.object_id: len(text.text) for text in texts}


@dataclass(frozen=True, slots=True)
class _Extractor:
    """One object's way from source to text; used by several threads at once."""

    source: Source
    connector: Connector
    sandbox: Sandbox
    folder: Path
    settings: Settings

    def extract(self, claimed: ClaimedObject) -> _Outcome:
        """Download and parse; an :class:`ObjectError` is an outcome, anything else is
        the run's end.
        """
        with log_fields(object=self.connector.uri(claimed.key)):
            return self._extract(claimed)

    def _extract(self, claimed: ClaimedObject) -> _Outcome:
        target = self.folder / str(claimed.id)
        fetched = 0
        try:
            if died := too_many_deaths(claimed.deaths):
                return _Outcome(claimed, error=died)
            arrived = self.source.fetch(
                claimed.key,
                claimed.etag,
                target,
                max_bytes=self.settings.activekg_max_file_bytes,
            )
            fetched = arrived.size
            if arrived.sha256 == claimed.content_hash:
                same = UnchangedBytes(claimed.id, arrived.etag, arrived.size, arrived.modified_at)
                return _Outcome(claimed, unchanged=same, bytes_fetched=fetched)
            return _Outcome(claimed, text=self._parse(claimed, arrived), bytes_fetched=fetched)
        except ObjectError as error:
            return _Outcome(claimed, error=error, bytes_fetched=fetched)
        finally:
            target.unlink(missing_ok=True)

    def _parse(self, claimed: ClaimedObject, arrived: Fetched) -> ExtractedText:
        document = self.sandbox.submit(arrived.path, claimed.key, arrived.content_type).result()
        return ExtractedText(
            object_id=claimed.id,
            etag=arrived.etag,
            size=arrived.size,
            modified_at=arrived.modified_at,
            content_hash=arrived.sha256,
            text_hash=hashlib.sha256(document.text.encode()).digest(),
            text=document.text,
            title=document.title,
            mime_type=document.mime_type,
            facts=document.facts,
            extractor_version=EXTRACTOR_VERSION,
        )
