"""A bucket as a source: lists it in the order of keys, fetches an object, tries one byte."""

from __future__ import annotations

import binascii
import hashlib
import re
import time
from collections.abc import Collection, Generator, Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError, FlexibleChecksumError
from botocore.httpchecksum import StreamingChecksumBody
from urllib3.exceptions import HTTPError

from activekg_pipelines.deadline import give_up_at
from activekg_pipelines.errors import FetchFailed, SourceUnavailable, first_line
from activekg_pipelines.sources.download import CHUNK_BYTES, write_body
from activekg_pipelines.sources.encodings import AWS_CHUNKED, UNNAMED_CHUNKED, named_codings
from activekg_pipelines.sources.listing import entry_of, in_utc
from activekg_pipelines.sources.network.answer_size import LISTING_BYTES, answers_of
from activekg_pipelines.sources.notes import StoreNote
from activekg_pipelines.sources.s3.errors import (
    error_code,
    may_be_outage,
    object_error,
    source_error,
)
from activekg_pipelines.sources.source import Entry, Fetched, Location, Page, Source

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import (
        GetObjectOutputTypeDef,
        ListObjectsV2OutputTypeDef,
        ObjectTypeDef,
    )

_Version: TypeAlias = tuple[str, bytes]
"""An ETag, and the MD5 of the bytes that came with it."""

# More than any store takes, and little enough for Postgres.
_MAX_OBJECT_BYTES: Final = 2**53
# The request was allowed; the object is archived, or was deleted since the listing.
_ALLOWED_ANYWAY: Final = frozenset({"InvalidObjectState", "NoSuchKey", "404"})
_ARCHIVES: Final = frozenset({"GLACIER", "DEEP_ARCHIVE"})
# Its archive tiers are told by the object alone.
_TIERED: Final = "INTELLIGENT_TIERING"
_NO_ETAG: Final = "listed-"
"""What the tokens of objects begin with that the store lists without an ETag."""
_MD5: Final = re.compile(r"[0-9a-fA-F]{32}")
# Encryption under which an ETag has 32 digits, too, and is of something else.
_KMS: Final = frozenset({"aws:kms", "aws:kms:dsse"})
_REFUSES_CONDITIONS: Final = frozenset({400, 501})


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
        is_aws: it lies at AWS, whose archives and ETags are known.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        prefix: str,
        *,
        least_page_seconds: float = 10.0,
        is_directory: bool = False,
        is_aws: bool = False,
    ) -> None:
        self.client = client
        self._bucket = bucket
        self._prefix = prefix
        self._location = Location("s3", bucket, prefix)
        self._least_page = least_page_seconds
        self._is_aws = is_aws
        self._is_directory = is_directory
        self._notes: set[StoreNote] = set()

    tokens_tell_bytes = True

    @property
    def notes(self) -> frozenset[StoreNote]:
        """What was found out about the store."""
        return frozenset(self._notes)

    def heed(self, notes: Collection[str]) -> None:
        """Take the store as it was found before."""
        self._notes.update(note for note in StoreNote if note in notes)

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
        """GetObject of the listed version; of the present one where that is gone.

        A body that is not what the answer names is fetched once more: it broke on the way,
        or the store names something else.
        """
        with self._answers_about(key):
            try:
                return self._fetch(key, etag, target, max_bytes, before=None)
            except _Doubtful as doubt:
                return self._fetch(key, etag, target, max_bytes, before=doubt.version)

    @contextmanager
    def _answers_about(self, key: str) -> Iterator[None]:
        """Whatever goes wrong with the store's answers is an error of this object or source."""
        try:
            yield
        except (BotoCoreError, ClientError, HTTPError) as error:
            if may_be_outage(error):
                self._check_that_it_lists()
            raise object_error(error, self._bucket, key) from None
        except (KeyError, ValueError, OverflowError) as error:
            # No ETag or time of change, or a time or a number that is none.
            raise FetchFailed(
                f"Failed to fetch {self._location.uri(key)}: the store's answer cannot be read "
                f"({first_line(error)})"
            ) from None

    def _check_that_it_lists(self) -> None:
        """Tell an outage, of which no object is to lose an attempt, from one bad object.

        Raises:
            SourceError: the bucket cannot be listed either.
        """
        try:
            with answers_of(LISTING_BYTES):
                self.client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix, MaxKeys=1)
        except (BotoCoreError, ClientError) as error:
            raise source_error(error, self._bucket) from None

    def _fetch(
        self, key: str, etag: str, target: Path, max_bytes: int, *, before: _Version | None
    ) -> Fetched:
        answer = self._get(key, etag)
        arrived = normalise_etag(answer.get("ETag", "")) or etag
        modified_at = in_utc(answer["LastModified"])
        digest = hashlib.md5(usedforsecurity=False)
        with closing(answer["Body"]):
            written = write_body(
                self._sound(answer, digest, self._location.uri(key), before),
                target,
                uri=self._location.uri(key),
                declared=answer.get("ContentLength"),
                max_bytes=max_bytes,
                codings=_codings(answer),
            )
        return Fetched(
            target,
            arrived,
            written.size,
            modified_at,
            written.sha256,
            answer.get("ContentType"),
            None if self._is_aws else digest.hexdigest(),
        )

    def _sound(
        self,
        answer: GetObjectOutputTypeDef,
        digest: hashlib._Hash,
        uri: str,
        before: _Version | None,
    ) -> Iterator[bytes]:
        """A body as it arrives, held against the checksum and the MD5 that the answer names.

        Args:
            digest: an empty one of MD5, which gets what arrives.
            before: what arrived at the first attempt, which was another.

        Raises:
            _Doubtful: at the end, where it is neither, at the first attempt.
            FetchFailed: the same at the second one.
        """
        body = answer["Body"]
        is_checked, is_wrong = isinstance(body, StreamingChecksumBody), False
        try:
            for piece in body.iter_chunks(CHUNK_BYTES):
                digest.update(piece)
                yield piece
        except (FlexibleChecksumError, binascii.Error):
            # At the end of a body of the right length.
            is_wrong = True
        if is_checked and not is_wrong:
            return
        md5 = None if StoreNote.ETAGS_NO_MD5 in self._notes else _md5_of(answer)
        if md5 == digest.digest():
            if is_wrong:
                self._notes.add(StoreNote.WRONG_CHECKSUMS)
            return
        if md5 is None and (not is_wrong or StoreNote.WRONG_CHECKSUMS in self._notes):
            # Its length is right, and nothing else is known of it.
            return
        version = answer.get("ETag", ""), digest.digest()
        if before is None:
            raise _Doubtful(version)
        if version != before or (md5 is not None and is_wrong):
            raise FetchFailed(
                f"Failed to fetch {uri}: what arrived is not what the store names by "
                f"{'checksum and MD5' if md5 and is_wrong else 'checksum' if is_wrong else 'MD5'}."
            )
        # It came twice, alike: what the store names is of something else.
        self._notes.add(StoreNote.WRONG_CHECKSUMS if is_wrong else StoreNote.ETAGS_NO_MD5)

    def read_one_byte(self, key: str) -> None:
        """GetObject with a range of one byte."""
        with self._answers_about(key):
            try:
                answer = self.client.get_object(Bucket=self._bucket, Key=key, Range="bytes=0-0")
                answer["Body"].close()
            except ClientError as error:
                if error_code(error) not in _ALLOWED_ANYWAY:
                    raise

    def is_archived(self, key: str) -> bool:
        """HeadObject. Nothing else tells of the archive tiers of Intelligent-Tiering."""
        with self._answers_about(key):
            answer = self.client.head_object(Bucket=self._bucket, Key=key)
        if restore := answer.get("Restore"):
            return 'ongoing-request="false"' not in restore
        return "ArchiveStatus" in answer or answer.get("StorageClass") in _ARCHIVES

    def close(self) -> None:
        """Close the client's connections."""
        self.client.close()

    def _get(self, key: str, etag: str) -> GetObjectOutputTypeDef:
        if etag.startswith(_NO_ETAG) or StoreNote.NO_CONDITIONS in self._notes:
            return self.client.get_object(Bucket=self._bucket, Key=key)
        try:
            return self.client.get_object(Bucket=self._bucket, Key=key, IfMatch=f'"{etag}"')
        except ClientError as error:
            status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode")
            is_refused = status in _REFUSES_CONDITIONS
            if error_code(error) not in {"PreconditionFailed", "412"} and not is_refused:
                raise
        # It was overwritten since the listing, or the store knows no conditions: the
        # version that is there now.
        answer = self.client.get_object(Bucket=self._bucket, Key=key)
        if is_refused:
            self._notes.add(StoreNote.NO_CONDITIONS)
        return answer

    def _list(self, prefix: str, after: str, deadline: float | None) -> Generator[Page]:
        paginator = self.client.get_paginator("list_objects_v2")
        start = "" if self._is_directory else after
        asked: dict[str, Any] = {"Bucket": self._bucket, "Prefix": prefix, "StartAfter": start}
        # Others may refuse what they do not know, and so do AWS's directory buckets.
        if self._is_aws and not self._is_directory:
            asked["OptionalObjectAttributes"] = ["RestoreStatus"]
        answers = iter(paginator.paginate(**asked))
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
                if "IsTruncated" not in answer and answer.get("NextContinuationToken"):
                    raise SourceUnavailable(
                        f"The store lists bucket {self._bucket!r} without saying whether the "
                        "listing goes on, and names where it would; nothing was deleted."
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
            except (ValueError, TypeError, AttributeError, RecursionError) as error:
                # What botocore's parser makes of a size or a time that is none, of what
                # is there twice, or within itself.
                raise SourceUnavailable(
                    f"The store answers with a listing that cannot be read: {first_line(error)}"
                ) from None

    def _entry(self, listed: ObjectTypeDef, prefix: str) -> Entry:
        try:
            size, modified_at = listed["Size"], in_utc(listed["LastModified"])
            archived = self._archived(listed)
            entry = Entry(
                _text(listed["Key"]),
                normalise_etag(listed.get("ETag", "")) or _stand_in(size, modified_at),
                size,
                modified_at,
                listed.get("StorageClass"),
                {} if archived is None else {"archived": archived},
            )
        except (TypeError, AttributeError):
            raise SourceUnavailable(
                f"The store lists an object of bucket {self._bucket!r} of which something is "
                "there twice."
            ) from None
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


class _Doubtful(Exception):
    """A body of the right length is not what its answer names.

    Attributes:
        version: what arrived.
    """

    def __init__(self, version: _Version) -> None:
        super().__init__(version)
        self.version = version


def _md5_of(answer: GetObjectOutputTypeDef) -> bytes | None:
    """The MD5 of the body as the ETag names it; None where the ETag is none."""
    # A weak one, W/"…", is of a text that only means the same.
    etag = answer.get("ETag", "").strip('"')
    is_encrypted = answer.get("SSECustomerAlgorithm") or answer.get("ServerSideEncryption") in _KMS
    return bytes.fromhex(etag) if _MD5.fullmatch(etag) and not is_encrypted else None


def _codings(answer: GetObjectOutputTypeDef) -> list[str]:
    """What the body may be encoded with, the last coding first."""
    named = named_codings(answer.get("ContentEncoding"))
    if AWS_CHUNKED in named:
        return named
    headers = answer["ResponseMetadata"].get("HTTPHeaders", {})
    is_framed = "x-amz-decoded-content-length" in headers
    return [AWS_CHUNKED if is_framed else UNNAMED_CHUNKED, *named]


def _text(value: object) -> str:
    """A text as it is: of an element that is there twice botocore makes a list."""
    if not isinstance(value, str):
        raise TypeError
    return value


def normalise_etag(etag: str) -> str:
    """The ETag without quotes and without the mark of a weak one.

    Some stores list it without and answer GET with them.
    """
    return etag.removeprefix("W/").strip('"')


def _stand_in(size: int, modified_at: datetime) -> str:
    """The token of an object that the store lists without an ETag."""
    return f"{_NO_ETAG}{size}-{modified_at:%Y%m%dT%H%M%S.%f}"
