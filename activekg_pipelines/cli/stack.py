"""Runs the whole system on one machine: Dagster's own `dagster dev` as the only child,
the API in this process.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvicorn
from rich.console import Console

from activekg_pipelines.administration.services import admin_services
from activekg_pipelines.api.app import create_app
from activekg_pipelines.cli.environment import is_embedded, prepare_environment, project_file
from activekg_pipelines.database.migrate import migrate
from activekg_pipelines.errors import ActiveKGError, SettingsError
from activekg_pipelines.services import Services, services
from activekg_pipelines.settings import Settings, load_settings

# Dagster's processes import, migrate their storage and load the definitions; 15 seconds
# on two cores.
_START_SECONDS = 180.0
_STOP_SECONDS = 20.0
_RUN_STOP_SECONDS = 10.0


class StackError(ActiveKGError):
    """A part of the local system did not start or has stopped."""


@dataclass(frozen=True, slots=True)
class Stack:
    """A running local system.

    Attributes:
        logs: folder of the parts' log files.
    """

    services: Services
    dagster: subprocess.Popen[bytes]
    logs: Path

    @property
    def api_url(self) -> str:
        """Address of the admin API."""
        return api_url(self.services.settings)

    @property
    def webserver_url(self) -> str:
        """Address of the Dagster web UI."""
        return self.services.settings.activekg_webserver_url

    def check(self) -> None:
        """Raise when Dagster has stopped.

        Raises:
            StackError: with the end of its log.
        """
        if self.dagster.poll() is not None:
            raise StackError(
                f"Dagster stopped with exit code {self.dagster.returncode}. The end of "
                f"{self.logs / 'dagster.log'}:\n" + _tail(self.logs / "dagster.log")
            )

    def run_forever(self) -> None:
        """Wait for Ctrl-C.

        Raises:
            StackError: Dagster has stopped.
        """
        while True:
            self.check()
            time.sleep(1)


@contextmanager
def local_stack(console: Console) -> Iterator[Stack]:
    """Start database, migrations, Dagster and the API; stop them all at the end,
    however it ends.

    Args:
        console: shows what is under way.

    Raises:
        SettingsError: the environment is unusable, or a port is taken.
        StackError: a part did not start.
    """
    status = console.status("Starting database, Dagster and the admin API …")
    status.start()
    try:
        with _started() as stack:
            status.stop()
            yield stack
            status.update("Stopping everything …")
            status.start()
    finally:
        status.stop()


@contextmanager
def _started() -> Iterator[Stack]:
    embedded = is_embedded(load_settings().activekg_home.resolve())
    prepare_environment(generate_keys=True, create=True)
    opened = services()
    logs = opened.settings.activekg_home / "logs"
    logs.mkdir(exist_ok=True)
    require_free_port(
        opened.settings.activekg_api_host, opened.settings.activekg_api_port, "ACTIVEKG_API_PORT"
    )
    web = urlsplit(opened.settings.activekg_webserver_url)
    try:
        host, port = web.hostname, web.port or 3000
    except ValueError:
        host = None
    if web.scheme != "http" or not host:
        raise SettingsError("ACTIVEKG_WEBSERVER_URL must be like http://127.0.0.1:3000.")
    require_free_port(host, port, "ACTIVEKG_WEBSERVER_URL (for example http://127.0.0.1:3001)")
    migrate(opened.settings.require_dsn())
    if embedded:
        _close_orphans(opened)
    with _terminated_as_interrupted(), _dagster(host, port, logs) as dagster, _api(opened, logs):
        stack = Stack(opened, dagster, logs)
        _wait_until_ready(stack)
        yield stack


def api_url(settings: Settings) -> str:
    """Address of the admin API of this installation."""
    return f"http://{settings.activekg_api_host}:{settings.activekg_api_port}"


def _close_orphans(opened: Services) -> None:
    """End what a system that was killed left behind: the embedded database is this
    one's alone, so no run is alive.

    Dagster would notice after the longest time that a run may take, and the ledger
    after a lease.
    """
    from dagster import DagsterInstance, DagsterRunStatus, RunsFilter

    alive = [DagsterRunStatus.STARTING, DagsterRunStatus.STARTED, DagsterRunStatus.CANCELING]
    with DagsterInstance.get() as instance:
        for run in instance.get_runs(RunsFilter(statuses=alive)):
            instance.report_run_failed(run, "The local system was stopped during this run.")
            with opened.database.transaction() as conn:
                opened.ledger.release_claims(conn, run.run_id)
                opened.ledger.finish_run(conn, run.run_id, succeeded=False)


@contextmanager
def _dagster(host: str, port: int, logs: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [
        sys.executable,
        "-m",
        "activekg_pipelines.cli.bound_dagster",
        "dev",
        "-w",
        str(project_file("workspace.yaml")),
    ]
    command += ["-h", host, "-p", str(port), "--log-level", "warning"]
    with (logs / "dagster.log").open("ab") as log:
        # A session of its own: Ctrl-C reaches this process alone, which then stops the
        # parts in order.
        process = subprocess.Popen(
            command,
            stdout=log,
            stderr=log,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _stop(process)


@contextmanager
def _api(opened: Services, logs: Path) -> Iterator[None]:
    _log_to_file(logs / "api.log", "uvicorn", "activekg_pipelines")
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(admin_services(opened)),
            host=opened.settings.activekg_api_host,
            port=opened.settings.activekg_api_port,
            log_config=None,
            server_header=False,
        )
    )
    thread = threading.Thread(target=server.run, name="api", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=_STOP_SECONDS)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends the system as Ctrl-C does, and so does SIGINT where a shell started
    it in the background.
    """

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    before = {sign: signal.signal(sign, interrupt) for sign in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


def _wait_until_ready(stack: Stack) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        stack.check()
        if (
            _answers(f"{stack.webserver_url}/server_info")
            and _answers(f"{stack.api_url}/healthz")
            and _loaded(stack)
        ):
            return
        time.sleep(0.3)
    raise StackError(
        f"Dagster did not load the definitions within {_START_SECONDS:.0f} seconds. "
        f"The end of {stack.logs / 'dagster.log'}:\n" + _tail(stack.logs / "dagster.log")
    )


def _loaded(stack: Stack) -> bool:
    """Whether the webserver has the definitions; a load error is an answer too."""
    query = "{ repositoriesOrError { ... on RepositoryConnection { nodes { name } } } workspaceOrError { ... on Workspace { locationEntries { loadStatus locationOrLoadError { ... on PythonError { message } } } } } }"
    try:
        data = httpx.post(
            f"{stack.webserver_url}/graphql", json={"query": query}, timeout=10
        ).json()["data"]
    except (httpx.HTTPError, ValueError, KeyError):
        return False
    for entry in data["workspaceOrError"].get("locationEntries", []):
        if message := (entry["locationOrLoadError"] or {}).get("message"):
            raise StackError(f"Dagster could not load the definitions: {message}")
    return bool(data["repositoriesOrError"].get("nodes"))


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    """End Dagster and everything that it started."""
    try:
        if process.poll() is None:
            process.terminate()
            process.wait(timeout=_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        logging.getLogger(__name__).warning(
            "Dagster did not stop within %.0f seconds and is killed.", _STOP_SECONDS
        )
    finally:
        # Its session is its process group, in which runs outlive the code server.
        # SIGTERM: they give back their leases.
        for sign, patience in ((signal.SIGTERM, _RUN_STOP_SECONDS), (signal.SIGKILL, 0.0)):
            with suppress(ProcessLookupError):
                os.killpg(process.pid, sign)
                _wait_for_group(process.pid, patience)
        process.wait()


def _wait_for_group(group: int, seconds: float) -> None:
    """Wait for a process group to be empty; ProcessLookupError says that it is."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        os.killpg(group, 0)
        time.sleep(0.1)


def require_free_port(host: str, port: int, setting: str) -> None:
    """Make sure that a port can be listened on.

    Raises:
        SettingsError: it is taken; names the setting that chooses another one.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            raise SettingsError(
                f"Port {port} on {host} is taken. Is the system up already? Otherwise choose "
                f"another one: {setting}."
            ) from None


def _log_to_file(path: Path, *loggers: str) -> None:
    handler = logging.FileHandler(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in loggers:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])
