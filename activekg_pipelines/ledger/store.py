"""The ledger in Postgres: every object ever listed, its claim and its state.

All SQL lies in queries.sql.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, LiteralString, Protocol, TypeVar
from uuid import UUID

from psycopg import Connection
from psycopg.errors import ForeignKeyViolation
from psycopg.rows import TupleRow, class_row

from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.errors import ConnectorChanged, ConnectorRemoved, RunCancelled
from activekg_pipelines.extraction.warnings import TEXT_IS_MISSING
from activekg_pipelines.ledger import planner, retention
from activekg_pipelines.ledger.counters import RUN_BUCKETS, Counter, Increments, histogram_label
from activekg_pipelines.ledger.reconsidered import EXTRACTOR_CODES, refused_by_name
from activekg_pipelines.ledger.run_counts import SQL_PARTS, RunCounts, increments
from activekg_pipelines.ledger.states import (
    ClaimedObject,
    ClaimedText,
    DocumentMetadata,
    ExtractedText,
    FailedObject,
    HeldObject,
    IndexedDocument,
    ListedObject,
    Mode,
    RunRequest,
    Scan,
    ScanCounts,
    Trigger,
    UnchangedBytes,
    Versions,
    Work,
)

_SQL = load_queries(Path(__file__).with_name("queries.sql"), SQL_PARTS)
_RUN_BUCKETS = {
    "buckets": list(RUN_BUCKETS[:-1]),
    "bucket_labels": [histogram_label(bound) for bound in RUN_BUCKETS],
}
Row = TypeVar("Row")

# Dagster is asked about so many syncs at once. The others wait longer anyway.
_MOST_ASKED = 500
_NOTHING = RunCounts()
_RUN_BACKOFF = planner.backoff_table(base=30.0, cap=3600.0)
# A full queue is no reason to queue more. Dagster is asked again after two minutes, after
# four, and so on, up to 17 hours.
_EMISSION_BACKOFF = planner.backoff_table(base=120.0, cap=120.0 * 2**9)


class Launched(Protocol):
    """What is known of a sync that has not begun; see the orchestrator's ``Launch``."""

    @property
    def waits_for(self) -> str | None:
        """What keeps it from beginning."""

    @property
    def error(self) -> str | None:
        """Why it could not be started."""

    @property
    def cancelled(self) -> bool:
        """Somebody cancelled it."""


@dataclass(frozen=True, slots=True)
class PageComparison:
    """What one page of a listing changed in the ledger.

    Attributes:
        counts: objects listed, added, changed, missing.
        due: keys that are new or changed.
        over_limit: keys that are new and beyond the tenant's limit; the ledger does not
            know them.
        now_skipped: ledger rows whose new version needs no download, but whose document
            the graph still holds.
    """

    counts: ScanCounts
    due: frozenset[str]
    over_limit: frozenset[str]
    now_skipped: Sequence[int]


@dataclass(frozen=True, slots=True)
class TenantBounds:
    """What one tenant may take of the installation; 0 means no limit.

    An operator may set other limits of objects and bytes for a tenant.

    Attributes:
        objects: of one connector. A scan takes in no new ones beyond that.
        bytes_per_day: downloaded on a day in UTC, by the database's clock.
        runs: that Dagster is asked for at once.
        concurrent_runs: of all tenants, under way at once.
        time_slice_seconds: how long a run goes on while a tenant with fewer runs waits
            for one.
    """

    objects: int
    bytes_per_day: int
    runs: int
    concurrent_runs: int
    time_slice_seconds: float


class Ledger:
    """Reads and writes the ledger.

    Every method runs in the caller's transaction, so that the graph and the ledger
    change together.

    Args:
        lease_seconds: how long a claim holds without being renewed.
        bounds: of every tenant.
        unsupported_extensions: extensions, in lower case and without the dot, that this
            version's extractor refuses whatever the object holds.
    """

    def __init__(
        self, *, lease_seconds: int, bounds: TenantBounds, unsupported_extensions: Iterable[str]
    ) -> None:
        self._lease = lease_seconds
        self._bounds = bounds
        self._refused_by_name = refused_by_name(unsupported_extensions)

    # Scans

    def open_scan(
        self,
        conn: Connection[TupleRow],
        connector_id: UUID,
        tenant_id: str,
        *,
        generation: int,
    ) -> Scan:
        """The connector's scan under way, or a new one from the first key.

        Args:
            generation: the connector's, as the caller read it with its source.

        Raises:
            ConnectorChanged: the connector reads another source by now, or was removed.
        """
        parameters = {
            "connector_id": connector_id,
            "tenant_id": tenant_id,
            "generation": generation,
        }
        while True:
            try:
                row = conn.execute(_SQL["open_scan"], parameters).fetchone()
            except ForeignKeyViolation:
                # The connector was removed between this statement's snapshot and its insert.
                raise ConnectorChanged from None
            # Nothing comes back when another process opened it between this statement's
            # snapshot and its insert. The next statement sees it.
            if row is not None and not row[2]:
                raise ConnectorChanged
            if row is not None:
                return Scan(row[0], connector_id, tenant_id, row[1])

    def compare_page(
        self,
        conn: Connection[TupleRow],
        scan: Scan,
        page: Sequence[ListedObject],
        *,
        is_last: bool,
        left_out: Sequence[str] = (),
        run: str | None = None,
        found_by: UUID | None = None,
    ) -> PageComparison | None:
        """Compare a page of the listing with the ledger, and advance the scan past it.

        Args:
            scan: as last read or returned.
            page: entries after ``scan.start_after``, ascending by key.
            is_last: nothing follows the page. Later rows of the ledger are missing from
                the source.
            left_out: keys that are listed and not in the page: their rows stay.
            run: Dagster's id of the run that scans. What is new or changed counts as found
                by its sync.
            found_by: that sync, where no run scans.

        Returns:
            None when another process has advanced the scan meanwhile. Nothing was
            written, and the caller reads the scan again.
        """
        upto = page[-1].key if page else scan.start_after
        moved = conn.execute(
            _SQL["advance_scan"],
            {
                "scan_id": scan.id,
                "start_after": scan.start_after,
                "upto": upto,
                "listed": len(page),
            },
        ).fetchone()
        if moved is None:
            return None
        row = _one(
            conn,
            "compare_page",
            {
                "connector_id": scan.connector_id,
                "tenant_id": scan.tenant_id,
                "scan_id": scan.id,
                "start_after": scan.start_after,
                "upto": upto,
                "is_last": is_last,
                "run": run,
                "found_by": found_by,
                "left_out": list(left_out),
                "keys": [entry.key for entry in page],
                "etags": [entry.etag for entry in page],
                "sizes": [entry.size for entry in page],
                "modified": [entry.modified_at for entry in page],
                "skip_codes": [entry.skip.code if entry.skip else None for entry in page],
                "skip_messages": [entry.skip.message if entry.skip else None for entry in page],
                "max_objects": self._bounds.objects,
            },
        )
        over_limit = frozenset(row[5] or ())
        counts = ScanCounts(
            listed=len(page),
            added=row[0],
            changed=row[1],
            missing=row[2],
            due=row[3],
            over_limit=len(over_limit),
        )
        if counts.added or counts.changed or counts.missing:
            conn.execute(_SQL["count_scan"], {"scan_id": scan.id, **asdict(counts)})
        return PageComparison(counts, frozenset(row[4] or ()), over_limit, row[6] or ())

    def deletions_held_back(
        self, conn: Connection[TupleRow], scan: Scan, *, share: float, min_objects: int
    ) -> int:
        """How many deletions of a completed listing the delete-storm guard holds back.

        0 when they may go on. ``share`` and ``min_objects`` are as for
        :func:`planner.deletions_held_back`.
        """
        missing, known, confirmed = _one(
            conn,
            "weigh_deletions",
            {"connector_id": scan.connector_id, "min_objects": min_objects},
        )
        held_back = planner.deletions_held_back(
            missing, known, share=share, min_objects=min_objects, confirmed=confirmed
        )
        return int(missing) if held_back else 0

    def missing_objects(
        self, conn: Connection[TupleRow], scan: Scan, *, limit: int
    ) -> list[tuple[str, str]]:
        """Key and ETag of the first objects that the listing did not show."""
        parameters = {"connector_id": scan.connector_id, "scan_id": scan.id, "limit": limit}
        return [(row[0], row[1]) for row in conn.execute(_SQL["missing_objects"], parameters)]

    def delete_missing(
        self, conn: Connection[TupleRow], scan: Scan, *, limit: int
    ) -> tuple[int, list[UUID]]:
        """Mark up to ``limit`` objects deleted that the completed listing did not see.

        Returns:
            How many, and the documents that the caller removes from the graph in the
            same transaction.
        """
        rows = conn.execute(
            _SQL["delete_missing"],
            {"connector_id": scan.connector_id, "scan_id": scan.id, "limit": limit},
        ).fetchall()
        if rows:
            conn.execute(_SQL["count_deleted"], {"scan_id": scan.id, "deleted": len(rows)})
        return len(rows), [row[0] for row in rows if row[0] is not None]

    def complete_scan(
        self, conn: Connection[TupleRow], scan: Scan, *, held_back: int
    ) -> ScanCounts | None:
        """Close a scan whose listing reached the end.

        Returns:
            The whole scan's counts; None when another process has closed it.
        """
        row = conn.execute(
            _SQL["complete_scan"], {"scan_id": scan.id, "held_back": held_back}
        ).fetchone()
        retention.purge_history(conn, scan.connector_id)
        if row is None:
            return None
        listed, added, changed, missing, deleted, over_limit = row
        return ScanCounts(listed, added, changed, missing, deleted, over_limit=over_limit)

    def fail_scan(self, conn: Connection[TupleRow], scan: Scan) -> None:
        """Close a scan as failed; nothing is deleted for it."""
        conn.execute(_SQL["fail_scan"], {"scan_id": scan.id})

    def requeue_outdated(
        self,
        conn: Connection[TupleRow],
        connector_id: UUID,
        versions: Versions,
        *,
        thorough: bool = False,
    ) -> int:
        """Make outdated objects due, and those that an older extractor refused.

        An object is outdated if an older extractor, chunker or model made its text or
        vectors.

        Args:
            versions: the current ones.
            thorough: also search where a search with these versions was made before. A
                killed run of older versions may have written rows without noting them.

        Returns:
            How many.
        """
        parameters = {
            "connector_id": connector_id,
            "thorough": thorough,
            "extractor_codes": EXTRACTOR_CODES,
            "refused_by_name": self._refused_by_name,
            "versions": versions.label,
            **asdict(versions),
        }
        return int(_one(conn, "requeue_outdated", parameters)[0])

    def note_versions(
        self, conn: Connection[TupleRow], connector_id: UUID, versions: Versions
    ) -> None:
        """Record the versions with which a step wrote, when it is done."""
        conn.execute(
            _SQL["note_versions"], {"connector_id": connector_id, "versions": versions.label}
        )

    # Claims

    def claim_pending(
        self,
        conn: Connection[TupleRow],
        connector_id: UUID,
        run: str,
        *,
        generation: int,
        limit: int,
        extractor: str,
        busy: Collection[int] = (),
    ) -> list[ClaimedObject]:
        """Lease up to ``limit`` objects whose text has to be extracted.

        It leases none where the connector changed meanwhile, where the tenant's bytes
        of the day are used up, or where the run has to yield to others.

        Args:
            run: Dagster's run id, which holds the leases.
            generation: the connector's, as the caller read it with its source.
            limit: objects at most.
            extractor: version whose stored texts count.
            busy: objects that the run still works on. One that changed meanwhile is due
                again. If it were leased to the same run twice, the old version's
                outcome would be taken for the new one's.
        """
        return _fetch(
            conn,
            ClaimedObject,
            "claim_pending",
            {
                "connector_id": connector_id,
                "generation": generation,
                "run": run,
                "limit": limit,
                "extractor": extractor,
                "busy": list(busy),
                "lease": self._lease,
                "bytes_per_day": self._bounds.bytes_per_day,
                **self._time_slice(),
            },
        )

    def claim_extracted(
        self,
        conn: Connection[TupleRow],
        connector_id: UUID,
        run: str,
        *,
        generation: int,
        limit: int,
        characters: int,
    ) -> list[ClaimedText]:
        """Lease stored texts that have to be indexed.

        Args:
            run: Dagster's run id, which holds the leases.
            generation: as for :meth:`claim_pending`.
            limit: texts at most.
            characters: of all of them together, about.
        """
        return _fetch(
            conn,
            ClaimedText,
            "claim_extracted",
            {
                "connector_id": connector_id,
                "generation": generation,
                "run": run,
                "limit": limit,
                "characters": characters,
                "lease": self._lease,
                **self._time_slice(),
            },
        )

    def renew_claims(self, conn: Connection[TupleRow], run: str) -> None:
        """Hold the run's leases for another period."""
        conn.execute(_SQL["renew_claims"], {"run": run, "lease": self._lease})

    def release_claims(self, conn: Connection[TupleRow], run: str) -> None:
        """Give back what the run still holds."""
        conn.execute(_SQL["release_claims"], {"run": run})

    # Outcomes

    def store_extracted(
        self, conn: Connection[TupleRow], run: str, texts: Sequence[ExtractedText]
    ) -> int:
        """Store texts whose objects the run still holds; returns how many those are."""
        return int(
            _one(
                conn,
                "store_extracted",
                {
                    "run": run,
                    "ids": [text.object_id for text in texts],
                    "etags": [text.etag for text in texts],
                    "sizes": [text.size for text in texts],
                    "modified": [text.modified_at for text in texts],
                    "content_hashes": [text.content_hash for text in texts],
                    "text_hashes": [text.text_hash for text in texts],
                    "texts": [text.text for text in texts],
                    "titles": [text.title for text in texts],
                    "mime_types": [text.mime_type for text in texts],
                    "facts": [json.dumps(text.facts) for text in texts],
                    # Kinds are words. Postgres takes no lists of different lengths.
                    "warnings": [" ".join(text.warnings) for text in texts],
                    "versions": [text.extractor_version for text in texts],
                },
            )[0]
        )

    def store_unchanged(
        self,
        conn: Connection[TupleRow],
        run: str,
        objects: Sequence[UnchangedBytes],
        versions: Versions,
    ) -> list[DocumentMetadata]:
        """Record new ETags over known bytes.

        Returns:
            The documents whose metadata the caller updates in the same transaction.
        """
        rows = conn.execute(
            _SQL["store_unchanged"],
            {
                "run": run,
                "ids": [entry.object_id for entry in objects],
                "etags": [entry.etag for entry in objects],
                "sizes": [entry.size for entry in objects],
                "modified": [entry.modified_at for entry in objects],
                "chunker": versions.chunker,
                "encoder": versions.encoder,
            },
        )
        return [DocumentMetadata(*row) for row in rows]

    def store_failures(
        self, conn: Connection[TupleRow], run: str, failures: Sequence[FailedObject]
    ) -> list[UUID]:
        """Record failures of objects that the run still holds.

        Returns:
            The documents that the caller removes in the same transaction.
        """
        rows = conn.execute(
            _SQL["store_failures"],
            {
                "run": run,
                "ids": [failure.object_id for failure in failures],
                "states": [failure.state.value for failure in failures],
                "codes": [failure.error.code for failure in failures],
                "messages": [failure.error.message for failure in failures],
                "delays": [failure.retry_in for failure in failures],
                "forget": [planner.removes_document(failure) for failure in failures],
                "of_parser": [failure.error.of_parser for failure in failures],
            },
        )
        return [document_id for _, document_id in rows if document_id is not None]

    def lock_claimed(
        self, conn: Connection[TupleRow], run: str, ids: Sequence[int]
    ) -> dict[int, HeldObject]:
        """The objects whose lease the run still holds, by id; locked for this transaction."""
        held = _fetch(conn, HeldObject, "lock_claimed", {"run": run, "ids": list(ids)})
        return {one.id: one for one in held}

    def store_indexed(
        self, conn: Connection[TupleRow], documents: Sequence[IndexedDocument], versions: Versions
    ) -> list[float]:
        """Record documents that the same transaction swapped into the graph.

        Returns:
            Seconds from detection to searchable, of those for which that says something
            about the queue.
        """
        rows = conn.execute(
            _SQL["store_indexed"],
            {
                "ids": [document.object_id for document in documents],
                "document_ids": [document.document_id for document in documents],
                "chunks": [document.chunks for document in documents],
                "chunker": versions.chunker,
                "encoder": versions.encoder,
            },
        )
        return [seconds for (seconds,) in rows if seconds is not None]

    def detach_documents(self, conn: Connection[TupleRow], ids: Sequence[int]) -> list[UUID]:
        """Record that the graph holds no document of these objects.

        Returns:
            The documents that the caller removes in the same transaction.
        """
        rows = conn.execute(_SQL["detach_documents"], {"ids": list(ids)})
        return [document_id for (document_id,) in rows if document_id is not None]

    def count_run(
        self,
        conn: Connection[TupleRow],
        run: str,
        counts: RunCounts,
        *,
        withdrawn: RunCounts = _NOTHING,
        latencies: Sequence[float] = (),
    ) -> None:
        """Add counts to a run and to its tenant's counters.

        The last statement of the transaction that did the work.

        Args:
            run: Dagster's run id.
            counts: of this part of the run.
            withdrawn: what the run counted before and no longer holds. The tenant's
                counters keep it: it happened.
            latencies: seconds, as :meth:`store_indexed` returns them.
        """
        remaining = counts.without(withdrawn)
        conn.execute(
            _SQL["count_run"],
            {
                "run": run,
                "errors": json.dumps(remaining.errors),
                **remaining.values(),
                **_columns(increments(counts, latencies)),
            },
        )

    def count_objects(
        self, conn: Connection[TupleRow], connector_id: UUID, status: str, objects: int
    ) -> None:
        """Count objects that a scan settled by itself.

        The last statement of the transaction that did so.
        """
        if objects:
            columns = _columns({(Counter.ITEMS, status): objects})
            conn.execute(_SQL["count_objects"], {"connector_id": connector_id, **columns})

    # Runs

    def work(
        self,
        conn: Connection[TupleRow],
        *,
        max_objects: int,
        cap: int,
        scan_idle_seconds: float,
        lost_after_seconds: float,
    ) -> list[Work]:
        """Connectors that need a run.

        One statement, which writes nothing when nothing happened.

        Args:
            max_objects: objects that one run takes at most.
            cap: runs that a connector may have at once.
            scan_idle_seconds: a scan without progress for so long needs a run.
            lost_after_seconds: a run without a heartbeat for so long is closed.
        """
        rows = conn.execute(
            _SQL["work"],
            {
                "most": max_objects * cap,
                "cap": cap,
                "scan_idle": scan_idle_seconds,
                "heartbeat_timeout": lost_after_seconds,
                "bytes_per_day": self._bounds.bytes_per_day,
                **_RUN_BUCKETS,
            },
        ).fetchall()
        return [
            Work(
                connector_id,
                tenant_id,
                partition_key,
                due,
                live,
                Trigger(scan) if scan else None,
                Trigger.RETRY if only_retries else Trigger.PENDING,
            )
            for connector_id, tenant_id, partition_key, due, live, scan, only_retries in rows
        ]

    def request_run(
        self,
        conn: Connection[TupleRow],
        connector_id: UUID,
        tenant_id: str,
        trigger: Trigger,
        *,
        with_scan: bool,
    ) -> UUID:
        """Ask for a run; :meth:`runs_to_emit` hands it to Dagster."""
        parameters = {
            "connector_id": connector_id,
            "tenant_id": tenant_id,
            "trigger": trigger,
            "with_scan": with_scan,
        }
        return UUID(str(_one(conn, "request_run", parameters)[0]))

    def record_poll(
        self,
        conn: Connection[TupleRow],
        connector_id: UUID,
        tenant_id: str,
        counts: ScanCounts,
        *,
        sync_id: UUID,
        needs_run: bool,
        lists: bool = False,
    ) -> None:
        """Put what a tick's scan found into the history.

        Args:
            sync_id: of the row; what the scan found has it.
            needs_run: ask for a run that takes up what was found.
            lists: the run goes on with the connector's first listing.
        """
        conn.execute(
            _SQL["record_poll"],
            {
                "connector_id": connector_id,
                "tenant_id": tenant_id,
                "sync_id": sync_id,
                "needs_run": needs_run,
                "lists": lists,
                "bytes_per_day": self._bounds.bytes_per_day,
                **RunCounts.of_scan(counts).values(),
            },
        )

    def request_manual_run(
        self,
        conn: Connection[TupleRow],
        connector_id: UUID,
        tenant_id: str,
        *,
        mode: Mode = Mode.CHANGED,
    ) -> UUID:
        """Ask for a sync now, or join a request that waits already; returns its id."""
        parameters = {"connector_id": connector_id, "tenant_id": tenant_id, "mode": mode}
        return UUID(str(_one(conn, "request_manual_run", parameters)[0]))

    def runs_to_emit(
        self, conn: Connection[TupleRow], connector_id: UUID | None = None
    ) -> list[RunRequest]:
        """Requests to hand to Dagster now, each marked as handed over.

        Of each tenant no more than its share.

        Args:
            connector_id: only this connector's; None for all.
        """
        rows = conn.execute(
            _SQL["runs_to_emit"],
            {
                "connector_id": connector_id,
                "runs_per_tenant": self._bounds.runs,
                "backoff": _EMISSION_BACKOFF,
            },
        ).fetchall()
        return [
            RunRequest(
                id_,
                connector,
                tenant,
                key,
                Trigger(trigger),
                with_scan,
                Mode(mode),
                emission,
                ahead,
            )
            for id_, connector, tenant, key, trigger, with_scan, mode, emission, ahead in rows
        ]

    def start_run(
        self,
        conn: Connection[TupleRow],
        connector_id: UUID,
        tenant_id: str,
        run: str,
        *,
        request_id: UUID | None,
        parent_run: str | None,
        with_scan: bool,
        mode: Mode,
        keep_texts: bool = False,
    ) -> UUID | None:
        """Bind a Dagster run to the request that it answers, and apply its mode once.

        Args:
            run: Dagster's run id.
            request_id: the request, when this package asked for the run.
            parent_run: the Dagster run that this one retries.
            with_scan: the run lists the source.
            mode: which objects it makes due beside those that are.
            keep_texts: with mode ``all``: only objects that have a text are made due, and
                they are indexed again, not extracted again.

        Returns:
            The id of the run's row; None when another run answers the request already:
            this one has nothing to do.
        """
        row = conn.execute(
            _SQL["start_run"],
            {
                "connector_id": connector_id,
                "tenant_id": tenant_id,
                "run": run,
                "request_id": request_id,
                "parent_run": parent_run,
                "with_scan": with_scan,
                "mode": mode,
            },
        ).fetchone()
        if row is None:
            return None
        if mode is not Mode.CHANGED:
            parameters = {
                "run": run,
                "mode": mode,
                "keep_texts": keep_texts,
                "refused_by_name": self._refused_by_name,
            }
            conn.execute(_SQL["reset_for_mode"], parameters)
        return UUID(str(row[0]))

    def is_asked_for(self, conn: Connection[TupleRow], run: str) -> bool:
        """Whether a person started the run, here or in Dagster."""
        return bool(_one(conn, "is_asked_for", {"run": run})[0])

    def must_yield(self, conn: Connection[TupleRow], run: str) -> bool:
        """Whether the run has used its time slice, and a tenant with fewer runs waits."""
        return bool(_one(conn, "must_yield", {"run": run, **self._time_slice()})[0])

    def who_cancelled(
        self,
        conn: Connection[TupleRow],
        run: str,
        *,
        request_id: UUID | None,
        parent_run: str | None,
        is_retry: bool,
    ) -> str | None:
        """Who asked for the end of a run before it began; None for nobody.

        Args:
            run, request_id, parent_run: as for :meth:`start_run`.
            is_retry: Dagster started the run by itself in place of its parent.
        """
        parameters = {
            "run": run,
            "request_id": request_id,
            "parent_run": parent_run,
            "is_retry": is_retry,
        }
        row = conn.execute(_SQL["who_cancelled"], parameters).fetchone()
        return str(row[0]) if row else None

    def check_run(self, conn: Connection[TupleRow], run: str) -> None:
        """Make sure that nobody asked for the end of a run that is under way.

        Raises:
            RunCancelled: somebody did, or the connector was removed.
        """
        row = conn.execute(_SQL["why_stop"], {"run": run}).fetchone()
        if row is None:
            raise ConnectorRemoved
        if row[0] is not None:
            raise RunCancelled.by(row[0])

    def cancel_runs(
        self,
        conn: Connection[TupleRow],
        connector_id: UUID,
        *,
        by: str,
        sync_id: UUID | None = None,
        run: str | None = None,
    ) -> list[UUID]:
        """End syncs of a connector that wait, and ask those that run to end.

        Runs look for that each second. The rest of the connector's work waits for the
        next poll, or for a sync that somebody asks for.

        Args:
            by: who asks, as people will read it.
            sync_id: only this sync; None for all.
            run: only that of this Dagster run; None for all.

        Returns:
            The ids of those that end.
        """
        parameters = {"connector_id": connector_id, "by": by, "id": sync_id, "run": run}
        return [row[0] for row in conn.execute(_SQL["cancel_runs"], parameters)]

    def syncs_at_dagster(self, conn: Connection[TupleRow]) -> list[UUID]:
        """Ids of syncs that Dagster was asked for and that have not begun, oldest first."""
        return [row[0] for row in conn.execute(_SQL["syncs_at_dagster"], {"limit": _MOST_ASKED})]

    def record_launches(
        self, conn: Connection[TupleRow], launches: Mapping[UUID, Launched], *, by: str
    ) -> None:
        """Record what Dagster knows of syncs that have not begun.

        Args:
            launches: by the syncs' ids.
            by: who cancelled those that were cancelled.
        """
        conn.execute(
            _SQL["record_launches"],
            {
                "ids": list(launches),
                "waits_for": [one.waits_for for one in launches.values()],
                "errors": [one.error for one in launches.values()],
                "cancelled": [one.cancelled for one in launches.values()],
                "by": by,
                "backoff": _RUN_BACKOFF,
            },
        )

    def release_hold(self, conn: Connection[TupleRow], connector_id: UUID) -> None:
        """Let the rest of a connector's work go on after a cancellation."""
        conn.execute(_SQL["release_hold"], {"connector_id": connector_id})

    def lost_runs(self, conn: Connection[TupleRow]) -> list[tuple[str, bool]]:
        """Runs that :meth:`work` closed, until :meth:`acknowledge_lost`.

        Returns:
            Of each Dagster's id, and whether somebody had asked for its end.
        """
        return [(row[0], row[1]) for row in conn.execute(_SQL["lost_runs"])]

    def acknowledge_lost(self, conn: Connection[TupleRow], runs: Sequence[str]) -> None:
        """Record that Dagster knows that these runs are lost."""
        conn.execute(_SQL["acknowledge_lost"], {"runs": list(runs)})

    def finish_run(self, conn: Connection[TupleRow], run: str, *, succeeded: bool) -> None:
        """Close a run's row."""
        conn.execute(
            _SQL["finish_run"],
            {
                "run": run,
                "status": "succeeded" if succeeded else "failed",
                "backoff": _RUN_BACKOFF,
                **_RUN_BUCKETS,
            },
        )

    def run_counts(self, conn: Connection[TupleRow], run: str) -> RunCounts:
        """The counts of a run so far."""
        return RunCounts(*_one(conn, "run_counts", {"run": run}))

    def progress(self, conn: Connection[TupleRow], connector_id: UUID) -> dict[str, int]:
        """Objects of a connector by state."""
        return dict(conn.execute(_SQL["progress"], {"connector_id": connector_id}).fetchall())

    def failure_causes(
        self, conn: Connection[TupleRow], connector_id: UUID
    ) -> list[tuple[str, str, int, str, str]]:
        """Failures by cause, most frequent first.

        Returns:
            Of each cause its code, the state, how many objects, and the message and the
            key of an example.
        """
        return list(conn.execute(_SQL["failure_causes"], {"connector_id": connector_id}).fetchall())

    def warnings(
        self, conn: Connection[TupleRow], connector_id: UUID
    ) -> list[tuple[str, int, str]]:
        """Kinds of the warnings of a connector's documents, most frequent first.

        Returns:
            Of each kind its name, how many documents, and the key of one of them.
        """
        return list(conn.execute(_SQL["warnings"], {"connector_id": connector_id}).fetchall())

    def not_read_whole(self, conn: Connection[TupleRow], connector_id: UUID) -> int:
        """How many of a connector's documents were not read whole."""
        parameters = {"connector_id": connector_id, "missing": list(TEXT_IS_MISSING)}
        return int(_one(conn, "not_read_whole", parameters)[0])

    def _time_slice(self) -> dict[str, float]:
        return {
            "time_slice": self._bounds.time_slice_seconds,
            "concurrent_runs": self._bounds.concurrent_runs,
        }


def _fetch(
    conn: Connection[TupleRow], row_class: type[Row], query: str, parameters: dict[str, Any]
) -> list[Row]:
    cursor = conn.cursor(row_factory=class_row(row_class))
    return cursor.execute(_SQL[query], parameters).fetchall()


def _columns(added: Increments) -> dict[str, list[Any]]:
    return {
        "names": [name.value for name, _ in added],
        "labels": [label for _, label in added],
        "values": [float(value) for value in added.values()],
    }


def _one(
    conn: Connection[TupleRow],
    query: str,
    parameters: dict[str, Any],
    *,
    prepare: bool | None = None,
) -> TupleRow:
    sql: LiteralString = _SQL[query]
    row = conn.execute(sql, parameters, prepare=prepare).fetchone()
    if row is None:
        raise LookupError(f"The query {query!r} found no row.")
    return row
