"""The history of runs.

Its counts are true, a retry goes on in the row of the run that died, and no run is
asked for that could only fail.
"""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID, uuid4

import pytest

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.defs.sensors import start_due_work
from activekg_pipelines.errors import CredentialsRefused
from activekg_pipelines.ledger.states import Mode, ScanCounts, Trigger
from activekg_pipelines.services import Services
from tests.fault_proxy import FaultProxy, status
from tests.integration.syncing import (
    drain,
    end_leases,
    extract,
    in_transaction,
    index,
    make_retries_due,
    query,
    scan,
    start_run,
    sync,
)
from tests.s3_bucket import Bucket


def rows(services: Services) -> list[tuple[str, str, int, int]]:
    return query(  # type: ignore[return-value]
        services,
        "SELECT trigger, status, extracted, indexed FROM connectors.runs ORDER BY requested_at",
    )


def age_heartbeats(services: Services, seconds: float) -> None:
    query(
        services,
        "UPDATE connectors.runs SET heartbeat_at = now() - make_interval(secs => %s)"
        " WHERE status = 'running' RETURNING 1",
        seconds,
    )


def ask(services: Services) -> int:
    """Runs that the work queue asks for now."""
    return len(start_due_work(services).run_requests or [])


def test_the_counts_of_a_run_add_up_to_what_became_of_its_objects(
    configured: Callable[..., Services], bucket: Bucket, proxy: FaultProxy
) -> None:
    services = configured(activekg_max_attempts=2)
    connector = bucket.register(services, endpoint_url=proxy.url)
    bucket.put_many(
        {f"{number:02}.txt": f"Document {number} is about penguins." for number in range(40)}
    )
    bucket.put_many(
        {
            "broken.pdf": b"%PDF-1.7\nbroken",
            "image": b"\x89PNG\r\n\x1a\n" + bytes(50),
            "same.txt": "Twice.",
        }
    )
    bucket.put("flaky.txt", "A text that does not come.")
    bucket.put("forbidden.txt", "A text that must not come.")
    proxy.inject("GET", "flaky.txt", status(500, "InternalError"))
    proxy.inject("GET", "forbidden.txt", status(403, "AccessDenied"))
    counts = sync(services, connector)
    assert (counts.extracted, counts.indexed, counts.chunks) == (41, 41, 41)
    assert (counts.skipped, counts.failed, counts.dead, counts.unchanged) == (1, 1, 2, 0)
    assert counts.errors == {
        "corrupt": 1,
        "unsupported_type": 1,
        "fetch_failed": 1,
        "access_denied": 1,
    }
    assert counts.extracted + counts.skipped + counts.failed + counts.dead == 45
    assert (counts.embeddings_computed, counts.embeddings_reused) == (41, 0)
    assert counts.bytes_fetched == sum(
        entry["Size"]
        for entry in bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]
        if entry["Key"] not in {"flaky.txt", "forbidden.txt"}
    )

    make_retries_due(services)
    bucket.put("copy.txt", "Twice.")
    again = sync(services, connector)
    assert (again.extracted, again.indexed, again.failed, again.dead) == (1, 1, 0, 1)
    assert (again.embeddings_computed, again.embeddings_reused, again.errors) == (
        0,
        1,
        {"fetch_failed": 1},
    )
    assert in_transaction(services, services.ledger.progress, connector.id) == {
        "indexed": 42,
        "skipped": 1,
        "dead": 3,
    }
    stored = query(
        services,
        "SELECT errors, skipped + failed + dead FROM connectors.runs ORDER BY requested_at",
    )
    assert stored == [(counts.errors, 4), (again.errors, 1)]


def test_errors_of_several_batches_and_steps_are_summed_by_code(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put_many({f"{number:03}.pdf": b"%PDF-1.7\nbroken" for number in range(70)})
    bucket.put_many({f"{number:03}": b"\x89PNG\r\n\x1a\n" + bytes(50) for number in range(5)})
    counts = sync(services, connector)
    assert counts.errors == {"corrupt": 70, "unsupported_type": 5}
    assert (counts.dead, counts.skipped) == (70, 5)


def test_a_retried_run_goes_on_in_the_row_of_the_run_that_died(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    for key in ("a.txt", "b.txt"):
        bucket.put(key, f"The text of {key}.")
    request = in_transaction(
        services, services.ledger.request_manual_run, connector.id, "acme_corp", mode=Mode.ALL
    )

    def start(run: str, parent: str | None) -> UUID:
        return in_transaction(
            services,
            services.ledger.start_run,
            connector.id,
            "acme_corp",
            run,
            request_id=request,
            parent_run=parent,
            with_scan=True,
            mode=Mode.ALL,
        )

    assert start("first", None) == request
    scan(services, connector)
    extract(services, connector, "first")
    in_transaction(
        services,
        services.ledger.claim_extracted,
        connector.id,
        "first",
        generation=0,
        limit=5,
        characters=1000,
    )

    assert start("second", "first") == request
    # The same mode again must not make due what the first try has done.
    assert in_transaction(services, services.ledger.progress, connector.id) == {"extracted": 2}
    assert extract(services, connector, "second") == 0
    assert index(services, connector, "second") == 2, (
        "no lease of the dead run has to be waited for"
    )
    in_transaction(services, services.ledger.finish_run, "second", succeeded=True)
    assert rows(services) == [("manual", "succeeded", 2, 2)]

    # A run that was not requested, and a second one for the same request, get rows of
    # their own.
    assert start("stranger", "somebody else") != request
    assert len(rows(services)) == 2


def test_a_run_without_a_heartbeat_is_closed_and_its_work_asked_for_again(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "one")
    scan(services, connector)
    run = start_run(services, connector)
    in_transaction(
        services,
        services.ledger.claim_pending,
        connector.id,
        run,
        generation=0,
        limit=5,
        extractor="1",
    )
    timeout = services.settings.activekg_lost_run_seconds
    age_heartbeats(services, timeout - 10)
    assert ask(services) == 0
    assert [row[1] for row in rows(services)] == ["running"]
    end_leases(services)
    age_heartbeats(services, timeout + 10)
    assert ask(services) == 1
    assert [row[:2] for row in rows(services)] == [("dagster", "failed"), ("pending", "waiting")]


def test_a_run_with_heartbeats_is_not_closed(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "one")
    scan(services, connector)
    run = start_run(services, connector)
    age_heartbeats(services, 10_000)
    in_transaction(services, services.ledger.renew_claims, run)
    ask(services)
    assert rows(services)[0][1] == "running"


def test_retries_that_are_due_get_a_run_and_those_that_are_not_get_none(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put("a.txt", "one")
    proxy.inject("GET", None, status(500, "InternalError"))
    sync(proxied, via_proxy)
    proxy.heal()
    assert ask(proxied) == 0
    make_retries_due(proxied)
    assert ask(proxied) == 1
    assert drain(proxied, via_proxy).indexed == 1


def test_no_run_is_asked_for_while_the_credentials_are_refused(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put("a.txt", "one")
    scan(proxied, via_proxy)
    proxy.inject("GET", None, status(403, "InvalidAccessKeyId"))
    with pytest.raises(CredentialsRefused):
        sync(proxied, via_proxy)
    ((run,),) = query(
        proxied, "SELECT dagster_run_id FROM connectors.runs WHERE status = 'running'"
    )
    in_transaction(proxied, proxied.ledger.finish_run, run, succeeded=False)
    assert ask(proxied) == 0
    # Who asks for a sync gets one.
    in_transaction(proxied, proxied.ledger.request_manual_run, via_proxy.id, "acme_corp")
    assert ask(proxied) == 1
    query(proxied, "UPDATE connectors.runs SET status = 'failed' RETURNING 1")
    # The next good poll lets the work go on.
    proxy.heal()
    scan(proxied, via_proxy)
    assert ask(proxied) == 1
    assert drain(proxied, via_proxy).indexed == 1


def test_a_large_backlog_asks_for_no_more_runs_than_allowed(
    configured: Callable[..., Services], bucket: Bucket
) -> None:
    services = configured(activekg_max_objects_per_run=10, activekg_runs_per_connector=3)
    connector = bucket.register(services)
    bucket.put_many({f"{number:03}.txt": "one" for number in range(100)})
    scan(services, connector)
    assert ask(services) == 3
    assert ask(services) == 0
    assert {row[0] for row in rows(services)} == {Trigger.PENDING}


def test_a_run_of_an_unknown_request_is_recorded_as_its_own(
    services: Services, connector: Connector
) -> None:
    run = str(uuid4())
    in_transaction(
        services,
        services.ledger.start_run,
        connector.id,
        "acme_corp",
        run,
        request_id=uuid4(),
        parent_run=None,
        with_scan=False,
        mode=Mode.CHANGED,
    )
    assert rows(services) == [("dagster", "running", 0, 0)]


def test_runs_that_fail_for_whatever_reason_are_started_less_and_less_often(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    bucket.put("a.txt", "one")
    scan(services, connector)
    pauses = []
    for _ in range(3):
        assert ask(services) == 1
        request = query(services, "SELECT id FROM connectors.runs WHERE status = 'waiting'")[0][0]
        run = str(uuid4())
        in_transaction(
            services,
            services.ledger.start_run,
            connector.id,
            "acme_corp",
            run,
            request_id=request,
            parent_run=None,
            with_scan=False,
            mode=Mode.CHANGED,
        )
        in_transaction(services, services.ledger.finish_run, run, succeeded=False)
        assert ask(services) == 0
        pauses.append(
            query(
                services,
                "SELECT extract(epoch FROM runs_paused_until - now())::int FROM "
                "connectors.connectors",
            )[0][0]
        )
        query(
            services,
            "UPDATE connectors.connectors SET runs_paused_until = now() - interval '1 second' "
            "RETURNING 1",
        )
    assert [round(pause / 30) for pause in pauses] == [1, 2, 4]
    assert drain(services, connector).indexed == 1


def test_a_request_that_was_asked_for_twice_is_answered_once(
    services: Services, connector: Connector
) -> None:
    request = in_transaction(
        services, services.ledger.request_manual_run, connector.id, "acme_corp", mode=Mode.ALL
    )
    started = [
        in_transaction(
            services,
            services.ledger.start_run,
            connector.id,
            "acme_corp",
            run,
            request_id=request,
            parent_run=parent,
            with_scan=True,
            mode=Mode.ALL,
        )
        for run, parent in (("first", None), ("second", None), ("again", "first"))
    ]
    assert started == [request, None, request], "a duplicate has nothing to do, a retry takes over"


def test_a_sync_that_is_asked_for_again_is_handed_to_dagster_at_once(
    services: Services, connector: Connector
) -> None:
    request = in_transaction(
        services, services.ledger.request_manual_run, connector.id, "acme_corp"
    )
    assert [emitted.id for emitted in in_transaction(services, services.ledger.runs_to_emit)] == [
        request
    ]
    query(
        services,
        "UPDATE connectors.runs SET emitted_at = now() - interval '2 minutes', emissions = 9 "
        "RETURNING 1",
    )
    assert in_transaction(services, services.ledger.runs_to_emit) == []
    assert (
        in_transaction(services, services.ledger.request_manual_run, connector.id, "acme_corp")
        == request
    )
    assert [emitted.id for emitted in in_transaction(services, services.ledger.runs_to_emit)] == [
        request
    ]


def test_polls_do_not_pile_up_requests_while_one_waits(
    services: Services, connector: Connector
) -> None:
    for _ in range(5):
        in_transaction(
            services,
            services.ledger.record_poll,
            connector.id,
            "acme_corp",
            ScanCounts(listed=1, added=1, due=1),
            sync_id=uuid4(),
            needs_run=True,
        )
    assert [
        row[0]
        for row in query(services, "SELECT count(*) FROM connectors.runs WHERE status = 'waiting'")
    ] == [1]
    assert query(services, "SELECT sum(added) FROM connectors.runs")[0][0] == 5


@pytest.mark.parametrize(
    ("emissions", "minutes"), [(1, 2), (2, 4), (9, 512), (10, 1024), (500, 1024)]
)
def test_a_request_that_dagster_does_not_start_is_asked_for_less_and_less_often(
    services: Services, connector: Connector, emissions: int, minutes: int
) -> None:
    request = in_transaction(
        services,
        services.ledger.request_run,
        connector.id,
        "acme_corp",
        Trigger.PENDING,
        with_scan=False,
    )
    for waited, expected in [(minutes * 60 - 5, []), (minutes * 60 + 1, [request])]:
        query(
            services,
            "UPDATE connectors.runs SET emissions = %s, emitted_at = now() - make_interval(secs => "
            "%s) RETURNING 1",
            emissions,
            waited,
        )
        emitted = in_transaction(services, services.ledger.runs_to_emit)
        assert [one.id for one in emitted] == expected
