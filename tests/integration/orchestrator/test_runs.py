"""Runs that a killed system left behind count as failed once it starts again."""

from __future__ import annotations

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from activekg_pipelines.orchestrator.runs import fail_interrupted_runs


@pytest.mark.parametrize(
    ("status", "is_interrupted"),
    [
        (dg.DagsterRunStatus.NOT_STARTED, False),
        (dg.DagsterRunStatus.STARTING, True),
        (dg.DagsterRunStatus.STARTED, True),
        (dg.DagsterRunStatus.CANCELING, True),
        (dg.DagsterRunStatus.SUCCESS, False),
    ],
)
def test_runs_that_were_at_work_fail_and_others_stay_as_they_are(
    instance: dg.DagsterInstance, status: dg.DagsterRunStatus, is_interrupted: bool
) -> None:
    run_id = create_run_for_test(instance, job_name="sync_connector", status=status).run_id
    assert list(fail_interrupted_runs("The system was killed.")) == [run_id] * is_interrupted
    run = instance.get_run_by_id(run_id)
    assert run is not None
    assert run.status is (dg.DagsterRunStatus.FAILURE if is_interrupted else status)
