"""``activekg-pipelines webserver`` in a process of its own, with what this project ships."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg

from activekg_pipelines.orchestrator.credential import ServiceCredential
from activekg_pipelines.orchestrator.orchestrator import Orchestrator
from activekg_pipelines.settings import load_settings
from tests.e2e.conftest import CLI, free_port

_START_SECONDS = 180.0


@contextmanager
def running_ui(
    instance: dg.DagsterInstance, folder: Path, project_root: Path, **environment: str
) -> Iterator[str]:
    """Serve the UI of an instance with this package's definitions; yields its address.

    The API's own credential finds out when it answers.
    """
    home = folder / "dagster"
    home.mkdir()
    (home / "dagster.yaml").symlink_to(project_root / "dagster.yaml")
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    variables = os.environ | {
        "ACTIVEKG_DAGSTER_DSN": str(instance.run_storage.postgres_url),  # type: ignore[attr-defined]
        "ACTIVEKG_DAGSTER_FILES": str(home / "files"),
        "ACTIVEKG_WEBSERVER_URL": url,
        "DAGSTER_HOME": str(home),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    log = folder / "webserver.log"
    command = [*CLI, "webserver", "--port", str(port), "-w", str(project_root / "workspace.yaml")]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, env=variables | environment, stdout=output, stderr=output
        )
    try:
        deadline = time.monotonic() + _START_SECONDS
        with Orchestrator(url, credential=ServiceCredential(load_settings()).make) as orchestrator:
            while not all(
                check.ok for check in orchestrator.health() if check.name != "dagster_daemon"
            ):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.3)
        yield url
    finally:
        process.terminate()
        process.wait(timeout=60)
