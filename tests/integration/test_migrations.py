"""Migrations, forward from empty and from an existing ActiveKG database.

They run twice, and twice at once.
"""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ProcessPoolExecutor

import psycopg

from activekg_pipelines.database.migrate import current_revision, migrate, newest_revision

# ActiveKG's own base schema, as its init.sql makes it (without the later additions).
ACTIVEKG_SCHEMA = """
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE nodes (
  id UUID PRIMARY KEY DEFAULT gen_random_uuid(),
  tenant_id TEXT,
  classes TEXT[] NOT NULL DEFAULT '{}',
  props JSONB NOT NULL DEFAULT '{}',
  payload_ref TEXT,
  embedding VECTOR(384),
  metadata JSONB NOT NULL DEFAULT '{}',
  refresh_policy JSONB NOT NULL DEFAULT '{}',
  triggers JSONB NOT NULL DEFAULT '[]',
  version INT NOT NULL DEFAULT 1,
  last_refreshed TIMESTAMPTZ,
  drift_score DOUBLE PRECISION,
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(),
  updated_at TIMESTAMPTZ NOT NULL DEFAULT now()
);
CREATE TABLE edges (
  src UUID NOT NULL, rel TEXT NOT NULL, dst UUID NOT NULL,
  props JSONB NOT NULL DEFAULT '{}', tenant_id TEXT,
  created_at TIMESTAMPTZ NOT NULL DEFAULT now(), PRIMARY KEY (src, rel, dst)
);
"""


def test_migrates_an_empty_database_and_again_without_change(empty_dsn: str) -> None:
    assert current_revision(empty_dsn) is None
    assert migrate(empty_dsn) == newest_revision()
    assert migrate(empty_dsn) == newest_revision()
    assert current_revision(empty_dsn) == newest_revision()


def test_every_earlier_revision_migrates_with_its_rows(empty_dsn: str) -> None:
    migrate(empty_dsn, "0001")
    with psycopg.connect(empty_dsn) as conn:
        conn.execute(
            "INSERT INTO connectors.connectors (tenant_id, name, partition_key, bucket, region, "
            "poll_interval_seconds,"
            " secrets, kek_version, access_key_hint) VALUES ('t', 'n', 't/n', 'b', 'us-east-1', "
            "900, 'x', 1, 'AKIA')"
        )
        conn.execute(
            "INSERT INTO connectors.objects (connector_id, tenant_id, key, etag, size, modified_at)"
            " SELECT id, 't', 'a.txt', 'e', 1, now() FROM connectors.connectors"
        )
    assert migrate(empty_dsn) == newest_revision()
    with psycopg.connect(empty_dsn) as conn:
        assert conn.execute("SELECT key, state::text FROM connectors.objects").fetchall() == [
            ("a.txt", "pending")
        ]


def test_chunks_from_before_their_columns_are_found_by_them(empty_dsn: str) -> None:
    migrate(empty_dsn, "0006")
    with psycopg.connect(empty_dsn) as conn:
        conn.execute(
            "INSERT INTO nodes (id, tenant_id, classes, props) VALUES (gen_random_uuid(), 't', "
            "'{Chunk}',"
            ' \'{"text_hash": "00ff", "embedding_model": "a/b", "external_id": "x#1"}\'),'
            " (gen_random_uuid(), 't', '{Document}', '{\"external_id\": null}')"
        )
    migrate(empty_dsn)
    with psycopg.connect(empty_dsn) as conn:
        rows = conn.execute(
            "SELECT classes[1], text_hash, embedding_model, external_id FROM nodes ORDER BY 1"
        ).fetchall()
        known = conn.execute(
            "SELECT FROM pg_stats WHERE tablename = 'nodes' AND attname = 'embedding_model'"
        ).fetchall()
    assert rows == [("Chunk", "00ff", "a/b", "x#1"), ("Document", None, None, None)]
    assert len(known) == 1, "the planner has statistics of it"


def test_two_migrations_at_once_both_succeed(empty_dsn: str) -> None:
    with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("spawn")) as processes:
        assert set(processes.map(migrate, [empty_dsn] * 3)) == {newest_revision()}


def test_an_activekg_database_is_used_as_found(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as conn:
        conn.execute(ACTIVEKG_SCHEMA)
        conn.execute("INSERT INTO nodes (tenant_id, props) VALUES ('old', '{\"title\": \"kept\"}')")
    migrate(empty_dsn)
    with psycopg.connect(empty_dsn) as conn:
        assert conn.execute("SELECT tenant_id, props ->> 'title' FROM nodes").fetchall() == [
            ("old", "kept")
        ]
        assert conn.execute(
            "SELECT relrowsecurity FROM pg_class WHERE oid = 'nodes'::regclass"
        ).fetchone() == (False,)


def test_every_tenant_table_forces_row_level_security(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        unforced = conn.execute(
            "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace::regnamespace::text"
            " IN ('public', 'connectors') AND NOT (relrowsecurity AND relforcerowsecurity)"
        ).fetchall()
    assert unforced == [("alembic_version",)]
