"""Runs and sensors on a real Dagster instance.

Who starts runs, what they do, what they cost.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import psycopg
import pytest

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.defs import sensors
from activekg_pipelines.defs.assets import extract_and_index, source, source_objects
from activekg_pipelines.defs.jobs import sync_connector
from activekg_pipelines.defs.partitions import connector_partitions
from activekg_pipelines.defs.run_scope import (
    DOCUMENT_EMBEDDINGS,
    EXTRACTED_TEXT,
    SOURCE_OBJECTS,
    run_scope,
)
from activekg_pipelines.defs.sensors import build_sensors, lost_runs, poll_tenant, start_due_work
from activekg_pipelines.errors import CredentialsRefused
from activekg_pipelines.graph.search import search
from activekg_pipelines.ledger.states import Mode
from activekg_pipelines.pipeline.scan import ScanResult, scan_connector
from activekg_pipelines.services import Services
from activekg_pipelines.sources.s3.source import S3Source
from tests.integration.syncing import in_transaction, query, start_run
from tests.s3_bucket import Bucket

ASSETS = [source, source_objects, extract_and_index]


def execute(
    instance: dg.DagsterInstance,
    request: dg.RunRequest,
    *,
    raise_on_error: bool = True,
) -> dg.ExecuteInProcessResult:
    """Carry out a run request as the run worker does."""
    assert request.partition_key is not None
    instance.add_dynamic_partitions("connector", [request.partition_key])
    defs = dg.Definitions(assets=ASSETS, jobs=[sync_connector], executor=dg.in_process_executor)
    job = defs.resolve_job_def("sync_connector")
    return job.execute_in_process(
        instance=instance,
        partition_key=request.partition_key,
        asset_selection=request.asset_selection,
        run_config=request.run_config,
        tags=dict(request.tags),
        raise_on_error=raise_on_error,
    )


def requests_of(result: dg.SensorResult) -> Sequence[dg.RunRequest]:
    return result.run_requests or []


def run_rows(services: Services) -> list[tuple[str, str, int, int, int]]:
    with services.database.transaction() as conn:
        return conn.execute(
            "SELECT trigger, status, added, extracted, indexed FROM connectors.runs ORDER BY "
            "requested_at"
        ).fetchall()


def test_a_poll_finds_new_objects_and_its_run_makes_them_searchable(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("pump.md", "# Pump\n\nThe pump P-7 runs at 40 bar.")
    tick = poll_tenant(services, "acme_corp")
    (request,) = requests_of(tick)
    assert request.asset_selection == [EXTRACTED_TEXT, DOCUMENT_EMBEDDINGS]
    (event,) = tick.asset_events
    assert (event.asset_key, event.partition) == (source_objects.key, "acme_corp/" + connector.name)

    assert execute(instance, request).success
    (hit,) = search(
        services.database, services.encoder, tenant_id="acme_corp", query="pressure of P-7", limit=5
    )
    assert hit.uri == f"s3://{bucket.name}/pump.md"
    assert [row[:2] + row[3:] for row in run_rows(services)] == [("poll", "succeeded", 1, 1)]
    assert run_rows(services)[0][2] == 1


def test_nothing_changed_means_no_run(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "one")
    execute(instance, requests_of(poll_tenant(services, "acme_corp"))[0])
    with services.database.transaction() as conn:
        conn.execute(
            "UPDATE connectors.connectors SET last_scan_started_at = now() - interval '1 hour'"
        )
    assert requests_of(poll_tenant(services, "acme_corp")) == []
    assert requests_of(start_due_work(services)) == []
    assert len(run_rows(services)) == 1


def test_a_new_connector_gets_its_first_sync_from_the_work_queue(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "one")
    (request,) = requests_of(start_due_work(services))
    assert request.asset_selection == [SOURCE_OBJECTS, EXTRACTED_TEXT, DOCUMENT_EMBEDDINGS]
    assert requests_of(start_due_work(services)) == [], (
        "a request that waits is not asked for again at once"
    )
    assert execute(instance, request).success
    assert run_rows(services) == [("registered", "succeeded", 1, 1, 1)]
    assert requests_of(start_due_work(services)) == []


def test_a_request_that_was_never_started_is_asked_for_again_under_a_new_key(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    bucket.put("a.txt", "one")
    (first,) = requests_of(start_due_work(services))
    with services.database.transaction() as conn:
        conn.execute("UPDATE connectors.runs SET emitted_at = now() - interval '5 minutes'")
    (second,) = requests_of(start_due_work(services))
    assert first.run_key != second.run_key
    assert first.tags["activekg/sync_id"] == second.tags["activekg/sync_id"]


def test_sync_now_joins_the_request_that_waits_and_starts_at_the_next_tick(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    execute(instance, requests_of(start_due_work(services))[0])
    bucket.put("a.txt", "one")
    first = in_transaction(services, services.ledger.request_manual_run, connector.id, "acme_corp")
    assert (
        in_transaction(services, services.ledger.request_manual_run, connector.id, "acme_corp")
        == first
    )
    (request,) = requests_of(start_due_work(services))
    assert request.tags["activekg/sync_id"] == str(first)
    assert execute(instance, request).success
    assert run_rows(services)[-1] == ("manual", "succeeded", 1, 1, 1)


def test_a_1000_object_bucket_is_one_run_with_less_than_one_statement_an_object(
    services: Services,
    instance: dg.DagsterInstance,
    bucket: Bucket,
    connector: Connector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket.put_many(
        {f"notes/{number:04}.txt": f"Note number {number} is short." for number in range(1000)}
    )
    tick = poll_tenant(services, "acme_corp")
    (request,) = requests_of(tick)
    statements = 0
    real_execute = psycopg.Cursor.execute

    def counting_execute(self: psycopg.Cursor, *args: object, **kwargs: object) -> object:
        nonlocal statements
        if (
            self.connection.info.dbname
            == psycopg.conninfo.conninfo_to_dict(services.settings.require_dsn())["dbname"]
        ):
            statements += 1
        return real_execute(self, *args, **kwargs)

    monkeypatch.setattr(psycopg.Cursor, "execute", counting_execute)
    result = execute(instance, request)
    monkeypatch.undo()
    assert in_transaction(services, services.ledger.progress, connector.id) == {"indexed": 1000}
    assert statements < 1000
    print(f"{statements / 1000:.2f} statements an object")
    small = len(result.all_events)

    bucket.put("one-more.txt", "One more note.")
    with services.database.transaction() as conn:
        conn.execute(
            "UPDATE connectors.connectors SET last_scan_started_at = now() - interval '1 hour'"
        )
    (request,) = requests_of(poll_tenant(services, "acme_corp"))
    assert len(execute(instance, request).all_events) == small


def test_refused_credentials_fail_the_run_without_retry_and_are_kept_with_the_connector(
    services: Services,
    instance: dg.DagsterInstance,
    bucket: Bucket,
    connector: Connector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise CredentialsRefused

    monkeypatch.setattr(S3Source, "pages", refuse)
    (request,) = requests_of(start_due_work(services))
    result = execute(instance, request, raise_on_error=False)
    assert not result.success
    assert not [
        event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"
    ]
    stored = services.connector(connector.id)
    assert stored.last_error_code == "invalid_credentials"
    assert run_rows(services)[0][:2] == ("registered", "failed")


def test_a_backfill_of_mode_all_takes_every_object_up_again(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "one")
    bucket.put("b.txt", "two")
    execute(instance, requests_of(start_due_work(services))[0])
    in_transaction(
        services, services.ledger.request_manual_run, connector.id, "acme_corp", mode=Mode.ALL
    )
    (request,) = requests_of(start_due_work(services))
    assert execute(instance, request).success
    trigger, status, added, _, indexed = run_rows(services)[-1]
    assert (trigger, status, added, indexed) == ("manual", "succeeded", 0, 2)


def test_texts_and_embeddings_are_materialized_alone_or_together(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "one")
    scan_connector(services, connector, budget_seconds=None)
    key = connector.partition_key

    def materialize(
        *assets: dg.AssetKey, **config: object
    ) -> tuple[list[dg.AssetKey], dict[str, int]]:
        request = dg.RunRequest(
            partition_key=key,
            asset_selection=list(assets),
            run_config={"ops": {"extract_and_index": {"config": config}}} if config else {},
        )
        result = execute(instance, request)
        assert run_rows(services)[-1][:2] == ("dagster", "succeeded")
        events = result.get_asset_materialization_events()
        checks = result.get_asset_check_evaluations()
        assert [check.passed for check in checks] == [True] * (DOCUMENT_EMBEDDINGS in assets)
        return [event.asset_key for event in events if event.asset_key], in_transaction(
            services, services.ledger.progress, connector.id
        )

    done = [SOURCE_OBJECTS, EXTRACTED_TEXT, DOCUMENT_EMBEDDINGS]
    assert materialize(EXTRACTED_TEXT) == (done[:2], {"extracted": 1})
    bucket.put("b.txt", "two")
    assert materialize(DOCUMENT_EMBEDDINGS) == (done, {"indexed": 2})
    # Again from the stored texts, then again from the bucket.
    materialize(DOCUMENT_EMBEDDINGS, mode="reindex")
    assert run_rows(services)[-1][3:] == (0, 2)
    materialize(DOCUMENT_EMBEDDINGS, mode="all")
    assert run_rows(services)[-1][3:] == (2, 2)
    materialize(
        EXTRACTED_TEXT, DOCUMENT_EMBEDDINGS, mode="all", max_objects=1, time_budget_seconds=600
    )
    assert run_rows(services)[-1][3:] == (1, 1)


def test_a_job_without_a_selection_does_all_three_steps(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "one")
    result = execute(instance, dg.RunRequest(partition_key=connector.partition_key))
    events = result.get_asset_materialization_events()
    assert [event.asset_key for event in events] == [
        SOURCE_OBJECTS,
        EXTRACTED_TEXT,
        DOCUMENT_EMBEDDINGS,
    ]
    assert run_rows(services) == [("dagster", "succeeded", 1, 1, 1)]


def test_a_run_says_what_the_texts_of_its_connector_miss(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    def of_texts() -> dict[str, Any]:
        result = execute(instance, dg.RunRequest(partition_key=connector.partition_key))
        (event,) = [
            event
            for event in result.get_asset_materialization_events()
            if event.asset_key == EXTRACTED_TEXT
        ]
        return dict(event.step_materialization_data.materialization.metadata)

    bucket.put("a.txt", "one")
    metadata = of_texts()
    assert metadata["not_read_whole"].value == 0
    assert "documents_with_warnings" not in metadata
    bucket.put("damaged.txt", "Füße überqueren die Straße. ".encode() * 20 + b"\xff")
    metadata = of_texts()
    assert metadata["not_read_whole"].value == 1
    (row,) = metadata["documents_with_warnings"].records
    assert row.data == {
        "warning": "bytes_replaced",
        "documents": 1,
        "example_key": "damaged.txt",
    }


def test_the_check_alone_says_when_it_is_evaluated(
    services: Services, instance: dg.DagsterInstance
) -> None:
    check = dg.AssetCheckKey(DOCUMENT_EMBEDDINGS, "every_object_indexed")
    job = dg.define_asset_job(
        "check", dg.AssetSelection.checks(check), executor_def=dg.in_process_executor
    )
    defs = dg.Definitions(assets=ASSETS, jobs=[job])
    result = defs.resolve_job_def("check").execute_in_process(
        instance=instance, raise_on_error=False
    )
    assert not result.success
    assert "whenever a partition of document_embeddings is materialized" in str(result.all_events)
    assert run_rows(services) == []


def test_a_run_none_of_whose_objects_can_be_read_fails(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "one")
    bucket.put("b.txt", "two")
    (request,) = requests_of(poll_tenant(services, "acme_corp"))
    bucket.delete("a.txt", "b.txt")
    result = execute(instance, request, raise_on_error=False)
    assert not result.success
    assert "None of 2 objects could be read; each is tried again later" in str(result.all_events)
    assert run_rows(services)[-1][1] == "failed"


def test_every_tenant_has_its_own_sensor_and_similar_ids_are_told_apart(
    services: Services, bucket: Bucket
) -> None:
    for number, tenant in enumerate(
        ["acme", "acme-corp", "acme_corp", "acme.corp", "acme_corp_0123abcd"]
    ):
        bucket.register(services, tenant, name=f"c{number}", poll_interval_seconds=60)
    names = [sensor.name for sensor in build_sensors()]
    assert len(names) == len(set(names)) == 7
    assert {"work_queue", "poll_acme", "poll_acme_corp"} <= set(names)


def test_a_partition_without_a_connector_says_so(
    instance: dg.DagsterInstance, services: Services
) -> None:
    request = dg.RunRequest(partition_key="nobody/nothing")
    result = execute(instance, request, raise_on_error=False)
    assert not result.success
    assert "No connector has the partition key 'nobody/nothing'" in str(result.all_events)


def test_the_partition_definition_is_the_one_that_registration_fills() -> None:
    assert connector_partitions.name == "connector"


def test_one_unreadable_connector_does_not_keep_the_tenants_others_from_being_polled(
    services: Services, bucket: Bucket
) -> None:
    bucket.put_many({"a/1.txt": "one", "b/1.txt": "two"})
    broken = bucket.register(services, prefix="a/", name="broken")
    good = bucket.register(services, prefix="b/", name="good")
    with services.database.transaction() as conn:
        conn.execute(
            "UPDATE connectors.connectors SET secrets = 'damaged' WHERE id = %s", (broken.id,)
        )
    (request,) = requests_of(poll_tenant(services, "acme_corp"))
    assert request.partition_key == good.partition_key
    stored = services.connector(broken.id)
    assert stored.last_error_code == "configuration"
    assert "cannot be decrypted with CONNECTOR_KEK_V1" in str(stored.last_error_message)


HOSTILE = "password=hunter2\u202e " + "x" * 10_000


def kept_error(services: Services, connector: Connector) -> tuple[str, str] | None:
    last = services.connector(connector.id).last_error
    return (last.code, last.message) if last else None


def assert_plain_and_short(sentence: str) -> None:
    assert "ZeroDivisionError" in sentence
    assert "hunter2" not in sentence
    assert "\u202e" not in sentence
    assert len(sentence) < 1000


def test_a_connector_that_is_removed_while_it_is_polled_leaves_the_tenants_others_their_runs(
    services: Services, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_many({"a/one.txt": "one", "b/two.txt": "two"})
    removed, stays = (bucket.register(services, prefix=prefix) for prefix in ("a/", "b/"))
    list_source = sensors.scan_connector

    def scan_and_remove(services: Services, connector: Connector, **more: Any) -> ScanResult:
        result = list_source(services, connector, **more)
        if connector.id == removed.id:
            query(services, "DELETE FROM connectors.connectors WHERE id = %s", removed.id)
        return result

    monkeypatch.setattr(sensors, "scan_connector", scan_and_remove)
    tick = poll_tenant(services, "acme_corp")
    assert [request.partition_key for request in requests_of(tick)] == [stays.partition_key]
    assert [event.partition for event in tick.asset_events] == [stays.partition_key]


def test_whatever_ends_a_poll_is_kept_with_its_connector_until_a_scan_completes(
    services: Services, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Bucket.create(bucket.endpoint_url, f"{bucket.name}-other")
    beside = other.register(services)
    for each in (bucket, other):
        each.put("pump.md", "# Pump")
    compare = services.ledger.compare_page

    def fails(conn: object, scan: object, *rest: object, **named: object) -> object:
        if scan.connector_id == connector.id:  # type: ignore[attr-defined]
            raise ZeroDivisionError(HOSTILE)
        return compare(conn, scan, *rest, **named)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(services.ledger, "compare_page", fails)
        tick = poll_tenant(services, "acme_corp")
    kept = kept_error(services, connector)
    assert kept is not None
    assert kept[0] == "poll_failed"
    assert_plain_and_short(kept[1])
    assert kept_error(services, beside) is None
    assert [request.partition_key for request in requests_of(tick)] == [beside.partition_key]
    scan_connector(services, services.connector(connector.id), budget_seconds=None)
    assert kept_error(services, connector) is None


def test_whatever_ends_a_run_is_kept_with_its_connector_until_a_run_succeeds(
    services: Services, instance: dg.DagsterInstance, connector: Connector
) -> None:
    failing = [True]

    # In the place of the last step, without its retries, which wait for seconds.
    @dg.asset(key=DOCUMENT_EMBEDDINGS, partitions_def=connector_partitions)
    def last_step(context) -> None:  # type: ignore[no-untyped-def]
        with run_scope(context):
            if failing:
                raise ZeroDivisionError(HOSTILE)

    def succeeds() -> bool:
        instance.add_dynamic_partitions("connector", [connector.partition_key])
        return dg.materialize(
            [last_step],
            instance=instance,
            partition_key=connector.partition_key,
            raise_on_error=False,
        ).success

    assert not succeeds()
    kept = kept_error(services, connector)
    assert kept is not None
    assert kept[0] == "run_failed"
    assert_plain_and_short(kept[1])
    # The source can be read, and yet the light stays on: it is the run that fails.
    scan_connector(services, services.connector(connector.id), budget_seconds=None)
    assert kept_error(services, connector) == kept
    failing.clear()
    assert succeeds()
    assert kept_error(services, connector) is None


def test_2500_objects_list_across_ticks_with_a_tiny_budget_and_end_complete(
    configured: Callable[..., Services], bucket: Bucket
) -> None:
    services = configured(activekg_tick_budget_seconds=0.0001)
    connector = bucket.register(services)
    bucket.put_many({f"data/{number:05}.png": b"x" for number in range(2500)})
    messages = []
    while services.connector(connector.id).last_scan_completed_at is None:
        tick = poll_tenant(services, "acme_corp")
        assert requests_of(tick) == [], "nothing in the bucket needs a run"
        messages.append(str(tick.skip_reason))
    assert len(messages) == 3
    assert ["goes on with the next tick" in message for message in messages] == [True, True, False]
    assert in_transaction(services, services.ledger.progress, connector.id) == {"skipped": 2500}


def test_dagster_is_told_of_runs_that_died_unseen_and_of_no_others(
    services: Services, instance: dg.DagsterInstance, connector: Connector
) -> None:
    def started() -> str:
        run = instance.create_run_for_job(sync_job(), status=dg.DagsterRunStatus.STARTED)
        return start_run(services, connector, run=run.run_id)

    silent, alive = started(), started()
    with services.database.transaction() as conn:
        conn.execute(
            "UPDATE connectors.runs SET heartbeat_at = now() - interval '1 hour' WHERE "
            "dagster_run_id = %s",
            [silent],
        )

    def told() -> str | None:
        start_due_work(services)
        context = dg.build_sensor_context(instance=instance)
        return lost_runs(context).skip_message  # type: ignore[union-attr, no-any-return]

    assert told() == "1 runs showed no sign of life and count as failed."
    assert instance.get_run_by_id(silent).status is dg.DagsterRunStatus.FAILURE  # type: ignore[union-attr]
    assert instance.get_run_by_id(alive).status is dg.DagsterRunStatus.STARTED  # type: ignore[union-attr]
    assert told() == "No run is lost."


def sync_job() -> dg.JobDefinition:
    defs = dg.Definitions(assets=ASSETS, jobs=[sync_connector], executor=dg.in_process_executor)
    return defs.resolve_job_def("sync_connector")


def test_a_run_that_was_counted_as_another_tenants_does_nothing(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    """The second line, where an instance file names Dagster's own coordinator."""
    bucket.put("a.txt", "one")
    forged = dg.RunRequest(
        partition_key=connector.partition_key, tags={"activekg/tenant": "globex"}
    )
    result = execute(instance, forged, raise_on_error=False)
    assert not result.success
    failures = [event for event in result.all_events if event.is_step_failure]
    assert "'globex', but the run works on" in str(failures[0].step_failure_data.error)
    assert not any(event.is_step_restarted for event in result.all_events), "It is not retried."
    assert run_rows(services) == []
