"""Turns pending objects into stored texts.

Each is downloaded and parsed in the sandbox; the texts are written in batches.
"""

from __future__ import annotations

import contextvars
import hashlib
import logging
import tempfile
import time
from collections import ChainMap
from collections.abc import Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from threading import BoundedSemaphore

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.batches import write_apart
from activekg_pipelines.errors import NotStorable, ObjectError, ParserUnavailable, SourceError
from activekg_pipelines.extraction import ExtractedDocument, Sandbox
from activekg_pipelines.extraction.warnings import kinds_of
from activekg_pipelines.ledger.run_counts import taken_up
from activekg_pipelines.ledger.states import (
    ClaimedObject,
    DocumentMetadata,
    ExtractedText,
    KnownVersion,
    UnchangedBytes,
)
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
from activekg_pipelines.pipeline.scan import distrust_etags
from activekg_pipelines.pipeline.stop import Stop, threads
from activekg_pipelines.pipeline.text_room import TextRoom
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.notes import note_of
from activekg_pipelines.sources.source import Entry, Fetched, Source

logger = logging.getLogger(__name__)

# How long to wait for running objects before asking whether the run goes on at all.
_WAIT_SECONDS = 1.0
# So many objects whose tokens differ in the listing and in the answer show that this is
# the store's way.
_CONVINCED = 3


@dataclass(frozen=True, slots=True)
class _Outcome:
    """What became of one object: a text, unchanged bytes or an error, and only one of them."""

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
    services: Services,
    connector: Connector,
    run: str,
    *,
    max_objects: int,
    budget_seconds: float,
    batching: Batching = DEFAULT,
    stop: Stop | None = None,
) -> int:
    """Extract the text of the connector's pending objects, without indexing them.

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
        SourceError: no object of the source can be read.
        ParserUnavailable: a parser of this installation cannot be loaded.
    """
    backlog = Backlog(extracts=True, indexes=False, batching=batching)
    with (
        log_fields(run=run),
        lease(
            services, run, max_objects=max_objects, budget_seconds=budget_seconds, stop=stop
        ) as held,
    ):
        return extract(services, connector, held, backlog, batching)


def extract(
    services: Services,
    connector: Connector,
    held: Lease,
    backlog: Backlog,
    batching: Batching = DEFAULT,
) -> int:
    """Extract under a lease, no faster than the backlog allows.

    An object that fails loses one of its attempts, and the others go on. When the run
    ends early, finished texts are stored and the other claims are released.

    Returns:
        How many objects it claimed.

    Raises:
        SourceError: no object of the source can be read.
        ParserUnavailable: a parser of this installation cannot be loaded.
    """
    settings = services.settings
    extraction = _Extraction(services, connector, held, backlog, batching)
    first = extraction.claim()
    if not first:
        return 0
    backlog.begin()
    with (
        tempfile.TemporaryDirectory(
            prefix="activekg-",
            # A download that is not waited for may write there still.
            ignore_cleanup_errors=True,
        ) as folder,
        threads(
            settings.activekg_download_threads,
            name="download",
            # Nobody stores any more what they fetch.
            are_left=lambda: held.stopped,
        ) as downloads,
        # When the run ends early, it is closed before the threads, which wait for it.
        Sandbox(
            services.limits, workers=settings.activekg_parse_workers, documents=Path(folder)
        ) as sandbox,
    ):
        extractor = _Extractor(
            services.source(connector),
            connector,
            sandbox,
            Path(folder),
            settings,
            services.extractor_version,
            extraction.room,
            # One more than there are parsers, so that none of them waits for a text.
            BoundedSemaphore(settings.activekg_parse_workers + 1),
        )
        try:
            extraction.drain(downloads, extractor, first)
            _keep_notes(services, connector, extractor.source)
        except (SourceError, ParserUnavailable) as error:
            extraction.flush()
            _keep_notes(services, connector, extractor.source)
            with services.database.transaction(tenant_id=connector.tenant_id) as conn:
                services.connectors.record_error(conn, connector.id, error.code, error.message)
            raise
        finally:
            extraction.room.close()
            # When the run ends early, objects that were not begun are for other runs.
            downloads.shutdown(wait=False, cancel_futures=True)
    with services.database.transaction() as conn:
        services.ledger.note_versions(conn, connector.id, services.versions)
    return extraction.taken


def _keep_notes(services: Services, connector: Connector, source: Source) -> None:
    """Keep with the connector what was found out about its store."""
    found = source.notes - set(connector.store_notes)
    if not found:
        return
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        services.connectors.note_store(conn, connector, found)
    for note in sorted(found):
        logger.warning("%s: %s", connector.location, note_of(note).message)


class _Extraction:
    """The loop of one run: it claims objects, gives them to the threads, stores outcomes."""

    def __init__(
        self,
        services: Services,
        connector: Connector,
        held: Lease,
        backlog: Backlog,
        batching: Batching,
    ) -> None:
        self.taken = 0
        self.room = TextRoom(batching.extract_characters)
        self._services = services
        self._connector = connector
        self._held = held
        self._backlog = backlog
        self._batching = batching
        self._running: dict[Future[_Outcome], int] = {}
        self._outcomes: list[_Outcome] = []
        self._flushed_at = time.monotonic()

    def claim(self) -> list[ClaimedObject]:
        most = self._held.claimable(self._batching.extract_objects, self.taken)
        if most == 0:
            return []
        with self._held.claiming() as may_claim, self._services.database.transaction() as conn:
            if not may_claim:
                return []
            claimed = self._services.ledger.claim_pending(
                conn,
                self._connector.id,
                self._held.run,
                generation=self._connector.generation,
                limit=most,
                extractor=self._services.extractor_version,
                busy=self._busy(),
            )
        self.taken += len(claimed)
        return claimed

    def drain(
        self, threads: ThreadPoolExecutor, extractor: _Extractor, claimed: list[ClaimedObject]
    ) -> None:
        while True:
            # Each in a copy of the context, so that log records made in the thread
            # carry its fields.
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
                self._held.heartbeat()
            elif not self._backlog.has_room:
                # It holds nothing here, so it sends no heartbeat: only indexing can
                # show that the run's claims are still worked on.
                self._backlog.wait_for_room(_WAIT_SECONDS)
            may_claim = (
                len(self._running) < self._batching.extract_objects and self._backlog.has_room
            )
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
        sizes = self._batching
        flush_after = sizes.starved_flush_seconds if self._backlog.starved else sizes.flush_seconds
        return (
            not self._running
            or len(self._outcomes) >= sizes.extract_objects
            or sum(outcome.characters for outcome in self._outcomes) >= sizes.extract_characters
            or self.room.is_wanted
            or time.monotonic() - self._flushed_at >= flush_after
        )

    def flush(self) -> None:
        if self._outcomes:
            stored = _store(self._services, self._connector, self._held.run, self._outcomes)
            self._backlog.add(stored)
            self.room.give_back(sum(outcome.characters for outcome in self._outcomes))
        self._outcomes = []
        self._flushed_at = time.monotonic()

    def _busy(self) -> Collection[int]:
        return {*self._running.values(), *(outcome.claimed.id for outcome in self._outcomes)}


def _store(
    services: Services, connector: Connector, run: str, outcomes: list[_Outcome]
) -> dict[int, int]:
    """Write the outcomes of objects that the run still holds.

    Returns:
        The lengths of the stored texts, by object.
    """
    stored = write_apart(outcomes, partial(_write, services, connector, run), _refused)
    if any(contradicts for _, contradicts in stored):
        # In a transaction of its own: others lock the connector before its objects.
        distrust_etags(services, connector)
    return dict(ChainMap(*(lengths for lengths, _ in stored)))


def _refused(outcome: _Outcome, error: Exception) -> _Outcome:
    if isinstance(outcome.error, NotStorable):
        raise error
    return _Outcome(outcome.claimed, error=not_storable(error), bytes_fetched=outcome.bytes_fetched)


def _write(
    services: Services, connector: Connector, run: str, outcomes: Sequence[_Outcome]
) -> tuple[dict[int, int], bool]:
    contradicts = False
    tenant_id = connector.tenant_id
    with services.database.transaction(tenant_id=tenant_id) as conn:
        holding = services.ledger.lock_claimed(
            conn, run, [outcome.claimed.id for outcome in outcomes]
        )
        # An object that changed meanwhile, or that another run claimed, is neither
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
            contradicts = services.ledger.store_extracted(conn, run, texts)
        documents: list[DocumentMetadata] = []
        if unchanged:
            documents = services.ledger.store_unchanged(conn, run, unchanged, services.versions)
            services.graph.touch(conn, tenant_id, documents)
        if failures:
            services.graph.remove(
                conn, tenant_id, services.ledger.store_failures(conn, run, failures)
            )
        again, withdrawn = taken_up(
            holding,
            {failure.object_id for failure in failures}
            | {document.object_id for document in documents},
        )
        services.ledger.count_run(
            conn,
            run,
            replace(
                failure_counts(failures),
                again=again,
                # Known bytes whose document is not in the graph are only a text, too.
                extracted=len(texts) + len(unchanged) - len(documents),
                unchanged=len(documents),
                bytes_fetched=sum(outcome.bytes_fetched for outcome in outcomes),
            ),
            withdrawn=withdrawn,
        )
    for outcome in outcomes:
        if outcome.error:
            log_failure("extract", connector.uri(outcome.claimed.key), outcome.error)
    return {text.object_id: len(text.text) for text in texts}, contradicts


@dataclass(frozen=True, slots=True)
class _Extractor:
    """Turns one object of the source into a text. Several threads use it at once."""

    source: Source
    connector: Connector
    sandbox: Sandbox
    folder: Path
    settings: Settings
    version: str
    room: TextRoom
    parsing: BoundedSemaphore
    differing: list[str] = field(default_factory=list)
    """Keys whose tokens differ in the listing and in the answer, for the same version."""

    def extract(self, claimed: ClaimedObject) -> _Outcome:
        """Download and parse one object.

        An :class:`ObjectError` is an outcome. Any other exception ends the run.
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
            version = self._version(claimed, arrived)
            if arrived.sha256 == claimed.content_hash:
                same = UnchangedBytes(claimed.id, version)
                return _Outcome(claimed, unchanged=same, bytes_fetched=fetched)
            text = self._parse(claimed, arrived, version)
            return _Outcome(claimed, text=text, bytes_fetched=fetched)
        except ObjectError as error:
            return _Outcome(claimed, error=error, bytes_fetched=fetched)
        finally:
            target.unlink(missing_ok=True)

    def _version(self, claimed: ClaimedObject, arrived: Fetched) -> KnownVersion:
        """Which version arrived, as a listing has it.

        A token other than the listed one says that the object was overwritten meanwhile,
        or that the store's listing and its answers have different ones. Only the listing
        tells which.
        """
        listed = KnownVersion(claimed.etag, claimed.size, claimed.modified_at)
        if claimed.etag not in {arrived.etag, arrived.md5} and not self._differ_by_nature(
            listed, arrived
        ):
            now = self._listed_now(listed, arrived, claimed.key)
            if now is not None and now.etag == arrived.etag:
                listed = KnownVersion(now.etag, now.size, now.modified_at)
            elif now is not None and now.etag == claimed.etag:
                self.differing.append(claimed.key)
            else:
                # The next scan shows what became of it.
                listed = KnownVersion(arrived.etag, arrived.size, arrived.modified_at)
        return replace(
            listed,
            arrived_etag=arrived.etag if arrived.etag != listed.etag else None,
            etag_is_digest=None if arrived.md5 is None else arrived.md5 == listed.etag,
        )

    def _differ_by_nature(self, listed: KnownVersion, arrived: Fetched) -> bool:
        """Whether the store's listing need not be asked any more, object by object."""
        return len(self.differing) >= _CONVINCED and _alike_but_token(listed, arrived)

    def _listed_now(self, listed: KnownVersion, arrived: Fetched, key: str) -> Entry | None:
        """The object as the store lists it now.

        Where it cannot be asked, because a policy allows no listing but that of the whole
        prefix, the object is taken for what was listed if nothing but the token differs.
        """
        try:
            return self.source.find(key)
        except SourceError as error:
            logger.info("Cannot list %s alone - %s", self.connector.uri(key), error.message)
        if not _alike_but_token(listed, arrived):
            return None
        return Entry(key, listed.etag, listed.size, listed.modified_at)

    def _document(self, claimed: ClaimedObject, arrived: Fetched) -> ExtractedDocument:
        expected = min(arrived.size, self.settings.activekg_max_text_chars)
        with self.parsing:
            self.room.take(expected)
            try:
                parsed = self.sandbox.submit(arrived.path, claimed.key, arrived.content_type)
                document = parsed.result()
            except BaseException:
                self.room.give_back(expected)
                raise
            # What is compressed in its format may have turned out longer.
            self.room.take(len(document.text), instead_of=expected)
            return document

    def _parse(
        self, claimed: ClaimedObject, arrived: Fetched, version: KnownVersion
    ) -> ExtractedText:
        document = self._document(claimed, arrived)
        return ExtractedText(
            object_id=claimed.id,
            version=version,
            content_hash=arrived.sha256,
            text_hash=hashlib.sha256(document.text.encode()).digest(),
            text=document.text,
            title=document.title,
            mime_type=document.mime_type,
            facts=document.facts,
            warnings=kinds_of(document.warnings),
            extractor_version=self.version,
        )


def _alike_but_token(listed: KnownVersion, arrived: Fetched) -> bool:
    moments = (one.modified_at.replace(microsecond=0) for one in (listed, arrived))
    return listed.size == arrived.size and len(set(moments)) == 1
