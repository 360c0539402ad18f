"""What arrives from stores that are not quite S3: encoded bodies, checksums, conditions."""

from __future__ import annotations

import base64
import gzip
import hashlib
import random
import zlib
from collections.abc import Callable, Iterator

import brotli
import pytest
import zstandard

from activekg_pipelines.administration.schemas import ConnectorView
from activekg_pipelines.cli.connectors import _fields
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.services import Services
from tests.integration.syncing import (
    drain,
    graph_of,
    outcomes,
    query,
    scan,
    states,
    sync,
    texts,
)
from tests.odd_store import OddStore, Refusal, odd_store
from tests.places import GcsPlace
from tests.registry import change
from tests.s3_bucket import S3ConfigPatch

PAGE = "<html><body><h1>Penguins</h1><p>They live in Antarctica, on ice.</p></body></html>"
TEXT = "A text about penguins, which live in Antarctica."
WRONG = base64.b64encode(b"none").decode()
"""A CRC32 of four bytes that belongs to something else."""
MULTIPART = "d41d8cd98f00b204e9800998ecf8427e-2"


@pytest.fixture
def store() -> Iterator[OddStore]:
    with odd_store() as opened:
        yield opened


@pytest.fixture
def services(configured: Callable[..., Services], store: OddStore) -> Services:
    return configured(activekg_endpoint_allowlist=(store.url.removeprefix("http://"),))


@pytest.fixture
def connector(services: Services, store: OddStore) -> Connector:
    return store.register(services)


def notes(services: Services, connector: Connector) -> list[str]:
    """Codes of what is noted on the connector."""
    return [note.code for note in services.connector(connector.id).notes]


def crc32(body: str) -> str:
    return base64.b64encode(zlib.crc32(body.encode()).to_bytes(4)).decode()


# Content codings


def framed(body: bytes) -> bytes:
    head = b"%x;chunk-signature=%s\r\n" % (len(body), b"a1" * 32)
    return head + body + b"\r\n0;chunk-signature=" + b"b2" * 32 + b"\r\n\r\n"


def test_encoded_objects_are_documents_like_others(
    services: Services, connector: Connector, store: OddStore
) -> None:
    encoded = {
        "gzip": gzip.compress(PAGE.encode()),
        "deflate": zlib.compress(PAGE.encode()),
        "br": brotli.compress(PAGE.encode()),
        "zstd": zstandard.compress(PAGE.encode()),
        "gzip, br": brotli.compress(gzip.compress(PAGE.encode())),
        "gzip,aws-chunked": framed(gzip.compress(PAGE.encode())),
    }
    for number, (header, body) in enumerate(encoded.items()):
        headers = {"Content-Encoding": header, "Content-Type": "text/html"}
        store.put(f"{number}.html", body, headers=headers)
    decoded = {"x-amz-decoded-content-length": str(len(PAGE))}
    unsigned = b"%x\r\n%s\r\n0\r\n\r\n" % (len(PAGE), PAGE.encode())
    store.put("decoded-length.html", unsigned, headers=decoded)
    store.put("framed.html", framed(PAGE.encode()))
    store.put("wrong-header.html", PAGE, headers={"Content-Encoding": "gzip"})
    store.put("plain.html", PAGE)
    assert sync(services, connector).indexed == len(store.objects)
    kept = texts(services)
    assert kept.keys() == store.objects.keys()
    assert set(kept.values()) == {kept["plain.html"]}
    # Sizes are those of the listing, hashes are those of what was read.
    assert query(services, "SELECT key, size FROM connectors.objects ORDER BY key") == sorted(
        (key, len(stored.body)) for key, stored in store.objects.items()
    )
    hashes = query(services, "SELECT DISTINCT content_hash FROM connectors.texts")
    assert hashes == [(hashlib.sha256(PAGE.encode()).digest(),)]
    assert scan(services, connector).counts.changed == 0


def test_an_archive_stays_one_and_a_damaged_body_is_no_archive(
    services: Services, connector: Connector, store: OddStore
) -> None:
    packed = gzip.compress(PAGE.encode())
    store.put("archive", packed)
    store.put("a.html.gz", packed)
    store.put("damaged.html", packed[:-12], headers={"Content-Encoding": "gzip"})
    store.put("empty.html", gzip.compress(b""), headers={"Content-Encoding": "gzip"})
    sync(services, connector)
    assert states(services, connector) == {
        "archive": ("skipped", "unsupported_type"),
        "a.html.gz": ("skipped", "unsupported_type"),
        "damaged.html": ("dead", "corrupt"),
        "empty.html": ("skipped", "empty"),
    }
    assert "Content-Encoding gzip" in (outcomes(services, connector)["damaged.html"].message or "")


def test_a_bomb_is_too_large_and_a_cut_body_is_fetched_again(
    configured: Callable[..., Services], store: OddStore
) -> None:
    services = configured(
        activekg_endpoint_allowlist=(store.url.removeprefix("http://"),),
        activekg_max_file_bytes=1_000_000,
    )
    connector = store.register(services)
    store.put("bomb.txt", gzip.compress(bytes(50_000_000)), headers={"Content-Encoding": "gzip"})
    store.put(
        "cut.txt",
        gzip.compress(random.Random(3).randbytes(20_000)),
        headers={"Content-Encoding": "gzip", "Content-Length": "20100", "Connection": "close"},
    )
    sync(services, connector)
    assert states(services, connector) == {
        "bomb.txt": ("skipped", "too_large"),
        "cut.txt": ("failed", "fetch_failed"),
    }


def test_googles_encoded_objects_are_documents_too(
    configured: Callable[..., Services], gcs_endpoint: str
) -> None:
    services = configured(activekg_endpoint_allowlist=(gcs_endpoint.removeprefix("http://"),))
    place = GcsPlace(gcs_endpoint, "test-encoded")
    place.upload("a.html", gzip.compress(PAGE.encode()), content_encoding="gzip")
    connector = place.register(services)
    assert sync(services, connector).indexed == 1
    assert "Antarctica" in texts(services)["a.html"]


# Checksums


def test_checksums_of_something_else_do_not_keep_sound_bodies_out(
    services: Services, connector: Connector, store: OddStore
) -> None:
    for number in range(5):
        store.put(f"{number}.txt", f"{TEXT} {number}", headers={"x-amz-checksum-crc32": WRONG})
    store.put("odd.txt", TEXT, headers={"x-amz-checksum-sha256": "no base64!"})
    counts = sync(services, connector)
    assert (counts.indexed, counts.failed) == (6, 0)
    assert notes(services, connector) == ["wrong_checksums"]
    # Their MD5 is right, so that none is fetched twice.
    assert all(store.gets(key) == 1 for key in store.objects)


def test_without_an_md5_a_body_that_comes_twice_alike_shows_that_checksums_are_wrong(
    services: Services, connector: Connector, store: OddStore
) -> None:
    odd = {"x-amz-checksum-crc32": WRONG}
    store.put("a.txt", TEXT, etag=MULTIPART, headers=odd)
    store.put("b.txt", TEXT + " b", headers={**odd, "x-amz-server-side-encryption": "aws:kms"})
    assert sync(services, connector).indexed == 2
    assert notes(services, connector) == ["wrong_checksums"]
    store.put("c.txt", TEXT + " c", etag=MULTIPART, headers=odd)
    assert sync(services, services.connector(connector.id)).indexed == 1
    assert store.gets("c.txt") == 1, "it is known by now"


def test_where_checksums_are_right_they_are_held_to(
    services: Services, connector: Connector, store: OddStore
) -> None:
    store.put("right.txt", TEXT, headers={"x-amz-checksum-crc32": crc32(TEXT)})
    broken = TEXT.replace("penguins", "walruses").encode()
    answers = [broken, TEXT.encode()]
    store.put(
        "once.txt",
        TEXT,
        headers={"x-amz-checksum-crc32": crc32(TEXT)},
        sent=lambda body: answers.pop(0),
    )
    assert sync(services, connector).indexed == 2
    assert texts(services) == {"right.txt": TEXT, "once.txt": TEXT}
    assert notes(services, connector) == []


@pytest.mark.parametrize(
    ("etag", "headers"),
    [
        (None, {"x-amz-checksum-crc32": WRONG}),
        (None, {}),
        (MULTIPART, {"x-amz-checksum-crc32": WRONG}),
    ],
    ids=["checksum and MD5", "MD5", "checksum"],
)
def test_a_body_that_breaks_on_the_way_is_never_taken(
    services: Services,
    connector: Connector,
    store: OddStore,
    etag: str | None,
    headers: dict[str, str],
) -> None:
    chance = random.Random(4)
    store.put(
        "a.txt",
        TEXT,
        etag=etag,
        headers=headers,
        sent=lambda body: chance.randbytes(len(body)),
    )
    sync(services, connector)
    assert states(services, connector) == {"a.txt": ("failed", "fetch_failed")}
    assert graph_of(services) == (0, 0, 0)
    assert notes(services, connector) == []


def test_a_body_that_is_neither_its_checksum_nor_its_md5_is_not_taken_although_it_is_noted(
    services: Services, connector: Connector, store: OddStore
) -> None:
    odd = {"x-amz-checksum-crc32": WRONG}
    store.put("a.txt", TEXT, headers=odd)
    sync(services, connector)
    assert notes(services, connector) == ["wrong_checksums"]
    other = hashlib.md5(b"something else", usedforsecurity=False).hexdigest()
    store.put("b.txt", TEXT, etag=other, headers=odd)
    sync(services, services.connector(connector.id))
    assert states(services, connector)["b.txt"] == ("failed", "fetch_failed")
    assert "checksum and MD5" in (outcomes(services, connector)["b.txt"].message or "")
    # What it is once it is whole is taken.
    store.put("b.txt", TEXT + " b", headers=odd)
    sync(services, connector)
    assert states(services, connector)["b.txt"] == ("indexed", None)


def test_etags_that_only_look_like_an_md5_keep_nothing_out(
    services: Services, connector: Connector, store: OddStore
) -> None:
    for number in range(3):
        store.put(f"{number}.txt", f"{TEXT} {number}", etag=f"{number:032x}")
    assert sync(services, connector).indexed == 3
    assert notes(services, connector) == ["etags_no_md5"]
    store.put("3.txt", TEXT + " 3", etag=f"{3:032x}")
    assert sync(services, services.connector(connector.id)).indexed == 1
    assert store.gets("3.txt") == 1


# Conditions


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal(501, "NotImplemented", "A header you provided implies functionality that is not"),
        Refusal(400, "InvalidArgument", "If-Match not supported"),
    ],
    ids=["501", "400"],
)
def test_a_store_that_refuses_conditions_is_asked_without(
    services: Services, connector: Connector, store: OddStore, refusal: Refusal
) -> None:
    store.conditions = refusal
    for number in range(3):
        store.put(f"{number}.txt", f"{TEXT} {number}")
    assert sync(services, connector).indexed == 3
    assert notes(services, connector) == ["no_conditions"]
    store.put("3.txt", TEXT)
    assert sync(services, services.connector(connector.id)).indexed == 1
    assert store.gets("3.txt") == 1
    assert scan(services, connector).counts.changed == 0


def test_a_request_that_is_wrong_in_itself_is_no_refusal_of_conditions(
    services: Services, connector: Connector, store: OddStore
) -> None:
    store.put("a.txt", TEXT, refusal=Refusal(400, "InvalidArgument", "not this one"))
    sync(services, connector)
    assert states(services, connector) == {"a.txt": ("failed", "fetch_failed")}
    assert notes(services, connector) == []


# Notes


def test_another_process_knows_what_was_found_out(
    configured: Callable[..., Services], store: OddStore
) -> None:
    allowlist = (store.url.removeprefix("http://"),)
    first, second = (configured(activekg_endpoint_allowlist=allowlist) for _ in range(2))
    connector = store.register(first)
    store.conditions = Refusal(501, "NotImplemented")
    odd = {"x-amz-checksum-crc32": WRONG}
    store.put("a.txt", TEXT, etag=MULTIPART, headers=odd)
    assert sync(first, connector).indexed == 1
    # With and without its condition; and once more, because of its checksum.
    assert store.gets("a.txt") == 3
    store.put("b.txt", TEXT + " b", etag=MULTIPART, headers=odd)
    assert sync(second, second.connector(connector.id)).indexed == 1
    assert store.gets("b.txt") == 1


def test_notes_are_shown_until_the_connector_is_changed(
    services: Services, connector: Connector, store: OddStore
) -> None:
    store.conditions = Refusal(501, "NotImplemented")
    store.put("a.txt", TEXT, headers={"x-amz-checksum-crc32": WRONG})
    sync(services, connector)
    view = ConnectorView.of(services.connector(connector.id))
    shown = view.model_dump()["notes"]
    assert [note["code"] for note in shown] == ["no_conditions", "wrong_checksums"]
    assert all(note["message"].endswith(".") for note in shown)
    lines = [line for name, line in _fields(view) if name == "note"]
    assert lines == [note["message"] for note in shown]

    store.conditions = None
    changed = change(services, connector.id, S3ConfigPatch(poll_interval_seconds=600))
    assert notes(services, changed) == []
    store.put("b.txt", TEXT + " b")
    sync(services, changed)
    assert notes(services, changed) == []


# Keys that end in a slash


def test_a_key_that_ends_in_a_slash_and_holds_bytes_is_a_document(
    services: Services, connector: Connector, store: OddStore
) -> None:
    store.put("folder/", b"")
    store.put("notes/", TEXT)
    store.put("page.html/", PAGE)
    store.put("photo.jpg/", b"\xff\xd8\xff" + bytes(50))
    assert sync(services, connector).indexed == 2
    assert states(services, connector) == {
        "folder/": ("skipped", "folder_marker"),
        "notes/": ("indexed", None),
        "page.html/": ("indexed", None),
        "photo.jpg/": ("skipped", "unsupported_type"),
    }


def test_one_that_an_earlier_version_passed_over_is_taken_up(
    services: Services, connector: Connector, store: OddStore
) -> None:
    store.put("folder/", b"")
    store.put("notes/", TEXT)
    scan(services, connector)
    query(
        services,
        "UPDATE connectors.objects SET state = 'skipped', error_code = 'folder_marker', "
        "error_message = 'x'",
    )
    query(services, "UPDATE connectors.connectors SET versions = 'old old old'")
    sync(services, connector)
    drain(services, connector)
    assert states(services, connector) == {
        "folder/": ("skipped", "folder_marker"),
        "notes/": ("indexed", None),
    }
