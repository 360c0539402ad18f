"""Which rows are purged by themselves, and which stay.

Dagster's runs, events and ticks, and this package's own history.
"""

from __future__ import annotations

import importlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import dagster as dg
import psycopg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
    TickData,
    TickStatus,
)

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.defs.assets import extract_and_index, source_objects
from activekg_pipelines.defs.jobs import sync_connector
from activekg_pipelines.defs.maintenance import OWN_DEFINITIONS, maintenance
from activekg_pipelines.defs.partitions import connector_partitions
from activekg_pipelines.defs.run_scope import SOURCE
from activekg_pipelines.ledger.states import ScanCounts
from activekg_pipelines.orchestrator.history import (
    AD_HOC_JOB,
    HistoryPurge,
    UnknownStorage,
    purge_history,
)
from activekg_pipelines.pipeline.retention import purge
from activekg_pipelines.services import Services
from tests.integration.syncing import in_transaction, query, scan, states, sync
from tests.s3_bucket import Bucket

LOCATION = "activekg_pipelines.definitions"
# Nothing materializes a source.
ASSETS = sorted(OWN_DEFINITIONS.assets - {SOURCE}, key=str)
CHECK = dg.AssetCheckKey(dg.AssetKey("document_embeddings"), "every_object_indexed")


@dg.op
def _nothing() -> None:
    pass


@dg.job(executor_def=dg.in_process_executor)
def somebody_elses() -> None:
    _nothing()


@pytest.fixture
def history(instance: dg.DagsterInstance) -> Iterator[psycopg.Connection[Any]]:
    """Dagster's tables, past its API."""
    url = instance.event_log_storage.postgres_url  # type: ignore[attr-defined]
    with psycopg.connect(url, autocommit=True) as conn:
        yield conn


def run_sync(instance: dg.DagsterInstance, connector: Connector) -> str:
    """One sync on the instance; returns Dagster's run id."""
    instance.add_dynamic_partitions("connector", [connector.partition_key])
    defs = dg.Definitions(assets=[source_objects, extract_and_index], jobs=[sync_connector])
    job = defs.resolve_job_def("sync_connector")
    result = job.execute_in_process(
        instance=instance,
        partition_key=connector.partition_key,
        raise_on_error=False,
        run_config={},
    )
    return result.run_id


def age(history: psycopg.Connection[Any], days: int) -> None:
    """Let the time pass for all that Dagster has recorded so far."""
    shift = f"- interval '{days} days'"
    for statement in (
        f"UPDATE runs SET create_timestamp = create_timestamp {shift}, update_timestamp = "
        f"update_timestamp {shift}",
        f"UPDATE event_logs SET timestamp = timestamp {shift}",
        f"UPDATE asset_check_executions SET create_timestamp = create_timestamp {shift}",
    ):
        history.execute(statement)  # type: ignore[arg-type]


def count(history: psycopg.Connection[Any], table: str, run_ids: list[str]) -> int:
    row = history.execute(
        f"SELECT count(*) FROM {table} WHERE run_id = ANY(%s)", [run_ids]
    ).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return int(row[0])


def newest_materializations(instance: dg.DagsterInstance, key: str) -> list[str]:
    """Run ids of a partition's newest materialization of each asset.

    An id is empty for one that a tick reported.
    """
    newest = []
    for asset in ASSETS:
        wanted = dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[key])
        found = instance.fetch_materializations(wanted, limit=1).records
        newest += [record.event_log_entry.run_id for record in found]
    return newest


def status(instance: dg.DagsterInstance, key: str) -> dict[str, str]:
    """The status of each asset's partition."""
    found = {}
    for asset in ASSETS:
        statuses = instance.get_status_by_partition(asset, [key], connector_partitions)
        found[asset.to_user_string()] = str(statuses and statuses[key])
    return found


def test_old_runs_go_and_the_status_of_each_partition_stays(
    services: Services,
    instance: dg.DagsterInstance,
    history: psycopg.Connection[Any],
    bucket: Bucket,
) -> None:
    bucket.put_many({f"{name}/1.txt": f"The text of {name}." for name in "abc"})
    lively, broken, gone = (
        bucket.register(services, prefix=f"{name}/", name=name) for name in "abc"
    )
    old = {
        connector.name: [run_sync(instance, connector) for _ in range(3)]
        for connector in (lively, broken, gone)
    }
    query(
        services,
        "UPDATE connectors.connectors SET secrets = 'damaged', updated_at = now() WHERE id = %s "
        "RETURNING 1",
        broken.id,
    )
    failed = run_sync(instance, broken)
    for connector in (lively, broken):
        for _ in range(3):
            instance.report_runless_asset_event(
                dg.AssetMaterialization("source_objects", partition=connector.partition_key)
            )
    foreign = somebody_elses.execute_in_process(instance=instance).run_id
    frozen, *others = old["a"]
    history.execute("UPDATE runs SET status = 'STARTED' WHERE run_id = %s", [frozen])
    instance.delete_dynamic_partition("connector", gone.partition_key)
    age(history, 31)
    young = run_sync(instance, lively)
    age(history, 10)
    logs = Path(instance.compute_log_manager._base_dir)  # type: ignore[attr-defined]
    before = status(instance, broken.partition_key)
    assert before == {
        "document_embeddings": "AssetPartitionStatus.FAILED",
        "extracted_text": "AssetPartitionStatus.FAILED",
        "source_objects": "AssetPartitionStatus.MATERIALIZED",
    }

    assert maintenance.execute_in_process(instance=instance).success

    deleted = [*others, *old["b"][:-1], *old["c"]]
    kept = [frozen, old["b"][-1], failed, young, foreign]
    assert {run_id for run_id in (*deleted, *kept) if instance.get_run_by_id(run_id)} == set(kept)
    for table in ("event_logs", "run_tags", "asset_check_executions"):
        assert count(history, table, deleted) == 0, table
    assert count(history, "event_logs", kept) > 0
    assert [run_id for run_id in deleted if (logs / run_id).exists()] == []
    assert (logs / young).exists()
    # What people see of each partition is as it was.
    assert set(newest_materializations(instance, broken.partition_key)) == {"", old["b"][-1]}
    assert young in newest_materializations(instance, lively.partition_key)
    assert status(instance, broken.partition_key) == before
    assert count(history, "event_logs", [""]) == 1, (
        "the last that a tick reported, where no run materialized later"
    )
    evaluation = instance.event_log_storage.get_latest_asset_check_execution_by_key([CHECK])[CHECK]
    assert evaluation.run_id == young
    row = instance.get_latest_materialization_event(dg.AssetKey("document_embeddings"))
    assert row is not None
    assert row.run_id == young


def test_a_purge_without_time_goes_on_the_next_day_and_a_second_one_finds_nothing(
    services: Services,
    instance: dg.DagsterInstance,
    history: psycopg.Connection[Any],
    connector: Connector,
) -> None:
    runs = [run_sync(instance, connector) for _ in range(3)]
    age(history, 31)
    assert purge_history(instance, OWN_DEFINITIONS, days=40, budget_seconds=60) == HistoryPurge(
        0, 0, 0, complete=True
    )
    assert purge_history(instance, OWN_DEFINITIONS, days=30, budget_seconds=0) == HistoryPurge(
        0, 0, 0, complete=False
    )
    assert purge_history(instance, OWN_DEFINITIONS, days=30, budget_seconds=60) == HistoryPurge(
        2, 0, 2, complete=True
    )
    assert purge_history(instance, OWN_DEFINITIONS, days=30, budget_seconds=60) == HistoryPurge(
        0, 0, 0, complete=True
    )
    assert [run_id for run_id in runs if instance.get_run_by_id(run_id)] == runs[-1:]


def test_history_outside_postgres_is_left_alone() -> None:
    with dg.instance_for_test() as instance, pytest.raises(UnknownStorage):
        purge_history(instance, OWN_DEFINITIONS, days=30, budget_seconds=60)


def test_every_job_and_asset_of_this_package_has_a_retention(services: Services) -> None:
    # Loaded here, because they read the registry.
    defs = importlib.import_module("activekg_pipelines.definitions").defs
    jobs = {job.name for job in defs.resolve_all_job_defs()} - {AD_HOC_JOB}
    assert jobs == set(OWN_DEFINITIONS.jobs)
    assert set(defs.resolve_asset_graph().get_all_asset_keys()) == set(OWN_DEFINITIONS.assets)


def test_the_daemon_purges_ticks_and_starts_the_maintenance_by_itself(
    services: Services,
    instance: dg.DagsterInstance,
    history: psycopg.Connection[Any],
    tmp_path: Path,
    project_root: Path,
) -> None:
    days = 86_400
    queue = add_instigator(instance, LOCATION, "work_queue", SensorInstigatorData())
    # It has missed its last tick, as after a day without a daemon.
    since = ScheduleInstigatorData("20 3 * * *", start_timestamp=time.time() - 50 * days)
    schedule = add_instigator(instance, LOCATION, "daily_maintenance", since)
    old = [
        old_tick(instance, queue, TickStatus.SKIPPED, days=2),
        old_tick(instance, queue, TickStatus.SUCCESS, days=15),
        old_tick(instance, queue, TickStatus.STARTED, days=15),
        old_tick(instance, schedule, TickStatus.SKIPPED, days=40),
        old_tick(instance, schedule, TickStatus.SUCCESS, days=39),
    ]
    young = [
        old_tick(instance, queue, TickStatus.SUCCESS, days=13),
        old_tick(instance, schedule, TickStatus.SUCCESS, days=29),
    ]

    def left(ticks: list[int]) -> int:
        row = history.execute(
            "SELECT count(*) FROM job_ticks WHERE id = ANY(%s)", [ticks]
        ).fetchone()
        assert row is not None
        return int(row[0])

    def maintained() -> bool:
        wanted = dg.RunsFilter(
            job_name="activekg_maintenance", statuses=[dg.DagsterRunStatus.SUCCESS]
        )
        return len(instance.get_run_records(wanted)) > 0

    shutil.copy(project_root / "dagster.yaml", tmp_path)
    environment = os.environ | {
        "DAGSTER_HOME": str(tmp_path),
        "ACTIVEKG_DAGSTER_FILES": str(tmp_path / "files"),
        "ACTIVEKG_DAGSTER_DSN": instance.event_log_storage.postgres_url,  # type: ignore[attr-defined]
    }
    command = [sys.executable, "-m", "dagster._daemon", "run", "-m", LOCATION]
    with (tmp_path / "daemon.log").open("wb") as log:
        daemon = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        wait_for(lambda: left(old) == 0, daemon)
        wait_for(maintained, daemon)
    except AssertionError:
        print((tmp_path / "daemon.log").read_text())
        raise
    finally:
        daemon.terminate()
        daemon.wait(timeout=60)
    assert left(young) == len(young)


def test_ticks_of_a_sensor_that_is_gone_are_purged_by_the_maintenance(
    services: Services, instance: dg.DagsterInstance, history: psycopg.Connection[Any]
) -> None:
    add_instigator(instance, LOCATION, "work_queue", SensorInstigatorData())
    departed = add_instigator(instance, LOCATION, "s3_departed", SensorInstigatorData())
    foreign = add_instigator(instance, "others", "theirs", SensorInstigatorData())
    ticks = [
        old_tick(instance, state, TickStatus.SKIPPED, days=40) for state in (departed, foreign)
    ]
    purge_history(instance, OWN_DEFINITIONS, days=30, budget_seconds=60)
    left = history.execute("SELECT id FROM job_ticks WHERE id = ANY(%s)", [ticks]).fetchall()
    assert left == [(ticks[1],)]


def add_instigator(
    instance: dg.DagsterInstance,
    location: str,
    name: str,
    data: SensorInstigatorData | ScheduleInstigatorData,
) -> InstigatorState:
    """A sensor or schedule that runs, as the daemon records it."""
    origin = RemoteInstigatorOrigin(
        RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__"), name
    )
    kind = (
        InstigatorType.SCHEDULE
        if isinstance(data, ScheduleInstigatorData)
        else InstigatorType.SENSOR
    )
    return instance.add_instigator_state(
        InstigatorState(origin, kind, InstigatorStatus.DECLARED_IN_CODE, data)
    )


def old_tick(
    instance: dg.DagsterInstance, state: InstigatorState, tick_status: TickStatus, *, days: int
) -> int:
    """A tick as the daemon recorded it so many days ago; returns its id."""
    tick = TickData(
        state.instigator_origin_id,
        state.instigator_name,
        state.instigator_type,
        tick_status,
        time.time() - days * 86_400,
        run_ids=[],
        selector_id=state.selector_id,
    )
    return int(instance.create_tick(tick).tick_id)


def wait_for(
    condition: Callable[[], bool], process: subprocess.Popen[bytes], seconds: float = 180
) -> None:
    """Wait until a condition holds; the process must live meanwhile."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the daemon ended"
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.5)


# This package's own tables
# -------------------------------------------------------------------------------------------


def test_deleted_objects_are_forgotten_after_their_time_and_come_back_as_new(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    for key in ("a.txt", "b.txt", "c.txt"):
        bucket.put(key, f"The text of {key}.")
    sync(services, connector)
    query(
        services,
        "UPDATE connectors.objects SET detected_at = now() - interval '90 days' RETURNING 1",
    )
    bucket.delete("a.txt", "b.txt")
    scan(services, connector)
    assert purge(services).deleted_objects == 0, "since they were found missing"
    query(
        services,
        "UPDATE connectors.objects SET detected_at = now() - interval '31 days' WHERE key = "
        "'a.txt' RETURNING 1",
    )
    assert purge(services).deleted_objects == 1
    assert states(services, connector) == {"b.txt": ("deleted", None), "c.txt": ("indexed", None)}
    bucket.put("a.txt", "It is back.")
    result = scan(services, connector)
    assert (result.counts.added, result.counts.changed, result.counts.deleted) == (1, 0, 0)


def test_history_is_bounded_also_where_no_scan_completes(
    services: Services, instance: dg.DagsterInstance, connector: Connector
) -> None:
    query(
        services,
        "INSERT INTO connectors.scans (connector_id, tenant_id, status)"
        " SELECT %s, 'acme_corp', 'failed' FROM generate_series(1, 25000) RETURNING 1",
        connector.id,
    )
    for days in (1, 89, 91, 400):
        in_transaction(
            services,
            services.ledger.record_poll,
            connector.id,
            "acme_corp",
            ScanCounts(listed=days),
            sync_id=uuid4(),
            needs_run=False,
        )
        query(
            services,
            "UPDATE connectors.runs SET requested_at = now() - make_interval(days => %s) WHERE "
            "listed = %s RETURNING 1",
            days,
            days,
        )
    in_transaction(services, services.ledger.request_manual_run, connector.id, "acme_corp")
    query(
        services,
        "UPDATE connectors.runs SET requested_at = now() - interval '1 year' WHERE status = "
        "'waiting' RETURNING 1",
    )
    query(
        services,
        "INSERT INTO connectors.released_embeddings"
        " SELECT 'acme_corp', 'm', n::text, array_fill(0, ARRAY[384])::vector, now() + "
        "make_interval(secs => n - 15000)"
        " FROM generate_series(1, 15010) n RETURNING 1",
    )
    assert maintenance.execute_in_process(instance=instance).success
    assert query(services, "SELECT count(*) FROM connectors.scans") == [(100,)]
    kept = query(services, "SELECT status, listed FROM connectors.runs ORDER BY listed")
    assert kept == [("waiting", 0), ("succeeded", 1), ("succeeded", 89)]
    assert query(services, "SELECT count(*) < 20 FROM connectors.released_embeddings") == [(True,)]


def test_a_purge_waits_for_no_lock_and_later_drops_what_was_locked(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "The text of a.")
    sync(services, connector)
    bucket.delete("a.txt")
    scan(services, connector)
    query(
        services,
        "UPDATE connectors.objects SET detected_at = now() - interval '31 days' RETURNING 1",
    )
    with services.database.transaction() as conn:
        conn.execute("SELECT FROM connectors.objects FOR UPDATE")
        assert purge(services).deleted_objects == 0
    assert purge(services).deleted_objects == 1


def test_the_maintenance_finds_what_a_killed_run_of_an_older_version_left(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "The text of a.")
    sync(services, connector)
    query(services, "UPDATE connectors.texts SET extractor_version = 'older' RETURNING 1")
    assert maintenance.execute_in_process(instance=instance).success
    assert states(services, connector) == {"a.txt": ("pending", None)}
