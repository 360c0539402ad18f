"""The numbers of every sync add up: each object that it found stands in one state."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import dagster as dg
import pytest
from psycopg.rows import dict_row

from activekg_pipelines.administration import reads
from activekg_pipelines.administration.schemas import RunView
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.defs.run_scope import DOCUMENT_EMBEDDINGS, EXTRACTED_TEXT
from activekg_pipelines.defs.sensors import poll_tenant, start_due_work
from activekg_pipelines.ledger.states import Mode
from activekg_pipelines.services import Services
from tests.integration.syncing import TENANT, in_transaction, make_retries_due, query
from tests.integration.test_dagster_runs import execute, requests_of
from tests.s3_bucket import Bucket

OUTCOMES = ("indexed", "unchanged", "skipped", "failed", "dead", "waiting")
CHANCES = ("text", "text", "text", "picture", "empty", "folder", "large", "corrupt", "vanishes")


def change_settings(services: Services, **changes: object) -> None:
    """Settings of this process, which the definitions run in."""
    services.settings = services.settings.model_copy(update=changes)


def history(services: Services) -> list[RunView]:
    """What people see of every sync, oldest first."""
    rows = in_transaction(services, reads.runs, TENANT, limit=100)
    return [RunView.of(row, dagster_run_url=None) for row in reversed(rows)]


def outcomes(view: RunView) -> dict[str, int]:
    """Objects of a sync by outcome, which is checked to be one for each."""
    objects: dict[str, int] = view.objects.model_dump()
    found = objects["added"] + objects["changed"] + objects["again"]
    assert found == sum(objects[name] for name in OUTCOMES), objects
    return {name: objects[name] for name in OUTCOMES if objects[name]}


def in_ledger(services: Services) -> dict[str, int]:
    """Objects by outcome, as the ledger has them."""
    rows = query(services, "SELECT state::text FROM connectors.objects WHERE state <> 'deleted'")
    waiting = {"pending", "extracted"}
    return dict(Counter("waiting" if state in waiting else state for (state,) in rows))


def fill(bucket: Bucket, chance: random.Random, prefix: str, number: int) -> list[str]:
    """Put objects of every kind; returns those that are to vanish before they are read."""
    vanishing = []
    for index in range(number):
        kind = chance.choice(CHANCES)
        key = f"{prefix}{index:03}"
        match kind:
            case "text" | "vanishes":
                bucket.put(f"{key}.txt", f"The text number {chance.random()}.")
            case "picture":
                bucket.put(f"{key}.png", b"x")
            case "empty":
                bucket.put(f"{key}.txt", b"")
            case "folder":
                bucket.put(f"{key}/", b"")
            case "large":
                bucket.put(f"{key}.txt", "x" * 3000)
            case "corrupt":
                bucket.put(f"{key}.pdf", "%PDF-1.4 nothing")
        if kind == "vanishes":
            vanishing.append(f"{key}.txt")
    return vanishing


@pytest.mark.parametrize("seed", range(3))
def test_each_object_that_a_sync_found_stands_in_one_state(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, seed: int
) -> None:
    change_settings(services, activekg_max_file_bytes=2000)
    connector = bucket.register(services)
    chance = random.Random(seed)

    def run(request: dg.RunRequest, **config: object) -> dg.ExecuteInProcessResult:
        given = {"ops": {"extract_and_index": {"config": config}}} if config else {}
        return execute(instance, request._replace(run_config=given), raise_on_error=False)

    vanishing = fill(bucket, chance, "a", 40)
    (request,) = requests_of(poll_tenant(services, TENANT))
    # Until its run begins, all that is not settled by name or size waits.
    (asked,) = history(services)
    assert outcomes(asked) == in_ledger(services)
    bucket.delete(*vanishing)
    most = chance.randint(8, 15)
    assert run(request, max_objects=most).success
    (first,) = history(services)
    assert outcomes(first) == in_ledger(services)
    assert {"indexed", "skipped", "waiting"} <= outcomes(first).keys()
    assert first.objects.model_dump()["added"] == 40

    # What the first left, retries that fail again, and changes that its own scan finds.
    make_retries_due(services)
    fill(bucket, chance, "b", 10)
    bucket.put("a-changed.txt", "one")
    key = dg.RunRequest(partition_key=connector.partition_key)
    run(key)
    second = history(services)[-1]
    outcomes(second)
    assert second.objects.model_dump()["again"] > 0

    bucket.put("a-changed.txt", "two")
    run(key, mode="failed")
    run(key, mode="all")
    in_transaction(
        services, services.ledger.request_manual_run, connector.id, TENANT, mode=Mode.ALL
    )
    for request in requests_of(start_due_work(services)):
        run(request)
    for view in history(services):
        outcomes(view)
    assert outcomes(history(services)[-1]).keys() <= in_ledger(services).keys()


def test_an_object_that_fails_again_and_again_within_a_run_is_counted_once(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket
) -> None:
    change_settings(services, activekg_retry_base_seconds=0.001, activekg_retry_cap_seconds=0.001)
    bucket.register(services)
    bucket.put_many({"gone.txt": "one", "stays.txt": "two"})
    (request,) = requests_of(poll_tenant(services, TENANT))
    bucket.delete("gone.txt")
    execute(instance, request)
    for _ in range(5):
        make_retries_due(services)
        for request in requests_of(start_due_work(services)):
            execute(instance, request, raise_on_error=False)
    assert in_ledger(services) == {"indexed": 1, "dead": 1}
    for view in history(services):
        shown = outcomes(view)
        assert sum(shown.get(name, 0) for name in ("failed", "dead")) <= 1
        assert view.errors in ({}, {"not_found": 1})


@pytest.fixture
def first(services: Services, bucket: Bucket) -> Connector:
    """A connector that nobody has listed, of more than one page."""
    connector = bucket.register(services)
    bucket.put_many({f"a{number}.txt": f"Text {number}." for number in range(5)})
    bucket.put_many({f"b{number:04}.png": b"x" for number in range(1100)})
    return connector


def rows(services: Services) -> list[dict[str, Any]]:
    with services.database.transaction() as conn:
        return (
            conn.cursor(row_factory=dict_row)
            .execute(
                "SELECT trigger, with_scan, status, added, indexed, skipped FROM connectors.runs"
            )
            .fetchall()
        )


def test_a_first_sync_is_one_row_and_one_run_when_a_poll_comes_while_it_waits(
    services: Services, instance: dg.DagsterInstance, first: Connector
) -> None:
    (request,) = requests_of(start_due_work(services))
    tick = poll_tenant(services, TENANT)
    assert (requests_of(tick), tick.asset_events) == ([], [])
    assert execute(instance, request).success
    done = {"trigger": "registered", "status": "succeeded", "added": 1105, "indexed": 5}
    assert rows(services) == [done | {"with_scan": True, "skipped": 1100}]
    assert requests_of(start_due_work(services)) == []


def test_a_first_sync_is_one_row_and_one_run_when_a_tick_cannot_list_all(
    services: Services,
    instance: dg.DagsterInstance,
    bucket: Bucket,
    first: Connector,
) -> None:
    change_settings(services, activekg_tick_budget_seconds=0.0001)
    (request,) = requests_of(poll_tenant(services, TENANT))
    for _ in range(2):
        assert requests_of(poll_tenant(services, TENANT)) == []
    assert requests_of(start_due_work(services)) == []
    assert execute(instance, request).success
    done = {"trigger": "registered", "status": "succeeded", "added": 1105, "indexed": 5}
    assert rows(services) == [done | {"with_scan": True, "skipped": 1100}]


def test_a_run_of_texts_alone_leaves_them_waiting(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, connector: Connector
) -> None:
    bucket.put_many({"a.txt": "one", "b.txt": "two"})
    key = connector.partition_key
    execute(instance, dg.RunRequest(partition_key=key, asset_selection=[EXTRACTED_TEXT]))
    execute(instance, dg.RunRequest(partition_key=key, asset_selection=[DOCUMENT_EMBEDDINGS]))
    assert [outcomes(view) for view in history(services)] == [{"waiting": 2}, {"indexed": 2}]
