"""The whole system on one machine.

Dagster is the only child process, and the API runs in this one.
"""

from __future__ import annotations

import logging
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import uvicorn
from rich.console import Console

from activekg_pipelines.api.app import create_app
from activekg_pipelines.api.serving import server_options
from activekg_pipelines.cli.environment import is_embedded, prepare_environment, project_file
from activekg_pipelines.database.migrate import migrate
from activekg_pipelines.errors import ActiveKGError, SettingsError
from activekg_pipelines.orchestrator.credential import ServiceCredential
from activekg_pipelines.orchestrator.process import dagster_processes
from activekg_pipelines.orchestrator.runs import fail_interrupted_runs
from activekg_pipelines.orchestrator.sensors import WORK_QUEUE_SENSOR
from activekg_pipelines.orchestrator.webserver import Webserver, WebserverError
from activekg_pipelines.services import Services, services
from activekg_pipelines.settings import Settings, load_settings

# Dagster's processes import, migrate their storage and load the definitions. That takes
# 15 seconds on two cores.
_START_SECONDS = 180.0
_WEBSERVER_SECONDS = 10.0
_API_STOP_SECONDS = 20.0


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
    """Start database, migrations, Dagster and the API, and stop them all at the end.

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
        _close_interrupted_runs(opened)
    workspace = project_file("workspace.yaml")
    with (
        _terminated_as_interrupted(),
        dagster_processes(workspace, host=host, port=port, log=logs / "dagster.log") as dagster,
        _api(opened, logs),
    ):
        stack = Stack(opened, dagster, logs)
        _wait_until_ready(stack)
        yield stack


def api_url(settings: Settings) -> str:
    """Address of the admin API of this installation."""
    return f"http://{settings.activekg_api_host}:{settings.activekg_api_port}"


def _close_interrupted_runs(opened: Services) -> None:
    """End the runs that a system which was killed left behind.

    The embedded database belongs to this system alone, so none of its runs is alive.
    Otherwise the ledger would wait for their leases to expire.
    """
    for run_id in fail_interrupted_runs("The local system was stopped during this run."):
        with opened.database.transaction() as conn:
            opened.ledger.release_claims(conn, run_id)
            opened.ledger.finish_run(conn, run_id, succeeded=False)


@contextmanager
def _api(opened: Services, logs: Path) -> Iterator[None]:
    _log_to_file(logs / "api.log", "uvicorn", "activekg_pipelines")
    server = uvicorn.Server(
        uvicorn.Config(create_app(opened), log_config=None, **server_options(opened.settings))
    )
    thread = threading.Thread(target=server.run, name="api", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.should_exit = True
        thread.join(timeout=_API_STOP_SECONDS)


@contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """Let SIGTERM end the system as Ctrl-C does.

    SIGINT does so too where a shell started the system in the background.
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
    credential = ServiceCredential(stack.services.settings).make
    with closing(Webserver(stack.webserver_url, credential=credential)) as webserver:
        while time.monotonic() < deadline:
            stack.check()
            if _answers(f"{stack.api_url}/healthz") and _definitions_loaded(webserver):
                return
            time.sleep(0.3)
    raise StackError(
        f"Dagster did not load the definitions within {_START_SECONDS:.0f} seconds. "
        f"The end of {stack.logs / 'dagster.log'}:\n" + _tail(stack.logs / "dagster.log")
    )


def _definitions_loaded(webserver: Webserver) -> bool:
    """Whether the webserver has this package's definitions.

    Raises:
        StackError: a code location could not be loaded.
    """
    try:
        locations = webserver.code_locations(timeout=_WEBSERVER_SECONDS)
    except WebserverError:
        return False
    for location in locations:
        if location.error is not None:
            raise StackError(f"Dagster could not load the definitions: {location.error}")
    return any(WORK_QUEUE_SENSOR in location.sensors for location in locations)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False


def require_free_port(host: str, port: int, setting: str) -> None:
    """Make sure that nobody listens on a port.

    Raises:
        SettingsError: it is taken. The message names the setting for another one.
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
