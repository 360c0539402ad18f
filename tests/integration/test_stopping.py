"""Runs that somebody stops, on a real Dagster instance: they end, and stay ended."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dagster as dg
import pytest

from activekg_pipelines import services as services_module
from activekg_pipelines.administration import operations, reads
from activekg_pipelines.administration.removal import DocumentFate, remove
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.defs.assets import extract_and_index, source_objects
from activekg_pipelines.defs.jobs import sync_connector
from activekg_pipelines.defs.sensors import poll_tenant, start_due_work
from activekg_pipelines.orchestrator.orchestrator import Orchestrator
from activekg_pipelines.services import Services
from tests.fault_proxy import FaultProxy, after
from tests.integration.syncing import in_transaction, query
from tests.s3_bucket import Bucket, S3ConfigPatch

# Longer than any run may take: what ends before was stopped.
_HANGS_SECONDS = 600.0
_ENDS_WITHIN_SECONDS = 60.0


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
    assert request.partition_key is not None
    running.instance.add_dynamic_partitions("connector", [request.partition_key])
    job = dg.Definitions(
        assets=[source_objects, extract_and_index], jobs=[sync_connector]
    ).resolve_job_def("sync_connector")

    failed: list[BaseException] = []

    def interfere() -> None:
        try:
            deadline = time.monotonic() + _ENDS_WITHIN_SECONDS
            while not when():
                assert time.monotonic() < deadline, "the run never came so far"
                time.sleep(0.05)
            then()
        except BaseException as error:  # noqa: BLE001 - raised by the test's own thread
            failed.append(error)

    thread = threading.Thread(target=interfere)
    thread.start()
    result = job.execute_in_process(
        instance=running.instance,
        partition_key=request.partition_key,
        asset_selection=request.asset_selection,
        run_config=request.run_config,
        tags=dict(request.tags),
        raise_on_error=False,
    )
    thread.join()
    if failed:
        raise failed[0]
    return result


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
def one_hangs(bucket: Bucket, proxy: FaultProxy, via_proxy: Connector) -> Iterator[Connector]:
    """Three documents, of which the last one does not arrive during the test."""
    over = threading.Event()
    bucket.put_many({name: f"A note, {name}." for name in ("a.txt", "b.txt", "c.txt")})
    proxy.inject("GET", "c.txt", after(lambda: over.wait(_HANGS_SECONDS)))
    yield via_proxy
    over.set()


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
        "cancel": lambda: operations.cancel_sync(services, sync, by="ada"),
        "cancel all": lambda: operations.cancel_syncs(services, one_hangs.id, by="ada"),
        "pause": lambda: operations.reconfigure(
            services, one_hangs.id, S3ConfigPatch(enabled=False), by="ada"
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

    # The work queue does not start the rest; the next poll or a sync does.
    assert not start_due_work(services).run_requests
    if how == "pause":
        operations.reconfigure(services, one_hangs.id, S3ConfigPatch(enabled=True), by="ada")
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
