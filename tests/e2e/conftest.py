"""The whole system as a user starts it, on an embedded database.

``activekg-pipelines up`` runs in a process of its own.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from cryptography.fernet import Fernet

from tests.s3_bucket import Bucket

CLI = [sys.executable, "-m", "activekg_pipelines.cli.main"]


@dataclass
class System:
    """A running system, used from outside: HTTP, command line, processes."""

    process: subprocess.Popen[bytes]
    environment: dict[str, str]
    api_url: str
    webserver_url: str
    log: Path
    headers: dict[str, str] = field(default_factory=dict)
    cli: tuple[str, ...] = tuple(CLI)

    def run(self, *command: str, timeout: float = 180) -> subprocess.CompletedProcess[str]:
        """Run a command in the system's environment and return what it printed."""
        return subprocess.run(
            command,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def api(self, method: str, path: str, **kwargs: Any) -> httpx.Response:
        """Call the admin API as a super admin."""
        return httpx.request(
            method, self.api_url + path, headers=self.headers, timeout=60, **kwargs
        )

    def graphql(self, query: str, **variables: Any) -> dict[str, Any]:
        """Ask the Dagster webserver what its UI asks it."""
        answer = httpx.post(
            f"{self.webserver_url}/graphql",
            json={"query": query, "variables": variables},
            timeout=60,
        ).json()
        assert "errors" not in answer, answer["errors"]
        return answer["data"]

    def register(self, bucket: Bucket, tenant_id: str, name: str = "docs") -> str:
        """Register a connector through the API; returns its id."""
        config = {
            "name": name,
            "bucket": bucket.name,
            "endpoint_url": bucket.endpoint_url,
            "access_key_id": "AKIAIOSFODNN7EXAMPLE",
            "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        }
        body = {"tenant_id": tenant_id, "provider": "s3", "config": config}
        answer = self.api("POST", "/_admin/connectors/configs", json=body)
        assert answer.status_code == 201, answer.text
        return answer.json()["id"]

    def runs(self, config_id: str) -> list[dict[str, Any]]:
        """The connector's syncs, newest first."""
        return self.api("GET", "/_admin/connectors/runs", params={"config_id": config_id}).json()[
            "items"
        ]

    def states(self, config_id: str) -> dict[str, int]:
        """The connector's objects by state."""
        with psycopg.connect(self.environment["ACTIVEKG_DSN"]) as conn:
            return dict(
                conn.execute(
                    "SELECT state::text, count(*) FROM connectors.objects WHERE connector_id = %s "
                    "GROUP BY 1",
                    (config_id,),
                ).fetchall()
            )

    def wait(self, what: str, condition: Callable[[], Any], seconds: float) -> Any:
        """Wait for a condition; returns what it returned."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.log.read_text()
            if result := condition():
                return result
            time.sleep(0.25)
        logs = Path(self.environment["ACTIVEKG_HOME"]) / "logs" / "dagster.log"
        pytest.fail(f"{what}: not within {seconds} s. {logs.read_text()[-3000:]}")


@contextmanager
def running_system(
    home: Path, s3_endpoint: str, extra: Mapping[str, str] | None = None
) -> Iterator[System]:
    """Start ``activekg-pipelines up`` on free ports and stop it as Ctrl-C does."""
    api_port, web_port = free_port(), free_port()
    environment = (
        clean_environment()
        | {
            "ACTIVEKG_HOME": str(home),
            "ACTIVEKG_API_PORT": str(api_port),
            "ACTIVEKG_WEBSERVER_URL": f"http://127.0.0.1:{web_port}",
            # Every server of the tests, whatever its port.
            "ACTIVEKG_ENDPOINT_ALLOWLIST": "127.0.0.1",
            # Connectors that name no endpoint mean AWS; here the tests' server is in
            # its place.
            "ACTIVEKG_S3_ENDPOINT_URL": s3_endpoint,
            "PYTHONUNBUFFERED": "1",
        }
        | dict(extra or {})
    )
    log = home.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen([*CLI, "up"], env=environment, stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 150
        while "Ctrl-C stops everything" not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        printed = subprocess.run(
            [*CLI, "env"], env=environment, capture_output=True, text=True, check=True
        ).stdout
        for line in printed.splitlines():
            name, _, value = line.removeprefix("export ").partition("=")
            environment[name] = value.strip("'")
        token = subprocess.run(
            [*CLI, "token", "--scope", "super_admin"],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        system = System(
            process,
            environment,
            f"http://127.0.0.1:{api_port}",
            environment["ACTIVEKG_WEBSERVER_URL"],
            log,
        )
        system.headers["Authorization"] = f"Bearer {token}"
        yield system
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=120)


@pytest.fixture(scope="session")
def system(
    tmp_path_factory: pytest.TempPathFactory, s3_endpoint: str, model_home: Path
) -> Iterator[System]:
    """One system for all end-to-end tests."""
    home = tmp_path_factory.mktemp("system") / "home"
    home.mkdir()
    # The converted model is shared with the other tests: converting it again proves
    # nothing.
    (home / "models").symlink_to(model_home / "models", target_is_directory=True)
    (model_home / "models").mkdir(parents=True, exist_ok=True)
    keys = {f"CONNECTOR_KEK_V{version}": Fernet.generate_key().decode() for version in (1, 2)}
    with running_system(home, s3_endpoint, keys | {"CONNECTOR_KEK_ACTIVE_VERSION": "1"}) as running:
        yield running


def clean_environment() -> dict[str, str]:
    """The environment without what configures this package, or says that a test runs."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("ACTIVEKG_", "CONNECTOR_", "JWT_", "DAGSTER", "AWS_", "PYTEST"))
    }


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
