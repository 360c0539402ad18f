"""A bucket as a source: lists it in the order of keys, fetches an object, tries one byte."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Generator, Iterator
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from activekg_pipelines.deadline import give_up_at
from activekg_pipelines.errors import FetchFailed, SourceUnavailable, first_line
from activekg_pipelines.sources.download import CHUNK_BYTES, write_body
from activekg_pipelines.sources.listing import entry_of, in_utc
from activekg_pipelines.sources.network.answer_size import LISTING_BYTES, answers_of
from activekg_pipelines.sources.s3.errors import error_code, object_error, source_error
from activekg_pipelines.sources.source import Entry, Fetched, Location, Page, Source

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import (
        GetObjectOutputTypeDef,
        ListObjectsV2OutputTypeDef,
        ObjectTypeDef,
    )

# More than any store takes, and little enough for Postgres.
_MAX_OBJECT_BYTES: Final = 2**53
# The request was allowed; the object is archived, or was deleted since the listing.
_ALLOWED_ANYWAY: Final = frozenset({"InvalidObjectState", "NoSuchKey", "404"})
_ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})
# Its archive tiers are told by the object alone.
_TIERED: Final = "INTELLIGENT_TIERING"
_NO_ETAG: Final = "listed-"
"""What the tokens of objects begin with that the store lists without an ETag."""


class S3Source(Source):
    """One bucket and prefix.

    Args:
        client: of the connector; closed with the source.
        bucket: name.
        prefix: only keys that start with it.
        least_page_seconds: what a page may take in any case. Of a tick's budget may be
            left next to nothing, and then no page would ever come.
    """

    def __init__(
        self, client: S3Client, bucket: str, prefix: str, *, least_page_seconds: float = 10.0
    ) -> None:
        self.client = client
        self._bucket = bucket
        self._prefix = prefix
        self._location = Location("s3", bucket, prefix)
        self._least_page = least_page_seconds
        self._is_aws = is_aws(client.meta.endpoint_url)

    tokens_tell_bytes = True

    @property
    def location(self) -> Location:
        """``s3://bucket/prefix``."""
        return self._location

    def listing(self, after: str = "", *, deadline: float | None = None) -> Generator[Page]:
        """ListObjectsV2 by the store's own continuation tokens."""
        return self._list(self._prefix, after, deadline)

    def find(self, key: str, *, in_order: bool = True) -> Entry | None:
        """Ask the listing and not the object, whose absence S3 tells only who may list."""
        return entry_of(key, self._list(key, "", None), in_order=in_order)

    def fetch(self, key: str, etag: str, target: Path, *, max_bytes: int) -> Fetched:
        """GetObject of the listed version; of the present one where that is gone."""
        try:
            answer = self._get(key, etag)
            arrived = normalise_etag(answer.get("ETag", "")) or etag
            modified_at = in_utc(answer["LastModified"])
            md5 = None if self._is_aws else hashlib.md5(usedforsecurity=False)
            with closing(answer["Body"]) as body:
                written = write_body(
                    _digested(body.iter_chunks(CHUNK_BYTES), md5),
                    target,
                    uri=self._location.uri(key),
                    declared=answer.get("ContentLength"),
                    max_bytes=max_bytes,
                )
        except (BotoCoreError, ClientError, HTTPError) as error:
            raise object_error(error, self._bucket, key) from None
        except (KeyError, ValueError, OverflowError) as error:
            # No ETag or time of change, or a time that is none.
            raise FetchFailed(
                f"Failed to fetch {self._location.uri(key)}: the store's answer cannot be read "
                f"({first_line(error)})"
            ) from None
        return Fetched(
            target,
            arrived,
            written.size,
            modified_at,
            written.sha256,
            answer.get("ContentType"),
            None if md5 is None else md5.hexdigest(),
        )

    def read_one_byte(self, key: str) -> None:
        """GetObject with a range of one byte."""
        try:
            self.client.get_object(Bucket=self._bucket, Key=key, Range="bytes=0-0")["Body"].close()
        except (BotoCoreError, ClientError) as error:
            if error_code(error) not in _ALLOWED_ANYWAY:
                raise object_error(error, self._bucket, key) from None

    def is_archived(self, key: str) -> bool:
        """HeadObject. Nothing else tells of the archive tiers of Intelligent-Tiering."""
        try:
            answer = self.client.head_object(Bucket=self._bucket, Key=key)
        except (BotoCoreError, ClientError) as error:
            raise object_error(error, self._bucket, key) from None
        if restore := answer.get("Restore"):
            return 'ongoing-request="false"' not in restore
        return "ArchiveStatus" in answer or answer.get("StorageClass") in _ARCHIVES

    def close(self) -> None:
        """Close the client's connections."""
        self.client.close()

    def _get(self, key: str, etag: str) -> GetObjectOutputTypeDef:
        if etag.startswith(_NO_ETAG):
            return self.client.get_object(Bucket=self._bucket, Key=key)
        try:
            return self.client.get_object(Bucket=self._bucket, Key=key, IfMatch=f'"{etag}"')
        except ClientError as error:
            if error_code(error) not in {"PreconditionFailed", "412"}:
                raise
        # It was overwritten since the listing: the version that is there now.
        return self.client.get_object(Bucket=self._bucket, Key=key)

    def _list(self, prefix: str, after: str, deadline: float | None) -> Generator[Page]:
        paginator = self.client.get_paginator("list_objects_v2")
        asked: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix, "StartAfter": after}
        # Others may refuse what they do not know, and so do AWS's directory buckets.
        if self._is_aws and not self._bucket.endswith("--x-s3"):
            asked["OptionalObjectAttributes"] = ["RestoreStatus"]
        answers = iter(paginator.paginate(**asked))
        try:
            while (answer := self._next(answers, deadline)) is not None:
                entries = [self._entry(one, prefix) for one in answer.get("Contents", [])]
                yield Page(entries, is_last=not answer.get("IsTruncated", False))
        except (BotoCoreError, ClientError) as error:
            raise source_error(error, self._bucket) from None

    def _next(
        self, answers: Iterator[ListObjectsV2OutputTypeDef], deadline: float | None
    ) -> ListObjectsV2OutputTypeDef | None:
        moment = None if deadline is None else max(deadline, time.monotonic() + self._least_page)
        with give_up_at(moment), answers_of(LISTING_BYTES):
            try:
                return next(answers, None)
            except BotoCoreError:
                # Some of them are a ValueError, too.
                raise
            except ValueError as error:
                # What botocore's parser makes of a size or a time that is none.
                raise SourceUnavailable(
                    f"The store answers with a listing that cannot be read: {first_line(error)}"
                ) from None

    def _entry(self, listed: ObjectTypeDef, prefix: str) -> Entry:
        try:
            size, modified_at = listed["Size"], in_utc(listed["LastModified"])
            archived = self._archived(listed)
            entry = Entry(
                listed["Key"],
                normalise_etag(listed.get("ETag", "")) or _stand_in(size, modified_at),
                size,
                modified_at,
                listed.get("StorageClass"),
                {} if archived is None else {"archived": archived},
            )
        except KeyError as missing:
            raise SourceUnavailable(
                f"The store lists an object of bucket {self._bucket!r} without {missing}, which "
                "every S3 listing has."
            ) from None
        except OverflowError:
            raise SourceUnavailable(
                f"The store lists an object of bucket {self._bucket!r} with a time that lies "
                "beyond the calendar."
            ) from None
        if not 0 <= size <= _MAX_OBJECT_BYTES:
            raise SourceUnavailable(
                f"The store lists an object of bucket {self._bucket!r} with a size of {size} bytes."
            )
        if not entry.key.startswith(prefix):
            raise SourceUnavailable(
                f"The store lists keys of bucket {self._bucket!r} that do not begin with the "
                "prefix."
            )
        return entry

    def _archived(self, listed: ObjectTypeDef) -> bool | None:
        restore = listed.get("RestoreStatus", {})
        if restore.get("RestoreExpiryDate") and not restore.get("IsRestoreInProgress"):
            return False
        storage_class = listed.get("StorageClass")
        # The classes of other stores only sound like AWS's: there a GET has to be refused.
        if not self._is_aws or storage_class == _TIERED:
            return None
        return storage_class in _ARCHIVES


def is_aws(endpoint_url: str) -> bool:
    """Whether an endpoint is AWS's own."""
    host = urlsplit(endpoint_url).hostname or ""
    return host.endswith((".amazonaws.com", ".amazonaws.com.cn"))


def normalise_etag(etag: str) -> str:
    """The ETag without quotes and without the mark of a weak one.

    Some stores list it without and answer GET with them.
    """
    return etag.removeprefix("W/").strip('"')


def _stand_in(size: int, modified_at: datetime) -> str:
    """The token of an object that the store lists without an ETag."""
    return f"{_NO_ETAG}{size}-{modified_at:%Y%m%dT%H%M%S.%f}"


def _digested(pieces: Iterator[bytes], digest: hashlib._Hash | None) -> Iterator[bytes]:
    """The pieces as they are, added to a digest on the way."""
    for piece in pieces:
        if digest is not None:
            digest.update(piece)
        yield piece
