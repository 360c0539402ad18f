"""Terminate, as the UI does it, with every process of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import psycopg
import pytest

from tests.e2e.conftest import System
from tests.fault_proxy import after, fault_proxy
from tests.s3_bucket import Bucket

TERMINATE = """
mutation($id: String!) { terminateRun(runId: $id) { __typename
  ... on TerminateRunFailure { message }
  ... on PythonError { message }
} }
"""
STATUS = "query($id: ID!) { runOrError(runId: $id) { ... on Run { status } } }"
BACKFILL = """
mutation($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename
  ... on LaunchBackfillSuccess { backfillId }
  ... on PythonError { message }
} }
"""
CANCEL_BACKFILL = """
mutation($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename
  ... on PythonError { message }
} }
"""
BACKFILL_RUNS = """
query($id: String!) { partitionBackfillOrError(backfillId: $id) {
  ... on PartitionBackfill { status runs { runId status } }
} }
"""
# Longer than the test: what ends before was stopped.
_HANGS_SECONDS = 600.0


@pytest.fixture
def hangs(bucket: Bucket) -> Iterator[Bucket]:
    """A bucket of three documents, of which the last one does not arrive."""
    over = threading.Event()
    with fault_proxy(bucket.endpoint_url) as proxy:
        bucket.put_many({name: f"A note, {name}." for name in ("a.txt", "b.txt", "c.txt")})
        proxy.inject("GET", "c.txt", after(lambda: over.wait(_HANGS_SECONDS)))
        yield replace(bucket, endpoint_url=proxy.url)
        over.set()


def leased(system: System, config_id: str) -> int:
    """How many of the connector's objects are under a lease."""
    with psycopg.connect(system.environment["ACTIVEKG_DSN"]) as conn:
        row = conn.execute(
            "SELECT count(claimed_by) FROM connectors.objects WHERE connector_id = %s",
            (config_id,),
        ).fetchone()
    assert row is not None
    return int(row[0])


def newest(system: System, config_id: str) -> dict[str, Any]:
    """The newest sync; one that waits where there is none yet."""
    return next(iter(system.runs(config_id)), {"status": "waiting"})


def ended(system: System, config_id: str) -> dict[str, Any] | None:
    """The newest sync, once it does not run any more."""
    sync = newest(system, config_id)
    return None if sync["status"] in {"waiting", "running"} else sync


def works_on_the_last(system: System, config_id: str, indexed: int) -> bool:
    return (
        newest(system, config_id)["status"] == "running"
        and system.states(config_id).get("indexed", 0) == indexed
        and leased(system, config_id) == 1
    )


def dagster_status(system: System, run_id: str) -> str:
    return str(system.graphql(STATUS, id=run_id)["runOrError"]["status"])


def test_terminate_ends_a_sync_and_a_backfill_and_nothing_starts_them_again(
    system: System, hangs: Bucket
) -> None:
    config_id = system.register(hangs, "terminated")
    system.wait("two are done", lambda: works_on_the_last(system, config_id, 2), 180)
    run_id = newest(system, config_id)["dagster_run_id"]
    started = time.monotonic()
    answer = system.graphql(TERMINATE, id=run_id)["terminateRun"]
    assert answer["__typename"] == "TerminateRunSuccess", answer
    sync = system.wait("the sync ends", lambda: ended(system, config_id), 120)
    print(f"the sync ended after {time.monotonic() - started:.1f} s")
    assert (sync["status"], sync["cancelled_by"]) == ("cancelled", "Dagster")
    assert sync["objects"]["indexed"] == 2
    system.wait("Dagster knows", lambda: dagster_status(system, run_id) == "CANCELED", 60)
    assert leased(system, config_id) == 0
    assert system.states(config_id) == {"indexed": 2, "pending": 1}

    assets = ("source_objects", "extracted_text", "document_embeddings")
    launched = system.graphql(
        BACKFILL,
        params={
            "partitionNames": ["terminated/docs"],
            "assetSelection": [{"path": [name]} for name in assets],
        },
    )["launchPartitionBackfill"]
    assert launched["__typename"] == "LaunchBackfillSuccess", launched
    backfill = launched["backfillId"]
    system.wait("the last is tried", lambda: works_on_the_last(system, config_id, 2), 180)
    answer = system.graphql(CANCEL_BACKFILL, id=backfill)["cancelPartitionBackfill"]
    assert answer["__typename"] == "CancelBackfillSuccess", answer
    assert system.wait("it ends", lambda: ended(system, config_id), 120)["status"] == "cancelled"

    def backfill_ended() -> bool:
        found = system.graphql(BACKFILL_RUNS, id=backfill)["partitionBackfillOrError"]
        return found["status"] == "CANCELED" and [run["status"] for run in found["runs"]] == [
            "CANCELED"
        ]

    system.wait("the backfill has ended", backfill_ended, 120)
    # No sync beside the two, and each of them is cancelled.
    assert [sync["status"] for sync in system.runs(config_id)] == ["cancelled"] * 2
