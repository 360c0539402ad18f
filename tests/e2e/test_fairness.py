"""A real queue that two tenants with large backlogs have filled.

A third one's document is searchable long before they are through.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from tests.e2e.conftest import System, running_system
from tests.fault_proxy import FaultProxy, fault_proxy, slow
from tests.s3_bucket import Bucket

LARGE = ("large_one", "large_two")
CONNECTORS = 3
# At the store's pace more than six minutes of work for one run: in the test's time none
# comes to its end by itself.
OBJECTS = 1000


@pytest.fixture
def slow_store(s3_endpoint: str) -> Iterator[FaultProxy]:
    """The store of the large tenants, more than a second for each object."""
    with fault_proxy(s3_endpoint) as proxy:
        proxy.inject("GET", None, slow(1.5))
        yield proxy


@pytest.fixture
def contended(
    tmp_path: Path, s3_endpoint: str, model_home: Path, slow_store: FaultProxy
) -> Iterator[System]:
    """A system of its own, with short turns."""
    home = tmp_path / "home"
    home.mkdir()
    (model_home / "models").mkdir(parents=True, exist_ok=True)
    (home / "models").symlink_to(model_home / "models", target_is_directory=True)
    allowed = ",".join(url.removeprefix("http://") for url in (s3_endpoint, slow_store.url))
    settings = {
        "ACTIVEKG_ENDPOINT_ALLOWLIST": allowed,
        "ACTIVEKG_DOWNLOAD_THREADS": "4",
        "ACTIVEKG_PARSE_WORKERS": "1",
        "ACTIVEKG_FAIR_SHARE_SECONDS": "15",
    }
    with running_system(home, s3_endpoint, settings) as running:
        yield running


def rows(system: System, sql: str, *parameters: object) -> list[tuple]:
    with psycopg.connect(system.environment["ACTIVEKG_DSN"]) as conn:
        return conn.execute(sql, parameters).fetchall()


def running(system: System) -> Counter[str]:
    """Runs under way by tenant."""
    return Counter(
        dict(
            rows(
                system,
                "SELECT tenant_id, count(*) FROM connectors.runs WHERE status = 'running' GROUP "
                "BY 1",
            )
        )
    )


@pytest.mark.timeout(600)
def test_one_document_does_not_wait_for_other_tenants_backlogs(
    contended: System, bucket: Bucket, s3_endpoint: str, slow_store: FaultProxy
) -> None:
    backlogs = []
    for tenant in LARGE:
        for number in range(CONNECTORS):
            source = Bucket.create(
                s3_endpoint, f"{tenant.replace('_', '-')}-{number}-{time.time_ns()}"
            )
            source.put_many(
                {f"{n:04}.txt": f"Note {n} of {tenant}, file {number}." for n in range(OBJECTS)}
            )
            through_proxy = replace(source, endpoint_url=slow_store.url)
            backlogs.append(contended.register(through_proxy, tenant, name=f"c{number}"))
    most: Counter[str] = Counter()

    def all_places_are_taken() -> bool:
        now = running(contended)
        most.update({tenant: max(0, now[tenant] - most[tenant]) for tenant in LARGE})
        return sum(now.values()) == 4

    contended.wait("the large tenants hold every place", all_places_are_taken, 240)
    bucket.put("one.txt", "The only document of a small tenant.")
    small = contended.register(bucket, "small")

    def small_is_searchable() -> bool:
        now = running(contended)
        most.update({tenant: max(0, now[tenant] - most[tenant]) for tenant in LARGE})
        return contended.states(small).get("indexed") == 1

    contended.wait("the small tenant's document is searchable", small_is_searchable, 240)
    done = [contended.states(config_id).get("indexed", 0) for config_id in backlogs]
    assert max(done) < OBJECTS, "no backlog was through"
    assert max(most.values()) <= 3, "no tenant holds all places"

    ((asked, began),) = rows(
        contended,
        "SELECT requested_at, started_at FROM connectors.runs WHERE tenant_id = 'small' AND "
        "indexed = 1",
    )
    large_runs = rows(
        contended,
        "SELECT started_at, finished_at, status, extracted, connector_id FROM connectors.runs "
        "WHERE tenant_id = ANY(%s)"
        " AND started_at IS NOT NULL",
        list(LARGE),
    )
    assert sum(asked < started < began for started, *_ in large_runs) <= 4, (
        "at most those that were in the queue before"
    )
    made_way = [row for row in large_runs if row[1] is not None and asked < row[1] < began]
    assert made_way, "a place became free because a run made way"
    assert all(
        status == "succeeded" and 0 < extracted < OBJECTS for _, _, status, extracted, _ in made_way
    )

    # What one left that made way is another run's, which waits for its turn or has it.
    *_, connector_id = made_way[0]
    contended.wait(
        "another run has the rest",
        lambda: rows(
            contended,
            "SELECT FROM connectors.runs WHERE connector_id = %s AND status IN ('waiting', "
            "'running')",
            connector_id,
        ),
        60,
    )
