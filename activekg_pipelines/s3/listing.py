"""Lists a bucket page by page in key order, from any key on."""

from __future__ import annotations

import logging
from collections.abc import Generator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from activekg_pipelines.errors import ListingOutOfOrder
from activekg_pipelines.s3.errors import source_error

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ObjectVersion:
    """What S3 says of an object.

    Attributes:
        key: the key, as S3 has it.
        etag: opaque, without quotes.
        size: bytes.
        modified_at: UTC.
    """

    key: str
    etag: str
    size: int
    modified_at: datetime


@dataclass(frozen=True, slots=True)
class Page:
    """Up to 1,000 entries of a listing, ascending by the bytes of their keys."""

    entries: list[ObjectVersion]
    is_last: bool


def list_pages(client: S3Client, bucket: str, prefix: str, start_after: str) -> Generator[Page]:
    """Pages of the listing after a key; at least one, which may be empty.

    Args:
        client: of the connector.
        bucket: name.
        prefix: only keys that start with it.
        start_after: the last key that is known already; "" for the first page.

    Raises:
        SourceError: the bucket cannot be listed, or not in order.
    """

    paginator = client.get_paginator("list_objects_v2")
    last = start_after.encode()
    try:
        for answer in paginator.paginate(Bucket=bucket, Prefix=prefix, StartAfter=start_after):
            entries = [
                ObjectVersion(entry["Key"], normalise_etag(entry["ETag"]), entry["Size"], entry["LastModified"])
                for entry in answer.get("Contents", [])
                if _storable(entry["Key"], bucket)
            ]
            last = _check_order(entries, last, bucket)
            yield Page(entries, is_last=not answer.get("IsTruncated", False))
    except (BotoCoreError, ClientError) as error:
        raise source_error(error, bucket) from None


def normalise_etag(etag: str) -> str:
    """The ETag without quotes: some stores list it without and answer GET with them."""
    return etag.strip('"')


def _storable(key: str, bucket: str) -> bool:
    """Whether Postgres can hold the key. S3 allows the character NUL in keys, and nobody uses it."""
    if "\x00" in key:
        logger.warning("The bucket %r holds a key with the character NUL, which is left out.", bucket)
        return False
    return True


def _check_order(entries: list[ObjectVersion], last: bytes, bucket: str) -> bytes:
    """The last key's bytes, once it is sure that the page can be compared with the ledger's key range."""
    for entry in entries:
        key = entry.key.encode("utf-8", "surrogatepass")
        if key <= last:
            raise ListingOutOfOrder(
                f"The bucket {bucket!r} lists its keys out of order (as S3 directory buckets do), "
                "so a listing of it cannot be resumed or compared. Use a general-purpose bucket."
            )
        last = key
    return last
