"""A system in which nothing happens for weeks.

No table, no connection and no memory grows with the polls.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable

import dagster as dg
import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from activekg_pipelines.defs.sensors import build_sensors
from activekg_pipelines.orchestrator.sensors import sensor_name
from activekg_pipelines.services import Services
from activekg_pipelines.sources.s3.source import S3Source
from tests.integration.syncing import query, sync
from tests.registry import change
from tests.s3_bucket import Bucket, S3ConfigPatch

TICKS = 10_000
# Each lists the bucket over HTTP and takes some 20 ms; 10000 to have every poll list.
LISTINGS = int(os.environ.get("ACTIVEKG_TEST_IDLE_LISTINGS", "300"))
TENANT = "acme_corp"


@pytest.fixture
def ticks(services: Services, bucket: Bucket) -> dict[str, Callable[[], dg.SensorResult]]:
    """The sensors of a system whose connector is in sync.

    They are to be evaluated as Dagster does.
    """
    bucket.put_many({f"{number:02}.txt": f"The text number {number}." for number in range(20)})
    sync(services, bucket.register(services))
    return {sensor.name: sensor for sensor in build_sensors()}  # type: ignore[misc]


@pytest.mark.timeout(1200)
def test_ten_thousand_idle_polls_leave_nothing_behind(
    services: Services, ticks: dict[str, Callable[[], dg.SensorResult]]
) -> None:
    def poll(*, due: bool) -> str:
        if due:
            query(
                services,
                "UPDATE connectors.connectors SET last_scan_started_at = now() - interval '1 day' "
                "RETURNING 1",
            )
        answers = [ticks[sensor_name(TENANT)](), ticks["work_queue"]()]
        assert [answer.run_requests or answer.asset_events for answer in answers] == [[], []]
        return reason(answers[0])

    for _ in range(110):
        poll(due=True)
    rows, pages, memory = row_counts(services), sizes(services), resident()

    listed = 0
    for number in range(TICKS):
        due = number % max(1, TICKS // LISTINGS) == 0
        listed += "20 objects, 0 new" in poll(due=due)
    assert listed >= LISTINGS

    assert row_counts(services) == rows
    assert rows["connectors.scans"] == 100
    for table, size in sizes(services).items():
        # Freed pages are used again: what 10,000 polls rewrite fits into what 110 left,
        # and a little.
        assert size <= pages[table] + 256 * 1024, table
    assert connections(services) <= 2
    assert resident() - memory < 32 * 1024**2


def test_an_idle_poll_that_is_not_due_writes_nothing(
    services: Services, ticks: dict[str, Callable[[], dg.SensorResult]]
) -> None:
    before = versions(services)
    for _ in range(50):
        assert reason(ticks[sensor_name(TENANT)]()) == "No connector is due."
        assert reason(ticks["work_queue"]()) == "Nothing is due."
    assert versions(services) == before


def test_polls_share_one_client_until_the_configuration_changes(
    services: Services, bucket: Bucket
) -> None:
    bucket.put("a.txt", "The text of a.")
    connector = bucket.register(services)
    first = services.source(connector)
    sync(services, connector)
    assert services.source(services.connector(connector.id)) is first
    change(services, connector.id, S3ConfigPatch(region="eu-west-1"))
    changed = services.source(services.connector(connector.id))
    assert changed is not first
    assert isinstance(changed, S3Source)
    assert changed.client.meta.region_name == "eu-west-1"


def reason(result: dg.SensorResult) -> str:
    """Why the tick asked for no run."""
    assert isinstance(result.skip_reason, dg.SkipReason)
    return str(result.skip_reason.skip_message)


def row_counts(services: Services) -> dict[str, int]:
    """Rows of every table."""
    return {
        table: query(services, f"SELECT count(*) FROM {table}")[0][0] for table in tables(services)
    }


def sizes(services: Services) -> dict[str, int]:
    """Bytes of every table with its indexes, once the dead rows are cleared away."""
    with psycopg.connect(services.settings.require_dsn(), autocommit=True) as conn:
        conn.execute("VACUUM")
    return {
        table: query(services, f"SELECT pg_total_relation_size('{table}')")[0][0]
        for table in tables(services)
    }


def versions(services: Services) -> dict[str, str]:
    """Where each row's version lies and who wrote it, by table: any write changes that."""
    fingerprint = "md5(string_agg(ctid::text || xmin::text, ' ' ORDER BY ctid))"
    return {
        table: query(services, f"SELECT {fingerprint} FROM {table}")[0][0]
        for table in tables(services)
    }


def tables(services: Services) -> list[str]:
    """All that outlive a connection."""
    found = query(
        services,
        "SELECT schemaname || '.' || relname FROM pg_stat_user_tables WHERE schemaname IN "
        "('connectors', 'public')",
    )
    return [row[0] for row in found]


def connections(services: Services) -> int:
    """Of this process to the test's database."""
    database = conninfo_to_dict(services.settings.require_dsn())["dbname"]
    return int(
        query(services, "SELECT count(*) FROM pg_stat_activity WHERE datname = %s", database)[0][0]
    )


def resident() -> int:
    """Bytes of this process, the S3 server's among them."""
    gc.collect()
    return int(psutil.Process().memory_info().rss)
