"""A tenant is removed with everything, and nothing of another one changes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import dagster as dg
import psycopg
import pytest
from psycopg import sql

from activekg_pipelines.administration import tenants
from activekg_pipelines.administration.operations import register
from activekg_pipelines.administration.tenants import count_tenant, remove_tenant
from activekg_pipelines.connectors.tenant_limits import TenantLimits
from activekg_pipelines.orchestrator.checks import report_checks
from activekg_pipelines.orchestrator.orchestrator import Orchestrator
from activekg_pipelines.orchestrator.sensors import (
    WORK_QUEUE_SENSOR,
    former_sensor_name,
    sensor_name,
)
from activekg_pipelines.services import Services
from tests.integration.orchestrator.test_sensors import STOPPED, store
from tests.integration.syncing import found, query, scan, sync
from tests.s3_bucket import Bucket

GONE, STAYS = "acme_corp", "globex"


@pytest.fixture
def admin(services: Services, instance: dg.DagsterInstance) -> Iterator[Services]:
    """Services that speak to a real Dagster."""
    services.orchestrator = Orchestrator("http://127.0.0.1:9", instance=lambda: instance)
    yield services
    # The instance is the fixture's to close.
    services.orchestrator = Orchestrator("http://127.0.0.1:9")


@pytest.fixture
def two_tenants(admin: Services, instance: dg.DagsterInstance, bucket: Bucket) -> Services:
    """Tenants with rows in every table, and with a history in Dagster."""
    store(instance, WORK_QUEUE_SENSOR, STOPPED)
    # One has an id that begins as that of the tenant that goes.
    for tenant in (GONE, STAYS, f"{GONE}_2"):
        bucket.put_many({f"{tenant}/{n}.txt": f"The text {n} of {tenant}." for n in range(3)})
        connector = register(admin, tenant, "s3", bucket.config(prefix=f"{tenant}/"))
        sync(admin, connector)
        bucket.delete(f"{tenant}/0.txt")
        scan(admin, connector)
        remember(instance, connector.partition_key)
        for sensor in (sensor_name(tenant), former_sensor_name(tenant)):
            store(instance, sensor, STOPPED)
        with admin.database.transaction() as conn:
            admin.tenant_limits.set(conn, tenant, TenantLimits(objects=5))
            conn.execute("INSERT INTO connectors.key_rotations VALUES (%s, 1)", (tenant,))
    return admin


def remember(instance: dg.DagsterInstance, partition: str) -> None:
    """A finished run of a partition, and what sensors report of it."""
    instance.add_run(
        dg.DagsterRun(
            "sync_connector",
            str(uuid4()),
            status=dg.DagsterRunStatus.SUCCESS,
            tags={"dagster/partition": partition},
        )
    )
    materialized = dg.AssetMaterialization("source_objects", partition=partition)
    instance.report_runless_asset_event(materialized)
    evaluated = dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey("source_objects"),
        check_name="listed_in_time",
        passed=True,
        partition=partition,
    )
    report_checks(instance, [evaluated])


def events_that_name(instance: dg.DagsterInstance, text: str) -> int:
    """How many of Dagster's events hold a text, wherever it stands in them."""
    statement = "SELECT count(*) FROM event_logs WHERE event LIKE %s"
    with psycopg.connect(instance.run_storage.postgres_url) as conn:  # type: ignore[attr-defined]
        row = conn.execute(statement, (f"%{text}%",)).fetchone()
    return int(row[0]) if row else 0


def state_of(services: Services, tenant_id: str) -> dict[str, list[Any]]:
    """Every row of a tenant, and what Dagster holds of it."""
    rows: dict[str, list[Any]] = {"dagster": [services.orchestrator.count_tenant(tenant_id)]}
    with services.database.transaction() as conn:
        for table in tenants._tables(conn):
            statement = sql.SQL("SELECT t::text FROM {} t WHERE tenant_id = %s ORDER BY 1")
            rows[table.full_name] = conn.execute(
                statement.format(table.identifier), (tenant_id,)
            ).fetchall()
    return rows


def test_everything_of_a_tenant_goes_and_nothing_of_another(
    two_tenants: Services, instance: dg.DagsterInstance
) -> None:
    before, _ = count_tenant(two_tenants, GONE)
    assert {
        "nodes", "edges", "connectors.connectors", "connectors.objects", "connectors.texts",
        "connectors.scans", "connectors.runs", "connectors.released_embeddings",
        "connectors.counters", "connectors.key_rotations", "connectors.tenant_limits",
        "connectors.tenant_usage", "connectors.actions", "dagster partitions", "dagster runs",
        "dagster events", "dagster check evaluations", "dagster sensors",
    } <= {place for place, rows in before.items() if rows}  # fmt: skip
    others = {tenant: state_of(two_tenants, tenant) for tenant in (STAYS, f"{GONE}_2")}

    removal = remove_tenant(two_tenants, GONE)

    assert removal.is_complete
    assert {count.place: (count.removed, count.left) for count in removal.counts} == {
        place: (rows, 0) for place, rows in before.items()
    }
    assert not any(count_tenant(two_tenants, GONE)[0].values())
    assert {tenant: state_of(two_tenants, tenant) for tenant in others} == others
    assert found(two_tenants, "text", tenant_id=GONE) == set()
    assert len(found(two_tenants, "text", tenant_id=STAYS)) == 2
    assert not any(
        key.split("/")[0] == GONE for key in instance.get_dynamic_partitions("connector")
    )
    assert events_that_name(instance, f"{GONE}/") == 0
    assert events_that_name(instance, f"{STAYS}/") > 0
    sensors = {state.name for state in instance.all_instigator_state()}
    assert sensor_name(GONE) not in sensors
    assert sensor_name(STAYS) in sensors


def test_who_removed_a_tenant_is_recorded_outside_of_it(two_tenants: Services) -> None:
    remove_tenant(two_tenants, GONE)
    remove_tenant(two_tenants, GONE)
    rows = query(
        two_tenants,
        "SELECT action, details FROM connectors.actions WHERE tenant_id IS NULL ORDER BY id",
    )
    assert rows == [
        ("tenant_removal_begun", {"removed_tenant": GONE}),
        ("tenant_removed", {"removed_tenant": GONE}),
    ]


def test_batches_are_small_and_many(two_tenants: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenants, "_BATCH", 1)
    assert remove_tenant(two_tenants, GONE).is_complete


def test_killed_halfway_and_started_again_it_ends_the_same(
    two_tenants: Services, instance: dg.DagsterInstance, dsn: str
) -> None:
    others = state_of(two_tenants, STAYS)
    environment = os.environ | {
        "ACTIVEKG_DAGSTER_DSN": instance.run_storage.postgres_url,  # type: ignore[attr-defined]
        "ACTIVEKG_WEBSERVER_URL": "http://127.0.0.1:9",
    }
    command = [sys.executable, "-m", "activekg_pipelines.cli.main"]
    with psycopg.connect(dsn) as holder:
        # The removal of connectors comes first; then it waits here.
        holder.execute(
            "SELECT FROM connectors.tenant_limits WHERE tenant_id = %s FOR UPDATE", (GONE,)
        )
        removing = subprocess.Popen([*command, "tenants", "remove", GONE, "--yes"], env=environment)
        try:
            wait_until_it_waits(two_tenants, removing)
        finally:
            removing.send_signal(signal.SIGKILL)
            removing.wait()
    left = {place for place, rows in count_tenant(two_tenants, GONE)[0].items() if rows}
    assert "connectors.tenant_limits" in left
    assert not {"connectors.connectors", "connectors.objects", "dagster partitions"} & left
    assert found(two_tenants, "text", tenant_id=GONE) == set()

    assert remove_tenant(two_tenants, GONE).is_complete
    assert state_of(two_tenants, STAYS) == others


def wait_until_it_waits(services: Services, process: subprocess.Popen[bytes]) -> None:
    """Until another session waits for a lock."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        assert process.poll() is None
        waiting = query(
            services,
            "SELECT pid FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()",
        )
        if waiting:
            return
        time.sleep(0.1)
    raise AssertionError("the removal never came to the table that is locked")


def test_a_table_that_is_new_cannot_be_forgotten(two_tenants: Services, dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE connectors.a_parent (id int PRIMARY KEY, tenant_id text)")
        conn.execute(
            "CREATE TABLE connectors.z_child (parent int REFERENCES connectors.a_parent,"
            " tenant_id varchar(9), self int REFERENCES connectors.a_parent)"
        )
        conn.execute("INSERT INTO connectors.a_parent VALUES (1, %s), (2, %s)", (GONE, STAYS))
        conn.execute("INSERT INTO connectors.z_child VALUES (1, %s, 1), (2, %s, 2)", (GONE, STAYS))
    removal = remove_tenant(two_tenants, GONE)
    assert removal.is_complete
    assert {"connectors.a_parent", "connectors.z_child"} <= {one.place for one in removal.counts}
    for table in ("a_parent", "z_child"):
        assert query(two_tenants, f"SELECT tenant_id FROM connectors.{table}") == [(STAYS,)]


def test_every_table_of_this_package_has_a_tenant(dsn: str) -> None:
    with psycopg.connect(dsn) as conn:
        without = conn.execute(
            "SELECT c.relname FROM pg_class c WHERE c.relkind IN ('r', 'p')"
            " AND c.relnamespace = 'connectors'::regnamespace AND NOT EXISTS (SELECT FROM"
            " pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant_id')"
        ).fetchall()
    assert without == [("alembic_version",)]


def test_tables_of_other_software_are_named_and_never_touched(
    two_tenants: Services, dsn: str
) -> None:
    with psycopg.connect(dsn) as conn:
        conn.execute("CREATE TABLE public.orders (tenant_id text)")
        conn.execute("INSERT INTO public.orders VALUES (%s)", (GONE,))
    removal = remove_tenant(two_tenants, GONE)
    assert removal.is_complete
    assert removal.others == {"orders": 1}
    assert query(two_tenants, "SELECT tenant_id FROM public.orders") == [(GONE,)]


def test_a_run_that_has_not_ended_is_left_and_counted(
    two_tenants: Services, instance: dg.DagsterInstance
) -> None:
    lively = str(uuid4())
    tags = {"dagster/partition": f"{GONE}/a"}
    status = dg.DagsterRunStatus.STARTED
    instance.add_run(dg.DagsterRun("sync_connector", lively, status=status, tags=tags))
    removal = remove_tenant(two_tenants, GONE)
    assert not removal.is_complete
    assert {one.place: one.left for one in removal.counts if one.left} == {"dagster runs": 1}
    instance.report_run_canceled(instance.get_run_by_id(lively))  # type: ignore[arg-type]
    assert remove_tenant(two_tenants, GONE).is_complete
    assert instance.get_run_by_id(lively) is None


def test_an_unknown_tenant_is_no_error(two_tenants: Services) -> None:
    others = state_of(two_tenants, STAYS)
    for nobody in ("nobody", "%", "acme", ""):
        removal = remove_tenant(two_tenants, nobody)
        assert removal.is_complete
        assert not any(one.removed for one in removal.counts)
    assert state_of(two_tenants, STAYS) == others
