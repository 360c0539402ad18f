"""What is asked of Dagster.

Partitions are those of a real instance. GraphQL is checked against the real schema, and
sent to a fake webserver.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from dagster import DagsterInstance

from activekg_pipelines.orchestrator.orchestrator import Orchestrator
from activekg_pipelines.orchestrator.partitions import PARTITIONS_DEF, OrchestratorError
from activekg_pipelines.orchestrator.reloads import locations_to_reload
from activekg_pipelines.orchestrator.webserver import (
    DAEMONS_QUERY,
    LOCATIONS_QUERY,
    RELOAD_MUTATION,
    CodeLocation,
    Webserver,
)


def entry(name: str, *sensors: str, failed: bool = False) -> dict[str, Any]:
    loaded = (
        {"__typename": "PythonError", "message": "No module named 'nowhere'"}
        if failed
        else {
            "__typename": "RepositoryLocation",
            "repositories": [{"sensors": [{"name": name} for name in sensors]}],
        }
    )
    return {"name": name, "loadStatus": "LOADED", "locationOrLoadError": loaded}


class FakeWebserver:
    """Answers GraphQL like Dagster's webserver, and remembers what it was told to
    reload and when.
    """

    def __init__(
        self, *entries: dict[str, Any], daemons: list[dict[str, Any]] | None = None
    ) -> None:
        self.entries = list(entries)
        self.daemons = daemons or [{"daemonType": "SENSOR", "required": True, "healthy": True}]
        self.reloaded: list[tuple[str, float]] = []
        self.called = threading.Event()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.content)
        if "reloadRepositoryLocation" in asked["query"]:
            self.reloaded.append((asked["variables"]["location"], time.monotonic()))
            self.called.set()
            return self._data(
                reloadRepositoryLocation={
                    "__typename": "WorkspaceLocationEntry",
                    "locationOrLoadError": {"__typename": "RepositoryLocation"},
                }
            )
        if "daemonHealth" in asked["query"]:
            return self._data(instance={"daemonHealth": {"allDaemonStatuses": self.daemons}})
        return self._data(
            workspaceOrError={"__typename": "Workspace", "locationEntries": self.entries}
        )

    def orchestrator(self, **options: Any) -> Orchestrator:
        return Orchestrator(
            "http://dagster.test:3000/", transport=httpx.MockTransport(self), **options
        )

    @staticmethod
    def _data(**fields: Any) -> httpx.Response:
        return httpx.Response(200, json={"data": fields})


@pytest.fixture
def instance() -> Iterator[DagsterInstance]:
    with DagsterInstance.ephemeral() as opened:
        yield opened


def test_a_partition_is_added_once_and_removed(instance: DagsterInstance) -> None:
    with FakeWebserver().orchestrator(instance=lambda: instance) as orchestrator:
        orchestrator.add_partition("acme_corp/my-documents-bucket-documents")
        orchestrator.add_partition("acme_corp/my-documents-bucket-documents")
        orchestrator.add_partition("globex/contracts")
        assert instance.get_dynamic_partitions(PARTITIONS_DEF) == [
            "acme_corp/my-documents-bucket-documents",
            "globex/contracts",
        ]
        orchestrator.remove_partition("globex/contracts")
        orchestrator.remove_partition("globex/contracts")
        assert instance.get_dynamic_partitions(PARTITIONS_DEF) == [
            "acme_corp/my-documents-bucket-documents"
        ]


def test_the_partitions_are_those_of_the_definitions() -> None:
    from activekg_pipelines.defs.partitions import connector_partitions

    assert connector_partitions.name == PARTITIONS_DEF


def test_unusable_storage_is_named_and_its_address_is_not_told() -> None:
    def broken() -> DagsterInstance:
        raise OSError("postgresql://user:password@db/dagster")

    with (
        FakeWebserver().orchestrator(instance=broken) as orchestrator,
        pytest.raises(OrchestratorError, match="DAGSTER_HOME") as error,
    ):
        orchestrator.add_partition("acme_corp/a")
    assert "password" not in str(error.value)


def test_every_graphql_document_fits_the_installed_schema() -> None:
    from dagster_graphql.schema import create_schema
    from graphql import parse, validate

    schema = create_schema().graphql_schema
    for document in (LOCATIONS_QUERY, RELOAD_MUTATION, DAEMONS_QUERY):
        assert validate(schema, parse(document)) == []


def test_only_this_packages_location_is_reloaded() -> None:
    webserver = FakeWebserver(
        entry("billing", "invoices"),
        entry("activekg_pipelines.definitions", "work_queue", "poll_a"),
    )
    with webserver.orchestrator() as orchestrator:
        orchestrator.reload()
    assert [name for name, _ in webserver.reloaded] == ["activekg_pipelines.definitions"]


def test_a_burst_of_requests_makes_one_reload_at_once_and_one_after_the_last() -> None:
    webserver = FakeWebserver(entry("ours", "work_queue"))
    orchestrator = webserver.orchestrator(reload_interval_seconds=1.0)
    asked = time.monotonic()
    orchestrator.reload()
    assert webserver.called.wait(5)
    for _ in range(20):
        orchestrator.reload()
    orchestrator.close()
    assert len(webserver.reloaded) == 2
    # Between the beginnings of two reloads: the first may have come late to its
    # mutation.
    assert webserver.reloaded[1][1] - asked >= 0.99


def test_an_unreachable_webserver_is_logged_and_no_error(caplog: pytest.LogCaptureFixture) -> None:
    def unreachable(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    transport = httpx.MockTransport(unreachable)
    with Orchestrator("http://dagster.test", transport=transport) as orchestrator:
        orchestrator.reload()
    assert "could not be asked to reload" in caplog.text
    with Orchestrator("http://dagster.test", transport=transport) as orchestrator:
        assert [(check.name, check.ok) for check in orchestrator.health()] == [
            ("dagster_webserver", False),
            ("dagster_code_location", False),
            ("dagster_daemon", False),
        ]


def test_locations_that_failed_are_tried_when_none_of_ours_is_loaded() -> None:
    def location(name: str, *sensors: str, failed: bool = False) -> CodeLocation:
        error = "No module named 'nowhere'" if failed else None
        return CodeLocation(name, loading=False, error=error, sensors=frozenset(sensors))

    broken = location("unknown", failed=True)
    assert locations_to_reload([location("billing", "invoices"), broken]) == ["unknown"]
    assert locations_to_reload([location("ours", "work_queue"), broken]) == ["ours"]
    assert locations_to_reload([location("billing", "invoices")]) == []


def test_health_is_good_when_every_part_is() -> None:
    with FakeWebserver(entry("ours", "work_queue")).orchestrator() as orchestrator:
        assert all(check.ok for check in orchestrator.health())


def test_a_location_that_failed_to_load_is_named() -> None:
    with FakeWebserver(entry("ours", failed=True)).orchestrator() as orchestrator:
        checks = {check.name: check for check in orchestrator.health()}
    assert checks["dagster_webserver"].ok
    assert checks["dagster_code_location"].detail == "failed to load: ours"
    assert not checks["dagster_code_location"].ok


def test_a_required_daemon_without_heartbeat_is_named() -> None:
    statuses = [
        {"daemonType": "SENSOR", "required": True, "healthy": False},
        {"daemonType": "QUEUED_RUN_COORDINATOR", "required": True, "healthy": None},
        {"daemonType": "BACKFILL", "required": True, "healthy": True},
        {"daemonType": "SCHEDULER", "required": False, "healthy": False},
    ]
    with FakeWebserver(daemons=statuses).orchestrator() as orchestrator:
        (check,) = [check for check in orchestrator.health() if check.name == "dagster_daemon"]
    assert not check.ok
    assert check.detail == "no heartbeat from: QUEUED_RUN_COORDINATOR, SENSOR"


def test_links_lead_to_runs() -> None:
    assert (
        Orchestrator("http://dagster.test:3000/").run_url("abc")
        == "http://dagster.test:3000/runs/abc"
    )


def test_a_location_that_failed_says_why() -> None:
    webserver = Webserver(
        "http://dagster.test",
        transport=httpx.MockTransport(FakeWebserver(entry("ours", failed=True))),
    )
    (location,) = webserver.code_locations(timeout=1)
    webserver.close()
    assert location.failed
    assert location.error == "No module named 'nowhere'"


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(500),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json=[]),
        httpx.Response(200, json={"errors": []}),
        httpx.Response(200, json={"data": None}),
        httpx.Response(200, json={"data": {}}),
        httpx.Response(200, json={"data": {"workspaceOrError": {"__typename": "PythonError"}}}),
    ],
)
def test_an_answer_that_is_not_dagsters_is_a_webserver_that_does_not_work(
    answer: httpx.Response, caplog: pytest.LogCaptureFixture
) -> None:
    transport = httpx.MockTransport(lambda request: answer)
    with Orchestrator("http://dagster.test", transport=transport) as orchestrator:
        assert [check.ok for check in orchestrator.health()] == [False, False, False]
        orchestrator.reload()
    assert "could not be asked to reload" in caplog.text
