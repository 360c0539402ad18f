"""What S3 is asked about archived objects, and what its answers mean."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import boto3
import pytest
from botocore.stub import Stubber

from activekg_pipelines.sources.s3.source import S3Source

ELSEWHERE = "https://objects.example.com"
RESTORED = {"IsRestoreInProgress": False, "RestoreExpiryDate": datetime(2126, 1, 2, tzinfo=UTC)}
UNDER_WAY = {"IsRestoreInProgress": True}


def opened(bucket: str = "documents", endpoint_url: str | None = None) -> tuple[S3Source, Stubber]:
    client = boto3.client(
        "s3",
        region_name="us-east-1",
        endpoint_url=endpoint_url,
        aws_access_key_id="a",
        aws_secret_access_key="b",
    )
    source = S3Source(
        client,
        bucket,
        "",
        is_aws=endpoint_url is None,
        is_directory=bucket.endswith("--x-s3"),
    )
    return source, Stubber(client)


@pytest.mark.parametrize(
    ("bucket", "endpoint_url", "asks"),
    [
        ("documents", None, True),
        # Directory buckets, and stores that do not know it, refuse it.
        ("documents--use1-az4--x-s3", None, False),
        ("documents", ELSEWHERE, False),
    ],
)
def test_listings_tell_of_restores_where_the_store_can(
    bucket: str, endpoint_url: str | None, asks: bool
) -> None:
    source, stubber = opened(bucket, endpoint_url)
    asked: dict[str, Any] = {"Bucket": bucket, "Prefix": "", "StartAfter": ""}
    if asks:
        asked["OptionalObjectAttributes"] = ["RestoreStatus"]
    stubber.add_response("list_objects_v2", {"IsTruncated": False}, asked)
    with stubber:
        assert [page.entries for page in source.pages()] == [[]]
    stubber.assert_no_pending_responses()


@pytest.mark.parametrize(
    ("endpoint_url", "listed", "archived"),
    [
        (None, {"StorageClass": "STANDARD"}, False),
        (None, {"StorageClass": "GLACIER_IR"}, False),
        (None, {"StorageClass": "GLACIER"}, True),
        (None, {"StorageClass": "DEEP_ARCHIVE"}, True),
        (None, {"StorageClass": "GLACIER", "RestoreStatus": UNDER_WAY}, True),
        (None, {"StorageClass": "GLACIER", "RestoreStatus": RESTORED}, False),
        (None, {"StorageClass": "INTELLIGENT_TIERING"}, None),
        (ELSEWHERE, {"StorageClass": "GLACIER"}, None),
        (ELSEWHERE, {"StorageClass": "STANDARD"}, None),
        (ELSEWHERE, {}, None),
        (ELSEWHERE, {"StorageClass": "GLACIER", "RestoreStatus": RESTORED}, False),
    ],
)
def test_a_listing_says_which_objects_are_archived(
    endpoint_url: str | None, listed: dict[str, Any], archived: bool | None
) -> None:
    source, stubber = opened(endpoint_url=endpoint_url)
    entry = {"Key": "a", "ETag": '"e"', "Size": 1, "LastModified": datetime.now(UTC), **listed}
    stubber.add_response("list_objects_v2", {"IsTruncated": False, "Contents": [entry]})
    with stubber:
        (page,) = source.pages()
    assert [one.archived for one in page.entries] == [archived]


@pytest.mark.parametrize(
    ("answer", "archived"),
    [
        ({}, False),
        ({"StorageClass": "GLACIER"}, True),
        ({"StorageClass": "GLACIER", "Restore": 'ongoing-request="true"'}, True),
        (
            {
                "StorageClass": "GLACIER",
                "Restore": 'ongoing-request="false", expiry-date="Fri, 02 Jan 2126 00:00:00 GMT"',
            },
            False,
        ),
        ({"StorageClass": "INTELLIGENT_TIERING"}, False),
        ({"StorageClass": "INTELLIGENT_TIERING", "ArchiveStatus": "ARCHIVE_ACCESS"}, True),
        (
            {
                "StorageClass": "INTELLIGENT_TIERING",
                "ArchiveStatus": "DEEP_ARCHIVE_ACCESS",
                "Restore": 'ongoing-request="true"',
            },
            True,
        ),
    ],
)
def test_the_object_itself_says_whether_it_is_archived(
    answer: dict[str, Any], archived: bool
) -> None:
    source, stubber = opened()
    stubber.add_response("head_object", answer, {"Bucket": "documents", "Key": "a"})
    with stubber:
        assert source.is_archived("a") is archived
