"""Runs that Dagster could not start, and what a sync waits for until then."""

from __future__ import annotations

from collections.abc import Sequence

import dagster as dg
import pytest
from dagster._core.events import EngineEventData
from dagster._core.launcher import LaunchRunContext, RunLauncher
from dagster._core.remote_origin import (
    RegisteredCodeLocationOrigin,
    RemoteJobOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.test_utils import create_run_for_test
from dagster_shared.error import SerializableErrorInfo

from activekg_pipelines.administration import reads
from activekg_pipelines.administration.launches import look_at_dagster
from activekg_pipelines.connectors.models import Connector, ConnectorStatus
from activekg_pipelines.defs.sensors import lost_runs, poll_tenant, start_due_work
from activekg_pipelines.orchestrator.orchestrator import Orchestrator
from activekg_pipelines.services import Services
from tests.integration.syncing import in_transaction, start_run
from tests.integration.test_dagster_runs import execute
from tests.s3_bucket import Bucket

_REASON = "CannotPullContainerError: no such image registry.example/pipelines:1.2"


class NoImage(RunLauncher):
    """A launcher that is refused, as that of a cluster is for a wrong image."""

    def launch_run(self, context: LaunchRunContext) -> None:
        raise RuntimeError(f"{_REASON}\npassword=hunter2 in the second line")

    def terminate(self, run_id: str) -> bool:
        return False


@pytest.fixture
def at_dagster(services: Services, instance: dg.DagsterInstance) -> Services:
    """Services whose orchestrator asks the test's instance."""
    services.orchestrator = Orchestrator("http://127.0.0.1:9", instance=lambda: instance)
    return services


@pytest.fixture
def asked(at_dagster: Services, bucket: Bucket, connector: Connector) -> dg.RunRequest:
    """The request for a connector's first run."""
    bucket.put("a.txt", "A note.")
    (request,) = start_due_work(at_dagster).run_requests or []
    return request


def new_run(instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.DagsterRun:
    """What the daemon makes of a request: a run in the queue."""
    location = RegisteredCodeLocationOrigin("activekg_pipelines.definitions")
    run = create_run_for_test(
        instance,
        job_name="sync_connector",
        tags=dict(request.tags),
        remote_job_origin=RemoteJobOrigin(
            RemoteRepositoryOrigin(location, "__repository__"), "sync_connector"
        ),
    )
    instance.report_dagster_event(dg.DagsterEvent.job_enqueue(run), run.run_id)
    return run


def fail_to_launch(instance: dg.DagsterInstance, run: dg.DagsterRun) -> None:
    launcher = NoImage()
    launcher.register_instance(instance)
    instance._run_launcher = launcher
    with pytest.raises(RuntimeError):
        instance.launch_run(run.run_id, None)  # type: ignore[arg-type]


def rows(services: Services) -> Sequence[reads.RunRow]:
    """All syncs, newest first."""
    with services.database.transaction() as conn:
        return reads.runs(conn, None, limit=100)


def tick(instance: dg.DagsterInstance) -> None:
    """One evaluation of the sensor that looks at Dagster."""
    lost_runs(dg.build_sensor_context(instance=instance))


def test_until_its_run_begins_a_sync_says_what_it_waits_for(
    at_dagster: Services, instance: dg.DagsterInstance, connector: Connector, bucket: Bucket
) -> None:
    in_transaction(
        at_dagster, at_dagster.ledger.request_manual_run, connector.id, connector.tenant_id
    )

    def waits_for() -> str | None:
        look_at_dagster(at_dagster)
        with at_dagster.database.transaction() as conn:
            assert reads.waits_for(conn, connector.id) == rows(at_dagster)[0].waits_for
        return rows(at_dagster)[0].waits_for

    assert waits_for() == "the sensor work_queue, which asks Dagster for a run"
    (request,) = start_due_work(at_dagster).run_requests or []
    assert waits_for() == "Dagster's daemon, which makes the run"
    run = new_run(instance, request)
    assert waits_for() == "a place in Dagster's queue"
    instance.report_engine_event(
        "Run dequeue failed to reach the user code server",
        run,
        EngineEventData.engine_error(SerializableErrorInfo("No connection.", [], None)),
    )
    assert waits_for() == "another try to start it: No connection."
    instance.report_dagster_event(
        dg.DagsterEvent(event_type_value="PIPELINE_STARTING", job_name=run.job_name), run.run_id
    )
    assert waits_for() == "its process, which loads the definitions"


@pytest.mark.parametrize("how", ["the sensor", "a look"])
def test_a_run_that_dagster_could_not_start_says_why_on_connector_and_sync(
    at_dagster: Services,
    instance: dg.DagsterInstance,
    connector: Connector,
    asked: dg.RunRequest,
    how: str,
) -> None:
    fail_to_launch(instance, new_run(instance, asked))
    # Dagster tries again, and may do so for long.
    new_run(instance, asked)
    if how == "the sensor":
        tick(instance)
    else:
        look_at_dagster(at_dagster)

    (row,) = rows(at_dagster)
    assert (row.status, row.waits_for) == ("launch_failed", None)
    assert _REASON in str(row.launch_error)
    assert "hunter2" not in str(row.launch_error)
    shown = at_dagster.connector(connector.id)
    assert shown.status is ConnectorStatus.ERROR
    assert (shown.last_error_code, shown.last_error_message) == ("launch_failed", row.launch_error)
    # Not every few seconds, and no poll hides it. A run that begins settles it.
    assert not start_due_work(at_dagster).run_requests
    (request,) = poll_tenant(at_dagster, "acme_corp").run_requests or []
    assert at_dagster.connector(connector.id).last_error_code == "launch_failed"
    assert execute(instance, request).success
    assert at_dagster.connector(connector.id).last_error_code is None
    assert rows(at_dagster)[0].status == "succeeded"


def test_a_run_that_succeeds_beside_one_that_could_not_be_started_settles_that(
    at_dagster: Services, instance: dg.DagsterInstance, connector: Connector, asked: dg.RunRequest
) -> None:
    beside = start_run(at_dagster, connector)
    fail_to_launch(instance, new_run(instance, asked))
    tick(instance)
    assert at_dagster.connector(connector.id).last_error_code == "launch_failed"
    in_transaction(at_dagster, at_dagster.ledger.finish_run, beside, succeeded=True)
    assert at_dagster.connector(connector.id).last_error_code is None


def test_a_run_that_dagster_starts_after_all_is_the_same_sync(
    at_dagster: Services,
    instance: dg.DagsterInstance,
    connector: Connector,
    asked: dg.RunRequest,
) -> None:
    fail_to_launch(instance, new_run(instance, asked))
    tick(instance)
    assert execute(instance, asked).success
    (row,) = rows(at_dagster)
    assert (row.status, row.launch_error) == ("succeeded", None)


def test_a_run_that_is_cancelled_in_dagsters_queue_cancels_its_sync(
    at_dagster: Services,
    instance: dg.DagsterInstance,
    connector: Connector,
    asked: dg.RunRequest,
) -> None:
    run = new_run(instance, asked)
    instance.report_run_canceling(run)
    instance.report_run_canceled(run)
    tick(instance)
    (row,) = rows(at_dagster)
    assert (row.status, row.cancelled_by) == ("cancelled", "Dagster")
    assert not start_due_work(at_dagster).run_requests
    assert at_dagster.connector(connector.id).last_error_code is None
