"""Lists a bucket page by page in key order, from any key on."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from activekg_pipelines.errors import ListingOutOfOrder, SourceUnavailable
from activekg_pipelines.s3.errors import source_error
from activekg_pipelines.s3.patience import give_up_at

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import ListObjectsV2OutputTypeDef, ObjectTypeDef


logger = logging.getLogger(__name__)

# Of a tick's budget may be left next to nothing, and then no page would ever come.
_LEAST_PAGE_SECONDS: Final = 10.0
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/object-keys.html
_MAX_KEY_BYTES: Final = 1024
# More than any store takes, and little enough for Postgres.
_MAX_OBJECT_BYTES: Final = 2**53


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


def list_pages(
    client: S3Client, bucket: str, prefix: str, start_after: str, *, deadline: float | None = None
) -> Generator[Page]:
    """Pages of the listing after a key; at least one, which may be empty.

    Args:
        client: of the connector.
        bucket: name.
        prefix: only keys that start with it.
        start_after: the last key that is known already; "" for the first page.
        deadline: moment of ``time.monotonic()`` after which a page that does not come
            is not waited for; a page has ten seconds at least. None for the patience of
            a run, which a bucket full of delete markers may need.

    Raises:
        SourceError: the bucket cannot be listed, or not in order.
    """

    paginator = client.get_paginator("list_objects_v2")
    answers = iter(paginator.paginate(Bucket=bucket, Prefix=prefix, StartAfter=start_after))
    last = start_after.encode()
    try:
        while (answer := _next(answers, deadline)) is not None:
            entries = [
                _version(entry, bucket)
                for entry in answer.get("Contents", [])
                if _storable(entry["Key"], bucket)
            ]
            last = _check_keys(entries, prefix, last, bucket)
            yield Page(entries, is_last=not answer.get("IsTruncated", False))
    except (BotoCoreError, ClientError) as error:
        raise source_error(error, bucket) from None


def _next(
    answers: Iterator[ListObjectsV2OutputTypeDef], deadline: float | None
) -> ListObjectsV2OutputTypeDef | None:
    moment = None if deadline is None else max(deadline, time.monotonic() + _LEAST_PAGE_SECONDS)
    with give_up_at(moment):
        try:
            return next(answers, None)
        except ValueError as error:
            # What botocore's parser makes of a size or a time that is none.
            raise SourceUnavailable(
                f"The store answers with a listing that cannot be read: {error}"
            ) from None


def _version(entry: ObjectTypeDef, bucket: str) -> ObjectVersion:
    try:
        size = entry["Size"]
        version = ObjectVersion(
            entry["Key"], normalise_etag(entry["ETag"]), size, in_utc(entry["LastModified"])
        )
    except KeyError as missing:
        raise SourceUnavailable(
            f"The store lists an object of bucket {bucket!r} without {missing}, which every S3 "
            "listing has."
        ) from None
    except OverflowError:
        raise SourceUnavailable(
            f"The store lists an object of bucket {bucket!r} with a time that lies beyond the "
            "calendar."
        ) from None
    if not 0 <= size <= _MAX_OBJECT_BYTES:
        raise SourceUnavailable(
            f"The store lists an object of bucket {bucket!r} with a size of {size} bytes."
        )
    return version


def in_utc(moment: datetime) -> datetime:
    """What Postgres takes: stores may write any zone, and none for UTC. OverflowError
    for what is on no calendar.
    """
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def normalise_etag(etag: str) -> str:
    """The ETag without quotes: some stores list it without and answer GET with them."""
    return etag.strip('"')


def _storable(key: str, bucket: str) -> bool:
    """Whether Postgres can hold the key: S3 allows the character NUL in keys, and
    nobody uses it.
    """
    if "\x00" in key:
        logger.warning(
            "The bucket %r holds a key with the character NUL, which is left out.", bucket
        )
        return False
    if len(key.encode("utf-8", "surrogatepass")) > _MAX_KEY_BYTES:
        logger.warning(
            "The bucket %r holds a key longer than S3 allows, which is left out.", bucket
        )
        return False
    return True


def _check_keys(entries: list[ObjectVersion], prefix: str, last: bytes, bucket: str) -> bytes:
    """The last key's bytes, once it is sure that the page can be compared with the
    ledger's key range.
    """
    for entry in entries:
        key = entry.key.encode("utf-8", "surrogatepass")
        if key <= last:
            raise ListingOutOfOrder(
                f"The bucket {bucket!r} lists its keys out of order (as S3 directory buckets do), "
                "so a listing of it cannot be resumed or compared. Use a general-purpose bucket."
            )
        if not entry.key.startswith(prefix):
            raise SourceUnavailable(
                f"The store lists keys of bucket {bucket!r} that do not begin with the prefix."
            )
        last = key
    return last
