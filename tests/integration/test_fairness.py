"""No tenant waits for another one.

The tests cover shares of Dagster's queue, time slices, and polls of buckets that do not
answer. Every time that decides anything is the database's.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Callable, Iterator
from uuid import uuid4

import dagster as dg
import pytest

from activekg_pipelines.administration.connection_test import try_connector
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.connectors.tenant_limits import TenantLimits
from activekg_pipelines.defs.sensors import poll_tenant, start_due_work
from activekg_pipelines.errors import SourceUnavailable
from activekg_pipelines.ledger.states import Mode, Trigger
from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.services import Services
from tests.fault_proxy import LIST, FaultProxy, status
from tests.integration.syncing import (
    TENANT,
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
from tests.registry import change
from tests.s3_bucket import Bucket, S3ConfigPatch

OTHER = "other_tenant"
LONG = "an hour"


def asked(services: Services) -> list[str]:
    """Tenants that Dagster is asked for runs of, in that order."""
    return [
        request.tags["activekg/tenant"] for request in start_due_work(services).run_requests or []
    ]


def idle(tick: dg.SensorResult) -> bool:
    return (
        isinstance(tick.skip_reason, dg.SkipReason)
        and tick.skip_reason.skip_message == "No connector is due."
    )


def triggers(services: Services) -> list[str]:
    return [
        row[0]
        for row in query(services, "SELECT trigger FROM connectors.runs ORDER BY requested_at")
    ]


# The queue


def test_a_tenant_with_many_connectors_takes_its_share_of_the_queue_and_no_more(
    services: Services, bucket: Bucket
) -> None:
    for number in range(20):
        bucket.register(services, prefix=f"{number:02}/", name=f"c{number:02}")
    assert asked(services) == [TENANT] * 4
    bucket.register(services, OTHER, prefix="00/")
    assert asked(services) == [OTHER]
    assert asked(services) == []

    # As one of its runs ends, the next one takes its slot, the longest waiting first.
    waiting = query(
        services,
        "SELECT id, connector_id FROM connectors.runs WHERE emitted_at IS NOT NULL AND tenant_id "
        "= %s",
        TENANT,
    )
    for request_id, connector_id in waiting[:2]:
        run = str(uuid4())
        in_transaction(
            services,
            services.ledger.start_run,
            connector_id,
            TENANT,
            run,
            request_id=request_id,
            parent_run=None,
            with_scan=False,
            mode=Mode.CHANGED,
        )
        assert asked(services) == [], "one that runs holds its slot"
        in_transaction(services, services.ledger.finish_run, run, succeeded=True)
        assert asked(services) == [TENANT]


def test_a_tenants_first_run_comes_before_every_other_tenants_second_one(
    services: Services, bucket: Bucket
) -> None:
    for number in range(5):
        bucket.register(services, prefix=f"{number}/", name=f"c{number}")
    large = start_due_work(services).run_requests or []
    other = bucket.register(services, OTHER, prefix="0/")
    small = start_due_work(services).run_requests or []
    query(
        services,
        "UPDATE connectors.runs SET status = 'succeeded' WHERE tenant_id = %s RETURNING 1",
        OTHER,
    )
    in_transaction(services, services.ledger.request_manual_run, other.id, OTHER)
    asked_for = start_due_work(services).run_requests or []
    queue = sorted(
        [*large, *small, *asked_for],
        key=lambda run: int(run.tags["dagster/priority"]),
        reverse=True,
    )
    assert [run.tags["activekg/tenant"] for run in queue] == [
        OTHER,
        TENANT,
        OTHER,
        TENANT,
        TENANT,
        TENANT,
    ]
    assert queue[0] is asked_for[0]


def test_a_sync_that_somebody_asks_for_comes_before_those_of_the_tenant_that_wait(
    services: Services, bucket: Bucket
) -> None:
    connectors = [
        bucket.register(services, prefix=f"{number:02}/", name=f"c{number:02}")
        for number in range(8)
    ]
    asked(services)
    request = in_transaction(services, services.ledger.request_manual_run, connectors[7].id, TENANT)
    assert [emitted.id for emitted in in_transaction(services, services.ledger.runs_to_emit)] == [
        request
    ]


# Yielding


@pytest.fixture
def long_run(services: Services, connector: Connector, bucket: Bucket) -> str:
    """A run of acme_corp that has worked for an hour.

    A text to extract and one to index are left.
    """
    bucket.put_many({"1.txt": "one", "2.txt": "two"})
    scan(services, connector)
    run = start_run(services, connector)
    in_transaction(
        services,
        services.ledger.claim_pending,
        connector.id,
        str(uuid4()),
        generation=0,
        limit=1,
        extractor="1",
    )
    assert extract(services, connector, run) == 1
    query(
        services,
        "UPDATE connectors.objects SET claimed_by = NULL, claim_expires_at = NULL RETURNING 1",
    )
    age(services, "started_at", LONG, run)
    return run


def age(services: Services, column: str, by: str, run: str | None = None) -> None:
    seconds = {"an hour": 3600, "45 seconds": 45, "no time": 0}[by]
    query(
        services,
        f"UPDATE connectors.runs SET {column} = now() - make_interval(secs => %s)"
        " WHERE dagster_run_id IS NOT DISTINCT FROM %s RETURNING 1",
        seconds,
        run,
    )


def take_slots(services: Services, bucket: Bucket) -> None:
    """Fill the free slots with runs of tenants that have one each."""
    ((taken,),) = query(services, "SELECT count(*) FROM connectors.runs WHERE status = 'running'")
    for number in range(taken, services.settings.activekg_concurrent_runs):
        start_run(services, bucket.register(services, f"small_{number}", prefix=f"small/{number}/"))


def let_wait(
    services: Services, bucket: Bucket, tenant: str = OTHER, *, by: str = LONG, runs: int = 0
) -> Connector:
    """A tenant that waits for a slot, and holds so many."""
    (other,) = list(services.every_connector(tenant)) or [
        bucket.register(services, tenant, prefix="other/", name="other")
    ]
    for _ in range(runs):
        start_run(services, other)
    in_transaction(
        services, services.ledger.request_run, other.id, tenant, Trigger.PENDING, with_scan=False
    )
    in_transaction(services, services.ledger.runs_to_emit)
    age(services, "requested_at", by)
    take_slots(services, bucket)
    return other


def may_extract(services: Services, connector: Connector, run: str) -> bool:
    return bool(
        in_transaction(
            services,
            services.ledger.claim_pending,
            connector.id,
            run,
            generation=0,
            limit=5,
            extractor="1",
        )
    )


def may_index(services: Services, connector: Connector, run: str) -> bool:
    return bool(
        in_transaction(
            services,
            services.ledger.claim_extracted,
            connector.id,
            run,
            generation=0,
            limit=5,
            characters=1000,
        )
    )


def test_a_run_goes_on_while_nobody_waits(
    services: Services, connector: Connector, long_run: str
) -> None:
    assert may_extract(services, connector, long_run)


def test_a_run_that_has_used_its_time_slice_yields_and_another_one_goes_on_with_its_work(
    services: Services, connector: Connector, bucket: Bucket, long_run: str
) -> None:
    other = let_wait(services, bucket)
    assert not may_extract(services, connector, long_run)
    # It may index what it has extracted: at least one batch, however late it is.
    assert index(services, connector, long_run) == 1
    in_transaction(services, services.ledger.finish_run, long_run, succeeded=True)
    assert asked(services) == [TENANT]
    in_transaction(services, services.ledger.finish_run, start_run(services, other), succeeded=True)
    assert drain(services, connector).indexed == 1
    assert in_transaction(services, services.ledger.progress, connector.id) == {"indexed": 2}


def test_indexing_has_twice_the_time_so_that_texts_do_not_pile_up(
    services: Services, connector: Connector, bucket: Bucket, long_run: str
) -> None:
    query(services, "UPDATE connectors.runs SET indexed = 1 RETURNING 1")
    let_wait(services, bucket)
    age(services, "started_at", "45 seconds", long_run)
    assert not may_extract(services, connector, long_run)
    assert may_index(services, connector, long_run)
    query(
        services,
        "UPDATE connectors.objects SET claimed_by = NULL, claim_expires_at = NULL RETURNING 1",
    )
    age(services, "started_at", LONG, long_run)
    assert not may_index(services, connector, long_run)


@pytest.mark.parametrize(
    ("tenant", "waits", "runs", "worked"),
    [
        pytest.param(
            OTHER,
            "no time",
            0,
            LONG,
            id="who has only just come finds a slot first, if there is one",
        ),
        pytest.param(OTHER, LONG, 1, LONG, id="who has as many slots waits for no more"),
        pytest.param(TENANT, LONG, 0, LONG, id="a tenant does not yield to itself"),
        pytest.param(OTHER, LONG, 0, "no time", id="each run has its time slice"),
    ],
)
def test_no_run_yields_without_need(
    services: Services,
    connector: Connector,
    bucket: Bucket,
    long_run: str,
    tenant: str,
    waits: str,
    runs: int,
    worked: str,
) -> None:
    let_wait(services, bucket, tenant, by=waits, runs=runs)
    age(services, "started_at", worked, long_run)
    assert may_extract(services, connector, long_run)


def test_no_run_yields_while_a_slot_is_free_or_about_to_be_taken(
    configured: Callable[..., Services], connector: Connector, bucket: Bucket, long_run: str
) -> None:
    services = configured(activekg_concurrent_runs=5)
    let_wait(services, bucket)
    query(
        services,
        "UPDATE connectors.runs SET status = 'succeeded' WHERE tenant_id = 'small_4' RETURNING 1",
    )
    assert may_extract(services, connector, long_run)


def test_a_run_that_comes_late_settles_a_batch_before_it_yields(
    services: Services, connector: Connector, bucket: Bucket, long_run: str
) -> None:
    let_wait(services, bucket)
    query(services, "UPDATE connectors.runs SET extracted = 0 RETURNING 1")
    assert may_extract(services, connector, long_run)


def test_one_run_yields_to_one_tenant_the_longest_first(
    services: Services, connector: Connector, bucket: Bucket, long_run: str
) -> None:
    older = start_run(services, connector)
    query(
        services,
        "UPDATE connectors.runs SET extracted = 1, started_at = now() - interval '2 hours'"
        " WHERE dagster_run_id = %s RETURNING 1",
        older,
    )
    let_wait(services, bucket)
    assert may_extract(services, connector, long_run)
    query(
        services,
        "UPDATE connectors.objects SET claimed_by = NULL, claim_expires_at = NULL RETURNING 1",
    )
    assert not may_extract(services, connector, older)
    # It finishes what it has begun: until then it is still the one that yields.
    in_transaction(services, services.ledger.finish_run, older, succeeded=True)
    assert may_extract(services, connector, long_run), "a slot is free, and about to be taken"


def test_two_tenants_that_wait_get_two_slots(
    services: Services, connector: Connector, bucket: Bucket, long_run: str
) -> None:
    second = start_run(services, connector)
    query(services, "UPDATE connectors.runs SET extracted = 1 RETURNING 1")
    age(services, "started_at", LONG, second)
    for tenant in (OTHER, "third_tenant"):
        let_wait(services, bucket, tenant)
    assert not may_extract(services, connector, long_run)
    assert not may_extract(services, connector, second)


def test_a_long_listing_yields_and_the_next_run_carries_it_on(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    bucket.put_many({f"a/{number:05}.png": b"x" for number in range(2500)})
    in_transaction(
        services,
        services.ledger.request_run,
        connector.id,
        TENANT,
        Trigger.REGISTERED,
        with_scan=True,
    )

    def list_in_a_run() -> tuple[int, bool]:
        (request,) = query(
            services,
            "SELECT id FROM connectors.runs WHERE tenant_id = %s AND status = 'waiting'",
            TENANT,
        )
        run = str(uuid4())
        in_transaction(
            services,
            services.ledger.start_run,
            connector.id,
            TENANT,
            run,
            request_id=request[0],
            parent_run=None,
            with_scan=True,
            mode=Mode.CHANGED,
        )
        age(services, "started_at", LONG, run)
        result = scan_connector(services, connector, budget_seconds=None, from_start=True, run=run)
        in_transaction(services, services.ledger.finish_run, run, succeeded=True)
        return result.counts.listed, result.completed

    let_wait(services, bucket)
    assert list_in_a_run() == (1000, False)
    query(
        services, "UPDATE connectors.scans SET updated_at = now() - interval '1 minute' RETURNING 1"
    )
    start_due_work(services)
    assert list_in_a_run() == (1000, False)
    # A sync that somebody asked for is no part of a listing: it reads the rest, and
    # then all of the bucket.
    in_transaction(services, services.ledger.request_manual_run, connector.id, TENANT)
    assert list_in_a_run() == (3000, True)
    assert in_transaction(services, services.ledger.progress, connector.id) == {"skipped": 2500}


# Polls


def make_polls_due(services: Services) -> None:
    query(
        services,
        "UPDATE connectors.connectors SET last_scan_started_at = now() - interval '1 hour',"
        " polls_paused_until = CASE WHEN polls_paused_until IS NOT NULL THEN now() END RETURNING 1",
    )


def pause(services: Services, connector: Connector) -> float | None:
    """Seconds for which the connector is not polled."""
    return query(
        services,
        "SELECT extract(epoch FROM polls_paused_until - now())::float8 FROM connectors.connectors "
        "WHERE id = %s",
        connector.id,
    )[0][0]


def test_buckets_that_do_not_answer_are_polled_less_and_less_often(
    proxied: Services, via_proxy: Connector, proxy: FaultProxy
) -> None:
    proxy.inject(LIST, None, status(503, "SlowDown"))
    for longest in (60, 120, 240, 480, 960, 1920, 3600, 3600):
        poll_tenant(proxied, TENANT)
        assert longest * 0.74 < (pause(proxied, via_proxy) or 0) <= longest
        before = proxy.count(LIST)
        poll_tenant(proxied, TENANT)
        assert proxy.count(LIST) == before, "a tick meanwhile asks nobody"
        make_polls_due(proxied)
    proxy.heal()
    poll_tenant(proxied, TENANT)
    assert pause(proxied, via_proxy) is None
    assert proxied.connector(via_proxy.id).failed_polls == 0


def test_more_silent_tenants_than_threads_delay_no_other_after_their_first_poll(
    proxied: Services, bucket: Bucket, proxy: FaultProxy
) -> None:
    silent = [f"silent_{number}" for number in range(12)]
    for number, tenant in enumerate(silent):
        bucket.register(proxied, tenant, prefix=f"{number}/", name="silent", endpoint_url=proxy.url)
    proxy.inject(LIST, None, status(503, "SlowDown"))
    for tenant in silent:
        poll_tenant(proxied, tenant)
    before = proxy.count(LIST)
    for tenant in silent:
        assert idle(poll_tenant(proxied, tenant))
    assert proxy.count(LIST) == before


@pytest.mark.parametrize("way", ["manual sync", "test", "change"])
def test_a_request_of_a_person_for_a_silent_bucket_ends_its_backoff(
    proxied: Services, via_proxy: Connector, proxy: FaultProxy, way: str
) -> None:
    proxy.inject(LIST, None, status(503, "SlowDown"))
    poll_tenant(proxied, TENANT)
    assert pause(proxied, via_proxy)
    proxy.heal()
    if way == "manual sync":
        scan(proxied, proxied.connector(via_proxy.id))
    elif way == "test":
        assert try_connector(proxied, via_proxy).status == "success"
    else:
        change(proxied, via_proxy.id, S3ConfigPatch(poll_interval_seconds=120))
    assert pause(proxied, via_proxy) is None


def test_no_run_takes_a_slot_for_a_bucket_that_does_not_answer(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put("a.txt", "one")
    scan(proxied, via_proxy)
    proxy.inject(LIST, None, status(503, "SlowDown"))
    for _ in range(2):
        make_polls_due(proxied)
        poll_tenant(proxied, TENANT)
    make_polls_due(proxied)
    query(proxied, "UPDATE connectors.scans SET updated_at = now() - interval '1 hour' RETURNING 1")
    assert asked(proxied) == [], "neither for its object nor for the listing that stands still"
    in_transaction(proxied, proxied.ledger.request_manual_run, via_proxy.id, TENANT)
    assert asked(proxied) == [TENANT], "who asks for a sync gets one"
    query(proxied, "UPDATE connectors.runs SET status = 'failed' RETURNING 1")
    proxy.heal()
    make_polls_due(proxied)
    poll_tenant(proxied, TENANT)
    assert asked(proxied) == [TENANT]


def test_one_poll_without_an_answer_holds_work_up_for_its_pause_only(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put("a.txt", "one")
    scan(proxied, via_proxy)
    proxy.inject(LIST, None, status(503, "SlowDown"))
    with pytest.raises(SourceUnavailable):
        scan(proxied, via_proxy)
    assert asked(proxied) == []
    make_polls_due(proxied)
    assert asked(proxied) == [TENANT]


# Reasons


def test_a_run_for_nothing_but_retries_says_so(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put("a.txt", "one")
    proxy.inject("GET", "a.txt", status(500, "InternalError"))
    sync(proxied, via_proxy)
    make_retries_due(proxied)
    assert asked(proxied) == [TENANT]
    assert triggers(proxied)[-1] == "retry"
    query(
        proxied,
        "UPDATE connectors.runs SET status = 'expired' WHERE status = 'waiting' RETURNING 1",
    )
    bucket.put("b.txt", "two")
    scan(proxied, via_proxy)
    assert asked(proxied) == [TENANT]
    assert triggers(proxied)[-1] == "pending"


# Clocks


class _AnyDatetime(type):
    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _REAL_DATETIME)


_REAL_DATETIME = datetime.datetime


@pytest.fixture(params=[-3, 3], ids=["three days slow", "three days fast"])
def skewed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """This process's clock is wrong; the database's is right."""
    days = datetime.timedelta(days=request.param)
    real_time = time.time

    class Skewed(_REAL_DATETIME, metaclass=_AnyDatetime):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return _REAL_DATETIME.now(tz) + days

        @classmethod
        def utcnow(cls) -> datetime.datetime:
            return _REAL_DATETIME.utcnow() + days

    monkeypatch.setattr(time, "time", lambda: real_time() + days.total_seconds())
    monkeypatch.setattr(datetime, "datetime", Skewed)
    yield
    monkeypatch.undo()


@pytest.mark.usefixtures("skewed")
@pytest.mark.filterwarnings("ignore:.*utcnow:DeprecationWarning")
def test_a_wrong_clock_changes_no_lease_no_retry_no_poll_and_no_day(
    configured: Callable[..., Services], bucket: Bucket, proxy: FaultProxy
) -> None:
    services = configured()
    assert (
        abs(time.time() - query(services, "SELECT extract(epoch FROM now())::float8")[0][0])
        > 86_400 * 2
    )
    connector = bucket.register(services, endpoint_url=proxy.url)
    in_transaction(services, services.tenant_limits.set, TENANT, TenantLimits(bytes_per_day=1000))
    bucket.put_many({"a.txt": "one", "b.txt": "two", "c.txt": "three"})
    proxy.inject("GET", "b.txt", status(500, "InternalError"))

    poll_tenant(services, TENANT)
    assert idle(poll_tenant(services, TENANT)), "polled once an interval"
    query(
        services,
        "UPDATE connectors.runs SET status = 'expired' WHERE status = 'waiting' RETURNING 1",
    )
    assert drain(services, connector).indexed == 2
    assert states(services, connector)["b.txt"] == ("failed", "fetch_failed")
    ((retry_in, today),) = query(
        services,
        "SELECT extract(epoch FROM next_attempt_at - now())::float8, (SELECT max(day) FROM "
        "connectors.tenant_usage)"
        " = (now() AT TIME ZONE 'UTC')::date FROM connectors.objects WHERE key = 'b.txt'",
    )
    assert (0 < retry_in <= 30, today) == (True, True)
    assert asked(services) == [], "the retry is not due"
    proxy.heal()
    make_retries_due(services)
    assert asked(services) == [TENANT]

    first, second = start_run(services, connector), start_run(services, connector)
    assert may_extract(services, connector, first)
    assert not may_extract(services, connector, second), "the lease holds"
    ((lease,),) = query(
        services,
        "SELECT extract(epoch FROM claim_expires_at - now())::float8 FROM connectors.objects "
        "WHERE key = 'b.txt'",
    )
    assert 60 < lease <= services.settings.activekg_lease_seconds
    in_transaction(services, services.ledger.release_claims, first)
    in_transaction(services, services.ledger.finish_run, first, succeeded=True)
    assert extract(services, connector, second) == 1
    assert index(services, connector, second) == 1
    assert in_transaction(services, services.tenant_limits.usage, TENANT).bytes_today == len(
        "onetwothree"
    )
