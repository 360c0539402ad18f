"""Scans: what a listing shows of a bucket, and what is deleted for it.

A listing that fails changes nothing.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.errors import (
    ClockSkewed,
    CredentialsExpired,
    CredentialsRefused,
    EndpointUnreachable,
    ListingDenied,
    SourceError,
    SourceMissing,
    SourceUnavailable,
    WrongRegion,
)
from activekg_pipelines.ledger.states import ScanCounts
from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.services import Services
from tests.fault_proxy import LIST, Fault, FaultProxy, reset, rewrite, status, truncate
from tests.integration.syncing import (
    documents,
    drain,
    found,
    graph_of,
    in_transaction,
    query,
    scan,
    start_run,
    states,
    sync,
    texts,
)
from tests.registry import change, confirm_deletions
from tests.s3_bucket import Bucket, S3ConfigPatch

PICTURES = {f"pictures/{number:05}.png": b"x" for number in range(2500)}


def scans(services: Services) -> list[tuple[str, int]]:
    return query(services, "SELECT status, listed FROM connectors.scans ORDER BY id")  # type: ignore[return-value]


def live(services: Services) -> int:
    ((count,),) = query(
        services,
        "SELECT count(*) FROM connectors.objects WHERE state <> 'deleted' AND missing_since_scan "
        "IS NULL",
    )
    return int(count)


# Failed and partial listings


@pytest.mark.parametrize(
    ("fault", "page", "error"),
    [
        (status(500, "InternalError"), 2, SourceUnavailable),
        (status(503, "SlowDown"), 1, SourceUnavailable),
        (reset(), 2, SourceUnavailable),
        (truncate(300), 1, SourceUnavailable),
        (status(403, "AccessDenied"), 2, ListingDenied),
        (status(404, "NoSuchBucket"), 1, SourceMissing),
        (status(403, "InvalidAccessKeyId"), 1, CredentialsRefused),
        (status(403, "SignatureDoesNotMatch"), 1, CredentialsRefused),
        (status(400, "ExpiredToken"), 2, CredentialsExpired),
        (
            status(400, "AuthorizationHeaderMalformed", "the region 'x' is wrong; expecting 'y'"),
            1,
            WrongRegion,
        ),
        (status(403, "RequestTimeTooSkewed"), 1, ClockSkewed),
    ],
    ids=lambda value: value.code if isinstance(value, type) else "",
)
def test_a_listing_that_fails_deletes_nothing_and_the_next_good_one_goes_on(
    proxied: Services,
    via_proxy: Connector,
    bucket: Bucket,
    proxy: FaultProxy,
    fault: Fault,
    page: int,
    error: type[SourceError],
) -> None:
    bucket.put_many(dict(list(PICTURES.items())[:1100]))
    scan(proxied, via_proxy)
    bucket.delete(*list(PICTURES)[:3], *list(PICTURES)[1050:1053])

    proxy.inject(LIST, None, fault, skip=page - 1)
    for _ in range(2):
        with pytest.raises(error):
            scan(proxied, via_proxy)
        stored = proxied.connector(via_proxy.id)
        assert stored.last_error_code == error.code
        assert stored.last_error_at is not None
        assert stored.last_error_message
        assert query(
            proxied, "SELECT count(*) FROM connectors.objects WHERE state = 'deleted'"
        ) == [(0,)]

    proxy.heal()
    scan(proxied, via_proxy)
    assert live(proxied) == 1094
    assert query(proxied, "SELECT count(*) FROM connectors.objects WHERE state = 'deleted'") == [
        (6,)
    ]
    stored = proxied.connector(via_proxy.id)
    assert (stored.last_error_code, stored.last_error_message, stored.last_error_at) == (
        None,
        None,
        None,
    )


def test_a_bucket_that_vanished_or_became_unreachable_leaves_every_document_in_search(
    configured: Callable[..., Services], bucket: Bucket, proxy: FaultProxy
) -> None:
    services = configured(activekg_endpoint_allowlist=("127.0.0.1",))
    connector = bucket.register(services, endpoint_url=proxy.url)
    for key in ("a.txt", "b.txt"):
        bucket.put(key, f"Penguins of {key}.")
    sync(services, connector)
    bucket.delete("a.txt", "b.txt")
    bucket.client.delete_bucket(Bucket=bucket.name)
    with pytest.raises(SourceMissing, match=bucket.name):
        scan(services, connector)
    # Nothing listens on the discard port.
    away = change(services, connector.id, S3ConfigPatch(endpoint_url="http://127.0.0.1:9"))
    with pytest.raises(EndpointUnreachable):
        scan(services, away)
    assert services.connector(connector.id).last_error_code == "endpoint_unreachable"
    assert found(services, "Penguins") == {f"s3://{bucket.name}/{key}.txt" for key in "ab"}


def test_a_passing_failure_lets_the_next_scan_go_on_from_where_it_stopped(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put_many(PICTURES)
    proxy.inject(LIST, None, status(500, "InternalError"), skip=2)
    with pytest.raises(SourceUnavailable):
        scan(proxied, via_proxy)
    assert scans(proxied) == [("running", 2000)]
    proxy.heal()
    before = len(proxy.requests)
    result = scan(proxied, via_proxy)
    assert (result.completed, result.counts.listed, result.counts.added) == (True, 500, 500)
    assert [request.key for request in proxy.requests[before:]] == ["pictures/01999.png"]
    assert scans(proxied) == [("completed", 2500)]
    assert live(proxied) == 2500


def test_a_permanent_failure_makes_the_next_scan_start_anew(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put_many(PICTURES)
    proxy.inject(LIST, None, status(403, "AccessDenied"), skip=1, times=1)
    with pytest.raises(ListingDenied):
        scan(proxied, via_proxy)
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=2500, added=1500)
    assert scans(proxied) == [("failed", 1000), ("completed", 2500)]


def test_a_store_that_lists_out_of_order_is_left_to_a_run_that_sorts_its_listing(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put_many({f"{letter}.png": b"x" for letter in "abcdef"})
    scan(proxied, via_proxy)

    def turn_round(listing: bytes) -> bytes:
        entries = re.findall(rb"<Contents>.*?</Contents>", listing, flags=re.DOTALL)
        assert len(entries) >= 6
        head, _, tail = listing.partition(entries[0])
        return head + b"".join(reversed(entries)) + tail.rpartition(entries[-1])[2]

    proxy.inject(LIST, None, rewrite(turn_round))
    tick = scan(proxied, via_proxy)
    assert (tick.left_to_run, tick.completed, live(proxied)) == (True, False, 6)
    sorting = proxied.connector(via_proxy.id)
    assert (sorting.lists_in_order, sorting.last_error_code) == (False, None)
    again = scan(proxied, sorting)
    assert (again.left_to_run, again.counts.listed) == (True, 0), "ticks list no more"
    bucket.delete("b.png")
    bucket.put("aa.png", "x")
    run = start_run(proxied, sorting)
    result = scan_connector(proxied, sorting, budget_seconds=None, run=run)
    assert result.completed
    assert result.counts == ScanCounts(listed=6, added=1, missing=1, deleted=1)
    assert live(proxied) == 6


def test_an_empty_page_in_the_middle_of_a_listing_is_passed_over(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put_many(dict(list(PICTURES.items())[:1200]))

    def without_entries(listing: bytes) -> bytes:
        return re.sub(rb"<Contents>.*</Contents>", b"", listing, flags=re.DOTALL)

    scan(proxied, via_proxy)
    bucket.put("zebra.png", b"x")
    # As stores do whose pages are counted before they are filtered.
    proxy.inject(LIST, None, rewrite(without_entries), times=1)
    result = scan(proxied, via_proxy)
    assert result.completed
    assert states(proxied, via_proxy)["zebra.png"] == ("skipped", "unsupported_type")


# The delete-storm guard


@pytest.fixture
def dozen(services: Services, bucket: Bucket, connector: Connector) -> Connector:
    """A connector with 24 documents."""
    bucket.put_many(
        {f"{number:02}.txt": f"Document number {number} is about penguins." for number in range(24)}
    )
    sync(services, connector)
    assert graph_of(services) == (24, 24, 24)
    return connector


def numbered(*numbers: int) -> list[str]:
    return [f"{number:02}.txt" for number in numbers]


def test_many_deletions_at_once_wait_for_confirmation(
    services: Services, bucket: Bucket, dozen: Connector
) -> None:
    bucket.delete(*numbered(*range(13)))
    for _ in range(2):
        result = scan(services, dozen)
        assert (result.completed, result.held_back, result.counts.deleted) == (True, 13, 0)
        stored = services.connector(dozen.id)
        assert (stored.deletions_held_back, stored.needs_confirmation) == (13, True)
        assert len(found(services, "penguins")) == 24
    assert graph_of(services) == (24, 24, 24)
    # What changes meanwhile is synced as ever.
    bucket.put("23.txt", "Document number 23 is about walruses now.")
    assert sync(services, dozen).indexed == 1

    assert confirm_deletions(services, dozen.id) == 13
    assert not services.connector(dozen.id).needs_confirmation
    assert len(documents(services)) == 24, "only a completed scan deletes"
    result = scan(services, dozen)
    assert (result.held_back, result.counts.deleted) == (0, 13)
    assert documents(services) == {f"s3://{bucket.name}/{key}" for key in numbered(*range(13, 24))}
    stored = services.connector(dozen.id)
    assert (stored.deletions_held_back, stored.deletions_confirmed) == (0, 0)


def test_one_confirmation_does_not_cover_the_next_storm(
    services: Services, bucket: Bucket, dozen: Connector
) -> None:
    bucket.delete(*numbered(*range(13)))
    scan(services, dozen)
    confirm_deletions(services, dozen.id)
    scan(services, dozen)
    bucket.put_many({f"new-{number:02}.txt": f"New document {number}." for number in range(20)})
    sync(services, dozen)
    bucket.delete(*(f"new-{number:02}.txt" for number in range(20)))
    assert scan(services, dozen).held_back == 20
    assert graph_of(services)[0] == 31


def test_objects_that_come_back_need_no_confirmation(
    services: Services, bucket: Bucket, dozen: Connector
) -> None:
    bodies = {
        key: f"Document number {int(key[:2])} is about penguins." for key in numbered(*range(13))
    }
    bucket.delete(*bodies)
    assert scan(services, dozen).held_back == 13
    bucket.put_many(dict(list(bodies.items())[:12]))
    result = scan(services, dozen)
    assert (result.held_back, result.counts.deleted, result.counts.changed) == (0, 1, 0)
    stored = services.connector(dozen.id)
    assert (stored.deletions_held_back, stored.needs_confirmation) == (0, 0)
    assert drain(services, dozen).bytes_fetched == 0
    assert graph_of(services) == (23, 23, 23)


def test_an_object_that_comes_back_changed_is_indexed_anew(
    services: Services, bucket: Bucket, dozen: Connector
) -> None:
    bucket.delete(*numbered(*range(14)))
    scan(services, dozen)
    bucket.put("00.txt", "Document number 0 is about walruses.")
    assert sync(services, dozen).indexed == 1
    assert texts(services)["00.txt"] == "Document number 0 is about walruses."
    assert services.connector(dozen.id).deletions_held_back == 13


def test_up_to_ten_deletions_pass_whatever_their_share(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put_many({f"{number:02}.txt": f"Document {number}." for number in range(10)})
    sync(services, connector)
    bucket.delete(*numbered(*range(10)))
    assert scan(services, connector).counts.deleted == 10
    assert graph_of(services) == (0, 0, 0)


def test_a_fifth_of_the_objects_may_go_at_once_and_no_more(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put_many({f"{number:02}.txt": f"Document {number}." for number in range(60)})
    scan(services, connector)
    bucket.delete(*numbered(*range(12)))
    assert scan(services, connector).counts.deleted == 12
    bucket.delete(*numbered(*range(12, 23)))
    assert scan(services, connector).held_back == 11


@pytest.mark.parametrize(("percent", "held_back"), [(49, 12), (50, 0), (100, 0)])
def test_a_connector_has_a_guard_of_its_own(
    services: Services, bucket: Bucket, dozen: Connector, percent: int, held_back: int
) -> None:
    own = change(services, dozen.id, S3ConfigPatch(delete_guard_percent=percent))
    bucket.delete(*numbered(*range(12)))
    assert scan(services, own).held_back == held_back
    installation = change(services, dozen.id, S3ConfigPatch(delete_guard_percent=None))
    assert installation.delete_guard_percent is None


def test_a_listing_that_is_empty_by_mistake_deletes_nothing(
    services: Services, bucket: Bucket, dozen: Connector
) -> None:
    wrong = change(services, dozen.id, S3ConfigPatch(prefix="no-such-folder/"))
    assert scan(services, wrong).held_back == 24
    assert len(found(services, "penguins")) == 24
    right = change(services, dozen.id, S3ConfigPatch(prefix=""))
    result = scan(services, right)
    assert (result.held_back, result.counts.changed, result.counts.added) == (0, 0, 0)
    assert drain(services, right).indexed == 0


# Several scanners, several calls


def test_two_scanners_of_one_connector_share_the_work_and_delete_nothing(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put_many(dict(list(PICTURES.items())[:1000]))
    scan(services, connector)
    bucket.put_many({f"pictures/{number:05}-new.png": b"y" for number in range(0, 1000, 5)})
    results = []
    barrier = threading.Barrier(3)

    def one() -> None:
        barrier.wait()
        results.append(scan(services, connector))

    threads = [threading.Thread(target=one) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3
    assert sum(result.counts.added for result in results) == 200
    assert sum(result.counts.deleted for result in results) == 0
    assert live(services) == 1200
    assert query(services, "SELECT count(*) FROM connectors.objects") == [(1200,)]
    assert "running" not in {status for status, _ in scans(services)}


def test_two_scanners_that_both_reach_the_end_delete_each_missing_object_once(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put_many(dict(list(PICTURES.items())[:1100]))
    scan(services, connector)
    bucket.delete(*list(PICTURES)[::40][:25])
    barrier = threading.Barrier(2)
    deleted = []

    def one() -> None:
        barrier.wait()
        deleted.append(scan(services, connector).counts.deleted)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(deleted) == 25
    assert live(services) == 1075


@pytest.mark.parametrize("from_start", [False, True])
def test_who_asks_for_a_scan_from_the_start_also_sees_changes_in_the_part_that_was_listed_before(
    services: Services, bucket: Bucket, connector: Connector, from_start: bool
) -> None:
    bucket.put_many(dict(list(PICTURES.items())[:1100]))
    assert not scan_connector(services, connector, budget_seconds=0.0001).completed
    bucket.put("early.txt", "This key comes before the cursor.")
    result = scan_connector(services, connector, budget_seconds=None, from_start=from_start)
    assert result.completed
    assert ("early.txt" in states(services, connector)) is from_start
    assert live(services) == 1100 + from_start
    # Without a scan under way it lists once.
    before = len(scans(services))
    scan_connector(services, connector, budget_seconds=None, from_start=True)
    assert len(scans(services)) == before + 1


# What counts as a change


def dated(listing: bytes) -> bytes:
    """The listing with one and the same time for every object."""
    return re.sub(rb"<LastModified>[^<]*<", b"<LastModified>2030-01-02T03:04:05.000Z<", listing)


def test_an_overwrite_within_the_same_second_is_seen(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    proxy.inject(LIST, None, rewrite(dated))
    bucket.put("a.txt", "penguin")
    sync(proxied, via_proxy)
    bucket.put("a.txt", "walruse")
    assert scan(proxied, via_proxy).counts.changed == 1
    assert drain(proxied, via_proxy).indexed == 1
    assert texts(proxied) == {"a.txt": "walruse"}


def test_a_new_time_over_the_same_etag_is_no_change(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put("a.txt", "penguin")
    sync(proxied, via_proxy)
    proxy.inject(
        LIST,
        None,
        rewrite(
            lambda listing: re.sub(
                rb"<LastModified>[^<]*<", b"<LastModified>2030-01-02T03:04:05.000Z<", listing
            )
        ),
    )
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=1)


def test_the_opaque_etag_of_a_multipart_upload_is_compared_as_it_is(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    part_size = 5 * 1024 * 1024
    body = (b"penguin " * (part_size // 8 + 100)).ljust(part_size + 1000)
    upload = bucket.client.create_multipart_upload(Bucket=bucket.name, Key="large.txt")["UploadId"]
    parts = [
        {
            "PartNumber": number,
            "ETag": bucket.client.upload_part(
                Bucket=bucket.name,
                Key="large.txt",
                UploadId=upload,
                PartNumber=number,
                Body=body[(number - 1) * part_size : number * part_size],
            )["ETag"],
        }
        for number in (1, 2)
    ]
    etag = bucket.client.complete_multipart_upload(
        Bucket=bucket.name, Key="large.txt", UploadId=upload, MultipartUpload={"Parts": parts}
    )["ETag"].strip('"')
    assert etag.endswith("-2")
    scan(services, connector)
    assert query(services, "SELECT etag, state FROM connectors.objects") == [(etag, "pending")]
    assert scan(services, connector).counts == ScanCounts(listed=1)


def test_a_store_that_lists_etags_without_quotes_is_read_once(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    def unquote(listing: bytes) -> bytes:
        changed, number = re.subn(
            rb"<ETag>(?:&quot;|\")(.*?)(?:&quot;|\")</ETag>", rb"<ETag>\1</ETag>", listing
        )
        assert number == 1
        return changed

    proxy.inject(LIST, None, rewrite(unquote))
    etag = bucket.put("a.txt", "penguin")
    assert sync(proxied, via_proxy).indexed == 1
    assert query(proxied, "SELECT etag, indexed_etag FROM connectors.objects") == [(etag, etag)]
    proxy.heal()
    assert scan(proxied, via_proxy).counts == ScanCounts(listed=1), (
        "with quotes it is the same version"
    )
    assert proxy.count("GET", "a.txt") == 1


def test_a_scan_that_another_process_is_opening_is_shared(
    services: Services, connector: Connector
) -> None:
    scan_of = (connector.id, connector.tenant_id)
    with ThreadPoolExecutor(1) as other:
        with services.database.transaction() as conn:
            opened = services.ledger.open_scan(conn, *scan_of, generation=0)
            waiting = other.submit(
                in_transaction, services, services.ledger.open_scan, *scan_of, generation=0
            )
            with pytest.raises(TimeoutError):
                waiting.result(timeout=1)
        assert waiting.result(timeout=30) == opened
