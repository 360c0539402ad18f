"""Runs that nobody carries on: what a system that was killed left behind."""

from __future__ import annotations

from collections.abc import Iterator


def fail_interrupted_runs(reason: str) -> Iterator[str]:
    """Report each run that has started and not ended as failed, and yield its id.

    Only for a system whose processes have all ended. Dagster would notice by itself after
    the longest time that a run may take.

    Args:
        reason: a sentence for the run's page.
    """
    from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

    statuses = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    with DagsterInstance.get() as instance:
        for run in instance.get_runs(RunsFilter(statuses=statuses)):
            instance.report_run_failed(run, reason)
            yield run.run_id
