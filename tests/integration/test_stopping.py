"""Runs that somebody stops, on a real Dagster instance: they end, and stay ended."""

from __future__ import annotations

import contextvars
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator

import dagster as dg
import pytest
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.execution.api import execute_run
from dagster._core.execution.job_execution_result import JobExecutionResult
from psycopg import Connection
from psycopg.rows import TupleRow

from activekg_pipelines.administration import operations, reads
from activekg_pipelines.administration.operations import SyncEnded
from activekg_pipelines.administration.removal import DocumentFate, remove
from activekg_pipelines.connectors.actions import Actor, Via, acting
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.defs.assets import extract_and_index, source_objects
from activekg_pipelines.defs.jobs import sync_connector
from activekg_pipelines.defs.sensors import (
    close_cancelled_runs,
    poll_tenant,
    report_lost_runs,
    start_due_work,
)
from activekg_pipelines.errors import SyncNotFound
from activekg_pipelines.ledger.store import Ledger
from activekg_pipelines.orchestrator.orchestrator import Orchestrator
from activekg_pipelines.services import Services
from tests.fault_proxy import LIST, FaultProxy, after, status
from tests.integration.syncing import in_transaction, query, start_run
from tests.integration.test_lights import INDEXED, lights
from tests.s3_bucket import Bucket, S3ConfigPatch

# Longer than any run may take: what ends before was stopped.
_HANGS_SECONDS = 600.0
_BEGINS_WITHIN_SECONDS = 120.0


class Running:
    """A run in the main thread, as in the process of a run, and what stops it."""

    def __init__(self, instance: dg.DagsterInstance, services: Services) -> None:
        self.instance = instance
        self.services = services

    @property
    def run(self) -> dg.DagsterRun:
        """The only run."""
        (run,) = self.instance.get_runs()
        return run

    def terminate(self) -> None:
        """What Dagster's launcher and code server do when somebody presses Terminate."""
        self.instance.report_run_canceling(self.run)
        os.kill(os.getpid(), signal.SIGINT)


def execute(
    running: Running,
    request: dg.RunRequest,
    *,
    then: Callable[[], object],
    when: Callable[[], bool],
) -> dg.ExecuteInProcessResult:
    """Carry out a run, and do something to it once it is where it should be."""
    failed: list[BaseException] = []

    def interfere() -> None:
        try:
            deadline = time.monotonic() + _BEGINS_WITHIN_SECONDS
            while not when():
                assert time.monotonic() < deadline, "the run never came so far"
                time.sleep(0.05)
            then()
        except BaseException as error:  # noqa: BLE001 - raised by the test's own thread
            failed.append(error)

    # In a copy of the context, which says who acts.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(interfere,))
    thread.start()
    result = carry_out(running.instance, request)
    thread.join()
    if failed:
        raise failed[0]
    return result


def execute_again(
    instance: dg.DagsterInstance, run: dg.DagsterRun, **tags: str
) -> JobExecutionResult:
    """What Dagster does when somebody executes a run again, or when it retries one."""
    again = instance.create_run_for_job(
        sync_job(),
        tags={**run.tags, **tags},
        parent_run_id=run.run_id,
        root_run_id=run.run_id,
    )
    return execute_run(InMemoryJob(sync_job()), again, instance, raise_on_error=False)


def carry_out(instance: dg.DagsterInstance, request: dg.RunRequest) -> dg.ExecuteInProcessResult:
    """Carry out a run as its process does."""
    assert request.partition_key is not None
    instance.add_dynamic_partitions("connector", [request.partition_key])
    return sync_job().execute_in_process(
        instance=instance,
        partition_key=request.partition_key,
        asset_selection=request.asset_selection,
        run_config=request.run_config,
        tags=dict(request.tags),
        raise_on_error=False,
    )


@pytest.fixture(autouse=True)
def ada() -> Iterator[None]:
    """Who stops syncs here, through the API."""
    with acting(Actor("ada", Via.API, by_operator=False)):
        yield


@pytest.fixture
def running(
    instance: dg.DagsterInstance,
    proxied: Services,
    services: Services,
    monkeypatch: pytest.MonkeyPatch,
) -> Running:
    """Runs of this process reach the proxy."""
    monkeypatch.setattr("activekg_pipelines.defs.run_scope.services", lambda: proxied)
    return Running(instance, proxied)


@pytest.fixture
def arrives() -> Iterator[threading.Event]:
    """Lets the document arrive that hangs."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def one_hangs(
    bucket: Bucket, proxy: FaultProxy, via_proxy: Connector, arrives: threading.Event
) -> Connector:
    """Three documents, of which the last one does not arrive."""
    bucket.put_many({name: f"A note, {name}." for name in ("a.txt", "b.txt", "c.txt")})
    proxy.inject("GET", "c.txt", after(lambda: arrives.wait(_HANGS_SECONDS)))
    return via_proxy


def states(services: Services) -> dict[str, str]:
    """The state of each object."""
    return dict(query(services, "SELECT key, state::text FROM connectors.objects"))


def leased(services: Services) -> int:
    """How many objects are under a lease."""
    return query(services, "SELECT count(*) FROM connectors.objects WHERE claimed_by IS NOT NULL")[
        0
    ][0]


def rows(services: Services) -> list[reads.RunRow]:
    """All syncs, newest first."""
    with services.database.transaction() as conn:
        return reads.runs(conn, None, limit=100)


def two_done(services: Services) -> Callable[[], bool]:
    return lambda: list(states(services).values()).count("indexed") == 2


@pytest.mark.parametrize("how", ["dagster", "cancel", "cancel all", "pause"])
def test_a_run_that_somebody_stops_ends_soon_and_is_not_started_again(
    running: Running, one_hangs: Connector, how: str
) -> None:
    services = running.services
    (request,) = poll_tenant(services, "acme_corp").run_requests or []
    sync = rows(services)[0].id
    stop = {
        "dagster": running.terminate,
        "cancel": lambda: operations.cancel_sync(services, sync),
        "cancel all": lambda: operations.cancel_syncs(services, one_hangs.id),
        "pause": lambda: operations.reconfigure(
            services, one_hangs.id, S3ConfigPatch(enabled=False)
        ),
    }[how]
    result = execute(running, request, then=stop, when=two_done(services))

    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    assert running.run.status is dg.DagsterRunStatus.CANCELED
    # What is finished is stored, and the rest given back.
    assert states(services) == {"a.txt": "indexed", "b.txt": "indexed", "c.txt": "pending"}
    assert leased(services) == 0
    (row,) = rows(services)
    who = {"dagster": "Dagster", "pause": "ada, who paused the connector"}.get(how, "ada")
    assert (row.status, row.cancelled_by, row.counts.indexed) == ("cancelled", who, 2)
    assert f"The sync was cancelled by {who}." in str(result.all_events)
    # Each light stays as it was: the run evaluated nothing.
    assert lights(running.instance, INDEXED) == {}

    # The work queue does not start the rest; the next poll or a sync does.
    assert not start_due_work(services).run_requests
    if how == "pause":
        operations.reconfigure(services, one_hangs.id, S3ConfigPatch(enabled=True))
    elif how == "cancel":
        operations.request_sync(services, one_hangs.id)
    else:
        query(
            services,
            "UPDATE connectors.connectors SET last_scan_started_at = now() - interval '1 hour' "
            "RETURNING id",
        )
        assert not poll_tenant(services, "acme_corp").run_requests
    assert start_due_work(services).run_requests


def test_a_run_that_is_cancelled_between_two_steps_ends_its_sync_too(
    running: Running, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    services = running.services
    bucket.put("a.txt", "A note.")
    (request,) = start_due_work(services).run_requests or []
    to_cancel = [row.id for row in rows(services)]
    check_run = Ledger.check_run

    def check_run_and_cancel(ledger: Ledger, conn: Connection[TupleRow], run: str) -> None:
        check_run(ledger, conn, run)
        while to_cancel:
            operations.cancel_sync(services, to_cancel.pop())

    # The only look left is the one at the end of the first step.
    monkeypatch.setattr("activekg_pipelines.defs.stopping._LOOK_SECONDS", 3600.0)
    monkeypatch.setattr(Ledger, "check_run", check_run_and_cancel)
    carry_out(running.instance, request)
    assert running.run.status is dg.DagsterRunStatus.CANCELED
    (row,) = rows(services)
    assert (row.status, row.cancelled_by, row.counts.added) == ("cancelled", "ada", 1)


def test_a_connector_that_is_removed_while_it_is_synced_ends_its_run_as_cancelled(
    running: Running, one_hangs: Connector
) -> None:
    removed_while_it_is_synced(running, one_hangs, then=lambda: None)


def test_a_removal_that_the_run_notices_at_its_end_only_is_none_of_dagsters_errors(
    running: Running,
    one_hangs: Connector,
    arrives: threading.Event,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("activekg_pipelines.defs.stopping._LOOK_SECONDS", 3600.0)
    removed_while_it_is_synced(running, one_hangs, then=arrives.set)


def removed_while_it_is_synced(
    running: Running, connector: Connector, *, then: Callable[[], object]
) -> None:
    services = running.services
    services.orchestrator = Orchestrator("http://127.0.0.1:9", instance=lambda: running.instance)
    (request,) = poll_tenant(services, "acme_corp").run_requests or []

    def interfere() -> None:
        remove(services, connector.id, DocumentFate.REMOVE)
        then()

    result = execute(running, request, then=interfere, when=two_done(services))
    assert running.run.status is dg.DagsterRunStatus.CANCELED
    events = str(result.all_events)
    assert "The connector was removed while it was synced. Nothing more is written" in events
    assert "not a valid range" not in events
    assert rows(services) == []


def test_a_listing_that_hangs_is_left_as_well(
    running: Running,
    bucket: Bucket,
    proxy: FaultProxy,
    via_proxy: Connector,
    arrives: threading.Event,
) -> None:
    bucket.put("a.txt", "A note.")
    proxy.inject(LIST, None, after(lambda: arrives.wait(_HANGS_SECONDS)))
    (request,) = start_due_work(running.services).run_requests or []
    execute(running, request, then=running.terminate, when=lambda: proxy.count(LIST) > 0)
    assert running.run.status is dg.DagsterRunStatus.CANCELED
    assert rows(running.services)[0].status == "cancelled"


def test_a_run_that_waits_for_its_next_try_is_left_as_well(
    running: Running, proxy: FaultProxy, via_proxy: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    hours = dg.RetryPolicy(max_retries=3, delay=3600)
    monkeypatch.setattr("activekg_pipelines.defs.run_scope._RETRIES", hours)
    proxy.inject(LIST, None, status(503, "SlowDown"))
    services = running.services
    (request,) = start_due_work(services).run_requests or []
    result = execute(
        running,
        request,
        then=lambda: operations.cancel_syncs(services, via_proxy.id),
        when=lambda: services.connector(via_proxy.id).last_error_code is not None,
    )
    assert running.run.status is dg.DagsterRunStatus.CANCELED
    assert not [event for event in result.all_events if event.is_step_up_for_retry]
    assert [(row.status, row.cancelled_by) for row in rows(services)] == [("cancelled", "ada")]


def test_a_process_that_has_to_end_gives_its_objects_back_and_its_run_is_not_cancelled(
    running: Running, one_hangs: Connector
) -> None:
    services = running.services
    (request,) = poll_tenant(services, "acme_corp").run_requests or []
    execute(
        running,
        request,
        then=lambda: os.kill(os.getpid(), signal.SIGTERM),
        when=two_done(services),
    )
    assert running.run.status is dg.DagsterRunStatus.FAILURE, "Dagster starts it again"
    assert leased(services) == 0
    (row,) = rows(services)
    assert (row.status, row.cancelled_by) == ("failed", None)


def test_a_sync_that_is_cancelled_before_its_run_begins_is_not_carried_out(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "A note.")
    (request,) = start_due_work(services).run_requests or []
    (row,) = rows(services)
    cancelled = operations.cancel_sync(services, row.id)
    assert (cancelled.status, cancelled.started_at) == ("cancelled", None)
    assert not start_due_work(services).run_requests

    carry_out(instance, request)
    (run,) = instance.get_runs()
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert [row.status for row in rows(services)] == ["cancelled"]
    assert states(services) == {}
    # Dagster's own retry is not carried out either; who executes it again wants it.
    assert not execute_again(instance, run, **{"dagster/retry_number": "1"}).success
    assert states(services) == {}
    assert execute_again(instance, run).success
    assert states(services) == {"a.txt": "indexed"}


def test_a_cancelled_run_whose_process_died_is_not_started_again_by_dagster(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "A note.")
    running_without_a_process(services, instance, connector)
    operations.cancel_syncs(services, connector.id)
    query(
        services,
        "UPDATE connectors.runs SET heartbeat_at = now() - interval '1 hour' RETURNING id",
    )
    assert not start_due_work(services).run_requests
    report_lost_runs(services, instance, in_transaction(services, services.ledger.lost_runs))
    (run,) = instance.get_runs()
    assert run.status is dg.DagsterRunStatus.CANCELED
    assert [row.status for row in rows(services)] == ["cancelled"]


def test_a_run_that_is_terminated_between_two_steps_counts_as_cancelled(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "A note.")
    run = running_without_a_process(services, instance, connector)
    close_cancelled_runs(services, instance)
    assert [row.status for row in rows(services)] == ["running"], "Dagster knows no end of it"
    instance.report_run_canceled(run)
    close_cancelled_runs(services, instance)
    assert [row.status for row in rows(services)] == ["running"], "its process may still end it"
    query(
        services,
        "UPDATE connectors.runs SET heartbeat_at = now() - interval '25 seconds' RETURNING id",
    )
    close_cancelled_runs(services, instance)
    (row,) = rows(services)
    assert (row.status, row.cancelled_by) == ("cancelled", "Dagster")
    assert not start_due_work(services).run_requests, "what is left waits for the next poll"


def test_what_has_ended_cannot_be_cancelled_and_another_tenants_is_not_found(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "A note.")
    carry_out(instance, (start_due_work(services).run_requests or [])[0])
    (row,) = rows(services)
    with pytest.raises(SyncEnded, match="ended already: it succeeded"):
        operations.cancel_sync(services, row.id)
    with pytest.raises(SyncNotFound):
        operations.cancel_sync(services, row.id, "other")
    assert operations.cancel_syncs(services, connector.id) == []
    assert not services.connector(connector.id).runs_held


def running_without_a_process(
    services: Services, instance: dg.DagsterInstance, connector: Connector
) -> dg.DagsterRun:
    """A run that Dagster and the ledger take for one that works."""
    run = instance.create_run_for_job(sync_job(), status=dg.DagsterRunStatus.STARTED)
    start_run(services, connector, run=run.run_id, with_scan=True)
    return run


def sync_job() -> dg.JobDefinition:
    """The job of the definitions."""
    return dg.Definitions(
        assets=[source_objects, extract_and_index], jobs=[sync_connector]
    ).resolve_job_def("sync_connector")
