"""What Dagster remembers of this package, and for how long.

Dagster itself purges only ticks. Its runs, some twenty rows each, and their logs would
stay for ever. This deletes the old ones, and keeps what says how each partition stands.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import dagster as dg
from dagster_postgres import PostgresEventLogStorage

from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.errors import ActiveKGError

_SQL = load_queries(Path(__file__).with_name("history.sql"))
_FINISHED = (dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED)
# Runs that are read at once.
_PAGE = 200
# Rows that one statement deletes.
_BATCH = 10_000

# Dagster's job for assets that somebody materializes without naming a job.
AD_HOC_JOB = "__ASSET_JOB"


class UnknownStorage(ActiveKGError):
    """Dagster's history is not in PostgreSQL, and only there does this package know how
    to purge it.
    """


@dataclass(frozen=True, slots=True)
class OwnDefinitions:
    """Which part of a Dagster instance is this package's.

    The history of other code locations is not touched.

    Attributes:
        jobs: names of its jobs.
        assets: its assets.
        partitions_def: name of the partitions definition that these have.
        sensor: a sensor that it always has.
    """

    jobs: Collection[str]
    assets: Collection[dg.AssetKey]
    partitions_def: str
    sensor: str

    def include(self, run: dg.DagsterRun) -> bool:
        """Whether a run is this package's; it is one of the jobs' or an ad hoc one."""
        if run.job_name != AD_HOC_JOB:
            return True
        checks = {check.asset_key for check in run.asset_check_selection or ()}
        selected = checks | set(run.asset_selection or ())
        return bool(selected) and selected <= set(self.assets)


@dataclass(frozen=True, slots=True)
class HistoryPurge:
    """What a purge removed.

    Attributes:
        runs: runs, each with its events, tags and logs.
        tick_events: materializations that ticks reported.
        check_evaluations: evaluations of checks by runs that are gone, or by none.
        complete: the time was enough; otherwise the next purge goes on.
    """

    runs: int
    tick_events: int
    check_evaluations: int
    complete: bool


def purge_history(
    instance: dg.DagsterInstance, own: OwnDefinitions, *, days: int, budget_seconds: float
) -> HistoryPurge:
    """Delete what is older than ``days``.

    What says how a partition stands is kept, and so is what is not finished. A purge may
    be repeated, cut short, and done twice at once.

    Args:
        instance: whose history.
        own: the part of it that may be deleted.
        days: how long ago the last change of something old is, at least.
        budget_seconds: wall time after which no further run is deleted.

    Raises:
        UnknownStorage: the instance's storage is not PostgreSQL.
    """
    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        raise UnknownStorage
    deadline = time.monotonic() + budget_seconds
    parameters = {
        "days": days,
        "assets": [key.to_string() for key in own.assets],
        "partitions_def": own.partitions_def,
        "limit": _BATCH,
    }
    with storage.index_connection() as conn:
        cutoff: datetime = conn.exec_driver_sql(_SQL["cutoff"], parameters).scalar_one()
        keep = set(conn.exec_driver_sql(_SQL["newest_runs"], parameters).scalars())
    runs = 0
    complete = True
    for run in _old_runs(instance, own, cutoff, keep):
        if time.monotonic() >= deadline:
            complete = False
            break
        # Before the run: afterwards nobody would know of them.
        instance.compute_log_manager.delete_logs(prefix=[run.run_id])
        instance.delete_run(run.run_id)
        runs += 1
    _purge_ticks(instance, own, cutoff)
    return HistoryPurge(
        runs,
        _delete(storage, "forget_tick_events", parameters),
        _delete(storage, "forget_check_evaluations", parameters),
        complete,
    )


def _old_runs(
    instance: dg.DagsterInstance, own: OwnDefinitions, cutoff: datetime, keep: Collection[str]
) -> Iterator[dg.DagsterRun]:
    """Runs to delete, oldest first.

    The caller deletes each before it asks for the next.
    """
    for job in (*own.jobs, AD_HOC_JOB):
        old = dg.RunsFilter(job_name=job, statuses=list(_FINISHED), updated_before=cutoff)
        # The last run that stayed: a cursor that was deleted finds nothing.
        cursor: str | None = None
        while records := instance.get_run_records(old, limit=_PAGE, cursor=cursor, ascending=True):
            for record in records:
                if record.dagster_run.run_id in keep or not own.include(record.dagster_run):
                    cursor = record.dagster_run.run_id
                else:
                    yield record.dagster_run


def _purge_ticks(instance: dg.DagsterInstance, own: OwnDefinitions, cutoff: datetime) -> None:
    """Delete old ticks, those of sensors that are gone too.

    Dagster purges a sensor's ticks only when that sensor ticks.
    """
    states = instance.all_instigator_state()
    repositories = {
        state.repository_selector_id for state in states if state.instigator_name == own.sensor
    }
    for state in states:
        if state.repository_selector_id in repositories:
            instance.purge_ticks(
                state.instigator_origin_id, state.selector_id, before=cutoff.timestamp()
            )


def _delete(storage: PostgresEventLogStorage, query: str, parameters: dict[str, Any]) -> int:
    deleted = 0
    while True:
        with storage.index_connection() as conn:
            batch = conn.exec_driver_sql(_SQL[query], parameters).rowcount
        deleted += batch
        if batch < _BATCH:
            return deleted
