"""The command line as people call it.

Database, S3 server and Dagster's storage are real.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import dagster as dg
import pytest
from typer.testing import CliRunner, Result

from activekg_pipelines import settings as settings_module
from activekg_pipelines.cli.main import app
from activekg_pipelines.errors import ActiveKGError
from activekg_pipelines.pipeline.extract import extract_pending
from activekg_pipelines.pipeline.index import index_extracted
from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.services import Services
from tests.integration.syncing import in_transaction
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Bucket

NAME = "acme_corp/documents"


@dataclass(frozen=True)
class CommandLine:
    """Calls commands in this process."""

    def __call__(
        self, *arguments: str, code: int = 0, answer: str | None = None, **environment: str | None
    ) -> Result:
        """Call a command; its exit code must be ``code``.

        Nothing that it prints may hold the secret.
        """
        result = CliRunner(env=environment).invoke(app, list(arguments), input=answer)
        assert result.exit_code == code, result.output + repr(result.exception)
        assert SECRET_ACCESS_KEY not in result.output
        return result

    def json(self, *arguments: str, code: int = 0, **environment: str | None) -> Any:
        """Call a command with ``--json``; gives what it prints."""
        return json.loads(self(*arguments, "--json", code=code, **environment).stdout)

    def add(self, bucket: Bucket, **options: str) -> dict[str, Any]:
        """Register the bucket as acme_corp/documents."""
        values = {
            "tenant": "acme_corp",
            "name": "documents",
            "endpoint-url": bucket.endpoint_url,
        } | options
        arguments = [part for name, value in values.items() for part in (f"--{name}", value)]
        return self.json(
            *("connectors", "add", "--bucket", bucket.name, *arguments),
            AWS_ACCESS_KEY_ID=ACCESS_KEY_ID,
            AWS_SECRET_ACCESS_KEY=SECRET_ACCESS_KEY,
        )


@pytest.fixture
def cli(
    services: Services, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> Iterator[CommandLine]:
    """The command line with only the two DSNs and the keys set.

    No webserver runs.
    """
    monkeypatch.setenv("ACTIVEKG_DAGSTER_DSN", _storage_url(instance))
    monkeypatch.setenv("ACTIVEKG_WEBSERVER_URL", "http://127.0.0.1:9")
    before = dict(os.environ)
    yield CommandLine()
    os.environ.clear()
    os.environ.update(before)
    settings_module.settings.cache_clear()


@contextmanager
def runs_worked_off(services: Services) -> Iterator[None]:
    """Meanwhile syncs that are asked for run, as Dagster runs them."""
    done = threading.Event()

    def work() -> None:
        while not done.wait(0.1):
            for request in in_transaction(services, services.ledger.runs_to_emit):
                run = str(uuid4())
                connector = services.connector(request.connector_id)
                in_transaction(
                    services,
                    services.ledger.start_run,
                    connector.id,
                    connector.tenant_id,
                    run,
                    request_id=request.id,
                    parent_run=None,
                    with_scan=True,
                    mode=request.mode,
                )
                try:
                    scan_connector(services, connector, budget_seconds=None, from_start=True)
                    extract_pending(services, connector, run, max_objects=1000, budget_seconds=60)
                    index_extracted(services, connector, run, max_objects=1000, budget_seconds=60)
                except ActiveKGError:
                    in_transaction(services, services.ledger.finish_run, run, succeeded=False)
                else:
                    in_transaction(services, services.ledger.finish_run, run, succeeded=True)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _storage_url(instance: dg.DagsterInstance) -> str:
    return str(instance.run_storage.postgres_url)  # type: ignore[attr-defined]
