"""Behind a pooler in transaction mode, where each transaction may meet another session."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import Any, LiteralString

import dagster as dg
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from activekg_pipelines.audit.audit import audit_connector
from activekg_pipelines.database.embedded import database_url, ensure_database
from activekg_pipelines.database.migrate import current_revision, migrate, newest_revision
from activekg_pipelines.database.pool import Database
from activekg_pipelines.defs.sensors import start_due_work
from activekg_pipelines.graph.export import export_chunks
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings, load_settings
from tests.integration.syncing import found, graph_of, states, sync
from tests.integration.test_dagster_runs import execute, requests_of
from tests.s3_bucket import Bucket
from tests.systems import pgbouncer


@pytest.fixture(scope="module")
def pooler(postgres: str) -> Iterator[str]:
    """Address of a PgBouncer before the tests' Postgres."""
    with pgbouncer.running(postgres) as address:
        yield address


@pytest.fixture
def pooled_dsn(pooler: str, dsn: str) -> str:
    """The test's database, by way of the pooler."""
    return make_conninfo(pooler, dbname=conninfo_to_dict(dsn)["dbname"])


@pytest.fixture
def app_settings(
    app_settings: Settings, pooled_dsn: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings whose database is the pooler's."""
    monkeypatch.setenv("ACTIVEKG_DSN", pooled_dsn)
    monkeypatch.setenv("ACTIVEKG_ENDPOINT_ALLOWLIST", s3_endpoint.removeprefix("http://"))
    return load_settings()


def in_each_session(dsn: str, statement: LiteralString) -> list[tuple[Any, ...]]:
    """What each of the server's sessions behind the pooler answers."""
    all_open = threading.Barrier(pgbouncer.SERVER_CONNECTIONS)

    def ask(_: int) -> tuple[Any, ...]:
        with psycopg.connect(dsn, prepare_threshold=None) as conn:
            row = conn.execute(statement).set_result(-1).fetchone()
            # All transactions are open at this moment, so each has a session of its own.
            all_open.wait(timeout=60)
        assert row is not None
        return row

    with ThreadPoolExecutor(pgbouncer.SERVER_CONNECTIONS) as threads:
        return list(threads.map(ask, range(pgbouncer.SERVER_CONNECTIONS)))


WHAT_A_SESSION_HOLDS = (
    "SELECT current_setting('idle_in_transaction_session_timeout'),"
    " current_setting('search_path'), current_setting('jit'),"
    " coalesce(current_setting('app.current_tenant_id', true), ''),"
    " (SELECT count(*) FROM pg_prepared_statements), to_regclass('pg_temp.incoming_nodes')"
)


def test_syncs_of_many_connections_share_two_sessions(
    services: Services, bucket: Bucket, pooled_dsn: str, tmp_path: Path
) -> None:
    fresh = in_each_session(pooled_dsn, WHAT_A_SESSION_HOLDS)
    connectors = [bucket.register(services, name=f"n{n}", prefix=f"{n}/") for n in range(4)]
    for number in range(4):
        for document in range(12):
            bucket.put(f"{number}/{document}.txt", f"The lighthouse {number} of island {document}.")
    with ThreadPoolExecutor(4) as threads:
        counts = list(threads.map(lambda connector: sync(services, connector), connectors))
        assert [(count.indexed, count.failed) for count in counts] == [(12, 0)] * 4
        for number in range(4):
            bucket.put(f"{number}/0.txt", f"The windmill {number} of the dyke.")
            bucket.delete(f"{number}/1.txt")
        counts = list(threads.map(lambda connector: sync(services, connector), connectors))
        assert [(count.indexed, count.failed) for count in counts] == [(1, 0)] * 4
        answers = list(threads.map(lambda n: found(services, f"windmill {n}"), range(8)))
    assert all(answers)
    assert export_chunks(services.database, "acme_corp", tmp_path / "chunks.parquet") == 44
    assert graph_of(services) == (44, 44, 44)
    assert in_each_session(pooled_dsn, WHAT_A_SESSION_HOLDS) == fresh


def test_a_run_of_dagster(services: Services, bucket: Bucket, instance: dg.DagsterInstance) -> None:
    connector = bucket.register(services, poll_interval_seconds=60)
    bucket.put("a.txt", "The lighthouse of the island.")
    (request,) = requests_of(start_due_work(services))
    assert execute(instance, request).success
    assert states(services, connector) == {"a.txt": ("indexed", None)}
    assert audit_connector(services, connector).differences == {}


def test_an_empty_database_is_migrated_through_it(pooler: str, empty_dsn: str) -> None:
    address = make_conninfo(pooler, dbname=conninfo_to_dict(empty_dsn)["dbname"])
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as processes:
        assert set(processes.map(migrate, [address] * 2)) == {newest_revision()}
    assert current_revision(empty_dsn) == newest_revision()


def test_a_transaction_that_stands_still_ends(pooled_dsn: str) -> None:
    database = Database(pooled_dsn, idle_in_transaction_seconds=1)
    with (
        pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout),
        database.transaction() as conn,
    ):
        ended = threading.Event()
        conn.execute("SELECT 1")
        # Longer than the second, on any machine.
        ended.wait(5)
        conn.execute("SELECT 1")
    database.close()


def test_a_table_that_somebody_left_in_a_session(
    services: Services, bucket: Bucket, pooled_dsn: str
) -> None:
    left = in_each_session(
        pooled_dsn,
        "CREATE TEMPORARY TABLE incoming_nodes (id int); INSERT INTO incoming_nodes VALUES (1)"
        " RETURNING id",
    )
    assert len(left) == pgbouncer.SERVER_CONNECTIONS
    bucket.put("a.txt", "The lighthouse of the island.")
    connector = bucket.register(services)
    assert sync(services, connector).indexed == 1
    assert found(services, "lighthouse")


def test_dagsters_own_storage_leaves_its_settings_to_others(pooler: str, postgres: str) -> None:
    """Why its address has to lead to the server itself, as docs/postgres.md says."""
    ensure_database(postgres, "dagster_by_pooler")
    storage = {
        "module": "activekg_pipelines.orchestrator.storage",
        "class": "PooledPostgresStorage",
        "config": {"postgres_url": database_url(pooler, "dagster_by_pooler")},
    }
    with dg.instance_for_test(overrides={"storage": {"custom": storage}}) as instance:
        instance.add_dynamic_partitions("connector", ["acme_corp/documents"])
        assert instance.get_dynamic_partitions("connector") == ["acme_corp/documents"]
        instance.optimize_for_webserver(statement_timeout=4321, pool_recycle=60, max_overflow=5)
        assert instance.get_runs(limit=1) == []
        stranger = make_conninfo(pooler, dbname="dagster_by_pooler")
        assert ("4321ms",) in in_each_session(stranger, "SHOW statement_timeout")
