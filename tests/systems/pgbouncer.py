"""A PgBouncer in transaction mode, before a Postgres of the tests."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.postgres_server import end_with_the_tests, free_port

_START_SECONDS = 60
SERVER_CONNECTIONS = 2
"""Sessions of the server that all clients share: fewer than a run has connections."""


@contextmanager
def running(
    postgres: str, *, users: tuple[str, ...] = (), tls: Path | None = None
) -> Iterator[str]:
    """Start the pooler; yields its address, for databases of the same names.

    Args:
        postgres: DSN of the server behind it.
        users: who may connect beside the DSN's own role. Nobody needs a password.
        tls: folder with ``server.pem`` and ``server.key``; without TLS no client may
            connect then.
    """
    binary = shutil.which("pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin")
    if binary is None:
        pytest.skip("PgBouncer is not installed here: apt-get install pgbouncer.")
    server = conninfo_to_dict(postgres)
    user = str(server.get("user") or "postgres")
    with tempfile.TemporaryDirectory(prefix="pgbouncer-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "users").write_text("".join(f'"{one}" ""\n' for one in (user, *users)))
        log, settings = folder / "log", folder / "settings"
        port = free_port()
        lines = [
            "[databases]",
            f"* = host={server['host']} port={server.get('port') or 5432}",
            "[pgbouncer]",
            "pool_mode = transaction",
            f"default_pool_size = {SERVER_CONNECTIONS}",
            "max_client_conn = 500",
            "listen_addr = 127.0.0.1",
            f"listen_port = {port}",
            "unix_socket_dir =",
            "auth_type = trust",
            f"auth_file = {folder / 'users'}",
            # A pooler that was set up with care forgets nothing by itself either.
            "server_reset_query = DISCARD ALL",
            "server_reset_query_always = 0",
        ]
        if tls is not None:
            lines += [
                "client_tls_sslmode = require",
                f"client_tls_cert_file = {tls / 'server.pem'}",
                f"client_tls_key_file = {tls / 'server.key'}",
            ]
        if os.geteuid() == 0:
            # It refuses to be root. Only its owner reaches the server's socket.
            socket = Path(str(server["host"]))
            owner = socket.stat().st_uid if socket.is_dir() else 0
            lines.append(f"user = {pwd.getpwuid(owner).pw_name if owner else 'nobody'}")
        settings.write_text("\n".join(lines) + "\n")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [binary, str(settings)],
                stdout=output,
                stderr=output,
                preexec_fn=end_with_the_tests,  # noqa: PLW1509 - one system call
            )
        options = {"sslmode": "require"} if tls else {}
        address = make_conninfo(
            "",
            host="127.0.0.1",
            port=port,
            user=user,
            dbname=server.get("dbname") or "postgres",
            **options,
        )
        try:
            _wait(process, address, log)
            yield address
        finally:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], address: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            psycopg.connect(address).close()
        except psycopg.OperationalError as error:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PgBouncer did not start:\n{log.read_text()}") from error
            time.sleep(0.1)
        else:
            return
