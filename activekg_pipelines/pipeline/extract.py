"""Turns pending objects into stored texts: download, parse in the sandbox, write in batches."""

from __future__ import annotations

import contextvars
import hashlib
import logging
import random
import tempfile
import time
from collections import Counter
from collections.abc import Collection
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.errors import Disposition, ObjectError, RunsDied, SourceError
from activekg_pipelines.extraction import EXTRACTOR_VERSION, Sandbox
from activekg_pipelines.ledger import planner
from activekg_pipelines.ledger.states import (
    ClaimedObject,
    ClaimedText,
    ExtractedText,
    FailedObject,
    ObjectState,
    RunCounts,
    UnchangedBytes,
)
from activekg_pipelines.logs import log_fields, logs_connector
from activekg_pipelines.pipeline.lease import Lease, lease
from activekg_pipelines.s3.download import Download, download
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

logger = logging.getLogger(__name__)

# Claims, and writes, of this many objects are one statement each: with indexing, half a statement an object.
_BATCH = 32
# Texts that wait to be written, in characters; bounds the memory of a run over large documents.
_BATCH_CHARACTERS = 8_000_000
# Finished texts are written after this many seconds even if the batch is not full, so that progress shows.
_FLUSH_SECONDS = 5.0
# An innocent object shares its lease with the one that kills the run; ten deaths in a row are no coincidence.
_MAX_DEATHS = 10


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
    """Extract the text of the connector's pending objects.

    An object that fails costs itself an attempt; the others go on.

    Args:
        services: of this process.
        connector: whose objects.
        run: Dagster's run id, which holds the leases.
        max_objects: objects at most.
        budget_seconds: wall time after which nothing more is claimed.

    Returns:
        How many objects it took up.

    Raises:
        SourceError: no object of the bucket can be had.
    """
    settings = services.settings
    bounds = lease(
        services.ledger,
        run,
        max_objects=max_objects,
        budget_seconds=budget_seconds,
        lease_seconds=settings.activekg_lease_seconds,
    )
    with log_fields(run=run), bounds as held:
        first = _claim(services, connector, held)
        if not first:
            return 0
        with (
            tempfile.TemporaryDirectory(prefix="activekg-") as folder,
            Sandbox(services.limits, workers=settings.activekg_parse_workers) as sandbox,
            ThreadPoolExecutor(settings.activekg_download_threads, thread_name_prefix="download") as threads,
        ):
            extractor = _Extractor(services.client(connector), connector, sandbox, Path(folder), settings)
            try:
                _drain(services, connector, held, threads, extractor, first)
            except BaseException as error:
                threads.shutdown(wait=False, cancel_futures=True)
                if isinstance(error, SourceError):
                    services.connectors.record_error(connector.id, error.code, error.message)
                raise
        services.ledger.note_versions(connector.id, services.versions)
        return max_objects - held.objects_left


def failed(object_: ClaimedObject | ClaimedText, error: ObjectError, settings: Settings) -> FailedObject:
    """What becomes of a claimed object that ended in an error."""
    return planner.settle(
        object_.id,
        error,
        object_.attempts + 1,
        max_attempts=settings.activekg_max_attempts,
        base=settings.activekg_retry_base_seconds,
        cap=settings.activekg_retry_cap_seconds,
        chance=random.random(),  # noqa: S311 - jitter, not a secret
    )


def failure_counts(failures: list[FailedObject]) -> RunCounts:
    """A run's counts of failures."""
    states = Counter(failure.state for failure in failures)
    return RunCounts(
        skipped=states[ObjectState.SKIPPED],
        failed=states[ObjectState.FAILED],
        dead=states[ObjectState.DEAD],
        errors=dict(Counter(failure.error.code for failure in failures)),
    )


def too_many_deaths(deaths: int) -> RunsDied | None:
    """Why an object is not tried again when run after run died with it."""
    if deaths < _MAX_DEATHS:
        return None
    return RunsDied(f"{deaths} runs died while they worked on this object; it is not tried again until it is replayed.")


def log_failure(step: str, uri: str, error: ObjectError) -> None:
    """Say why an object was not indexed: an error, unless it merely holds nothing to index.

    Args:
        step: what failed, as an infinitive.
        uri: the object's.
        error: why.
    """
    fields = {"object": uri}
    if error.disposition is Disposition.SKIP:
        logger.info("Skipping %s - %s", uri, error.message, extra=fields)
    elif uri in error.message:
        logger.error("%s", error.message, extra=fields)
    else:
        logger.error("Failed to %s %s: %s", step, uri, error.message, extra=fields)


def _drain(
    services: Services,
    connector: Connector,
    held: Lease,
    threads: ThreadPoolExecutor,
    extractor: _Extractor,
    claimed: list[ClaimedObject],
) -> None:
    running: dict[Future[_Outcome], int] = {}
    outcomes: list[_Outcome] = []
    flushed_at = time.monotonic()
    while True:
        # Each in a copy of the context, which says what the records made in the thread are about.
        running |= {
            threads.submit(contextvars.copy_context().run, extractor.extract, object_): object_.id
            for object_ in claimed
        }
        if not running:
            break
        done, _ = wait(running, timeout=1.0, return_when=FIRST_COMPLETED)
        outcomes += [future.result() for future in done]
        for future in done:
            del running[future]
        full = len(outcomes) >= _BATCH or sum(outcome.characters for outcome in outcomes) >= _BATCH_CHARACTERS
        if outcomes and (full or not running or time.monotonic() - flushed_at >= _FLUSH_SECONDS):
            _store(services, connector, held.run, outcomes)
            outcomes = []
            flushed_at = time.monotonic()
        held.keep()
        busy = {*running.values(), *(outcome.claimed.id for outcome in outcomes)}
        claimed = _claim(services, connector, held, busy) if len(running) < _BATCH else []
    if outcomes:
        _store(services, connector, held.run, outcomes)


def _claim(services: Services, connector: Connector, held: Lease, busy: Collection[int] = ()) -> list[ClaimedObject]:
    most = held.claimable(_BATCH)
    if most == 0:
        return []
    claimed = services.ledger.claim_pending(
        connector.id,
        held.run,
        generation=connector.generation,
        limit=most,
        extractor=EXTRACTOR_VERSION,
        busy=busy,
    )
    held.took(len(claimed))
    return claimed


def _store(services: Services, connector: Connector, run: str, outcomes: list[_Outcome]) -> None:
    tenant_id = connector.tenant_id
    with services.database.transaction(tenant_id=tenant_id) as conn:
        holding = services.ledger.lock_claimed(conn, run, [outcome.claimed.id for outcome in outcomes])
        # What was taken away meanwhile, by a change or by another run, is neither written nor counted.
        ours = [outcome for outcome in outcomes if outcome.claimed.id in holding]
        texts = [outcome.text for outcome in ours if outcome.text]
        unchanged = [outcome.unchanged for outcome in ours if outcome.unchanged]
        failures = [failed(outcome.claimed, outcome.error, services.settings) for outcome in ours if outcome.error]
        counts = failure_counts(failures)
        if texts:
            services.ledger.store_extracted(conn, run, texts)
        if unchanged:
            documents = services.ledger.store_unchanged(conn, run, unchanged, services.versions)
            services.graph.touch(conn, tenant_id, documents)
        if failures:
            services.graph.remove(conn, tenant_id, services.ledger.store_failures(conn, run, failures))
        services.ledger.count_run(
            conn,
            run,
            RunCounts(
                extracted=len(texts),
                unchanged=len(unchanged),
                skipped=counts.skipped,
                failed=counts.failed,
                dead=counts.dead,
                bytes_fetched=sum(outcome.bytes_fetched for outcome in outcomes),
                errors=counts.errors,
            ),
        )
    for outcome in outcomes:
        if outcome.error:
            log_failure("extract", connector.uri(outcome.claimed.key), outcome.error)


@dataclass(frozen=True, slots=True)
class _Extractor:
    """One object's way from bucket to text; used by several threads at once."""

    client: S3Client
    connector: Connector
    sandbox: Sandbox
    folder: Path
    settings: Settings

    def extract(self, claimed: ClaimedObject) -> _Outcome:
        """Download and parse; an :class:`ObjectError` is an outcome, anything else is the run's end."""
        with log_fields(object=self.connector.uri(claimed.key)):
            return self._extract(claimed)

    def _extract(self, claimed: ClaimedObject) -> _Outcome:
        target = self.folder / str(claimed.id)
        fetched = 0
        try:
            if died := too_many_deaths(claimed.deaths):
                return _Outcome(claimed, error=died)
            arrived = download(
                self.client,
                self.connector.bucket,
                claimed.key,
                claimed.etag,
                target,
                self.settings.activekg_max_file_bytes,
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

    def _parse(self, claimed: ClaimedObject, arrived: Download) -> ExtractedText:
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
