"""A real Dagster instance on Postgres, and this package's definitions loaded against a test's database."""

from __future__ import annotations

from collections.abc import Iterator

import dagster as dg
import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from activekg_pipelines import services as services_module
from activekg_pipelines import settings as settings_module
from activekg_pipelines.database.embedded import database_url, ensure_database
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings


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
    with dg.instance_for_test(overrides=_storage(database_url(postgres, f"{name}_dagster"))) as opened:
        yield opened


@pytest.fixture
def services(app_settings: Settings) -> Iterator[Services]:
    """The services that the definitions use in this process."""
    settings_module.settings.cache_clear()
    services_module.services.cache_clear()
    opened = services_module.services()
    yield opened
    opened.database.close()
    settings_module.settings.cache_clear()
    services_module.services.cache_clear()


def _storage(url: str) -> dict[str, object]:
    return {"storage": {"postgres": {"postgres_url": url}}}
