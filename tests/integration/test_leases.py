"""Leases: which run works on an object. A run that lost its lease writes nothing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import pytest

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.pool import Database
from activekg_pipelines.errors import CredentialsRefused, ModelError
from activekg_pipelines.ledger.states import Mode
from activekg_pipelines.pipeline.batching import Batching
from activekg_pipelines.pipeline.lease import lease
from activekg_pipelines.services import Services
from activekg_pipelines.sources.s3.source import S3Source
from tests.fault_proxy import FaultProxy, status
from tests.integration.syncing import (
    chunk_nodes,
    drain,
    end_leases,
    extract,
    found,
    graph_of,
    in_transaction,
    index,
    outcomes,
    query,
    scan,
    start_run,
    states,
    sync,
    texts,
)
from tests.s3_bucket import Bucket

FETCH = S3Source.fetch
EXTRACTOR = "1"


def claims(services: Services) -> list[tuple[str, str | None]]:
    return query(services, "SELECT key, claimed_by FROM connectors.objects ORDER BY key")  # type: ignore[return-value]


def frozen_download(monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]) -> None:
    """Let the first download of a run come back only after ``meanwhile``.

    It is as if the run's process had been stopped.
    """
    calls = iter([meanwhile])

    def slow(*arguments: Any, **options: Any) -> Any:
        action = next(calls, None)
        arrived = FETCH(*arguments, **options)
        if action is not None:
            action()
        return arrived

    monkeypatch.setattr(S3Source, "fetch", slow)


def frozen_encoder(
    services: Services, monkeypatch: pytest.MonkeyPatch, meanwhile: Callable[[], object]
) -> None:
    """Let the first batch of a run come back only after ``meanwhile``."""
    calls = iter([meanwhile])
    encode = services.encoder.encode

    def slow(batch: Sequence[str]) -> Any:
        action = next(calls, None)
        vectors = encode(batch)
        if action is not None:
            action()
        return vectors

    monkeypatch.setattr(services.encoder, "encode", slow)


def test_a_frozen_run_that_was_overtaken_while_extracting_writes_nothing(
    services: Services, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.txt", "The old text about penguins.")
    scan(services, connector)
    frozen = start_run(services, connector)

    def overtake() -> None:
        bucket.put("a.txt", "The new text about walruses.")
        end_leases(services, frozen)
        assert drain(services, connector).indexed == 1

    frozen_download(monkeypatch, overtake)
    extract(services, connector, frozen)
    assert texts(services) == {"a.txt": "The new text about walruses."}
    assert states(services, connector) == {"a.txt": ("indexed", None)}
    index(services, connector, frozen)
    assert set(chunk_nodes(services)) == {"The new text about walruses."}
    counts = in_transaction(services, services.ledger.run_counts, frozen)
    assert (counts.extracted, counts.indexed) == (0, 0), "what was not written is not counted"


def test_a_failure_of_a_run_that_was_overtaken_changes_nothing(
    proxied: Services,
    via_proxy: Connector,
    bucket: Bucket,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket.put("a.txt", "A text about penguins.")
    scan(proxied, via_proxy)
    frozen = start_run(proxied, via_proxy)
    first = iter([True])

    def refused_late(*arguments: Any, **options: Any) -> Any:
        if not next(first, False):
            return FETCH(*arguments, **options)
        proxy.inject("GET", "a.txt", status(403, "AccessDenied"), times=1)
        try:
            return FETCH(*arguments, **options)
        finally:
            end_leases(proxied, frozen)
            assert drain(proxied, via_proxy).indexed == 1

    monkeypatch.setattr(S3Source, "fetch", refused_late)
    extract(proxied, via_proxy, frozen)
    assert states(proxied, via_proxy) == {"a.txt": ("indexed", None)}
    assert graph_of(proxied) == (1, 1, 1)
    counts = in_transaction(proxied, proxied.ledger.run_counts, frozen)
    assert (counts.dead, counts.errors) == (0, {})


def test_a_frozen_run_that_was_overtaken_while_embedding_writes_nothing(
    services: Services, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.txt", "The old text about penguins.")
    bucket.put("b.txt", "A text that stays as it is.")
    scan(services, connector)
    frozen = start_run(services, connector)
    extract(services, connector, frozen)

    def overtake() -> None:
        bucket.put("a.txt", "The new text about walruses.")
        scan(services, connector)
        end_leases(services, frozen)
        assert drain(services, connector).indexed == 2

    frozen_encoder(services, monkeypatch, overtake)
    index(services, connector, frozen)
    assert set(chunk_nodes(services)) == {
        "The new text about walruses.",
        "A text that stays as it is.",
    }
    assert all(version == 1 for _, version in chunk_nodes(services).values()), (
        "nothing was written twice"
    )
    assert found(services, "penguins walruses") == {f"s3://{bucket.name}/{key}.txt" for key in "ab"}
    assert in_transaction(services, services.ledger.run_counts, frozen).indexed == 0


def test_an_object_that_changes_while_its_text_is_embedded_is_not_indexed_in_the_old_version(
    services: Services, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.txt", "The old text about penguins.")
    scan(services, connector)
    run = start_run(services, connector)
    extract(services, connector, run)

    def change() -> None:
        bucket.put("a.txt", "The new text about walruses.")
        scan(services, connector)

    frozen_encoder(services, monkeypatch, change)
    index(services, connector, run)
    assert graph_of(services) == (0, 0, 0)
    assert states(services, connector) == {"a.txt": ("pending", None)}


def test_an_object_that_changes_while_the_same_run_reads_it_ends_in_the_new_version(
    services: Services, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.txt", "The old text about penguins.")
    scan(services, connector)
    new = ""
    calls = 0
    read_again = threading.Event()

    def slow(*arguments: Any, **options: Any) -> Any:
        nonlocal new, calls
        calls += 1
        if calls > 1:
            read_again.set()
            time.sleep(1.5)
            return FETCH(*arguments, **options)
        arrived = FETCH(*arguments, **options)
        new = bucket.put("a.txt", "The new text about walruses.")
        scan(services, connector)
        # The run looks for more work while it still works on this object.
        read_again.wait(2.5)
        return arrived

    monkeypatch.setattr(S3Source, "fetch", slow)
    assert drain(services, connector, batching=Batching(flush_seconds=0.1)).indexed == 1
    assert calls == 2
    assert texts(services) == {"a.txt": "The new text about walruses."}
    assert query(services, "SELECT etag, indexed_etag FROM connectors.objects") == [(new, new)]


def test_runs_of_one_connector_at_once_process_each_object_exactly_once(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put_many(
        {
            f"{number:03}.txt": f"Document number {number} is about penguins."
            for number in range(150)
        }
    )
    scan(proxied, via_proxy)
    counts = []
    barrier = threading.Barrier(3)

    def one() -> None:
        barrier.wait()
        counts.append(drain(proxied, via_proxy))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    drain(proxied, via_proxy)
    assert sum(count.extracted for count in counts) == 150
    assert {proxy.count("GET", f"{number:03}.txt") for number in range(150)} == {1}
    assert graph_of(proxied) == (150, 150, 150)
    assert {version for _, version in chunk_nodes(proxied).values()} == {1}
    assert in_transaction(proxied, proxied.ledger.progress, via_proxy.id) == {"indexed": 150}
    assert {claim for _, claim in claims(proxied)} == {None}


def test_a_bucket_that_changes_all_the_time_under_several_runs_ends_in_its_last_version(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    keys = [f"{number:03}.txt" for number in range(40)]
    stop = threading.Event()
    errors: list[BaseException] = []

    def repeatedly(action: Callable[[], object]) -> None:
        try:
            while not stop.is_set():
                action()
        except BaseException as error:  # noqa: BLE001 - the test shows it
            errors.append(error)

    threads = [
        threading.Thread(target=repeatedly, args=[lambda: drain(services, connector)]),
        threading.Thread(target=repeatedly, args=[lambda: drain(services, connector)]),
        threading.Thread(target=repeatedly, args=[lambda: scan(services, connector)]),
        threading.Thread(target=repeatedly, args=[lambda: scan(services, connector)]),
    ]
    for thread in threads:
        thread.start()
    for version in range(8):
        bucket.put_many({key: f"Version {version} of {key}." for key in keys[version % 3 :]})
        bucket.delete(*keys[20 + version : 22 + version])
        time.sleep(0.3)
    stop.set()
    for thread in threads:
        thread.join()
    assert errors == []

    scan(services, connector)
    drain(services, connector)
    names = {
        entry["Key"] for entry in bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]
    }
    expected = {
        key: bucket.client.get_object(Bucket=bucket.name, Key=key)["Body"].read().decode()
        for key in sorted(names)
    }
    assert texts(services) == expected
    assert sorted(chunk_nodes(services)) == sorted(expected.values())
    assert graph_of(services) == (len(expected), len(expected), len(expected))
    assert {claim for _, claim in claims(services)} == {None}


def test_a_dead_runs_objects_come_back_when_its_lease_ends(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "one")
    scan(services, connector)
    dead = start_run(services, connector)
    assert (
        len(
            in_transaction(
                services,
                services.ledger.claim_pending,
                connector.id,
                dead,
                generation=0,
                limit=5,
                extractor=EXTRACTOR,
            )
        )
        == 1
    )
    assert drain(services, connector).extracted == 0, "the lease holds"
    end_leases(services)
    assert drain(services, connector).indexed == 1
    assert query(services, "SELECT deaths FROM connectors.objects") == [(0,)]


def test_a_process_that_stops_inside_a_transaction_does_not_keep_its_objects_from_others(
    services: Services, bucket: Bucket, connector: Connector, dsn: str
) -> None:
    bucket.put("a.txt", "one")
    scan(services, connector)
    run = start_run(services, connector)
    claimed = in_transaction(
        services,
        services.ledger.claim_pending,
        connector.id,
        run,
        generation=0,
        limit=5,
        extractor=EXTRACTOR,
    )
    stopped = Database(dsn, idle_in_transaction_seconds=1)
    with (
        pytest.raises(psycopg.Error, match="idle-in-transaction timeout"),
        stopped.transaction() as conn,
    ):
        assert services.ledger.lock_claimed(conn, run, [claimed[0].id])
        # Waits for the row until the server has ended the transaction that holds it.
        end_leases(services)
        assert drain(services, connector).indexed == 1
        conn.execute("SELECT 'awake again'")
    stopped.close()
    assert graph_of(services) == (1, 1, 1)


def test_a_lease_that_is_renewed_holds(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "one")
    scan(services, connector)
    slow = start_run(services, connector)
    in_transaction(
        services,
        services.ledger.claim_pending,
        connector.id,
        slow,
        generation=0,
        limit=5,
        extractor=EXTRACTOR,
    )
    end_leases(services)
    in_transaction(services, services.ledger.renew_claims, slow)
    assert drain(services, connector).extracted == 0


def test_an_object_that_run_after_run_dies_with_is_set_aside_until_it_is_replayed(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("killer.txt", "A text that kills.")
    scan(services, connector)
    for number in range(10):
        assert in_transaction(
            services,
            services.ledger.claim_pending,
            connector.id,
            f"run-{number}",
            generation=0,
            limit=1,
            extractor=EXTRACTOR,
        )
        end_leases(services)
    bucket.put("bystander.txt", "An innocent text.")
    counts = sync(services, connector)
    assert (counts.dead, counts.indexed, counts.bytes_fetched) == (1, 1, len("An innocent text."))
    ended = outcomes(services, connector)["killer.txt"]
    assert ended[:2] == ("dead", "runs_died")
    assert ended.message is not None
    assert ended.message.startswith("10 runs died while they worked on this object")
    assert drain(services, connector, Mode.FAILED).indexed == 1


def test_a_text_that_run_after_run_dies_with_is_set_aside_too(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("killer.txt", "A text that kills.")
    scan(services, connector)
    extract(services, connector, start_run(services, connector))
    for number in range(10):
        assert in_transaction(
            services,
            services.ledger.claim_extracted,
            connector.id,
            f"run-{number}",
            generation=0,
            limit=1,
            characters=1000,
        )
        end_leases(services)
    assert drain(services, connector).dead == 1
    assert outcomes(services, connector)["killer.txt"][:2] == ("dead", "runs_died")
    assert graph_of(services) == (0, 0, 0)


def test_refused_credentials_end_the_run_give_its_objects_back_and_are_kept_with_the_connector(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    for number in range(5):
        bucket.put(f"{number}.txt", f"Document {number}.")
    scan(proxied, via_proxy)
    proxy.inject("GET", None, status(403, "InvalidAccessKeyId"))
    run = start_run(proxied, via_proxy)
    with pytest.raises(CredentialsRefused, match="InvalidAccessKeyId"):
        extract(proxied, via_proxy, run)
    assert {claim for _, claim in claims(proxied)} == {None}
    assert {end[:2] + end[3:] for end in outcomes(proxied, via_proxy).values()} == {
        ("pending", None, 0)
    }
    assert proxied.connector(via_proxy.id).last_error_code == "invalid_credentials"
    proxy.heal()
    assert sync(proxied, via_proxy).indexed == 5
    assert proxied.connector(via_proxy.id).last_error_code is None


def test_a_model_that_cannot_be_used_ends_the_run_and_gives_its_objects_back(
    services: Services, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.txt", "one")
    with monkeypatch.context() as other:
        other.setattr(services.encoder, "dimensions", 768)
        with pytest.raises(
            ModelError, match=r"vectors of 768 dimensions, but the column nodes.embedding takes 384"
        ):
            sync(services, connector)
    assert claims(services) == [("a.txt", None)]
    assert drain(services, connector).indexed == 1


def test_a_batch_that_takes_longer_than_a_lease_keeps_its_claims_and_a_hanging_one_loses_them(
    configured: Callable[..., Services], bucket: Bucket
) -> None:
    services = configured(activekg_lease_seconds=1)
    connector = bucket.register(services)
    bucket.put("a.txt", "one")
    scan(services, connector)
    run = start_run(services, connector)

    def is_held() -> bool:
        return query(
            services, "SELECT claim_expires_at > clock_timestamp() FROM connectors.objects"
        ) == [(True,)]

    with lease(services, run, max_objects=5, budget_seconds=60):
        in_transaction(
            services,
            services.ledger.claim_pending,
            connector.id,
            run,
            generation=0,
            limit=5,
            extractor=EXTRACTOR,
        )
        time.sleep(2.5)
        assert is_held()
        deadline = time.monotonic() + 60
        while is_held() and time.monotonic() < deadline:
            time.sleep(0.5)
        assert not is_held()
