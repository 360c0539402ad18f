"""A database as the version before this one filled it, before and after the migration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import Connection, sql
from psycopg.rows import TupleRow

from activekg_pipelines.database.migrate import migrate
from activekg_pipelines.settings import Settings, load_settings
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


@pytest.fixture
def dsn(empty_dsn: str, s3_endpoint: str) -> str:
    """DSN of a database at revision 0007, with the rows that its version wrote."""
    migrate(empty_dsn, "0007")
    with psycopg.connect(empty_dsn) as conn:
        conn.execute(ROWS.read_text("utf-8").replace(ENDPOINT, s3_endpoint))  # type: ignore[call-overload]
    return empty_dsn


@pytest.fixture
def rows_before(dsn: str) -> Rows:
    """Every row before the migration."""
    with psycopg.connect(dsn) as conn:
        return rows_of(conn)


@pytest.fixture
def app_settings(
    rows_before: Rows, dsn: str, app_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings for the migrated database, with the keys of its secrets."""
    migrate(dsn)
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
