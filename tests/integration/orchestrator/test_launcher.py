"""A launch that takes longer than Dagster waits, on a real code server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import psutil
import pytest
from dagster._core.storage.tags import GRPC_INFO_TAG
from dagster._core.test_utils import create_run_for_test
from dagster._core.workspace.context import WorkspaceProcessContext, WorkspaceRequestContext
from dagster._core.workspace.load_target import (
    GrpcServerTarget,
    PythonFileTarget,
    WorkspaceLoadTarget,
)
from dagster._grpc.client import DagsterGrpcClient

from activekg_pipelines.orchestrator.launcher import OneProcessLauncher

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


@contextmanager
def _own_server(script: Path) -> Iterator[WorkspaceLoadTarget]:
    """Dagster starts the server itself, as ``dagster dev`` does."""
    yield PythonFileTarget(str(script), None, str(script.parent), "slow")


@contextmanager
def _server_behind_a_proxy(script: Path) -> Iterator[WorkspaceLoadTarget]:
    """``dagster code-server``, as an installation in parts has it."""
    socket = str(script.with_suffix(".sock"))
    command = [sys.executable, "-m", "dagster", "code-server", "start"]
    process = subprocess.Popen(
        [*command, "--socket", socket, "-f", str(script), "--startup-timeout", "300"],
        cwd=script.parent,
    )
    try:
        client = DagsterGrpcClient(socket=socket, host="localhost")
        deadline = time.monotonic() + _ENDS_WITHIN_SECONDS
        while client.health_check_query() != "SERVING":
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield GrpcServerTarget(host="localhost", port=None, socket=socket, location_name="slow")
    finally:
        process.terminate()
        process.wait(_ENDS_WITHIN_SECONDS)


@pytest.fixture(params=[_own_server, _server_behind_a_proxy])
def server(
    tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[tuple[dg.DagsterInstance, WorkspaceRequestContext]]:
    """A code server and an instance with the project's launcher."""
    script = tmp_path / "slow.py"
    script.write_text(_DEFINITIONS)
    overrides = {
        "run_launcher": {
            "module": OneProcessLauncher.__module__,
            "class": OneProcessLauncher.__name__,
        },
        "code_servers": {"local_startup_timeout": 300},
    }
    with (
        dg.instance_for_test(overrides=overrides) as instance,
        request.param(script) as target,
        WorkspaceProcessContext(instance, target) as process,
    ):
        yield instance, process.create_request_context()
        # The instance's files stay until nobody writes them any more.
        (tmp_path / "go").touch()
        deadline = time.monotonic() + _ENDS_WITHIN_SECONDS
        while any(psutil.pid_exists(process_id) for process_id in _runs(tmp_path)):
            assert time.monotonic() < deadline
            time.sleep(0.1)


def _runs(folder: Path) -> list[int]:
    """The processes that loaded the definitions, without the server's, which was first."""
    loads = sorted(folder.glob("load-*"), key=lambda load: load.stat().st_mtime_ns)
    return [int(load.name.removeprefix("load-")) for load in loads[1:]]


def _status_at_the_end(instance: dg.DagsterInstance, run_id: str) -> dg.DagsterRunStatus:
    deadline = time.monotonic() + _ENDS_WITHIN_SECONDS
    while not (run := instance.get_run_by_id(run_id)) or not run.is_finished:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return run.status


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
    assert _status_at_the_end(instance, run_id) is dg.DagsterRunStatus.SUCCESS
    assert len(_runs(tmp_path)) == 1


def test_a_retry_starts_though_the_server_of_its_first_try_is_gone(
    server: tuple[dg.DagsterInstance, WorkspaceRequestContext], tmp_path: Path
) -> None:
    instance, workspace = server
    (tmp_path / "go").touch()
    run_id = new_run(instance, workspace)
    # Dagster's retries copy the tags of the run before.
    gone = json.dumps({"host": "localhost", "socket": str(tmp_path / "gone.sock")})
    instance.add_run_tags(run_id, {GRPC_INFO_TAG: gone})
    instance.launch_run(run_id, workspace)
    assert _status_at_the_end(instance, run_id) is dg.DagsterRunStatus.SUCCESS
