"""Why a run that Dagster was asked for has not begun."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import UUID

from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.logs import redact

if TYPE_CHECKING:
    from dagster import DagsterInstance, DagsterRun, EventLogEntry
    from dagster_shared.error import SerializableErrorInfo

SYNC_ID_TAG: Final = "activekg/sync_id"
"""Tag of a run: the sync that it was asked for with."""

_SQL = load_queries(Path(__file__).with_name("launches.sql"))
_MOST_CHARACTERS = 500
# What Dagster writes where the reason stands in an event before.
_SAYS_NOTHING = "marked as failed from outside the execution context"


@dataclass(frozen=True, slots=True)
class Launch:
    """What Dagster knows of a sync that has not begun.

    Attributes:
        waits_for: what keeps the run from beginning; None once none will begin.
        error: why Dagster could not start it.
        cancelled: somebody cancelled it at Dagster.
    """

    waits_for: str | None = None
    error: str | None = None
    cancelled: bool = False


def launches_of(instance: DagsterInstance, sync_ids: Collection[UUID]) -> Mapping[UUID, Launch]:
    """What Dagster knows of these syncs; those that it has no run for are missing."""
    if not sync_ids:
        return {}
    from dagster import RunsFilter

    tags = {SYNC_ID_TAG: [str(sync_id) for sync_id in sync_ids]}
    by_sync: dict[UUID, list[DagsterRun]] = defaultdict(list)
    for run in instance.get_runs(RunsFilter(tags=tags)):
        by_sync[UUID(run.tags[SYNC_ID_TAG])].append(run)
    chosen = {sync_id: _telling(runs) for sync_id, runs in by_sync.items()}
    said = _last_words(instance, [run.run_id for run in chosen.values()])
    return {sync_id: _launch(run, said[run.run_id]) for sync_id, run in chosen.items()}


def _telling(runs: Sequence[DagsterRun]) -> DagsterRun:
    """The run of a sync that says how it stands, of the newest one first."""
    from dagster import DagsterRunStatus

    newest = runs[0]
    if newest.status in {DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING}:
        return newest
    if newest.is_finished:
        return next((run for run in runs if not run.is_finished), newest)
    # Dagster tries again what it could not start, and may try for long.
    return next((run for run in runs if run.status is DagsterRunStatus.FAILURE), newest)


def _launch(run: DagsterRun, said: Sequence[str]) -> Launch:
    from dagster import DagsterRunStatus

    match run.status:
        case DagsterRunStatus.CANCELED | DagsterRunStatus.CANCELING:
            return Launch(cancelled=True)
        case DagsterRunStatus.FAILURE:
            return Launch(error=said[0] if said else "Dagster gives no reason.")
        case DagsterRunStatus.QUEUED | DagsterRunStatus.NOT_STARTED if said:
            return Launch(waits_for=f"another try to start it: {said[0]}")
        case DagsterRunStatus.QUEUED | DagsterRunStatus.NOT_STARTED:
            return Launch(waits_for="a place in Dagster's queue")
        case _:
            return Launch(waits_for="its process, which loads the definitions")


def _last_words(instance: DagsterInstance, runs: Sequence[str]) -> Mapping[str, list[str]]:
    """Dagster's reasons by run, the best first."""
    from dagster import EventLogEntry
    from dagster._core.storage.event_log import SqlEventLogStorage
    from dagster._serdes import deserialize_value

    said: dict[str, list[str]] = defaultdict(list)
    storage = instance.event_log_storage
    if isinstance(storage, SqlEventLogStorage):
        with storage.index_connection() as conn:
            rows = conn.exec_driver_sql(_SQL["last_words"], {"runs": list(runs)}).all()
        for run_id, event in rows:
            if reason := _reason(deserialize_value(event, EventLogEntry)):
                said[run_id].append(reason)
    return said


def _reason(entry: EventLogEntry) -> str | None:
    event = entry.dagster_event
    if event is None:
        return None
    data = event.event_specific_data
    error: SerializableErrorInfo | None = getattr(data, "error", None)
    if error is not None:
        while error.cause is not None:
            error = error.cause
        return _sentence(error.message)
    if event.is_failure and event.message and _SAYS_NOTHING not in event.message:
        return _sentence(event.message)
    return None


def _sentence(text: str) -> str:
    """One line of bounded length, without what looks like a secret."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    return redact(line)[:_MOST_CHARACTERS]
