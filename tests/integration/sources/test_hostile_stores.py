"""What a store says is bounded and plain before it is stored, shown or logged."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable, Iterator

import pytest

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.errors import SourceError, SourceUnavailable, WrongRegion
from activekg_pipelines.pipeline.preview import preview_sync
from activekg_pipelines.quoting import ESCAPES
from activekg_pipelines.services import Services
from activekg_pipelines.sources.source import Entry, Page
from tests.fault_proxy import LIST, Answer, Fault, FaultProxy, fault_proxy, status
from tests.integration.endpoint_server import reply, serve
from tests.integration.syncing import documents, query, scan, states, sync
from tests.places import MemoryPlace, Place

over_http = pytest.mark.parametrize("place", ["s3", "gcs"], indirect=True)
s3_only = pytest.mark.parametrize("place", ["s3"], indirect=True)
in_memory = pytest.mark.parametrize("place", ["memory"], indirect=True)

MEBIBYTE = 1024**2


@pytest.fixture
def proxy(place: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[FaultProxy]:
    """The place's endpoint, which misbehaves on demand; clients make no pauses."""
    monkeypatch.setattr("botocore.retries.standard.ExponentialBackoff.delay_amount", lambda *_: 0.0)
    monkeypatch.setattr(
        "google.api_core.retry.retry_unary.exponential_sleep_generator",
        lambda *_, **__: iter(lambda: 0.0, None),
    )
    with fault_proxy(place.endpoint_url) as opened:
        yield opened


@pytest.fixture
def via_proxy(proxy: FaultProxy, services: Services, place: Place) -> Connector:
    return place.register(services, endpoint_url=proxy.url)


def with_header(name: str, value: str) -> Fault:
    def change(answer: Answer) -> Answer:
        kept = {key: old for key, old in answer.headers.items() if key.lower() != name.lower()}
        answer.headers = kept | {name: value}
        return answer

    return change


def is_plain(text: str, most: int = 2000) -> bool:
    return len(text) <= most and not any(ord(character) in ESCAPES for character in text)


@s3_only
@pytest.mark.parametrize(
    "etag", ['"\x00"', '"a\x1b[2Jb\x07"', '"' + "e" * 60_000 + '"', "\x80\xff" * 400]
)
def test_an_etag_that_cannot_be_stored_costs_nobody_anything(
    services: Services, place: Place, via_proxy: Connector, proxy: FaultProxy, etag: str
) -> None:
    for number in range(3):
        place.put(f"{number}.txt", f"Penguin number {number}.")
    proxy.inject("GET", "1.txt", with_header("ETag", etag))
    counts = sync(services, via_proxy)
    assert (counts.indexed, counts.failed, counts.dead) == (3, 0, 0)
    stored = query(services, "SELECT etag FROM connectors.objects ORDER BY key")
    assert all(is_plain(one, 255) for (one,) in stored)


def test_a_change_token_that_cannot_be_stored_is_replaced_by_its_digest() -> None:
    def token(etag: str) -> str:
        from datetime import UTC, datetime

        return Entry("a", etag, 1, datetime.now(UTC)).etag

    plain = "d41d8cd98f00b204e9800998ecf8427e-17"
    assert token(plain) == plain
    odd = ["\x00", "\x00\x00", "x" * 5000, "x" * 5001, "\u202e1", "\ud800", ""]
    tokens = [token(one) for one in odd]
    assert len(set(tokens)) == len(odd)
    assert all(is_plain(one, 255) for one in tokens)
    assert [token(one) for one in odd] == tokens


@in_memory
def test_keys_that_no_ledger_can_hold_are_left_out_whatever_the_provider(
    services: Services, place: MemoryPlace, caplog: pytest.LogCaptureFixture
) -> None:
    bad = ["a\x00b.txt", "b" * 1025, "c\ud800.txt"]
    for key in ["a.txt", *bad, "z.txt"]:
        place.store.put(key, b"A text about penguins.")
    place.store.order = lambda keys: sorted(
        keys, key=lambda key: key.encode("utf-8", "surrogatepass")
    )
    connector = place.register(services)
    with caplog.at_level(logging.WARNING):
        assert sync(services, connector).indexed == 2
    assert states(services, connector).keys() == {"a.txt", "z.txt"}
    (warning,) = [one.getMessage() for one in caplog.records if "Left out" in one.getMessage()]
    assert warning.startswith("Left out 3 keys of memory://")
    assert preview_sync(services, connector, max_pages=1).listed == 2


@s3_only
def test_an_error_code_without_end_is_bounded_wherever_it_is_kept(
    services: Services,
    place: Place,
    via_proxy: Connector,
    proxy: FaultProxy,
    caplog: pytest.LogCaptureFixture,
) -> None:
    place.put("a.txt", "A text about penguins.")
    scan(services, via_proxy)
    code = "Evil\u202e\x85" + "x" * MEBIBYTE
    proxy.inject("GET", "a.txt", status(400, code, "y" * MEBIBYTE))
    with caplog.at_level(logging.DEBUG, logger="activekg_pipelines"):
        sync(services, via_proxy)
        proxy.inject(LIST, None, status(400, code, "y" * MEBIBYTE))
        with pytest.raises(SourceError) as raised:
            scan(services, via_proxy)
    ((message,),) = query(services, "SELECT error_message FROM connectors.objects")
    for kept in (
        message,
        raised.value.message,
        services.connector(via_proxy.id).last_error_message or "",
    ):
        assert is_plain(kept, 900)
    assert caplog.records
    assert max(len(one.getMessage()) for one in caplog.records) < 2000


def without_end(piece: bytes, head: bytes = b"") -> Callable[[socket.socket], None]:
    """An answer that does not end; says so to the test by the connection's end."""

    def behaviour(connection: socket.socket) -> None:
        connection.sendall(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/xml\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n"
        )
        for body in [head] * bool(head) + [piece] * (200 * MEBIBYTE // len(piece)):
            connection.sendall(b"%x\r\n%s\r\n" % (len(body), body))

    return behaviour


@s3_only
def test_a_listing_without_end_is_given_up_while_it_is_read(
    services: Services, place: Place
) -> None:
    entry = b"<Contents><Key>%s</Key></Contents>" % (b"k" * 100)
    with serve(without_end(entry * 500, b'<?xml version="1.0"?><ListBucketResult>')) as server:
        connector = place.register(services, endpoint_url=server.url)
        with pytest.raises(SourceUnavailable, match="more than"):
            scan(services, connector)
        # It is no passing fault of the line: one attempt says enough.
        assert server.connections == 1
    last = services.connector(connector.id)
    assert last.last_error_code == "source_unavailable"


@s3_only
def test_a_page_of_a_million_tags_is_given_up_before_it_is_parsed(
    services: Services, place: Place
) -> None:
    body = b"<ListBucketResult>" + b"<a/>" * 1_000_000 + b"</ListBucketResult>"
    with serve(reply(body)) as server:
        connector = place.register(services, endpoint_url=server.url)
        with pytest.raises(SourceUnavailable, match="XML tags"):
            scan(services, connector)


@pytest.mark.parametrize("place", ["gcs"], indirect=True)
def test_a_small_answer_that_unpacks_to_a_large_one_is_given_up(
    services: Services, place: Place, via_proxy: Connector, proxy: FaultProxy
) -> None:
    import gzip

    def bomb(answer: Answer) -> Answer:
        answer.body = gzip.compress(b'{"items": [' + b" " * (64 * MEBIBYTE))
        answer.declared = len(answer.body)
        answer.headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
        return answer

    proxy.inject(LIST, None, bomb)
    with pytest.raises(SourceUnavailable, match="more than"):
        scan(services, via_proxy)


@s3_only
@pytest.mark.parametrize("region", ["narnia", "us_east 1/../", "x" * 5000, "eu-central-1"])
def test_a_redirect_is_the_wrong_region_however_odd_the_one_it_names(
    services: Services, via_proxy: Connector, proxy: FaultProxy, region: str
) -> None:
    redirect = status(301, "PermanentRedirect")
    named = with_header("x-amz-bucket-region", region)
    proxy.inject(LIST, None, lambda answer: named(redirect(answer)))
    with pytest.raises(WrongRegion) as raised:
        scan(services, via_proxy)
    assert is_plain(raised.value.message, 300)


@over_http
def test_a_page_with_an_unstorable_key_ends_no_scan(
    services: Services, place: Place, via_proxy: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.put("good.txt", "A text about penguins.")
    listing = type(services.source(via_proxy)).listing

    def with_odd_ones(self: object, *given: object, **named: object) -> Iterator[Page]:
        for page in listing(self, *given, **named):  # type: ignore[arg-type]
            odd = [
                Entry(key, page.entries[0].etag, 5, page.entries[0].modified_at)
                for key in ("\x00a.txt", "a" * 1025)
            ]
            yield Page([*odd, *page.entries], page.is_last)

    monkeypatch.setattr(type(services.source(via_proxy)), "listing", with_odd_ones)
    sync(services, via_proxy)
    assert documents(services) == {place.uri("good.txt")}
