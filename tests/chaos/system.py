"""The system as it runs in production, each part a process of its own.

A supervisor starts again what dies.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil
import psycopg
import yaml
from cryptography.fernet import Fernet

from activekg_pipelines.database.embedded import ensure_database
from tests.chaos.documents import MAX_FILE_BYTES
from tests.chaos.postgres import Postgres
from tests.e2e.conftest import CLI, clean_environment, free_port
from tests.fault_proxy import FaultProxy
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Bucket

CODE_SERVER = "code-server"
DAEMON = "daemon"
API = "api"

LEASE_SECONDS = 15
# Sensors are looked at every five seconds; a larger interval would come out as ten.
_POLL_SECONDS = 4
_TEMPORARY_BYTES = 48 * 1024 * 1024
_RESTART_AFTER_SECONDS = 0.5


@dataclass
class Part:
    """A process that the supervisor keeps alive. Its session holds whatever it starts."""

    name: str
    command: list[str]
    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes] | None = None
    restarts: int = 0
    sessions: list[int] = field(default_factory=list)

    def start(self) -> None:
        """Start it."""
        with self.log.open("ab") as output:
            output.write(f"--- {time.strftime('%H:%M:%S')} starts\n".encode())
            self.process = subprocess.Popen(
                self.command,
                env=self.environment,
                stdout=output,
                stderr=output,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self.sessions.append(self.process.pid)

    def members(self) -> list[psutil.Process]:
        """Everything alive that it started, also before a restart, and itself."""
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.NoSuchProcess, ProcessLookupError, PermissionError):
                if (
                    os.getsid(process.pid) in self.sessions
                    and process.status() != psutil.STATUS_ZOMBIE
                ):
                    found.append(process)
        return found


@dataclass
class System:
    """A running system, seen from outside.

    Attributes:
        home: its folder, with the parts' logs.
        proxy: what stands between the system and the object store.
        disk: folder of its temporary files on a small file system of their own; None
            where one cannot be mounted.
        disk_reason: why it is None.
    """

    home: Path
    postgres: Postgres
    proxy: FaultProxy
    environment: dict[str, str]
    parts: dict[str, Part]
    api_url: str
    disk: Path | None
    disk_reason: str
    headers: dict[str, str] = field(default_factory=dict)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def api(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Call the admin API as a super admin; again while the database is away."""
        deadline = time.monotonic() + 60
        while True:
            answer = httpx.request(
                method, self.api_url + path, headers=self.headers, timeout=60, **kwargs
            )
            if answer.status_code < 500 or time.monotonic() > deadline:
                return answer
            time.sleep(0.5)

    def register(self, bucket: Bucket, tenant_id: str) -> str:
        """Register a connector whose every request passes the proxy; returns its id."""
        config = {
            "name": "docs",
            "bucket": bucket.name,
            "endpoint_url": self.proxy.url,
            "access_key_id": ACCESS_KEY_ID,
            "secret_access_key": SECRET_ACCESS_KEY,
            "poll_interval_seconds": 60,
        }
        body = {"tenant_id": tenant_id, "provider": "s3", "config": config}
        answer = self.api("POST", "/_admin/connectors/configs", json=body)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    def sync(self, config_id: str, mode: str = "changed") -> None:
        """Ask for a sync now."""
        answer = self.api(
            "POST", f"/_admin/connectors/configs/{config_id}/sync", json={"mode": mode}
        )
        assert answer.status_code == 202, answer.text

    def replay(self, config_id: str, error_type: str) -> int:
        """Replay the dead letters of one kind; returns how many there were."""
        answer = self.api(
            "POST",
            f"/_admin/connectors/configs/{config_id}/dead-letters/replay",
            json={"error_type": error_type},
        )
        assert answer.status_code in {200, 202}, answer.text
        return int(answer.json()["replayed"])

    def ask(self, sql: str, *parameters: object, of: str = "ACTIVEKG_DSN") -> list[tuple[Any, ...]]:
        """Rows of a statement, past every filter; again while the database is away."""
        deadline = time.monotonic() + 60
        while True:
            try:
                with psycopg.connect(self.environment[of], autocommit=True) as conn:
                    cursor = conn.execute(sql, parameters)  # type: ignore[call-overload]
                    return cursor.fetchall() if cursor.description else []
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)

    def live_runs(self) -> list[tuple[str, str]]:
        """Dagster's runs that have not ended: id and status."""
        return self.ask(
            "SELECT run_id, status FROM runs WHERE status NOT IN ('SUCCESS', 'FAILURE', "
            "'CANCELED') ORDER BY id",
            of="ACTIVEKG_DAGSTER_DSN",
        )

    def run_processes(self) -> dict[str, psutil.Process]:
        """The processes of started runs, by Dagster's run id."""
        rows = self.ask(
            """
            SELECT DISTINCT ON (e.run_id)
                e.run_id, (e.event::jsonb -> 'dagster_event' ->> 'pid')::int
            FROM event_logs e JOIN runs r USING (run_id)
            WHERE r.status = 'STARTED' AND e.dagster_event_type = 'STEP_START'
            ORDER BY e.run_id, e.id DESC
            """,
            of="ACTIVEKG_DAGSTER_DSN",
        )
        members = {process.pid: process for process in self.parts[CODE_SERVER].members()}
        return {run: members[pid] for run, pid in rows if pid in members}

    def kill(self, name: str, *, with_children: bool) -> None:
        """SIGKILL a part: alone, or with everything in it, as a container ends."""
        part = self.parts[name]
        victims = part.members() if with_children else self._own_processes(part)
        for process in victims:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def _own_processes(self, part: Part) -> list[psutil.Process]:
        """The part without the runs that it started.

        What it consists of was started by command, runs by Python.
        """
        assert part.process is not None
        found = []
        for process in part.members():
            with suppress(psutil.NoSuchProcess):
                if "multiprocessing" not in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def wait(self, what: str, condition: Any, seconds: float) -> Any:
        """Wait for a condition; returns what it returned."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if result := condition():
                return result
            time.sleep(0.2)
        raise AssertionError(f"{what}: not within {seconds} s. Logs: {self.home}")

    def supervise(self) -> None:
        """Start again what died, until the system is stopped."""
        while not self._stopping.wait(_RESTART_AFTER_SECONDS):
            for part in self.parts.values():
                if part.process is not None and part.process.poll() is not None:
                    part.restarts += 1
                    part.start()

    def stop(self) -> None:
        """End everything, the database too."""
        self._stopping.set()
        time.sleep(2 * _RESTART_AFTER_SECONDS)
        for part in self.parts.values():
            for process in part.members():
                with suppress(psutil.NoSuchProcess):
                    process.send_signal(signal.SIGCONT)
                    process.kill()
        self.postgres.kill()


@contextmanager
def running(
    home: Path, proxy: FaultProxy, model_home: Path, project_root: Path
) -> Iterator[System]:
    """Start database, API, code server and daemon."""
    postgres = Postgres(home / "postgres")
    with _small_disk(home / "tmp") as (disk, reason):
        environment = _environment(home, postgres, proxy, model_home, project_root)
        subprocess.run([*CLI, "migrate"], env=environment, check=True, capture_output=True)
        # The API grants no interval under a minute; a round is shorter than that.
        with psycopg.connect(environment["ACTIVEKG_DSN"]) as conn:
            conn.execute(
                "ALTER TABLE connectors.connectors DROP CONSTRAINT "
                "connectors_poll_interval_seconds_check"
            )
        system = System(
            home,
            postgres,
            proxy,
            environment,
            _parts(home, environment),
            f"http://127.0.0.1:{environment['ACTIVEKG_API_PORT']}",
            disk,
            reason,
        )
        token = subprocess.run(
            [*CLI, "token", "--scope", "super_admin"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        system.headers["Authorization"] = f"Bearer {token}"
        supervisor = threading.Thread(target=system.supervise, name="supervisor", daemon=True)
        try:
            system.parts[API].start()
            system.wait("the API answers", lambda: _answers(f"{system.api_url}/healthz"), 60)
            supervisor.start()
            yield system
        finally:
            system.stop()


def start_dagster(system: System) -> None:
    """Start code server and daemon, once the connectors are registered.

    Tenants' sensors are made when they load.
    """
    system.ask("UPDATE connectors.connectors SET poll_interval_seconds = %s", _POLL_SECONDS)
    system.parts[CODE_SERVER].start()
    system.parts[DAEMON].start()


def _environment(
    home: Path, postgres: Postgres, proxy: FaultProxy, model_home: Path, project_root: Path
) -> dict[str, str]:
    (home / "models").symlink_to(model_home / "models", target_is_directory=True)
    dagster_home = home / "dagster"
    dagster_home.mkdir()
    instance = yaml.safe_load((project_root / "dagster.yaml").read_text())
    # As it is shipped, but looked at more often.
    instance["run_monitoring"]["poll_interval_seconds"] = 2
    (dagster_home / "dagster.yaml").write_text(yaml.safe_dump(instance))
    port = free_port()
    workspace = {
        "load_from": [
            {
                "grpc_server": {
                    "host": "127.0.0.1",
                    "port": port,
                    "location_name": "activekg_pipelines.definitions",
                }
            }
        ]
    }
    (home / "workspace.yaml").write_text(yaml.safe_dump(workspace))
    return clean_environment() | {
        "ACTIVEKG_DSN": ensure_database(postgres.dsn, "activekg"),
        "ACTIVEKG_DAGSTER_DSN": ensure_database(postgres.dsn, "dagster"),
        "ACTIVEKG_HOME": str(home),
        "ACTIVEKG_DAGSTER_FILES": str(home / "files"),
        "DAGSTER_HOME": str(dagster_home),
        "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "120",
        "DAGSTER_GRPC_TIMEOUT_SECONDS": "180",
        "ACTIVEKG_API_PORT": str(free_port()),
        "ACTIVEKG_WEBSERVER_URL": f"http://127.0.0.1:{free_port()}",
        "ACTIVEKG_ENDPOINT_ALLOWLIST": proxy.url.removeprefix("http://"),
        "CONNECTOR_KEK_V1": Fernet.generate_key().decode(),
        "CONNECTOR_KEK_ACTIVE_VERSION": "1",
        "JWT_SECRET_KEY": "a-secret-of-the-tests-that-is-long-enough",
        "ACTIVEKG_MAX_FILE_BYTES": str(MAX_FILE_BYTES),
        "ACTIVEKG_LEASE_SECONDS": str(LEASE_SECONDS),
        "ACTIVEKG_LOST_RUN_SECONDS": str(3 * LEASE_SECONDS),
        "ACTIVEKG_RETRY_BASE_SECONDS": "1",
        "ACTIVEKG_RETRY_CAP_SECONDS": "4",
        # Faults last for seconds here, and attempts are made every few; no object may
        # be given up for that.
        "ACTIVEKG_MAX_ATTEMPTS": "100",
        # Small, so that one batch of changes is worth two runs.
        "ACTIVEKG_MAX_OBJECTS_PER_RUN": "60",
        "TMPDIR": str(home / "tmp"),
        "CHAOS_CODE_SERVER_PORT": str(port),
        "PYTHONUNBUFFERED": "1",
    }


def _parts(home: Path, environment: dict[str, str]) -> dict[str, Part]:
    scripts = Path(sys.executable).parent
    commands = {
        API: [sys.executable, "-m", "activekg_pipelines.api.app"],
        CODE_SERVER: [
            str(scripts / "dagster"), "code-server", "start", "-h", "127.0.0.1",
            "-p", environment["CHAOS_CODE_SERVER_PORT"], "-m", "activekg_pipelines.definitions",
        ],
        DAEMON: [str(scripts / "dagster-daemon"), "run", "-w", str(home / "workspace.yaml")],
    }  # fmt: skip
    return {
        name: Part(name, command, environment, home / f"{name}.log")
        for name, command in commands.items()
    }


@contextmanager
def _small_disk(folder: Path) -> Iterator[tuple[Path | None, str]]:
    """A file system of a few megabytes, where this machine lets us mount one."""
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None:
        yield None, "there is no mount command"
        return
    options = f"size={_TEMPORARY_BYTES},mode=1777"
    mounted = subprocess.run(
        [mount, "-t", "tmpfs", "-o", options, "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        yield None, f"no file system can be mounted: {mounted.stderr.strip()}"
        return
    try:
        yield folder, ""
    finally:
        # Lazy: a process that is still dying may hold a file.
        subprocess.run(["umount", "-l", str(folder)], check=True)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=5).is_success
    except httpx.HTTPError:
        return False
