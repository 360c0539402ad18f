"""Webserver, daemon and code servers, as one process that ends when its parent dies.

Run as ``python -m activekg_pipelines.orchestrator.child WORKSPACE HOST PORT``. It does what
``dagster dev`` does, with this package's webserver in the place of Dagster's, which knows no
guard. Code servers listen on Unix sockets that belong to this user alone: Dagster's gRPC
knows neither TLS nor a login.
"""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from dagster import DagsterInstance
from dagster._cli.proxy_server_manager import ProxyServerManager
from dagster._core.workspace.load_target import WorkspaceFileTarget

_log = logging.getLogger(__name__)

_PR_SET_PDEATHSIG = 1
_STOP_SECONDS = 15.0
_LOOK_SECONDS = 1.0


def main(workspace: str, host: str, port: str) -> int:
    """Run until a part ends or a signal comes.

    Returns:
        The exit code.
    """
    # As under `dagster dev`: errors of definitions are short.
    os.environ["DAGSTER_IS_DEV_CLI"] = "1"
    # Sockets, too, open to nobody else.
    os.umask(0o077)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with ExitStack() as stack:
            instance = stack.enter_context(DagsterInstance.get())
            servers = stack.enter_context(
                ProxyServerManager(instance, WorkspaceFileTarget([workspace]), "warning")
            )
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            served = folder / "workspace.yaml"
            # JSON is YAML, too.
            served.write_text(json.dumps({"load_from": list(servers.get_code_server_specs())}))
            return _watch(stack.enter_context(_running(_commands(served, host, port))))
    except KeyboardInterrupt:
        return 0


def _commands(workspace: Path, host: str, port: str) -> Iterator[Sequence[str]]:
    command_line = (sys.executable, "-m", "activekg_pipelines.cli.main")
    yield [*command_line, "webserver", "-w", str(workspace), "--host", host, "--port", port]
    daemon = (sys.executable, "-m", "dagster._daemon")
    yield [*daemon, "run", "--log-level", "warning", "-w", str(workspace)]


@contextmanager
def _running(commands: Iterable[Sequence[str]]) -> Iterator[Sequence[subprocess.Popen[bytes]]]:
    """The parts, for as long as the context lasts."""
    parts = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL)  # noqa: S603 - fixed commands
        for command in commands
    ]
    try:
        yield parts
    finally:
        for part in parts:
            part.terminate()
        for part in parts:
            try:
                part.wait(timeout=_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                part.kill()
                part.wait()


def _watch(parts: Sequence[subprocess.Popen[bytes]]) -> int:
    """Wait for a part to end, which none should; its exit code, or 1."""
    while True:
        for part in parts:
            if (code := part.poll()) is not None:
                _log.error("This part ended with exit code %d: %s", code, part.args)
                return code or 1
        time.sleep(_LOOK_SECONDS)


def _interrupt(*_: Any) -> None:
    # Once is enough: nothing interrupts the end.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    # Linux only. Elsewhere a killed parent leaves Dagster running, as a terminal does.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    sys.exit(main(*sys.argv[1:]))
