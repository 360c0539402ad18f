"""Tries a source the way a sync uses it, list and get, and says in the connector's
document's words what is wrong.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from activekg_pipelines.errors import (
    AccessDenied,
    ActiveKGError,
    BucketAccessDenied,
    BucketMissing,
    ClockSkewed,
    CredentialsRefused,
    EncryptionError,
    EndpointForbidden,
    EndpointUnreachable,
    ObjectError,
    SourceError,
    WrongRegion,
)
from activekg_pipelines.s3.errors import error_code, object_error
from activekg_pipelines.s3.listing import ObjectVersion, list_pages
from activekg_pipelines.s3.patience import give_up_at

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# A page holds 1,000 keys; ten of them answer within a few seconds.
MAX_PAGES: Final = 10
# Somebody waits for the answer, and a thread of the API with him.
_LISTING_SECONDS: Final = 20.0
_READING_SECONDS: Final = 10.0

_ALLOW: Final = "Verify that the IAM policy includes s3:GetObject and s3:ListBucket"
_FIXES: Final[dict[type[ActiveKGError], str]] = {
    CredentialsRefused: "Regenerate the access keys in the IAM console, update the connector with "
    "the new keys, and "
    "test the connection again.",
    BucketMissing: "Check the spelling of `bucket` and that the bucket exists in the account of "
    "these credentials.",
    BucketAccessDenied: f"{_ALLOW}, check that the bucket policy doesn't deny access, and verify "
    "that the credentials "
    "are correct.",
    AccessDenied: f"{_ALLOW}, check that the bucket policy doesn't deny access, and allow "
    "kms:Decrypt where objects "
    "are encrypted with a KMS key.",
    WrongRegion: "Set `region` to the region that the S3 console shows for the bucket, or correct "
    "`endpoint_url`.",
    ClockSkewed: "Synchronise the clock of the machine that runs ActiveKG (NTP).",
    EndpointForbidden: "Give the public address of the store as `endpoint_url`, or ask the "
    "operator to allow its "
    "network in ACTIVEKG_PRIVATE_NETWORKS.",
    EndpointUnreachable: "Check `endpoint_url` and `region`, and that the network lets ActiveKG "
    "reach S3.",
    EncryptionError: "Ask the operator to set the key that encrypted these credentials, or update "
    "the connector with "
    "its access keys.",
}
_TRY_AGAIN: Final = "Test again in a few minutes; if it stays, look into the log of the API."
# The request was allowed; the object is archived, or was deleted since the listing.
_ALLOWED_ANYWAY: Final = frozenset({"InvalidObjectState", "NoSuchKey", "404"})


@dataclass(frozen=True, slots=True)
class Found:
    """What a working source holds.

    Attributes:
        objects: keys under the prefix, as far as they were counted.
        is_lower_bound: there are more than were counted.
    """

    objects: int
    is_lower_bound: bool


def probe(client: S3Client, bucket: str, prefix: str) -> Found:
    """List the source and read one byte of its first object that holds any.

    Raises:
        SourceError: the bucket cannot be listed.
        ObjectError: the object cannot be read.
    """
    objects = 0
    sample: ObjectVersion | None = None
    pages = list_pages(client, bucket, prefix, "", deadline=time.monotonic() + _LISTING_SECONDS)
    for number, page in enumerate(pages, start=1):
        objects += len(page.entries)
        sample = sample or _first_with_content(page.entries)
        if page.is_last or number == MAX_PAGES:
            break
    if sample is not None:
        with give_up_at(time.monotonic() + _READING_SECONDS):
            _read_one_byte(client, bucket, sample.key)
    return Found(objects, is_lower_bound=not page.is_last)


def fix_for(error: SourceError | ObjectError | EncryptionError) -> str:
    """What a person does about an error, as the document's Troubleshooting section says
    it.
    """
    return _FIXES.get(type(error), _TRY_AGAIN)


def warning_about(found: Found, prefix: str) -> str | None:
    """What a working source's owner should look at before a first sync: a prefix that
    matches nothing.
    """
    if found.objects or not prefix:
        return None
    if prefix.startswith("/"):
        return (
            f"No key begins with {prefix!r}. Keys of S3 rarely begin with a slash: "
            f"{prefix.lstrip('/')!r} is probably "
            "meant."
        )
    return (
        f"No key begins with {prefix!r}: check the prefix, which is case-sensitive and no pattern."
    )


def _first_with_content(entries: Sequence[ObjectVersion]) -> ObjectVersion | None:
    return next((entry for entry in entries if entry.size > 0), None)


def _read_one_byte(client: S3Client, bucket: str, key: str) -> None:
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client.get_object(Bucket=bucket, Key=key, Range="bytes=0-0")["Body"].close()
    except (BotoCoreError, ClientError) as error:
        if error_code(error) not in _ALLOWED_ANYWAY:
            raise object_error(error, bucket, key) from None
