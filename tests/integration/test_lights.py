"""What Dagster's checks and assets' pages say of each connector, on a real instance."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster_postgres import PostgresEventLogStorage

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.defs.checks import no_drift
from activekg_pipelines.defs.freshness import listed_in_time, listings_in_time
from activekg_pipelines.defs.jobs import sync_connector
from activekg_pipelines.defs.maintenance import OWN_DEFINITIONS
from activekg_pipelines.defs.run_scope import (
    DOCUMENT_EMBEDDINGS,
    EXTRACTED_TEXT,
    SOURCE,
    SOURCE_OBJECTS,
)
from activekg_pipelines.defs.sensors import start_due_work
from activekg_pipelines.errors import EncoderFailed
from activekg_pipelines.orchestrator.coordinator import PartitionRunCoordinator
from activekg_pipelines.orchestrator.history import purge_history
from activekg_pipelines.services import Services
from tests.integration.syncing import documents, make_retries_due, query, states
from tests.integration.test_dagster_runs import ASSETS, execute, requests_of, run_rows
from tests.s3_bucket import Bucket

INDEXED = dg.AssetCheckKey(DOCUMENT_EMBEDDINGS, "every_object_indexed")
LISTED = dg.AssetCheckKey(SOURCE, "listed_in_time")
ALL_ASSETS = [SOURCE_OBJECTS, EXTRACTED_TEXT, DOCUMENT_EMBEDDINGS]


def lights(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> dict[str | None, str]:
    """What the check's page shows for each partition."""
    return {
        info.partition_key: info.latest_execution_status.value if info.is_current else "MISSING"
        for info in instance.event_log_storage.get_asset_check_partition_info([check])
    }


def evaluations(instance: dg.DagsterInstance, check: dg.AssetCheckKey) -> int:
    return len(instance.event_log_storage.get_asset_check_execution_history(check, limit=1000))


def materialized(result: dg.ExecuteInProcessResult) -> list[dg.AssetKey | None]:
    return [event.asset_key for event in result.get_asset_materialization_events()]


@pytest.fixture
def broken_and_whole(services: Services, bucket: Bucket) -> tuple[Connector, Connector]:
    """Two tenants' connectors; only the first one has a document that cannot be read."""
    bucket.put_many({"a/bad.pdf": "%PDF-1.4 nothing", "a/good.txt": "one", "b/good.txt": "two"})
    return (
        bucket.register(services, "acme_corp", prefix="a/"),
        bucket.register(services, "other_corp", prefix="b/"),
    )


def test_each_connector_has_a_light_of_its_own(
    services: Services,
    instance: dg.DagsterInstance,
    broken_and_whole: tuple[Connector, Connector],
) -> None:
    broken, whole = broken_and_whole
    for request in requests_of(start_due_work(services)):
        assert execute(instance, request).success
    shown = {broken.partition_key: "FAILED", whole.partition_key: "SUCCEEDED"}
    assert lights(instance, INDEXED) == shown
    # Whoever syncs last decides about itself alone.
    for connector in (whole, broken, whole):
        execute(instance, dg.RunRequest(partition_key=connector.partition_key))
        assert lights(instance, INDEXED) == shown


def test_a_text_that_cannot_be_embedded_turns_the_light(
    services: Services,
    instance: dg.DagsterInstance,
    bucket: Bucket,
    connector: Connector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def encode(_: list[str]) -> object:
        raise EncoderFailed

    bucket.put("a.txt", "one")
    with monkeypatch.context() as broken:
        broken.setattr(services.encoder, "encode", encode)
        execute(instance, dg.RunRequest(partition_key=connector.partition_key))
    # Its state is that from which the next attempt starts.
    assert states(services, connector) == {"a.txt": ("extracted", "encoder_failure")}
    assert lights(instance, INDEXED) == {connector.partition_key: "FAILED"}

    make_retries_due(services)
    execute(instance, dg.RunRequest(partition_key=connector.partition_key))
    assert lights(instance, INDEXED) == {connector.partition_key: "SUCCEEDED"}


@pytest.mark.parametrize("with_scan", [True, False])
def test_a_superseded_run_evaluates_and_materializes_nothing(
    services: Services,
    instance: dg.DagsterInstance,
    broken_and_whole: tuple[Connector, Connector],
    with_scan: bool,
) -> None:
    broken, _ = broken_and_whole
    (request,) = (
        request
        for request in requests_of(start_due_work(services))
        if request.partition_key == broken.partition_key
    )
    assert execute(instance, request).success
    before = (evaluations(instance, INDEXED), run_rows(services))
    numbers = latest_numbers(instance, broken)
    selection = request.asset_selection if with_scan else [EXTRACTED_TEXT, DOCUMENT_EMBEDDINGS]

    again = execute(instance, request._replace(asset_selection=selection))
    assert again.success
    assert materialized(again) == []
    assert again.get_asset_check_evaluations() == []
    assert (evaluations(instance, INDEXED), run_rows(services)) == before
    assert lights(instance, INDEXED)[broken.partition_key] == "FAILED"
    assert latest_numbers(instance, broken) == numbers


def test_a_run_that_is_cancelled_in_the_queue_leaves_the_light_as_it_was(
    services: Services,
    instance: dg.DagsterInstance,
    broken_and_whole: tuple[Connector, Connector],
) -> None:
    broken, _ = broken_and_whole
    execute(instance, dg.RunRequest(partition_key=broken.partition_key))
    queued = instance.create_run_for_job(
        dg.Definitions(assets=ASSETS, jobs=[sync_connector]).resolve_job_def("sync_connector"),
        tags={"dagster/partition": broken.partition_key},
        remote_job_origin=RemoteJobOrigin(
            RemoteRepositoryOrigin(
                RegisteredCodeLocationOrigin("activekg_pipelines.definitions"), "__repository__"
            ),
            "sync_connector",
        ),
    )
    instance.report_dagster_event(dg.DagsterEvent.job_enqueue(queued), queued.run_id)
    coordinator = PartitionRunCoordinator()
    coordinator.register_instance(instance)
    assert coordinator.cancel_run(queued.run_id)
    run = instance.get_run_by_id(queued.run_id)
    assert run is not None
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert lights(instance, INDEXED) == {broken.partition_key: "FAILED"}


def latest_numbers(
    instance: dg.DagsterInstance, connector: Connector
) -> list[dict[str, dg.MetadataValue]]:  # type: ignore[type-arg]
    """The metadata on the pages of the three assets."""
    found = []
    for asset in ALL_ASSETS:
        (record,) = instance.fetch_materializations(
            dg.AssetRecordsFilter(asset_key=asset, asset_partitions=[connector.partition_key]),
            limit=1,
        ).records
        assert record.asset_materialization is not None
        found.append(dict(record.asset_materialization.metadata))
    return found


@pytest.mark.parametrize(
    "selection",
    [[DOCUMENT_EMBEDDINGS], [EXTRACTED_TEXT, DOCUMENT_EMBEDDINGS], ALL_ASSETS, []],
)
def test_materializing_document_embeddings_makes_postgres_match_the_bucket(
    services: Services,
    instance: dg.DagsterInstance,
    bucket: Bucket,
    connector: Connector,
    selection: Sequence[dg.AssetKey],
) -> None:
    bucket.put_many({"a.txt": "one", "b.txt": "two"})
    request = dg.RunRequest(
        partition_key=connector.partition_key, asset_selection=list(selection) or None
    )
    result = execute(instance, request)
    # The pages of what was brought up to date on the way say so, too.
    assert materialized(result) == ALL_ASSETS
    assert documents(services) == {f"s3://{bucket.name}/{key}" for key in ("a.txt", "b.txt")}

    bucket.delete("a.txt")
    bucket.put("b.txt", "two and more")
    bucket.put("c.txt", "three")
    assert execute(instance, request).success
    assert documents(services) == {f"s3://{bucket.name}/{key}" for key in ("b.txt", "c.txt")}
    assert run_rows(services)[-1] == ("dagster", "succeeded", 1, 2, 2)


def test_extracted_text_alone_lists_and_extracts(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "one")
    request = dg.RunRequest(partition_key=connector.partition_key, asset_selection=[EXTRACTED_TEXT])
    assert materialized(execute(instance, request)) == [SOURCE_OBJECTS, EXTRACTED_TEXT]
    assert states(services, connector) == {"a.txt": ("extracted", None)}


def test_reindexing_reads_stored_texts_and_nothing_else(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put_many({"a.txt": "one", "bad.pdf": "%PDF-1.4 nothing"})
    execute(instance, dg.RunRequest(partition_key=connector.partition_key))
    before = states(services, connector)
    bucket.put("b.txt", "two")
    bucket.delete("a.txt")

    def reindex(*assets: dg.AssetKey) -> dg.ExecuteInProcessResult:
        request = dg.RunRequest(
            partition_key=connector.partition_key,
            asset_selection=list(assets),
            run_config={"ops": {"extract_and_index": {"config": {"mode": "reindex"}}}},
        )
        return execute(instance, request, raise_on_error=False)

    result = reindex(DOCUMENT_EMBEDDINGS)
    assert materialized(result) == [DOCUMENT_EMBEDDINGS]
    assert run_rows(services)[-1] == ("dagster", "succeeded", 0, 0, 1)
    assert states(services, connector) == before
    refused = reindex(EXTRACTED_TEXT)
    assert not refused.success
    assert "select that asset" in str(refused.all_events)


def listings(services: Services, instance: dg.DagsterInstance) -> str | None:
    """What a tick of the sensor says."""
    context = dg.build_sensor_context(instance=instance)
    return listings_in_time(context).skip_message  # type: ignore[union-attr, no-any-return]


def age(services: Services, connector: Connector, seconds: int) -> None:
    """Let the connector's last listing have ended, and its last change have been, so long ago."""
    query(
        services,
        "UPDATE connectors.connectors SET updated_at = now() - make_interval(secs => %s),"
        " created_at = now() - make_interval(secs => %s), last_scan_completed_at ="
        " last_scan_completed_at - (last_scan_completed_at - now()) - make_interval(secs => %s)"
        " WHERE id = %s",
        seconds,
        seconds,
        seconds,
        connector.id,
    )


def test_the_light_of_a_listing_turns_when_it_is_late_and_when_it_is_there_again(
    services: Services,
    instance: dg.DagsterInstance,
    broken_and_whole: tuple[Connector, Connector],
) -> None:
    late, good = broken_and_whole
    assert listings(services, instance) == "No check turned.", "nothing is known of them yet"
    for request in requests_of(start_due_work(services)):
        execute(instance, request)
    assert listings(services, instance) == "2 checks turned."
    fresh = {late.partition_key: "SUCCEEDED", good.partition_key: "SUCCEEDED"}
    assert lights(instance, LISTED) == fresh

    allowed = 3 * late.poll_interval_seconds + 300
    age(services, late, allowed - 60)
    assert listings(services, instance) == "No check turned."
    age(services, late, allowed + 60)
    assert listings(services, instance) == "1 checks turned."
    assert lights(instance, LISTED) == fresh | {late.partition_key: "FAILED"}

    # A listing clears it, and materializing whatever it likes does not.
    execute(
        instance,
        dg.RunRequest(partition_key=late.partition_key, asset_selection=[DOCUMENT_EMBEDDINGS]),
    )
    assert lights(instance, LISTED)[late.partition_key] == "FAILED"
    assert listings(services, instance) == "1 checks turned."
    assert lights(instance, LISTED) == fresh


def test_a_source_that_was_never_listed_is_late_too_and_a_paused_one_is_not(
    services: Services,
    instance: dg.DagsterInstance,
    broken_and_whole: tuple[Connector, Connector],
) -> None:
    never, paused = broken_and_whole
    query(services, "UPDATE connectors.connectors SET enabled = false WHERE id = %s", paused.id)
    for connector in (never, paused):
        age(services, connector, 86400)
    assert listings(services, instance) == "1 checks turned."
    assert lights(instance, LISTED) == {never.partition_key: "FAILED"}


def test_what_no_run_evaluated_goes_with_its_partition(
    services: Services,
    instance: dg.DagsterInstance,
    broken_and_whole: tuple[Connector, Connector],
) -> None:
    stays, _ = broken_and_whole
    for connector in broken_and_whole:
        age(services, connector, 86400)
    assert listings(services, instance) == "2 checks turned."
    instance.add_dynamic_partitions("connector", [stays.partition_key])
    storage = instance.event_log_storage
    assert isinstance(storage, PostgresEventLogStorage)
    with storage.index_connection() as conn:
        conn.exec_driver_sql(
            "UPDATE asset_check_executions SET create_timestamp = create_timestamp"
            " - interval '31 days'"
        )
    done = purge_history(instance, OWN_DEFINITIONS, days=30, budget_seconds=60)
    assert done.check_evaluations == 1
    assert lights(instance, LISTED) == {stays.partition_key: "FAILED"}
    with storage.index_connection() as conn:
        events = conn.exec_driver_sql("SELECT count(*) FROM event_logs WHERE run_id = ''")
        assert events.scalar_one() == 1


def test_ten_thousand_idle_connectors_write_nothing(
    services: Services, instance: dg.DagsterInstance, connector: Connector
) -> None:
    execute(instance, dg.RunRequest(partition_key=connector.partition_key))
    columns = (
        "tenant_id, provider, config, location, poll_interval_seconds, secrets, kek_version,"
        " secret_hints, last_scan_completed_at"
    )
    query(
        services,
        "INSERT INTO connectors.connectors (id, name, partition_key, listed_in_time,"
        f" {columns}) SELECT gen_random_uuid(), 'c' || n, tenant_id || '/c' || n, true,"
        f" {columns} FROM connectors.connectors, generate_series(1, 10000) n",
    )
    assert listings(services, instance) == "1 checks turned."
    before = evaluations(instance, LISTED)
    versions = query(services, "SELECT id, xmin::text FROM connectors.connectors ORDER BY id")
    for _ in range(3):
        assert listings(services, instance) == "No check turned."
    assert evaluations(instance, LISTED) == before
    assert query(services, "SELECT id, xmin::text FROM connectors.connectors ORDER BY id") == (
        versions
    )


def test_the_check_of_a_listing_says_who_evaluates_it(
    services: Services, instance: dg.DagsterInstance
) -> None:
    job = dg.define_asset_job(
        "check", dg.AssetSelection.checks(LISTED), executor_def=dg.in_process_executor
    )
    defs = dg.Definitions(
        assets=ASSETS, asset_checks=[no_drift, listed_in_time], jobs=[job, sync_connector]
    )
    result = defs.resolve_job_def("check").execute_in_process(
        instance=instance, raise_on_error=False
    )
    assert not result.success
    assert "The sensor listings_in_time evaluates this check" in str(result.all_events)
