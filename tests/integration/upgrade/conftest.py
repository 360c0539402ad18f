"""A database as the version before this one filled it, before and after the migration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection, sql
from psycopg.conninfo import conninfo_to_dict
from psycopg.rows import TupleRow

from activekg_pipelines.database.migrate import migrate
from activekg_pipelines.settings import Settings, load_settings
from tests.conftest import new_database
from tests.integration.upgrade.objects import BUCKETS, ENDPOINT, KEKS
from tests.s3_bucket import Bucket

ROWS = Path(__file__).with_name("filled_0007.sql")

Rows = dict[str, list[dict[str, Any]]]


def rows_of(conn: Connection[TupleRow]) -> Rows:
    """Every row of every table, as JSON, by the table's name."""
    tables = conn.execute(
        "SELECT relnamespace::regnamespace::text, relname FROM pg_class WHERE relkind = 'r'"
        " AND relnamespace::regnamespace::text IN ('connectors', 'public')"
        " AND relname <> 'alembic_version' ORDER BY 1, 2"
    ).fetchall()
    return {
        f"{schema}.{table}": [
            row
            for (row,) in conn.execute(
                sql.SQL("SELECT to_jsonb(t) FROM {} t ORDER BY to_jsonb(t)::text").format(
                    sql.Identifier(schema, table)
                )
            )
        ]
        for schema, table in tables
    }


@pytest.fixture(scope="session")
def filled_template(postgres: str, s3_endpoint: str) -> str:
    """DSN of a database at revision 0007, with the rows that its version wrote."""
    dsn = new_database(postgres, template="template0")
    migrate(dsn, "0007")
    with psycopg.connect(dsn) as conn:
        conn.execute(ROWS.read_text("utf-8").replace(ENDPOINT, s3_endpoint))  # type: ignore[call-overload]
    return dsn


@pytest.fixture(scope="session")
def rows_before(filled_template: str) -> Rows:
    """Every row before the migration."""
    with psycopg.connect(filled_template) as conn:
        return rows_of(conn)


@pytest.fixture(scope="session")
def upgraded_template(postgres: str, filled_template: str, rows_before: Rows) -> str:
    """Name of the same database after the migration, which each test clones."""
    migrate(filled_template)
    return conninfo_to_dict(filled_template)["dbname"]  # type: ignore[return-value]


@pytest.fixture
def dsn(postgres: str, upgraded_template: str) -> str:
    """DSN of a database that was migrated with the rows of the version before."""
    return new_database(postgres, template=upgraded_template)


@pytest.fixture
def app_settings(app_settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings for the migrated database, with the keys of its secrets."""
    for name, value in KEKS.items():
        monkeypatch.setenv(name, value)
    return load_settings()


@pytest.fixture
def buckets(s3_endpoint: str) -> dict[str, Bucket]:
    """The buckets as the version before left them."""
    made = {name: Bucket.create(s3_endpoint, name) for name in BUCKETS}
    for name, objects in BUCKETS.items():
        made[name].put_many(dict(objects))
    return made
