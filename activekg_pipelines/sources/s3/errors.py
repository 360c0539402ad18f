"""Turns botocore's exceptions into this package's: named, with the fix, without a secret."""

from __future__ import annotations

import re
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    InvalidRegionError,
    NoCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)

from activekg_pipelines.errors import (
    AccessDenied,
    ClockSkewed,
    CredentialsRefused,
    EndpointUnreachable,
    FetchFailed,
    ListingDenied,
    ObjectError,
    ObjectGone,
    SourceError,
    SourceMissing,
    SourceUnavailable,
    WrongRegion,
)
from activekg_pipelines.quoting import printable

_ALLOW = "Verify that the IAM policy includes s3:GetObject and s3:ListBucket"
_NEW_KEYS = (
    "Regenerate the access keys in the IAM console, update the connector with the new keys, and "
    "test the connection again."
)
_CREDENTIALS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "ExpiredToken",
    "InvalidToken",
    "TokenRefreshRequired",
    "AuthorizationHeaderMalformed",
    # The account is suspended: of every object, not of this one.
    "AllAccessDisabled",
    "AccountProblem",
}
# Nothing follows a redirect: whoever answers with one would get a request that the
# tenant's key signed.
_REGION = {
    "PermanentRedirect",
    "TemporaryRedirect",
    "Redirect",
    "IllegalLocationConstraintException",
    "301",
    "302",
    "303",
    "307",
    "308",
    # Cloudflare's, which lists the ones that it has.
    "InvalidRegionName",
}
# Of no object in particular.
_OF_THE_BUCKET = _CREDENTIALS | _REGION | {"NoSuchBucket", "RequestTimeTooSkewed"}
_DENIED = {"AccessDenied", "403"}
_GONE = {"NoSuchKey", "404"}
# S3's own longest one has 43.
_MAX_CODE_CHARACTERS = 64
_UNREACHABLE = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError, SSLError)


def source_error(error: BotoCoreError | ClientError, bucket: str) -> SourceError:
    """The error of a bucket as a whole behind a failed request.

    Args:
        error: what botocore raised.
        bucket: named in the message.
    """
    if isinstance(error, _UNREACHABLE):
        return EndpointUnreachable(
            f"The S3 endpoint of bucket {bucket!r} cannot be reached: check address and network.",
            fix="Check `endpoint_url` and `region`, and that the network lets ActiveKG reach S3.",
        )
    if isinstance(error, NoCredentialsError):
        return CredentialsRefused(
            "S3 refused the access key: it is wrong, expired or deactivated.", fix=_NEW_KEYS
        )
    code = error_code(error)
    # A wrong region shows itself as a malformed header that names the right one.
    if (
        code in _REGION
        or isinstance(error, InvalidRegionError)
        or (code == "AuthorizationHeaderMalformed" and re.search(r"region|scope", str(error)))
    ):
        right = named_region(error)
        where = f"in the region {right}" if right else "in another region, or at another endpoint,"
        return WrongRegion(
            f"The bucket {bucket!r} lies {where} and not where the connector says: correct "
            "`region`.",
            fix="Set `region` to the region that the S3 console shows for the bucket, or correct "
            "`endpoint_url`.",
        )
    if code in _CREDENTIALS:
        return CredentialsRefused(
            f"S3 refused the access key for bucket {bucket!r} ({code}): it is wrong, expired or "
            "deactivated. Create a new access key in the IAM console and update the connector.",
            fix=_NEW_KEYS,
        )
    if code == "NoSuchBucket":
        return SourceMissing(
            f"The bucket {bucket!r} does not exist.",
            fix="Check the spelling of `bucket` and that the bucket exists in the account of "
            "these credentials.",
        )
    if code in _DENIED:
        return ListingDenied(
            f"S3 denies listing the bucket {bucket!r}: check that the IAM policy allows "
            "s3:ListBucket on it and that the bucket's own policy does not deny it.",
            fix=f"{_ALLOW}, check that the bucket policy doesn't deny access, and verify that the "
            "credentials are correct.",
        )
    if code == "RequestTimeTooSkewed":
        return ClockSkewed(
            "S3 refused the request's time: this machine's clock is more than 15 minutes off."
        )
    return SourceUnavailable(
        f"S3 failed on bucket {bucket!r} ({code}); nothing was deleted and the next scan goes on."
    )


def object_error(error: Exception, bucket: str, key: str) -> ObjectError | SourceError:
    """The error behind a failed download.

    It is the object's, or the whole bucket's where no object of it can be had.
    An outage must not use up the attempts of every object that is waiting.

    Args:
        error: what botocore or the connection raised.
        bucket, key: the object, named in the message.
    """
    uri = f"s3://{bucket}/{key}"
    code = error_code(error)
    if isinstance(error, _UNREACHABLE):
        return source_error(error, bucket)
    if isinstance(error, ClientError) and code in _OF_THE_BUCKET:
        return source_error(error, bucket)
    if code in _GONE:
        return ObjectGone(f"Failed to fetch {uri}: NoSuchKey")
    if code in _DENIED:
        return AccessDenied(
            f"Failed to fetch {uri}: {code}. Check that the IAM policy allows s3:GetObject on it.",
            fix=f"{_ALLOW}, check that the bucket policy doesn't deny access, and allow "
            "kms:Decrypt where objects are encrypted with a KMS key.",
        )
    if isinstance(error, ReadTimeoutError):
        return FetchFailed(
            f"Failed to fetch {uri}: the bytes stopped, or came more slowly than "
            "ACTIVEKG_MIN_BYTES_PER_SECOND."
        )
    return FetchFailed(f"Failed to fetch {uri}: {code}")


# A bucket's region as stores write it: in an answer's header or element, or in a sentence.
_REGION_NAME = r"[a-z](?:[a-z0-9-]{0,38}[a-z0-9])?"
_NAMED_REGION = re.compile(
    rf"expecting '({_REGION_NAME})'"
    rf"|expected: '?[0-9]{{8}}/({_REGION_NAME})/"
    r"|[Mm]ust be one of: .*\b(auto)\b"
)


def named_region(error: Exception) -> str | None:
    """The bucket's region, where the store tells it; None where it does not."""
    if not isinstance(error, ClientError):
        return None
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    said: dict[str, Any] = dict(error.response.get("Error", {}))
    sentence = _NAMED_REGION.search(str(said.get("Message", ""))[:1000])
    for named in (
        headers.get("x-amz-bucket-region"),
        said.get("Region"),
        sentence and next(filter(None, sentence.groups())),
    ):
        if isinstance(named, str) and re.fullmatch(_REGION_NAME, named):
            return named
    return None


def error_code(error: Exception) -> str:
    """S3's error code, or the exception's class where S3 did not answer."""
    if isinstance(error, ClientError):
        code = str(error.response.get("Error", {}).get("Code", "Unknown"))
        return printable(code, _MAX_CODE_CHARACTERS)
    return type(error).__name__
