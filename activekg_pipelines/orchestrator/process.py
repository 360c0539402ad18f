"""Dagster as a child process of the local system: its start and its end."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_log = logging.getLogger(__name__)

_STOP_SECONDS = 20.0
_RUN_STOP_SECONDS = 10.0


@contextmanager
def dagster_processes(
    workspace: Path, *, host: str, port: int, log: Path
) -> Iterator[subprocess.Popen[bytes]]:
    """Webserver, daemon and code server, for as long as the context lasts.

    Args:
        workspace: the ``workspace.yaml``.
        host: the webserver's address.
        port: the webserver's port.
        log: file that the output is added to.
    """
    command = [
        *(sys.executable, "-m", "activekg_pipelines.orchestrator.child"),
        *(str(workspace), host, str(port)),
    ]
    with log.open("ab") as output:
        # A session of its own: Ctrl-C reaches this process alone, which then stops the
        # parts in order.
        process = subprocess.Popen(  # noqa: S603 - fixed command
            command,
            stdout=output,
            stderr=output,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End Dagster and everything that it started."""
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        _log.warning("Dagster did not stop within %.0f seconds and is killed.", _STOP_SECONDS)
    finally:
        # Its session is its process group, in which runs outlive the code server.
        # SIGTERM: they give back their leases.
        for sign, seconds in ((signal.SIGTERM, _RUN_STOP_SECONDS), (signal.SIGKILL, 0.0)):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
                _wait_for_group(process.pid, seconds)
        process.wait()


def _wait_for_group(group: int, seconds: float) -> None:
    """Wait for a process group to be empty; ProcessLookupError says that it is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        os.killpg(group, 0)
        time.sleep(0.1)
