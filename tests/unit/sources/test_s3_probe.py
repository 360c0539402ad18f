"""The connection test's counting and reading, against scripted answers of S3."""

from __future__ import annotations

import io
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.exceptions import ClientError
from botocore.response import StreamingBody
from botocore.stub import Stubber

from activekg_pipelines.errors import AccessDenied, CredentialsRefused, SourceUnavailable
from activekg_pipelines.sources.probe import MAX_PAGES, Found, probe
from activekg_pipelines.sources.s3.errors import object_error, source_error
from activekg_pipelines.sources.s3.source import S3Source

Script = tuple[Any, Stubber]


@pytest.fixture
def script() -> Iterator[Script]:
    client = boto3.client(
        "s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
    )
    with Stubber(client) as stubber:
        yield client, stubber
        stubber.assert_no_pending_responses()


def page(number: int, *, last: bool, size: int = 5) -> dict[str, Any]:
    keys = [f"{number:02}/{name}" for name in "ab"]
    answer = {
        "IsTruncated": not last,
        "Contents": [
            {"Key": key, "ETag": '"e"', "Size": size, "LastModified": datetime.now(UTC)}
            for key in keys
        ],
    }
    return answer if last else answer | {"NextContinuationToken": str(number)}


def one_byte() -> dict[str, Any]:
    return {"Body": StreamingBody(io.BytesIO(b"x"), 1)}


def test_every_page_is_counted_and_one_byte_read(script: Script) -> None:
    client, stubber = script
    stubber.add_response("list_objects_v2", page(1, last=False, size=0))
    stubber.add_response("list_objects_v2", page(2, last=True))
    stubber.add_response(
        "get_object", one_byte(), {"Bucket": "bucket", "Key": "02/a", "Range": "bytes=0-0"}
    )
    assert probe(S3Source(client, "bucket", "")) == Found(4, is_lower_bound=False)


def test_counting_stops_after_a_few_pages(script: Script) -> None:
    client, stubber = script
    for number in range(MAX_PAGES):
        stubber.add_response("list_objects_v2", page(number, last=False))
    stubber.add_response("get_object", one_byte())
    assert probe(S3Source(client, "bucket", "")) == Found(2 * MAX_PAGES, is_lower_bound=True)


@pytest.mark.parametrize("code", ["InvalidObjectState", "NoSuchKey"])
def test_an_archived_or_vanished_object_says_nothing_about_permissions(
    script: Script, code: str
) -> None:
    client, stubber = script
    stubber.add_response("list_objects_v2", page(1, last=True))
    stubber.add_client_error("get_object", code)
    assert probe(S3Source(client, "bucket", "")) == Found(2, is_lower_bound=False)


def test_a_denied_read_is_an_error(script: Script) -> None:
    client, stubber = script
    stubber.add_response("list_objects_v2", page(1, last=True))
    stubber.add_client_error("get_object", "AccessDenied")
    with pytest.raises(AccessDenied):
        probe(S3Source(client, "bucket", ""))


def test_fixes_are_those_of_the_troubleshooting_section() -> None:
    def refused(code: str) -> ClientError:
        return ClientError({"Error": {"Code": code, "Message": ""}}, "GetObject")

    denied = object_error(refused("AccessDenied"), "bucket", "a.txt")
    assert isinstance(denied, AccessDenied)
    assert "s3:GetObject and s3:ListBucket" in denied.fix
    keys = source_error(refused("InvalidAccessKeyId"), "bucket")
    assert isinstance(keys, CredentialsRefused)
    assert "IAM console" in keys.fix
    assert SourceUnavailable().fix
