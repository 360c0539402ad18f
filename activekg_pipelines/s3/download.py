"""Downloads one object to a file: the listed version if it is still there, the present
one if not, never too much.
"""

from __future__ import annotations

import errno
import hashlib
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError
from urllib3.exceptions import HTTPError

from activekg_pipelines.errors import FetchFailed, TooLarge
from activekg_pipelines.s3.errors import error_code, object_error
from activekg_pipelines.s3.listing import in_utc, normalise_etag

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client
    from types_boto3_s3.type_defs import GetObjectOutputTypeDef

_CHUNK_BYTES = 256 * 1024
_NO_SPACE = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Download:
    """A downloaded version of an object.

    Attributes:
        etag: of the bytes that arrived, which may be newer than the listing's.
        size: bytes that arrived.
        sha256: digest of the bytes that arrived.
        content_type: as S3 says; boto3 uploads say ``binary/octet-stream`` for
            everything.
    """

    path: Path
    etag: str
    size: int
    modified_at: datetime
    sha256: bytes
    content_type: str | None


def download(
    client: S3Client, bucket: str, key: str, etag: str, target: Path, max_bytes: int
) -> Download:
    """Fetch an object into ``target``.

    Args:
        client: of the connector.
        bucket, key: the object.
        etag: the listed version.
        target: file to write; the caller removes it.
        max_bytes: limit on the declared length and on the bytes that arrive.

    Raises:
        TooLarge: more than ``max_bytes``.
        ObjectGone, AccessDenied, FetchFailed: S3 did not give the object.
        CredentialsRefused, BucketMissing, EndpointUnreachable: no object of the bucket
            can be had.
    """
    uri = f"s3://{bucket}/{key}"
    try:
        answer = _get(client, bucket, key, etag)
        arrived_etag, modified_at = normalise_etag(answer["ETag"]), in_utc(answer["LastModified"])
        with closing(answer["Body"]) as body:
            # Some stores stream without a length; there the transfer's own end mark
            # tells a truncated body.
            declared = answer.get("ContentLength")
            if declared is not None and declared > max_bytes:
                raise _too_large(uri, declared, max_bytes)
            digest = hashlib.sha256()
            size = 0
            with target.open("wb") as file:
                for chunk in body.iter_chunks(_CHUNK_BYTES):
                    size += len(chunk)
                    if size > max_bytes:
                        raise _too_large(uri, size, max_bytes)
                    digest.update(chunk)
                    file.write(chunk)
    except (BotoCoreError, ClientError, HTTPError) as error:
        raise object_error(error, bucket, key) from None
    except (KeyError, ValueError, OverflowError) as error:
        # No ETag or time of change, or a time that is none.
        raise FetchFailed(
            f"Failed to fetch {uri}: the store's answer cannot be read ({error})"
        ) from None
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        # Smaller objects may still fit, and what others hold of the disk comes back.
        raise FetchFailed(
            f"Failed to fetch {uri}: no space is left for temporary files in "
            f"{target.parent.parent}. "
            "Free some, or set TMPDIR to a larger disk."
        ) from None
    if declared is not None and size != declared:
        raise FetchFailed(f"Failed to fetch {uri}: {size} of {declared} bytes arrived")
    return Download(
        target,
        arrived_etag,
        size,
        modified_at,
        digest.digest(),
        answer.get("ContentType"),
    )


def _get(client: S3Client, bucket: str, key: str, etag: str) -> GetObjectOutputTypeDef:
    """The listed version; where it was overwritten since, the version that is there
    now.
    """
    try:
        return client.get_object(Bucket=bucket, Key=key, IfMatch=f'"{etag}"')
    except ClientError as error:
        if error_code(error) not in {"PreconditionFailed", "412"}:
            raise
    return client.get_object(Bucket=bucket, Key=key)


def _too_large(uri: str, size: int, max_bytes: int) -> TooLarge:
    return TooLarge(
        f"{uri} is larger than ACTIVEKG_MAX_FILE_BYTES allows: {size:,} bytes, limit {max_bytes:,}."
    )
