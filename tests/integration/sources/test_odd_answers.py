"""Answers that are XML, and not what S3 writes, end in an error of ours or in the truth."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from activekg_pipelines.errors import (
    AccessDenied,
    ActiveKGError,
    CustomerKey,
    ExplicitlyDenied,
    FetchFailed,
    KeyDenied,
    ListingDenied,
    ListingForbidden,
    SourceError,
    SourceUnavailable,
)
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.s3 import open_s3
from activekg_pipelines.sources.s3.config import S3Config
from activekg_pipelines.sources.s3.proposals import propose
from activekg_pipelines.sources.s3.source import S3Source
from tests.integration.endpoint_server import Behaviour, reply, serve

KEYS = {"access_key_id": "store-reader", "secret_access_key": "hunter2&hunter3/xyz"}
TIME = "<LastModified>2026-01-02T03:04:05Z</LastModified>"
DEEP = b"<a>" * 8000 + b"</a>" * 8000


@contextmanager
def answering(behaviour: Behaviour) -> Iterator[S3Source]:
    settings = Settings(activekg_endpoint_allowlist=("127.0.0.1",))
    with serve(behaviour) as server:
        values = {"bucket": "bucket", "endpoint_url": server.url}
        config = S3Config.model_validate(values | KEYS)
        with closing(open_s3(config, settings, attempts=1)) as source:
            yield source


def listed(behaviour: Behaviour) -> list[str]:
    with answering(behaviour) as source:
        return [entry.key for page in source.pages() for entry in page.entries]


def one_bad_object(behaviour: Behaviour) -> Behaviour:
    """The first request is a download, which fails; what follows is a listing."""
    answers = iter([behaviour, reply()])

    def answer(connection: socket.socket) -> None:
        next(answers)(connection)

    return answer


def page(inner: str) -> bytes:
    return f"<ListBucketResult><Name>bucket</Name>{inner}</ListBucketResult>".encode()


def refused(body: bytes, folder: Path, status: str = "403 Forbidden") -> ActiveKGError:
    with answering(reply(body, status)) as source, pytest.raises(ActiveKGError) as raised:
        source.fetch("a.txt", "0" * 32, folder / "object", max_bytes=1000)
    return raised.value


@pytest.mark.parametrize(
    "body",
    [
        b"<Error><Code>AccessDenied</Code>%s<Message>No</Message></Error>" % DEEP,
        b'<Error xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Code>AccessDenied</Code></Error>',
        b"<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>",
        b"<Error><Code>AccessDenied</Code><Message>" + b"x" * 100_000,
    ],
    ids=["deep", "namespace", "wrapped", "without end"],
)
def test_an_error_is_understood_however_it_is_written(body: bytes, tmp_path: Path) -> None:
    assert isinstance(refused(body, tmp_path), AccessDenied)
    with pytest.raises(ListingDenied):
        listed(reply(body, "403 Forbidden"))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html><body>Forbidden by the gateway</body></html>",
        b"<p>Forbidden<p>by the gateway",
        b"<Error><Code><a/></Code></Error>",
        b"<x><ResponseMetadata>a</ResponseMetadata><Error>b</Error></x>",
        b'<?xml version="1.0" encoding="klingon"?><Error/>',
    ],
)
def test_a_refusal_that_is_not_of_s3_is_tried_again(body: bytes, tmp_path: Path) -> None:
    refusing = one_bad_object(reply(body, "403 Forbidden"))
    with answering(refusing) as source, pytest.raises(FetchFailed, match="403"):
        source.fetch("a.txt", "0" * 32, tmp_path / "object", max_bytes=1000)
    with pytest.raises(ListingDenied):
        listed(reply(body, "403 Forbidden"))


@pytest.mark.parametrize(
    "status", ["500 Error", "502 Bad Gateway", "503 Slow Down", "429 Too Many", "403 Forbidden"]
)
def test_an_outage_is_of_the_store_and_of_no_object(tmp_path: Path, status: str) -> None:
    assert isinstance(refused(b"", tmp_path, status), SourceError)
    with answering(one_bad_object(reply(b"", status))) as source, pytest.raises(FetchFailed):
        source.fetch("a.txt", "0" * 32, tmp_path / "object", max_bytes=1000)


@pytest.mark.parametrize("status", ["403 Forbidden", "200 OK"])
def test_no_error_repeats_the_keys_of_the_connector(tmp_path: Path, status: str) -> None:
    said = "store-reader with hunter2&amp;hunter3/xyz or hunter2%26hunter3%2Fxyz"
    body = f"<Error><Code>store-reader</Code><Message>{said}</Message></Error>".encode()
    with pytest.raises(SourceUnavailable) as raised:
        listed(reply(body, status))
    messages = [raised.value.message]
    if status != "200 OK":
        messages.append(refused(body, tmp_path).message)
    for message in messages:
        assert "The store says: *** with *** or ***." in message
        assert "hunter" not in message
        assert "reader" not in message


@pytest.mark.parametrize("kind", [ListingForbidden, ExplicitlyDenied, KeyDenied, CustomerKey])
def test_nobody_pays_for_a_try_that_cannot_help(kind: type[ActiveKGError]) -> None:
    settings = Settings(activekg_endpoint_allowlist=("127.0.0.1",))
    with serve(reply()) as server:
        config = S3Config.model_validate({"bucket": "bucket", "endpoint_url": server.url} | KEYS)
        propose(config, settings, kind("No."))
        assert not [one for one in server.requests if "x-amz-request-payer" in one.lower()]


@pytest.mark.parametrize("written", ["true", "True", "TRUE", " true\n", "1"])
def test_a_listing_goes_on_however_the_store_says_so(written: str) -> None:
    def answer(connection: socket.socket) -> None:
        pages.pop(0)(connection)

    object_ = f"<Size>1</Size>{TIME}"
    pages = [
        reply(
            page(
                f"<IsTruncated>{written}</IsTruncated><NextContinuationToken>a</NextContinuationToken>"
                f"<Contents><Key>a</Key>{object_}</Contents>"
            )
        ),
        reply(page(f"<IsTruncated>false</IsTruncated><Contents><Key>b</Key>{object_}</Contents>")),
    ]
    assert listed(answer) == ["a", "b"]


@pytest.mark.parametrize(
    "inner",
    [
        "<NextContinuationToken>a</NextContinuationToken>",
        f"<Contents><Key>a</Key><Key>b</Key><Size>1</Size>{TIME}</Contents>",
        f"<Contents><Key>a</Key><Size>1</Size><Size>2</Size>{TIME}</Contents>",
        f"<Contents><Key>a</Key><Size>1</Size>{TIME}{TIME}</Contents>",
    ],
    ids=["no end", "two keys", "two sizes", "two times"],
)
def test_a_listing_that_contradicts_itself_is_none(inner: str) -> None:
    with pytest.raises(SourceUnavailable):
        listed(reply(page(inner)))
