"""Keys that S3 allows and that many programs cannot handle."""

from __future__ import annotations

import re

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.services import Services
from tests.fault_proxy import LIST, Answer, FaultProxy, rewrite
from tests.integration.syncing import documents, found, query, scan, states, sync, texts
from tests.s3_bucket import Bucket

KEYS = [
    "with space.txt",
    " leading and trailing .txt ",
    "100%.txt",
    "already%20encoded.txt",
    "%2e%2e%2f.txt",
    "a+b=c&d?e#f.txt",
    'it\'s "quoted"; DROP TABLE nodes; --.txt',
    "back\\slash.txt",
    "emoji-🐧-👩\u200d🚀-𐀀.txt",
    "Ünï cödé/日本語/العربية.txt",
    "combining-e\u0301.txt",
    "composed-\u00e9.txt",
    "../../etc/passwd",
    "a/../b.txt",
    "./c.txt",
    "..",
    "a//b.txt",
    "/leading.txt",
    "trailing.",
    "carriage\rreturn.txt",
    "tab\tand\x07bell.txt",
    "$(touch x) `id` {braces} %(percent)s %s.txt",
    "<xml>&amp;.txt",
    "k" * 1024,
    "é" * 510 + ".txt",
    "UPPER.TXT",
    "upper.TXT",
]


def test_every_key_that_s3_allows_is_indexed_and_found_under_its_own_uri(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bodies = {
        key: f"Document number {number} is about penguins." for number, key in enumerate(KEYS)
    }
    bucket.put_many(bodies)
    listing = bucket.client.list_objects_v2(Bucket=bucket.name)["Contents"]
    assert {entry["Key"] for entry in listing} == set(KEYS), "the stand-in for S3 keeps them all"

    counts = sync(services, connector)
    assert states(services, connector) == dict.fromkeys(KEYS, ("indexed", None))
    assert (counts.indexed, counts.failed) == (len(KEYS), 0)
    assert texts(services) == bodies
    uris = {f"s3://{bucket.name}/{key}" for key in KEYS}
    assert documents(services) == uris
    assert found(services, "penguins", limit=100) == uris
    result = scan(services, connector)
    assert (result.counts.added, result.counts.changed, result.counts.missing) == (0, 0, 0)

    bucket.delete(*KEYS[:5])
    assert scan(services, connector).counts.deleted == 5
    assert documents(services) == {f"s3://{bucket.name}/{key}" for key in KEYS[5:]}


def test_a_key_with_a_newline_is_asked_for_as_it_is(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    key = "new\nline.txt"
    etag = bucket.put("ordinary.txt", "A text about penguins.")
    bucket.put_many({key: "A text about penguins."})

    def found_it(_: Answer) -> Answer:
        headers = {"ETag": f'"{etag}"', "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT"}
        return Answer(200, headers, b"A text about penguins.", 22)

    # The stand-in for S3 lists such a key and cannot give it.
    proxy.inject("GET", key, found_it)
    assert sync(proxied, via_proxy).indexed == 2
    assert f"s3://{bucket.name}/{key}" in found(proxied, "penguins")
    assert set(states(proxied, via_proxy)) == {key, "ordinary.txt"}


def test_pages_that_end_at_unusual_keys_are_gone_on_from_there(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    # The last key of the first page, where a resumed listing starts.
    keys = [f"a{number:04}.png" for number in range(999)] + [
        "b %+&?#\n'🐧é.png",
        "b %+&?#\n'🐧é.png2.png",
        "c.png",
    ]
    bucket.put_many(dict.fromkeys(keys, b"x"))
    assert not scan_connector(proxied, via_proxy, budget_seconds=0.0001).completed
    assert query(proxied, "SELECT start_after FROM connectors.scans") == [(keys[999],)]
    assert scan(proxied, via_proxy).completed
    assert set(states(proxied, via_proxy)) == set(keys)
    assert proxy.requests[-1].key == keys[999]


def test_keys_are_compared_in_the_order_of_their_bytes(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    # Other orders (of a locale, of UTF-16) would take some of these for missing.
    keys = [
        "B.png",
        "a.png",
        "Z.png",
        "_.png",
        "\uffee.png",
        "𐀀.png",
        "é.png",
        "z.png",
        "-.png",
        "~.png",
    ]
    bucket.put_many(dict.fromkeys(keys, b"x"))
    scan(services, connector)
    result = scan(services, connector)
    assert (result.counts.listed, result.counts.missing) == (len(keys), 0)


def test_a_prefix_is_taken_literally(services: Services, bucket: Bucket) -> None:
    bucket.put_many(
        dict.fromkeys(["50%_off/a.txt", "50xyoff/b.txt", "50%_off.txt"], "A text about penguins.")
    )
    connector = bucket.register(services, prefix="50%_off/")
    sync(services, connector)
    assert documents(services) == {f"s3://{bucket.name}/50%_off/a.txt"}


def test_a_title_or_text_with_characters_that_postgres_refuses_is_cleaned(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    sentence = (
        b"Penguins and walruses swim in cold water, which they like better than anything "
        b"else in the world. "
    )
    body = (
        b"<html><head><title>Pen\x00guins</title></head><body><p>"
        + sentence * 5
        + b"\x00</p></body></html>"
    )
    bucket.put("a.html", body)
    bucket.put("b.txt", sentence * 5 + b"\x00")
    assert sync(services, connector).indexed == 2
    assert all("\x00" not in text for text in texts(services).values())


def test_a_wrong_etag_or_size_in_a_listing_does_not_confuse_two_objects(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    proxy.inject(
        LIST,
        None,
        rewrite(lambda listing: re.sub(rb"<ETag>.*?</ETag>", b"<ETag>same</ETag>", listing)),
    )
    bucket.put("a.txt", "A text about penguins.")
    bucket.put("b.txt", "A text about walruses.")
    assert sync(proxied, via_proxy).indexed == 2
    assert texts(proxied) == {"a.txt": "A text about penguins.", "b.txt": "A text about walruses."}
