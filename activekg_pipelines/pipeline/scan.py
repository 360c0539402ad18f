"""Brings the ledger up to date with the source.

A scan lists the source, compares the listing with the ledger, and deletes the objects
that a completed listing did not show.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from contextvars import copy_context
from dataclasses import dataclass, field, replace
from functools import partial
from uuid import UUID

from psycopg.errors import DeadlockDetected

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.batches import write_apart
from activekg_pipelines.deadline import give_up_at, seconds_left
from activekg_pipelines.errors import (
    Archived,
    ConnectorChanged,
    EmptyObject,
    FolderMarker,
    ListingOutOfOrder,
    NotStorable,
    ObjectError,
    SourceError,
    TooLarge,
    UnsupportedType,
)
from activekg_pipelines.extraction import unsupported_by_name
from activekg_pipelines.extraction.clean import clean_value
from activekg_pipelines.ledger import planner
from activekg_pipelines.ledger.run_counts import RunCounts
from activekg_pipelines.ledger.states import ListedObject, Scan, ScanCounts
from activekg_pipelines.ledger.store import PageComparison
from activekg_pipelines.logs import logs_connector
from activekg_pipelines.pipeline.failures import log_failure, not_storable
from activekg_pipelines.pipeline.stop import threads
from activekg_pipelines.services import Services
from activekg_pipelines.sources.source import Entry, Page, Source

logger = logging.getLogger(__name__)

# Documents removed in one transaction. Readers do not wait for it, and after a crash
# little is repeated.
_DELETE_BATCH = 500
# Polls of a source that does not answer back off: this long after its first failure, and
# twice as long after each further one.
_BACKOFF_SECONDS = 60
_MAX_BACKOFF_SECONDS = 3600
# A page that met so many is listed again: the connector may have changed meanwhile.
_DEADLOCKS = 5
# Missing objects that are looked for one by one, where a resumed listing ends.
_LOOKED_FOR = 3
# Archived objects that are asked about one by one, where a listing ends.
_ASKED_IN_A_TICK = 100
_ASKED_IN_A_RUN = 2000
# What that may take: in a tick at least, whatever is left of its budget, and in a run.
_LEAST_ASKING_SECONDS = 5.0
_ASKING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class ScanResult:
    """What a scan did, or the part of it that the budget allowed.

    Attributes:
        counts: what this call found and deleted.
        completed: the listing reached its end; otherwise the next call goes on.
        held_back: deletions that the delete-storm guard holds back.
        left_to_run: a tick cannot list this source; a run takes over the scan.
    """

    counts: ScanCounts
    completed: bool
    held_back: int = 0
    left_to_run: bool = False


def _nothing() -> None:
    """A tick needs no heartbeat: it ends before a claim could expire."""


@logs_connector
def scan_connector(
    services: Services,
    connector: Connector,
    *,
    budget_seconds: float | None,
    from_start: bool = False,
    run: str | None = None,
    found_by: UUID | None = None,
    after_page: Callable[[], None] = _nothing,
) -> ScanResult:
    """Compare the connector's source with the ledger, from where the last call stopped.

    Args:
        budget_seconds: wall time after which it stops between two pages; None for no
            limit.
        from_start: after the rest of a listing that was already under way, list once
            more from the start. A person who asks for a sync now also wants changes in
            the part that was listed before.
        run: Dagster's id of the run that scans; None for a tick. A run that no person
            asked for only continues a listing. When it has used its time slice and
            others wait, it stops as at the end of a budget, and another run goes on.
        found_by: the sync that counts what a tick finds. A run's scan counts for the run.
        after_page: called after each page, as the run's heartbeat.

    Raises:
        ConnectorNotFound: the connector was removed meanwhile.
        SourceError: the source cannot be listed. Nothing was deleted. After a
            transient failure the next call goes on where this one stopped. After any
            other failure it begins again.
    """
    deadline = None if budget_seconds is None else time.monotonic() + budget_seconds
    may_yield = run is not None and not _is_asked_for(services, run)
    from_start = from_start and not may_yield
    scan = _open_scan(services, connector)
    resumed = scan.start_after != ""
    counts = ScanCounts()
    try:
        while True:
            source = services.source(connector)
            if run is None and not source.lists_in_order:
                # The complete listing has to be sorted: the work queue starts a run for it.
                _note_unordered(services, connector)
                return ScanResult(counts, completed=False, left_to_run=True)
            # Closed, so that no connection stays checked out when the budget ends the
            # loop.
            with closing(source.pages(scan.start_after, deadline=deadline)) as pages:
                for page in pages:
                    if not (page.entries or page.is_last or source.lists_in_order):
                        # The listing is still being read, to be sorted.
                        after_page()
                        continue
                    if source.tokens_tell_bytes and page.shares_tokens:
                        connector = distrust_etags(services, connector)
                    compared = _compare(services, connector, scan, page, run, found_by)
                    if compared is None:
                        break
                    scan, connector = compared.scan, compared.connector
                    counts += compared.counts
                    after_page()
                    if page.is_last:
                        check = source if resumed else None
                        taken_up = _ask_about_archived(
                            services,
                            connector,
                            scan,
                            source,
                            deadline=deadline,
                            run=run,
                            found_by=found_by,
                            early=run is not None and not may_yield,
                        )
                        done = _complete(services, connector, scan, after_page, check, run)
                        counts += taken_up + done.counts
                        if not (from_start and resumed):
                            return replace(done, counts=counts)
                        resumed = False
                        break
                    if _must_stop(services, deadline, run if may_yield else None, source):
                        return ScanResult(counts, completed=False)
            # Another process advanced the scan, perhaps of another source by now, or the
            # listing from the start follows.
            connector = services.connector(connector.id)
            scan = _open_scan(services, connector)
    except ConnectorChanged:
        # It says nothing about the source that the connector reads now.
        raise
    except ListingOutOfOrder as error:
        logger.warning("Connector %s: %s", connector.partition_key, error.message)
        return scan_connector(
            services,
            _switch_to_sorting(services, connector, scan),
            budget_seconds=budget_seconds,
            from_start=from_start,
            run=run,
            found_by=found_by,
            after_page=after_page,
        )
    except SourceError as error:
        _record_error(services, connector, scan, error)
        raise


def _check_missing(services: Services, connector: Connector, scan: Scan, source: Source) -> None:
    """Look for what a listing in several parts did not show.

    Within one part disorder shows itself. A part that begins at a key can hide it: keys
    that come later in the source's own order and earlier in that of bytes are in no part.

    Raises:
        ListingOutOfOrder: a missing object is there.
    """
    if not source.lists_in_order:
        return
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        missing = services.ledger.missing_objects(conn, scan, limit=_LOOKED_FOR)
    for key, etag in missing:
        entry = source.find(key, in_order=False)
        if entry is not None and entry.etag == etag:
            raise ListingOutOfOrder(
                f"{connector.uri(key)} is there, and the listing did not show it: the source lists "
                "its keys out of order. A run reads the whole listing and sorts it."
            )


def _note_unordered(services: Services, connector: Connector) -> None:
    if connector.lists_in_order:
        with services.database.transaction(tenant_id=connector.tenant_id) as conn:
            services.connectors.sort_listing(conn, connector.id)


def _switch_to_sorting(services: Services, connector: Connector, scan: Scan) -> Connector:
    """Begin the scan again: so far it has compared keys in the wrong order."""
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        services.ledger.fail_scan(conn, scan)
        services.connectors.sort_listing(conn, connector.id)
        return services.connectors.get(conn, connector.id)


def _record_error(services: Services, connector: Connector, scan: Scan, error: SourceError) -> None:
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        services.connectors.record_error(conn, connector.id, error.code, error.message)
        if not error.retryable:
            services.ledger.fail_scan(conn, scan)
            return
        seconds = planner.backoff_seconds(
            connector.failed_polls + 1,
            base=_BACKOFF_SECONDS,
            cap=_MAX_BACKOFF_SECONDS,
            chance=random.random(),  # noqa: S311 - no secret
        )
        services.connectors.delay_polls(conn, connector.id, seconds=seconds)


def _is_asked_for(services: Services, run: str) -> bool:
    with services.database.transaction() as conn:
        return services.ledger.is_asked_for(conn, run)


def _open_scan(services: Services, connector: Connector) -> Scan:
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        return services.ledger.open_scan(
            conn, connector.id, connector.tenant_id, generation=connector.generation
        )


def _must_stop(services: Services, deadline: float | None, run: str | None, source: Source) -> bool:
    if deadline is not None and time.monotonic() >= deadline:
        return True
    # A sorted listing is not given up half-way: the next run would have to read all of it
    # again.
    if run is None or not source.lists_in_order:
        return False
    with services.database.transaction() as conn:
        return services.ledger.must_yield(conn, run)


@dataclass(slots=True)
class _Compared:
    """What the parts of a page that are compared so far came to.

    Attributes:
        scan: advanced past them.
        connector: as it is known after them.
        left_out: keys of which the ledger keeps the row that it has, if it has one.
        ended: the part that is the end of the listing is among them.
        overtaken: another process has advanced the scan, or one part could not be
            compared. A part after that must not be: the ledger would take the keys
            before it for gone.
    """

    scan: Scan
    connector: Connector
    counts: ScanCounts = field(default_factory=ScanCounts)
    due: set[str] = field(default_factory=set)
    over_limit: set[str] = field(default_factory=set)
    left_out: list[str] = field(default_factory=list)
    ended: bool = False
    overtaken: bool = False


def _compare(
    services: Services,
    connector: Connector,
    scan: Scan,
    page: Page,
    run: str | None,
    found_by: UUID | None,
) -> _Compared | None:
    """Compare a page with the ledger, in parts where the database refuses one of its rows.

    Returns:
        None when another process has advanced the scan meanwhile.
    """
    if connector.failed_polls:
        with services.database.transaction(tenant_id=connector.tenant_id) as conn:
            services.connectors.resume_polls(conn, connector.id)
    listed = [_listed(entry, services.settings.activekg_max_file_bytes) for entry in page.entries]
    compared = _Compared(scan, connector)
    last = listed[-1].key if listed else ""

    def write(part: Sequence[ListedObject]) -> None:
        if compared.overtaken:
            return
        ends = page.is_last and (part[-1].key if part else last) == last
        found = _past_deadlocks(
            partial(
                _apply,
                services,
                connector,
                compared.scan,
                part,
                left_out=compared.left_out,
                is_last=ends,
                run=run,
                found_by=found_by,
            )
        )
        if found is None:
            compared.overtaken = True
            return
        if part:
            compared.scan = replace(compared.scan, start_after=part[-1].key)
        compared.counts += found.counts
        compared.due |= found.due
        compared.over_limit |= found.over_limit
        if found.contradicts:
            compared.connector = distrust_etags(services, connector)
        compared.ended = ends

    def refused(entry: ListedObject, error: Exception) -> ListedObject | None:
        instead = _refused(connector, entry, error)
        # A key that the database cannot hold has no row.
        if instead is None and clean_value(entry.key) == entry.key:
            compared.left_out.append(entry.key)
        return instead

    write_apart(listed, write, refused)
    if page.is_last and not compared.ended:
        # The last entry was left out, and what comes after it still counts.
        write([])
    if compared.overtaken:
        return None
    if logger.isEnabledFor(logging.DEBUG):
        _log_unchanged(connector, page.entries, compared)
    return compared


def _refused(connector: Connector, entry: ListedObject, error: Exception) -> ListedObject | None:
    """A listed object of which the database refuses the row: skipped, or else left out."""
    uri = connector.uri(entry.key)
    if isinstance(entry.skip, NotStorable):
        logger.error("The ledger cannot hold %s, which is left out.", uri, extra={"object": uri})
        return None
    reason = not_storable(error)
    log_failure("list", uri, reason)
    return replace(entry, skip=reason)


def _past_deadlocks(apply: Callable[[], PageComparison | None]) -> PageComparison | None:
    for _ in range(_DEADLOCKS):
        try:
            return apply()
        except DeadlockDetected:
            # A run locked the same objects in another order, and Postgres chose this
            # transaction as the victim: the page is compared again.
            continue
    return None


def _apply(
    services: Services,
    connector: Connector,
    scan: Scan,
    listed: Sequence[ListedObject],
    *,
    left_out: Sequence[str],
    is_last: bool,
    run: str | None,
    found_by: UUID | None,
) -> PageComparison | None:
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        compared = services.ledger.compare_page(
            conn,
            scan,
            listed,
            left_out=left_out,
            is_last=is_last,
            distrusted=not connector.trusts_etags,
            run=run,
            found_by=found_by,
        )
        if compared is not None and compared.now_skipped:
            gone = services.ledger.detach_documents(conn, compared.now_skipped)
            services.graph.remove(conn, connector.tenant_id, gone)
        if compared is not None and run is not None:
            services.ledger.count_run(conn, run, RunCounts.of_scan(compared.counts))
        elif compared is not None:
            services.ledger.count_objects(conn, connector.id, "skipped", compared.counts.skipped)
    return compared


def _complete(
    services: Services,
    connector: Connector,
    scan: Scan,
    after_batch: Callable[[], None],
    check: Source | None,
    run: str | None,
) -> ScanResult:
    if check is not None:
        _check_missing(services, connector, scan, check)
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        held_back = services.ledger.deletions_held_back(
            conn,
            scan,
            share=services.delete_guard_share(connector),
            min_objects=services.settings.activekg_delete_guard_min_objects,
        )
    counts = (
        ScanCounts() if held_back else _delete_missing(services, connector, scan, after_batch, run)
    )
    if held_back:
        logger.warning(
            "%d of the documents of connector %s are gone from the bucket. Nothing was deleted: "
            "confirm the deletions, or correct bucket and prefix.",
            held_back,
            connector.partition_key,
        )
    with services.database.transaction() as conn:
        services.ledger.requeue_outdated(conn, connector.id, services.versions)
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        totals = services.ledger.complete_scan(conn, scan, held_back=held_back)
    if totals is not None and totals.over_limit:
        logger.warning(
            "%d new objects of connector %s were not taken in, because it holds as many as its "
            "tenant may have. They are taken in when the operator raises the limit, or when "
            "others are gone from the bucket.",
            totals.over_limit,
            connector.partition_key,
        )
    return ScanResult(counts, completed=True, held_back=held_back)


def _delete_missing(
    services: Services,
    connector: Connector,
    scan: Scan,
    after_batch: Callable[[], None],
    run: str | None,
) -> ScanCounts:
    deleted = 0
    while True:
        with services.database.transaction(tenant_id=connector.tenant_id) as conn:
            batch, documents = services.ledger.delete_missing(conn, scan, limit=_DELETE_BATCH)
            services.graph.remove(conn, connector.tenant_id, documents)
            if batch == 0:
                services.graph.purge_released(conn)
                return ScanCounts(deleted=deleted)
            if run is not None:
                services.ledger.count_run(conn, run, RunCounts(deleted=batch))
            services.ledger.count_objects(conn, connector.id, "deleted", batch)
        deleted += batch
        after_batch()


def distrust_etags(services: Services, connector: Connector) -> Connector:
    """Compare sizes and times from now on, too: an ETag was seen over other bytes."""
    if not connector.trusts_etags:
        return connector
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        is_news = services.connectors.distrust_etags(conn, connector.id)
    if is_news:
        logger.warning(
            "The ETags of connector %s do not change with the bytes: sizes and times are "
            "compared from now on, too.",
            connector.partition_key,
        )
    return replace(connector, trusts_etags=False)


def _ask_about_archived(
    services: Services,
    connector: Connector,
    scan: Scan,
    source: Source,
    *,
    deadline: float | None,
    run: str | None,
    found_by: UUID | None,
    early: bool,
) -> ScanCounts:
    """Ask the source about archived objects of which its listing tells nothing.

    Args:
        early: also about those that were asked about a short time ago.

    Returns:
        Those that are taken up, as changed.
    """
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        asked = services.ledger.archived_objects(
            conn,
            connector.id,
            early=early,
            limit=_ASKED_IN_A_RUN if deadline is None else _ASKED_IN_A_TICK,
        )
    if not asked:
        return ScanCounts()

    def is_readable(key: str) -> bool | None:
        if seconds_left(1.0) <= 0:
            return None
        try:
            return not source.is_archived(key)
        except (ObjectError, SourceError) as error:
            # It stays as it is, and is asked about again.
            logger.info("Still archived: %s - %s", connector.uri(key), error.message)
            return False

    seconds = _ASKING_SECONDS if deadline is None else _LEAST_ASKING_SECONDS
    with (
        give_up_at(max(deadline or 0.0, time.monotonic() + seconds)),
        threads(services.settings.activekg_download_threads, name="archive") as pool,
    ):
        # Each in a copy of the context, which holds the deadline and the fields of the log.
        answers = [pool.submit(copy_context().run, is_readable, key) for _, key in asked]
    readable = {
        id_: said
        for (id_, _), answer in zip(asked, answers, strict=True)
        if (said := answer.result()) is not None
    }
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        taken = services.ledger.settle_archived(conn, scan, readable, run=run, found_by=found_by)
        counts = ScanCounts(changed=taken, due=taken)
        if run is not None and taken:
            services.ledger.count_run(conn, run, RunCounts.of_scan(counts))
    return counts


def _listed(entry: Entry, max_bytes: int) -> ListedObject:
    return ListedObject(
        entry.key,
        entry.etag,
        entry.size,
        entry.modified_at,
        needs_no_download(entry, max_bytes),
        entry.archived,
    )


def needs_no_download(entry: Entry, max_bytes: int) -> ObjectError | None:
    """Why an entry needs no download: the listing says enough; None if it does."""
    if entry.size == 0 and entry.key.endswith("/"):
        return FolderMarker()
    if entry.size == 0:
        return EmptyObject("The object is empty (0 bytes).")
    if reason := unsupported_by_name(entry.key):
        return UnsupportedType(reason)
    if entry.size > max_bytes:
        return TooLarge(
            f"The object is larger than ACTIVEKG_MAX_FILE_BYTES allows: {entry.size:,} bytes, "
            f"limit {max_bytes:,}."
        )
    if entry.archived:
        return Archived()
    return None


def _log_unchanged(connector: Connector, entries: Iterable[Entry], compared: _Compared) -> None:
    for entry in entries:
        if entry.key not in compared.due and entry.key not in compared.over_limit:
            uri = connector.uri(entry.key)
            logger.debug("Skipping %s - ETag unchanged", uri, extra={"object": uri})
