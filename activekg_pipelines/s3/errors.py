"""Turns botocore's exceptions into this package's: named, with the fix, without a
secret.
"""

from __future__ import annotations

import re

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ProxyConnectionError,
    ReadTimeoutError,
    SSLError,
)

from activekg_pipelines.errors import (
    AccessDenied,
    BucketAccessDenied,
    BucketMissing,
    ClockSkewed,
    CredentialsRefused,
    EndpointUnreachable,
    FetchFailed,
    ObjectError,
    ObjectGone,
    SourceError,
    SourceUnavailable,
    WrongRegion,
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
}
# Of no object in particular.
_OF_THE_BUCKET = _CREDENTIALS | _REGION | {"NoSuchBucket", "RequestTimeTooSkewed"}
_DENIED = {"AccessDenied", "403"}
_GONE = {"NoSuchKey", "404"}
_UNREACHABLE = (EndpointConnectionError, ConnectTimeoutError, ProxyConnectionError, SSLError)


def source_error(error: BotoCoreError | ClientError, bucket: str) -> SourceError:
    """The error of a bucket as a whole behind a failed request.

    Args:
        error: what botocore raised.
        bucket: named in the message.
    """
    if isinstance(error, _UNREACHABLE):
        return EndpointUnreachable(
            f"The S3 endpoint of bucket {bucket!r} cannot be reached: check address and network."
        )
    if isinstance(error, NoCredentialsError):
        return CredentialsRefused()
    code = error_code(error)
    # A wrong region shows itself as a malformed header that names the right one.
    if code in _REGION or (code == "AuthorizationHeaderMalformed" and "region" in str(error)):
        right = _named_region(error)
        where = f"in the region {right}" if right else "in another region, or at another endpoint,"
        return WrongRegion(
            f"The bucket {bucket!r} lies {where} and not where the connector says: correct "
            "`region`."
        )
    if code in _CREDENTIALS:
        return CredentialsRefused(
            f"S3 refused the access key for bucket {bucket!r} ({code}): it is wrong, expired or "
            "deactivated. "
            "Create a new access key in the IAM console and update the connector."
        )
    if code == "NoSuchBucket":
        return BucketMissing(f"The bucket {bucket!r} does not exist.")
    if code in _DENIED:
        return BucketAccessDenied(
            f"S3 denies listing the bucket {bucket!r}: check that the IAM policy allows "
            "s3:ListBucket on it and that "
            "the bucket's own policy does not deny it."
        )
    if code == "RequestTimeTooSkewed":
        return ClockSkewed()
    return SourceUnavailable(
        f"S3 failed on bucket {bucket!r} ({code}); nothing was deleted and the next scan goes on."
    )


def object_error(error: Exception, bucket: str, key: str) -> ObjectError | SourceError:
    """The error behind a failed download: of the object, or of the whole bucket where
    no object can be had.

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
            f"Failed to fetch {uri}: {code}. Check that the IAM policy allows s3:GetObject on it."
        )
    if isinstance(error, ReadTimeoutError):
        return FetchFailed(
            f"Failed to fetch {uri}: the bytes stopped, or came more slowly than "
            "ACTIVEKG_MIN_BYTES_PER_SECOND."
        )
    return FetchFailed(f"Failed to fetch {uri}: {code}")


def _named_region(error: Exception) -> str | None:
    """The bucket's region, where S3 tells it."""
    if not isinstance(error, ClientError):
        return None
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    named = headers.get("x-amz-bucket-region") or error.response.get("Error", {}).get("Region")
    return (
        named if isinstance(named, str) and re.fullmatch(r"[a-z]{2,}(-[a-z]+)+-\d", named) else None
    )


def error_code(error: Exception) -> str:
    """S3's error code, or the exception's class where S3 did not answer."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__
