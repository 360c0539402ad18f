"""SeaweedFS, whose listing goes folder by folder: `reports/` comes before `reports-2024`."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import dagster as dg
import pytest

from activekg_pipelines.audit.audit import audit_connector
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.defs.sensors import poll_tenant, start_due_work
from activekg_pipelines.pipeline.preview import Change, preview_sync
from activekg_pipelines.services import Services
from activekg_pipelines.sources.probe import probe
from tests.integration.syncing import documents, found, query, states
from tests.integration.test_dagster_runs import execute, requests_of
from tests.s3_bucket import Bucket

# In the order of bytes the hyphen comes before the slash.
FOLDERS = ("reports/a.txt", "reports-2024.txt")
ODD = (
    " leading space.txt",
    "%41.txt",
    "Z.txt",
    "a&b<c>'d\".txt",
    "a+b/ x .txt",
    "emoji 🐧.txt",
    "ü/größe.txt",
    "x.txt",
    "x/y.txt",
    "x-y.txt",
)
_numbers = itertools.count()


@pytest.fixture
def weed(weed_endpoint: str) -> Bucket:
    """A new, empty bucket of SeaweedFS."""
    return Bucket.create(weed_endpoint, f"test-{next(_numbers)}")


@pytest.fixture
def connector(services: Services, weed: Bucket) -> Connector:
    """A connector for the bucket."""
    return weed.register(services, poll_interval_seconds=60)


def put_all(bucket: Bucket, objects: dict[str, str]) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: bucket.put(*item), objects.items()))


def tick(services: Services) -> Sequence[dg.RunRequest]:
    """A poll of the tenant whose interval has passed."""
    query(
        services,
        "UPDATE connectors.connectors SET last_scan_started_at = now() - interval '1 hour'"
        " WHERE last_scan_started_at IS NOT NULL RETURNING id",
    )
    return requests_of(poll_tenant(services, "acme_corp"))


def run_what_is_due(services: Services, instance: dg.DagsterInstance) -> list[tuple[int, ...]]:
    """What the work queue asks for at this moment, carried out.

    Returns:
        Added, changed, deleted, indexed and embedded of each run.
    """
    requests = requests_of(start_due_work(services))
    for request in requests:
        assert execute(instance, request).success
    return query(
        services,
        "SELECT added, changed, deleted, indexed, embeddings_computed FROM connectors.runs"
        " WHERE status <> 'waiting' ORDER BY requested_at DESC LIMIT %s",
        len(requests),
    )


def test_the_store_lists_in_another_order_than_that_of_keys(weed: Bucket) -> None:
    for key in FOLDERS:
        weed.put(key, "text")
    listed = weed.client.list_objects_v2(Bucket=weed.name)["Contents"]
    assert tuple(entry["Key"] for entry in listed) == FOLDERS != tuple(sorted(FOLDERS))


def test_a_tick_leaves_the_scan_to_a_run_which_the_work_queue_starts_at_once(
    services: Services, instance: dg.DagsterInstance, weed: Bucket, connector: Connector
) -> None:
    for key in FOLDERS:
        weed.put(key, f"The text of {key}.")
    assert tick(services) == []
    assert not services.connector(connector.id).lists_in_order
    assert run_what_is_due(services, instance) == [(2, 0, 0, 2, 2)]
    assert states(services, connector) == dict.fromkeys(FOLDERS, ("indexed", None))
    now = services.connector(connector.id)
    assert now.last_scan_completed_at is not None
    assert now.last_error_code is None
    assert run_what_is_due(services, instance) == [], "nothing more is to be done"


def test_a_first_sync_needs_no_tick(
    services: Services, instance: dg.DagsterInstance, weed: Bucket, connector: Connector
) -> None:
    for key in FOLDERS:
        weed.put(key, f"The text of {key}.")
    assert run_what_is_due(services, instance) == [(2, 0, 0, 2, 2)]
    assert documents(services) == {f"s3://{weed.name}/{key}" for key in FOLDERS}


def test_changes_deletions_and_renames_are_found_and_equal_listings_change_nothing(
    services: Services, instance: dg.DagsterInstance, weed: Bucket, connector: Connector
) -> None:
    put_all(weed, {key: f"The text of {key}." for key in (*FOLDERS, "b/c.txt", "b.txt")})
    assert tick(services) == []
    assert run_what_is_due(services, instance) == [(4, 0, 0, 4, 4)]

    weed.put("reports/a.txt", "Penguins are birds that cannot fly.")
    weed.delete("b.txt")
    weed.put("b/renamed.txt", "The text of b/c.txt.")
    weed.delete("b/c.txt")
    assert tick(services) == []
    # The renamed document's vector is used again.
    assert run_what_is_due(services, instance) == [(1, 1, 2, 2, 1)]
    assert documents(services) == {f"s3://{weed.name}/{key}" for key in (*FOLDERS, "b/renamed.txt")}
    assert f"s3://{weed.name}/reports/a.txt" in found(services, "birds without flight", limit=1)

    assert tick(services) == []
    assert run_what_is_due(services, instance) == [(0, 0, 0, 0, 0)]
    report = audit_connector(services, services.connector(connector.id))
    assert report.clean, report.differences


def test_odd_keys_are_synced_under_the_names_that_the_store_gives_them(
    services: Services, instance: dg.DagsterInstance, weed: Bucket, connector: Connector
) -> None:
    put_all(weed, {key: f"The text of {key}." for key in ODD})
    # SeaweedFS makes paths of keys: one slash of many, none at the beginning.
    put_all(weed, {"double//slash.txt": "Two slashes.", "/root.txt": "A slash in front."})
    tick(services)
    run_what_is_due(services, instance)
    keys = {*ODD, "double/slash.txt", "root.txt"}
    assert states(services, connector) == dict.fromkeys(keys, ("indexed", None))


def test_a_prefix_is_kept_to(
    services: Services, instance: dg.DagsterInstance, weed: Bucket
) -> None:
    put_all(weed, dict.fromkeys((*FOLDERS, "other.txt", "a/reports/b.txt"), "text"))
    connector = weed.register(services, prefix="reports")
    assert run_what_is_due(services, instance) == [(2, 0, 0, 2, 1)]
    assert states(services, connector).keys() == set(FOLDERS)


def test_1500_objects_over_two_pages_are_listed_once_and_none_is_lost(
    services: Services, instance: dg.DagsterInstance, weed: Bucket, connector: Connector
) -> None:
    # Of each ten, half lie beside the folder that has their name.
    keys = {f"{number % 10}{'/' if number % 2 else '-'}{number:04}.png" for number in range(1500)}
    keys |= {f"{digit}/-/x.png" for digit in range(10)} | {f"{digit}/-x.png" for digit in range(10)}
    put_all(weed, dict.fromkeys(keys, "x"))
    assert tick(services) == []
    assert run_what_is_due(services, instance) == [(1520, 0, 0, 0, 0)]
    assert states(services, connector) == dict.fromkeys(keys, ("skipped", "unsupported_type"))
    gone = ("1/0001.png", "2-0002.png")
    weed.delete(*gone)
    tick(services)
    assert run_what_is_due(services, instance) == [(0, 0, 2, 0, 0)]
    assert {
        key for key, (state, _) in states(services, connector).items() if state == "deleted"
    } == set(gone)


def test_a_connection_test_and_a_preview_answer_while_somebody_waits(
    services: Services, weed: Bucket, connector: Connector
) -> None:
    for key in FOLDERS:
        weed.put(key, "text")
    source = services.source(connector)
    assert probe(source).objects == 2
    preview = preview_sync(services, connector, max_pages=10)
    assert preview.changes[Change.ADD].objects == 2
