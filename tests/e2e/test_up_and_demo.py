"""The commands that a newcomer types.

They work, they say what they do, and they leave nothing running.
"""

from __future__ import annotations

import os
import socket
import subprocess
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import psutil

from tests.e2e.conftest import CLI, clean_environment, free_port, running_system


def processes_of(home: Path) -> list[str]:
    """Command lines of processes that were started with this ACTIVEKG_HOME."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes()
            if (
                f"ACTIVEKG_HOME={home}".encode() in environment
                or str(home).encode() in (process / "cmdline").read_bytes()
            ):
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
        except OSError:
            continue
    return found


def listens(home: Path) -> tuple[set[int], list[Path]]:
    """TCP ports and Unix sockets that processes of this ACTIVEKG_HOME listen on.

    Those of the database are left out: they lie in its folder.
    """
    ports, sockets = set(), []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("ACTIVEKG_HOME") != str(home):
                continue
            for connection in process.net_connections("all"):
                if connection.family == socket.AF_UNIX and str(connection.laddr).startswith("/"):
                    sockets.append(Path(connection.laddr))
                elif connection.status == psutil.CONN_LISTEN:
                    ports.add(connection.laddr.port)
    return ports, [path for path in sockets if not path.is_relative_to(home)]


def test_ctrl_c_ends_every_process(tmp_path: Path, s3_endpoint: str) -> None:
    home = tmp_path / "home"
    home.mkdir()
    with running_system(home, s3_endpoint) as system:
        assert len(processes_of(home)) >= 4
        ports, sockets = listens(home)
        own = {urlsplit(url).port for url in (system.api_url, system.webserver_url)}
        assert ports == own, "Dagster's gRPC, which asks nobody who they are, has no port."
        assert sockets
        assert {path.stat().st_mode & 0o077 for path in sockets} == {0}
        assert (home / "secrets.env").stat().st_mode & 0o777 == 0o600
    assert system.process.returncode == 130
    assert processes_of(home) == []


def test_the_demo_answers_and_a_second_one_works_on_its_state(
    tmp_path: Path, model_home: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (model_home / "models").mkdir(parents=True, exist_ok=True)
    (home / "models").symlink_to(model_home / "models", target_is_directory=True)
    environment = clean_environment() | {
        "ACTIVEKG_HOME": str(home),
        "ACTIVEKG_API_PORT": str(free_port()),
        "ACTIVEKG_WEBSERVER_URL": f"http://127.0.0.1:{free_port()}",
        "ACTIVEKG_DEMO_S3_PORT": str(free_port()),
    }
    for _ in range(2):
        result = subprocess.run(
            [*CLI, "demo", "--once"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=250,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        assert "s3://acme-documents/hr/parental-leave.pdf" in result.stdout
        assert "'added': 1, 'changed': 1, 'deleted': 1, 'indexed': 2" in result.stdout
        assert processes_of(home) == []


def test_a_taken_port_is_a_sentence(tmp_path: Path, s3_endpoint: str) -> None:
    port = s3_endpoint.rpartition(":")[2]
    environment = os.environ | {"ACTIVEKG_HOME": str(tmp_path / "home"), "ACTIVEKG_API_PORT": port}
    environment.pop("ACTIVEKG_DSN", None)
    result = subprocess.run(
        [*CLI, "up"], env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.returncode == 1
    assert f"Port {port} on 127.0.0.1 is taken" in result.stderr
    assert "Traceback" not in result.stderr
