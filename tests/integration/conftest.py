"""A real Dagster instance on Postgres, and what tests of the domain share.

This package's definitions are loaded against a test's database.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from activekg_pipelines import services as services_module
from activekg_pipelines import settings as settings_module
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.embedded import database_url, ensure_database
from activekg_pipelines.embedding import DEFAULT_MODEL, Encoder, EncoderConfig, load_encoder
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from tests.fault_proxy import FaultProxy, fault_proxy
from tests.s3_bucket import Bucket


@pytest.fixture(scope="session")
def dagster_template(postgres: str) -> str:
    """Name of a database that holds Dagster's tables."""
    name = "template_dagster"
    url = ensure_database(postgres, name)
    with dg.instance_for_test(overrides=_storage(url)) as instance:
        instance.get_run_records(limit=1)
    return name


@pytest.fixture
def instance(postgres: str, dagster_template: str, dsn: str) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance on a new database."""
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(make_conninfo(postgres), autocommit=True) as conn:
        conn.execute(f'CREATE DATABASE "{name}_dagster" TEMPLATE {dagster_template}')
    with dg.instance_for_test(
        overrides=_storage(database_url(postgres, f"{name}_dagster"))
    ) as opened:
        yield opened


@pytest.fixture(scope="session")
def encoder(model_home: Path) -> Encoder:
    """The default model, loaded once."""
    return load_encoder(EncoderConfig(DEFAULT_MODEL, model_home / "models"))


@pytest.fixture
def services(app_settings: Settings, encoder: Encoder) -> Iterator[Services]:
    """The services that the definitions use in this process."""
    settings_module.settings.cache_clear()
    services_module.services.cache_clear()
    opened = services_module.services()
    opened.encoder = opened.question_encoder = encoder
    yield opened
    opened.database.close()
    opened.monitoring_database.close()
    settings_module.settings.cache_clear()
    services_module.services.cache_clear()


@pytest.fixture
def connector(services: Services, bucket: Bucket) -> Connector:
    """A connector for the bucket."""
    return bucket.register(services)


@pytest.fixture
def proxy(s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """An S3 endpoint that fails on demand.

    The AWS library tries as often as ever, but without its pauses.
    """
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    with fault_proxy(s3_endpoint) as opened:
        yield opened


@pytest.fixture
def configured(
    app_settings: Settings, encoder: Encoder, proxy: FaultProxy
) -> Iterator[Callable[..., Services]]:
    """Makes services of a process with other settings, which may also reach the proxy."""
    made: list[Services] = []

    def make(**changes: object) -> Services:
        allowlist = (
            *app_settings.activekg_endpoint_allowlist,
            proxy.url.removeprefix("http://"),
        )
        settings = app_settings.model_copy(
            update={"activekg_endpoint_allowlist": allowlist} | changes
        )
        opened = Services(settings)
        opened.encoder = opened.question_encoder = encoder
        made.append(opened)
        return opened

    yield make
    for opened in made:
        opened.database.close()


@pytest.fixture
def proxied(configured: Callable[..., Services]) -> Services:
    """Services with the usual settings that may reach the proxy."""
    return configured()


@pytest.fixture
def via_proxy(proxied: Services, bucket: Bucket, proxy: FaultProxy) -> Connector:
    """A connector whose every request passes the proxy."""
    return bucket.register(proxied, endpoint_url=proxy.url)


def _storage(url: str) -> dict[str, object]:
    """That of ``dagster.yaml``."""
    storage = {
        "module": "activekg_pipelines.orchestrator.storage",
        "class": "PooledPostgresStorage",
    }
    return {"storage": {"custom": storage | {"config": {"postgres_url": url}}}}
