"""One changed document among many, from the sensor's tick to its being searchable.

On the running system.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import boto3

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.orchestrator.sensors import sensor_name
from activekg_pipelines.services import Services
from benchmarks.measure import Result
from benchmarks.object_server import note
from benchmarks.processes import watch
from benchmarks.system import register, server, services
from tests.e2e.conftest import System, running_system

KEY = "notes/000000.txt"
_WAIT_SECONDS = 600.0
_TICKS = """
query($sensor: SensorSelector!) { sensorOrError(sensorSelector: $sensor) { ... on Sensor {
  sensorState { ticks(limit: 20) { timestamp } }
} } }
"""
_RUN = """
query($id: ID!) { runOrError(runId: $id) { ... on Run {
  creationTime startTime endTime status
  eventConnection(limit: 500) { events { __typename ... on MessageEvent { timestamp } } }
} } }
"""


def one_changed(home: Path, objects: int) -> list[Result]:
    """The second of two changes: caches that a first run fills are filled.

    Args:
        home: folder of the converted model, of the database and of the system.
        objects: notes in the bucket.
    """
    with (
        server("benchmarks.object_server", "notes", objects) as endpoint,
        services(home / "changed", ACTIVEKG_HOME=str(home)) as opened,
    ):
        connector = register(opened, endpoint, "benchmark")
        with opened.database.transaction() as conn:
            conn.execute("UPDATE connectors.connectors SET poll_interval_seconds = 60")
        watch("benchmarks.sync_once", connector.partition_key, objects)
        with running_system(home, endpoint, _environment(opened)) as system:
            _change(opened, system, connector, endpoint, 1)
            times = _change(opened, system, connector, endpoint, 2)
    names = list(times)
    whole = times[names[-1]] - times[names[0]]
    parts = [
        Result(f"{first} … {second}", f"{times[second] - times[first]:.1f} s")
        for first, second in pairwise(names)
    ]
    return [Result("tick to searchable", f"{whole:.1f} s", "< 15 s", whole < 15), *parts]


def _environment(opened: Services) -> dict[str, str]:
    from os import environ

    names = ("ACTIVEKG_DSN", "CONNECTOR_KEK_V1", "ACTIVEKG_ENDPOINT_ALLOWLIST")
    return {name: environ[name] for name in names}


def _change(
    opened: Services, system: System, connector: Connector, endpoint: str, version: int
) -> dict[str, float]:
    """Overwrite one object, make the connector due, and read off when what happened.

    Returns seconds since the epoch, by event.
    """
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **keys)
    etag = client.put_object(Bucket="benchmark", Key=KEY, Body=note(0, version).encode())[
        "ETag"
    ].strip('"')
    with opened.database.transaction() as conn:
        conn.execute(
            "UPDATE connectors.connectors SET last_scan_started_at = now() - interval '1 day'"
        )
    found = _wait(lambda: _indexed(opened, connector, etag))
    run = _wait(lambda: _ended_run(system, found.run_id))
    events = {
        event["__typename"]: int(event["timestamp"]) / 1000
        for event in run["eventConnection"]["events"]
    }
    return {
        "tick begins": _last_tick(system, connector, before=found.detected),
        "change found": found.detected,
        "run asked for": found.requested,
        "run leaves the queue": events["RunStartingEvent"],
        "its process works": run["startTime"],
        "the step begins": events["ExecutionStepStartEvent"],
        "text stored": found.extracted,
        "searchable": found.indexed,
    }


@dataclass(frozen=True, slots=True)
class _Indexed:
    """When what happened to the object in the ledger, in seconds since the epoch."""

    detected: float
    requested: float
    extracted: float
    indexed: float
    run_id: str
    """Dagster's id of the run that indexed it."""


def _indexed(opened: Services, connector: Connector, etag: str) -> _Indexed | None:
    with opened.database.transaction() as conn:
        # Not the tick's own run: `work_queue` may see the object before the tick has
        # listed the rest of the bucket.
        row = conn.execute(
            "SELECT o.detected_at, r.requested_at, t.extracted_at, o.indexed_at, r.dagster_run_id"
            " FROM connectors.objects o JOIN connectors.texts t ON t.object_id = o.id"
            " JOIN connectors.runs r ON r.connector_id = o.connector_id AND r.indexed > 0"
            " AND o.indexed_at BETWEEN r.started_at AND r.finished_at"
            " WHERE o.connector_id = %s AND o.key = %s AND o.indexed_etag = %s",
            (connector.id, KEY, etag),
        ).fetchone()
    if row is None:
        return None
    *moments, run_id = row
    return _Indexed(*(moment.timestamp() for moment in moments), run_id)


def _last_tick(system: System, connector: Connector, before: float) -> float:
    selector = {
        "repositoryLocationName": "activekg_pipelines.definitions",
        "repositoryName": "__repository__",
        "sensorName": sensor_name(connector.tenant_id),
    }
    ticks = system.graphql(_TICKS, sensor=selector)["sensorOrError"]["sensorState"]["ticks"]
    return max(tick["timestamp"] for tick in ticks if tick["timestamp"] < before)


def _ended_run(system: System, run_id: str) -> dict[str, Any] | None:
    run: dict[str, Any] = system.graphql(_RUN, id=run_id)["runOrError"]
    return run if run["status"] == "SUCCESS" else None


def _wait(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.5)
    raise TimeoutError("The change was not searchable in time.")
