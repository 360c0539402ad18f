"""A launch that takes longer than Dagster waits, on a real code server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import PythonFileTarget
from dagster._grpc.client import DagsterGrpcClient

_DEFINITIONS = """
import os, pathlib, time
import dagster as dg

folder = pathlib.Path(__file__).parent
loads = [one for one in folder.glob("load-*")]
(folder / f"load-{os.getpid()}").touch()
while loads and not (folder / "go").exists():
    # Each process of a run waits here, as on a machine that is busy.
    time.sleep(0.05)

@dg.op
def work():
    pass

@dg.job(executor_def=dg.in_process_executor)
def slow():
    work()

defs = dg.Definitions(jobs=[slow])
"""
_ENDS_WITHIN_SECONDS = 120.0


@pytest.fixture
def server(
    tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[dg.DagsterInstance, WorkspaceRequestContext]]:
    """A code server and an instance with the launcher of the test."""
    (tmp_path / "slow.py").write_text(_DEFINITIONS)
    module, name = request.param
    launcher = {
        "run_launcher": {"module": module, "class": name},
        "code_servers": {"local_startup_timeout": 300},
    }
    with (
        dg.instance_for_test(overrides=launcher) as instance,
        WorkspaceProcessContext(
            instance, PythonFileTarget(str(tmp_path / "slow.py"), None, str(tmp_path), "slow")
        ) as process,
    ):
        yield instance, process.create_request_context()
        # The instance's files stay until nobody writes them any more.
        (tmp_path / "go").touch()
        _, *runs = sorted(tmp_path.glob("load-*"), key=lambda load: load.stat().st_mtime_ns)
        deadline = time.monotonic() + _ENDS_WITHIN_SECONDS
        while any(psutil.pid_exists(int(run.name.removeprefix("load-"))) for run in runs):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def new_run(instance: dg.DagsterInstance, workspace: WorkspaceRequestContext) -> str:
    (location,) = workspace.code_locations
    (repository,) = location.get_repositories().values()
    job = repository.get_full_job("slow")
    return create_run_for_test(
        instance,
        job_name="slow",
        remote_job_origin=job.get_remote_origin(),
        job_code_origin=job.get_python_origin(),
    ).run_id


@pytest.mark.parametrize(
    "server",
    [("activekg_pipelines.orchestrator.launcher", "OneProcessLauncher")],
    indirect=True,
)
def test_a_launch_that_takes_longer_than_dagster_waits_is_one_run(
    server: tuple[dg.DagsterInstance, WorkspaceRequestContext],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    instance, workspace = server
    run_id = new_run(instance, workspace)
    with monkeypatch.context() as impatient:
        # What DAGSTER_GRPC_TIMEOUT_SECONDS sets when Dagster is imported.
        impatient.setattr(DagsterGrpcClient._query, "__defaults__", (5, None))
        instance.launch_run(run_id, workspace)
    # As Dagster's queue does with a run that it could not launch.
    instance.launch_run(run_id, workspace)
    (tmp_path / "go").touch()
    deadline = time.monotonic() + _ENDS_WITHIN_SECONDS
    while not (run := instance.get_run_by_id(run_id)) or not run.is_finished:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert run.status is dg.DagsterRunStatus.SUCCESS
    assert len(list(tmp_path.glob("load-*"))) == 2, "the code server's, and one of the run"
