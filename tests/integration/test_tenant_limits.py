"""What one tenant may use: connectors, objects, bytes a day.

A limit that is reached loses, deletes and fails nothing.
"""

from __future__ import annotations

from collections.abc import Callable

import psycopg
import pytest

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.connectors.tenant_limits import TenantLimits
from activekg_pipelines.defs.sensors import poll_tenant, start_due_work
from activekg_pipelines.errors import ConnectorLimit
from activekg_pipelines.services import Services
from tests.fault_proxy import FaultProxy, status
from tests.integration.syncing import (
    TENANT,
    documents,
    drain,
    extract,
    in_transaction,
    index,
    make_retries_due,
    query,
    scan,
    start_run,
    states,
    sync,
)
from tests.s3_bucket import Bucket

TEXT = "Forty bytes of text in each of these. ->"


def limit(services: Services, **limits: int) -> None:
    in_transaction(services, services.tenant_limits.set, TENANT, TenantLimits(**limits))


def end_the_day(services: Services) -> None:
    query(services, "UPDATE connectors.tenant_usage SET day = day - 1 RETURNING 1")


def ask(services: Services) -> int:
    return len(start_due_work(services).run_requests or [])


def bytes_today(services: Services) -> int:
    return in_transaction(services, services.tenant_limits.usage, TENANT).bytes_today


# Connectors


def test_a_tenant_registers_no_more_connectors_than_it_may_and_others_go_on(
    configured: Callable[..., Services], bucket: Bucket
) -> None:
    services = configured(activekg_max_connectors_per_tenant=2)
    for name in ("a", "b"):
        bucket.register(services, prefix=f"{name}/", name=name)
    with pytest.raises(ConnectorLimit, match="has 2 connectors and may have 2"):
        bucket.register(services, prefix="c/", name="c")
    bucket.register(services, "other_tenant", prefix="c/")
    limit(services, connectors=3)
    bucket.register(services, prefix="c/", name="c")
    limit(services, connectors=0)
    bucket.register(services, prefix="d/", name="d")
    in_transaction(services, services.tenant_limits.clear, TENANT)
    with pytest.raises(ConnectorLimit, match="has 4 connectors and may have 2"):
        bucket.register(services, prefix="e/", name="e")


# Objects


def test_new_objects_beyond_the_limit_are_not_taken_in_and_known_ones_go_on(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    limit(services, objects=3)
    bucket.put_many({f"{number}.txt": f"Text {number}" for number in range(5)})
    result = scan(services, connector)
    assert (result.completed, result.counts.added, result.counts.over_limit) == (True, 3, 2)
    assert drain(services, connector).indexed == 3
    assert services.connector(connector.id).objects_over_limit == 2

    bucket.put("1.txt", "Another text 1")
    changed = scan(services, connector).counts
    assert (changed.added, changed.changed, changed.missing, changed.over_limit) == (0, 1, 0, 2)
    assert drain(services, connector).indexed == 1
    assert documents(services) == {connector.uri(f"{number}.txt") for number in range(3)}


def test_a_deletion_makes_room_and_a_raised_limit_takes_everything_in(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    limit(services, objects=3)
    bucket.put_many({f"{number}.txt": f"Text {number}" for number in range(6)})
    sync(services, connector)
    bucket.delete("0.txt")
    gone = scan(services, connector).counts
    assert (gone.deleted, gone.added, gone.over_limit) == (1, 0, 3)
    sync(services, connector)
    assert set(states(services, connector)) == {"0.txt", "1.txt", "2.txt", "3.txt"}
    assert documents(services) == {connector.uri(f"{number}.txt") for number in (1, 2, 3)}

    # One that was deleted and comes back is as new as any other.
    bucket.put("0.txt", "Text 0 again")
    back = scan(services, connector).counts
    assert (back.added, back.over_limit) == (0, 3)
    assert states(services, connector)["0.txt"] == ("deleted", None)

    limit(services, objects=0)
    assert scan(services, connector).counts.added == 3
    assert drain(services, connector).indexed == 3
    assert services.connector(connector.id).objects_over_limit == 0
    assert documents(services) == {connector.uri(f"{number}.txt") for number in range(6)}


def test_a_limit_below_what_is_there_removes_nothing(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    bucket.put_many({f"{number}.txt": f"Text {number}" for number in range(4)})
    sync(services, connector)
    limit(services, objects=2)
    bucket.put("9.txt", "Text 9")
    counts = scan(services, connector).counts
    assert (counts.missing, counts.deleted, counts.over_limit) == (0, 0, 1)
    assert len(documents(services)) == 4


def test_the_limit_holds_over_the_pages_of_a_scan(
    configured: Callable[..., Services], bucket: Bucket
) -> None:
    services = configured(activekg_max_objects_per_connector=1500)
    connector = bucket.register(services)
    bucket.put_many({f"{number:05}.png": b"x" for number in range(3200)})
    counts = scan(services, connector).counts
    assert (counts.listed, counts.added, counts.over_limit) == (3200, 1500, 1700)
    assert in_transaction(services, services.ledger.progress, connector.id) == {"skipped": 1500}
    assert max(states(services, connector)) == "01499.png"


# Bytes


def test_pending_objects_wait_for_the_next_day_once_the_bytes_are_used_up(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    limit(services, bytes_per_day=100)
    bucket.put_many({f"{number}.txt": TEXT for number in range(7)})
    counts = sync(services, connector)
    assert (counts.extracted, counts.failed, counts.dead, counts.bytes_fetched) == (3, 0, 0, 120)
    assert in_transaction(services, services.ledger.progress, connector.id) == {
        "indexed": 3,
        "pending": 4,
    }
    assert bytes_today(services) == 120
    assert in_transaction(services, services.tenant_limits.usage, TENANT).waits_until is not None

    assert ask(services) == 0
    assert drain(services, connector).extracted == 0
    end_the_day(services)
    assert (
        bytes_today(services),
        in_transaction(services, services.tenant_limits.usage, TENANT).waits_until,
    ) == (0, None)
    assert ask(services) == 1
    assert drain(services, connector).extracted == 3
    limit(services, bytes_per_day=0)
    assert drain(services, connector).extracted == 1
    assert in_transaction(services, services.ledger.progress, connector.id) == {"indexed": 7}


def test_what_is_extracted_is_indexed_although_the_bytes_are_used_up(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    limit(services, bytes_per_day=10)
    bucket.put_many({f"{number}.txt": TEXT for number in range(2)})
    scan(services, connector)
    run = start_run(services, connector)
    assert extract(services, connector, run) == 1
    in_transaction(services, services.ledger.finish_run, run, succeeded=True)
    assert ask(services) == 1
    assert index(services, connector, start_run(services, connector)) == 1


def test_a_poll_that_finds_objects_asks_for_no_run_that_could_download_nothing(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    limit(services, bytes_per_day=10)
    bucket.put("a.txt", TEXT)
    sync(services, connector)
    bucket.put("b.txt", TEXT)
    query(
        services,
        "UPDATE connectors.connectors SET last_scan_started_at = now() - interval '1 hour' "
        "RETURNING 1",
    )
    assert (poll_tenant(services, TENANT).run_requests or []) == []
    assert states(services, connector)["b.txt"] == ("pending", None)
    assert query(services, "SELECT status, added FROM connectors.runs WHERE trigger = 'poll'") == [
        ("succeeded", 1)
    ]
    end_the_day(services)
    assert ask(services) == 1


def test_runs_that_download_at_once_share_the_bytes_of_the_day(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    limit(services, bytes_per_day=200)
    bucket.put_many({f"{number}.txt": TEXT for number in range(10)})
    scan(services, connector)

    def claim(most: int) -> int:
        run = start_run(services, connector)
        return len(
            in_transaction(
                services,
                services.ledger.claim_pending,
                connector.id,
                run,
                generation=0,
                limit=most,
                extractor="1",
            )
        )

    assert [claim(3), claim(10), claim(10)] == [3, 2, 0]


def test_the_bytes_are_a_tenants_and_not_a_connectors(services: Services, bucket: Bucket) -> None:
    limit(services, bytes_per_day=40)
    bucket.put_many({"a/1.txt": TEXT, "b/1.txt": TEXT, "c/1.txt": TEXT})
    first, second = (bucket.register(services, prefix=f"{name}/", name=name) for name in "ab")
    others = bucket.register(services, "other_tenant", prefix="c/")
    assert [sync(services, each).extracted for each in (first, second, others)] == [1, 0, 1]


def test_an_object_larger_than_a_days_bytes_is_downloaded_on_a_day_of_its_own(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    limit(services, bytes_per_day=10)
    bucket.put_many({f"{number}.txt": TEXT for number in range(2)})
    assert sync(services, connector).extracted == 1
    end_the_day(services)
    assert sync(services, connector).extracted == 1


def test_due_retries_wait_too(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put_many({"a.txt": TEXT, "b.txt": TEXT})
    limit(proxied, bytes_per_day=40)
    proxy.inject("GET", "a.txt", status(500, "InternalError"))
    sync(proxied, via_proxy)
    proxy.heal()
    make_retries_due(proxied)
    drain(proxied, via_proxy)
    assert bytes_today(proxied) == 40
    assert ask(proxied) == 0
    end_the_day(proxied)
    drain(proxied, via_proxy)
    assert in_transaction(proxied, proxied.ledger.progress, via_proxy.id) == {"indexed": 2}


# Who sets them


def test_a_tenants_database_role_sees_its_own_limits_and_sets_none(
    services: Services, dsn: str
) -> None:
    limit(services, objects=5)
    in_transaction(services, services.tenant_limits.set, "other_tenant", TenantLimits(objects=7))
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SET ROLE activekg_reader")
        for table in ("tenant_limits", "tenant_usage"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(f"SELECT * FROM connectors.{table}")
        conn.execute("RESET ROLE")
        # Even where somebody granted too much.
        conn.execute("CREATE ROLE app NOLOGIN")
        try:
            conn.execute("GRANT USAGE ON SCHEMA connectors TO app")
            conn.execute("GRANT ALL ON connectors.tenant_limits TO app")
            conn.execute("SET ROLE app")
            conn.execute("SELECT set_config('app.current_tenant_id', 'acme_corp', false)")
            assert conn.execute(
                "SELECT tenant_id, objects FROM connectors.tenant_limits"
            ).fetchall() == [(TENANT, 5)]
            assert conn.execute("UPDATE connectors.tenant_limits SET objects = 0").rowcount == 0
            assert conn.execute("DELETE FROM connectors.tenant_limits").rowcount == 0
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                conn.execute(
                    "INSERT INTO connectors.tenant_limits (tenant_id, objects) VALUES ('third', 0)"
                )
        finally:
            conn.execute("RESET ROLE")
            conn.execute("DROP OWNED BY app")
            conn.execute("DROP ROLE app")
