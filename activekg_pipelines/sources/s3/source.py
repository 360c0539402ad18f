"""A bucket as a source: lists it in the order of keys, fetches an object, tries one byte."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Final

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


class S3Source(Source):
    """One bucket and prefix.

    Args:
        client: of the connector; closed with the source.
        bucket: name.
        prefix: only keys that start with it.
        least_page_seconds: what a page may take in any case. Of a tick's budget may be
            left next to nothing, and then no page would ever come.
        is_directory: it is a directory bucket, which lists whole folders from their
            beginning alone.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        prefix: str,
        *,
        least_page_seconds: float = 10.0,
        is_directory: bool = False,
    ) -> None:
        self.client = client
        self._bucket = bucket
        self._prefix = prefix
        self._location = Location("s3", bucket, prefix)
        self._least_page = least_page_seconds
        self._is_directory = is_directory

    @property
    def location(self) -> Location:
        """``s3://bucket/prefix``."""
        return self._location

    def listing(self, after: str = "", *, deadline: float | None = None) -> Generator[Page]:
        """ListObjectsV2 by the store's own continuation tokens."""
        return self._list(self._prefix, after, deadline)

    def find(self, key: str, *, in_order: bool = True) -> Entry | None:
        """Ask the listing and not the object, whose absence S3 tells only who may list."""
        if self._is_directory:
            folder = key[: key.rfind("/") + 1]
            return entry_of(key, self._list(folder, "", None), in_order=False)
        return entry_of(key, self._list(key, "", None), in_order=in_order)

    def fetch(self, key: str, etag: str, target: Path, *, max_bytes: int) -> Fetched:
        """GetObject of the listed version; of the present one where that is gone."""
        try:
            answer = self._get(key, etag)
            arrived, modified_at = normalise_etag(answer["ETag"]), in_utc(answer["LastModified"])
            with closing(answer["Body"]) as body:
                written = write_body(
                    body.iter_chunks(CHUNK_BYTES),
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
            target, arrived, written.size, modified_at, written.sha256, answer.get("ContentType")
        )

    def read_one_byte(self, key: str) -> None:
        """GetObject with a range of one byte."""
        try:
            self.client.get_object(Bucket=self._bucket, Key=key, Range="bytes=0-0")["Body"].close()
        except (BotoCoreError, ClientError) as error:
            if error_code(error) not in _ALLOWED_ANYWAY:
                raise object_error(error, self._bucket, key) from None

    def close(self) -> None:
        """Close the client's connections."""
        self.client.close()

    def _get(self, key: str, etag: str) -> GetObjectOutputTypeDef:
        try:
            return self.client.get_object(Bucket=self._bucket, Key=key, IfMatch=f'"{etag}"')
        except ClientError as error:
            if error_code(error) not in {"PreconditionFailed", "412"}:
                raise
        # It was overwritten since the listing: the version that is there now.
        return self.client.get_object(Bucket=self._bucket, Key=key)

    def _list(self, prefix: str, after: str, deadline: float | None) -> Generator[Page]:
        paginator = self.client.get_paginator("list_objects_v2")
        start = "" if self._is_directory else after
        answers = iter(paginator.paginate(Bucket=self._bucket, Prefix=prefix, StartAfter=start))
        try:
            while (answer := self._next(answers, deadline)) is not None:
                if "Name" not in answer and "IsTruncated" not in answer:
                    # A list of buckets, or a page for people: not one of an empty bucket.
                    raise SourceUnavailable(
                        f"The store answers with something that is no listing of bucket "
                        f"{self._bucket!r}; nothing was deleted.",
                        fix="Check `endpoint_url`, `bucket` and `addressing_style`: the request "
                        "arrives where no bucket is.",
                    )
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
            size = listed["Size"]
            entry = Entry(
                listed["Key"],
                normalise_etag(listed["ETag"]),
                size,
                in_utc(listed["LastModified"]),
                listed.get("StorageClass"),
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


def normalise_etag(etag: str) -> str:
    """The ETag without quotes: some stores list it without and answer GET with them."""
    return etag.strip('"')
