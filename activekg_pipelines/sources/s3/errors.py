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
    Archived,
    ClockSkewed,
    CredentialsExpired,
    CredentialsRefused,
    CustomerKey,
    EndpointUnreachable,
    ExplicitlyDenied,
    FetchFailed,
    KeyDenied,
    KeyUnusable,
    ListingDenied,
    ListingForbidden,
    ObjectError,
    ObjectGone,
    RegionNotEnabled,
    RequesterPays,
    SourceError,
    SourceMissing,
    SourceUnavailable,
    WrongRegion,
)
from activekg_pipelines.logs import redact
from activekg_pipelines.quoting import printable

_ALLOW = "Verify that the IAM policy includes s3:GetObject and s3:ListBucket"
_NEW_KEYS = (
    "Regenerate the access keys in the IAM console, update the connector with the new keys, and "
    "test the connection again."
)
_CREDENTIALS = {
    "InvalidAccessKeyId",
    "SignatureDoesNotMatch",
    "InvalidToken",
    "AuthorizationHeaderMalformed",
    # The account is suspended: of every object, not of this one.
    "AllAccessDisabled",
    "AccountProblem",
}
_EXPIRED = {"ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"}
_SKEWED = {"RequestTimeTooSkewed", "RequestExpired", "RequestInTheFuture"}
_NOT_ENABLED = {"InvalidRegion", "OptInRequired", "RegionDisabledException"}
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
_OF_THE_BUCKET = _CREDENTIALS | _EXPIRED | _SKEWED | _NOT_ENABLED | _REGION | {"NoSuchBucket"}
# The status, where there is no code.
_BARE_REFUSAL = "403"
_DENIED = {"AccessDenied", _BARE_REFUSAL}
_GONE = {"NoSuchKey", "404"}
_ARCHIVED = "InvalidObjectState"
# S3's own longest one has 43.
_MAX_CODE_CHARACTERS = 64
# Of which AWS's longest ones, with two ARNs, have some 400.
_MAX_SAID_CHARACTERS = 500
# Every account may use these. All others have to be enabled first:
# https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html
_OPEN_REGION = re.compile(
    r"us-(east|west)-[12]|ap-south-1|ap-northeast-[123]|ap-southeast-[12]|ca-central-1"
    r"|eu-central-1|eu-west-[123]|eu-north-1|sa-east-1|(cn|us-gov|us-iso[a-z]?)-.*"
)
_AWS_REGION = re.compile(r"[a-z]{2}(-[a-z]{1,9}){1,3}-\d")
_CONSTRAINT = re.compile(r"\bthe ([\w-]+) location constraint is incompatible")
_POLICY = re.compile(r"explicit deny in an? ([a-z][a-z -]{0,40}(?:policy|boundary))")
# A failure of the key's service, which may be over in a moment.
_KEY_PASSING = re.compile(r"throttl|internal|timeout|limitexceeded|unavailable", re.IGNORECASE)
_KEY_UNUSABLE = re.compile(
    r"disabled|pending|invalid ?state|not ?found|does not exist|deleted|destroyed", re.IGNORECASE
)
_OBJECT_ARN = re.compile(r"\"arn:[^\"]*:s3:::[^\"]*\"|arn:\S*:s3:::\S*")
_KEY_ARN = re.compile(r"\barn:aws[\w-]*:kms:")
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
    if (refused := _of_the_account(error, bucket)) is not None:
        return refused
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
            f"`region`.{said(error)}",
            fix="Set `region` to the region that the S3 console shows for the bucket, or correct "
            "`endpoint_url`.",
        )
    if code in _CREDENTIALS:
        return CredentialsRefused(
            f"S3 refused the access key for bucket {bucket!r} ({code}): it is wrong, expired or "
            "deactivated. Create a new access key in the IAM console and update the connector."
            f"{said(error)}",
            fix=f"{_NEW_KEYS} If the keys are right, and `region` is one that an account has to "
            "enable first, enable it.",
        )
    if code == "NoSuchBucket":
        return SourceMissing(
            f"The bucket {bucket!r} does not exist.{said(error)}",
            fix="Check the spelling of `bucket` and that the bucket exists in the account of "
            "these credentials.",
        )
    if code in _DENIED and (policy := _denying_policy(_text(error))):
        return ListingForbidden(
            f"{policy} explicitly denies listing the bucket {bucket!r}.{said(error)}"
        )
    if code in _DENIED:
        return ListingDenied(
            f"S3 denies listing the bucket {bucket!r}: check that the IAM policy allows "
            f"s3:ListBucket on it and that the bucket's own policy does not deny it.{said(error)}",
            fix=f"{_ALLOW}, check that the bucket policy doesn't deny access, and verify that the "
            "credentials are correct.",
        )
    return SourceUnavailable(
        f"S3 failed on bucket {bucket!r} ({code}); nothing was deleted and the next scan goes on."
        f"{said(error)}"
    )


def _of_the_account(error: Exception, bucket: str) -> SourceError | None:
    """What S3 refuses every request to a bucket for, whatever it asks for; None for others."""
    code, text = error_code(error), _text(error)
    if code in _EXPIRED:
        return CredentialsExpired(
            f"S3 refused the credentials for bucket {bucket!r} ({code}): they are temporary, and "
            f"have expired.{said(error)}"
        )
    if code in _SKEWED:
        return ClockSkewed(
            "S3 refused the request's time: this machine's clock is more than 15 minutes off."
            f"{said(error)}"
        )
    constraint = _CONSTRAINT.search(text)
    if code in _NOT_ENABLED or (constraint and _is_to_be_enabled(constraint[1])):
        where = f"the region {constraint[1]}" if constraint else "a region"
        return RegionNotEnabled(
            f"The bucket {bucket!r} lies in {where} that an account has to enable first, and the "
            f"request went elsewhere or came from an account that has not.{said(error)}"
        )
    if code in _DENIED and re.search(r"requester.pays|request-payer", text):
        return RequesterPays(
            f"The bucket {bucket!r} answers only who pays for the requests (Requester Pays)."
            f"{said(error)}"
        )
    return None


def _is_to_be_enabled(region: str) -> bool:
    return _AWS_REGION.fullmatch(region) is not None and not _OPEN_REGION.fullmatch(region)


def _denying_policy(text: str) -> str | None:
    """Which policy denies a request explicitly; None where none does."""
    if "explicit deny" not in text:
        return None
    named = _POLICY.search(text)
    return f"A {named[1]}" if named else "A policy"


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
    if isinstance(error, ClientError) and (
        code in _OF_THE_BUCKET or _of_the_account(error, bucket) is not None
    ):
        return source_error(error, bucket)
    if code in _GONE:
        return ObjectGone(f"Failed to fetch {uri}: NoSuchKey")
    if code == _ARCHIVED:
        return Archived(
            f"{uri} is in an archive: it must be restored before it can be read.{said(error)}"
        )
    if (encrypted := _of_its_encryption(error, uri)) is not None:
        return encrypted
    if code in _DENIED and (policy := _denying_policy(_text(error))):
        return ExplicitlyDenied(
            f"Failed to fetch {uri}: {code}. {policy} explicitly denies reading it.{said(error)}"
        )
    if code == _BARE_REFUSAL:
        # Not S3's word, which has a reason: a proxy's or a gateway's, which may pass.
        return FetchFailed(
            f"Failed to fetch {uri}: it was refused without a reason of S3's (403), by the store "
            "or by something in front of it."
        )
    if code in _DENIED:
        return AccessDenied(
            f"Failed to fetch {uri}: {code}. Check that the IAM policy allows s3:GetObject on it."
            f"{said(error)}",
            fix=f"{_ALLOW}, check that the bucket policy doesn't deny access, and allow "
            "kms:Decrypt where objects are encrypted with a KMS key.",
        )
    if isinstance(error, ReadTimeoutError):
        return FetchFailed(
            f"Failed to fetch {uri}: the bytes stopped, or came more slowly than "
            "ACTIVEKG_MIN_BYTES_PER_SECOND."
        )
    return FetchFailed(f"Failed to fetch {uri}: {code}.{said(error)}")


def may_be_outage(error: Exception) -> bool:
    """Whether a failed download may be no matter of its object."""
    if not isinstance(error, ClientError):
        return False
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or status == 429 or error_code(error) == _BARE_REFUSAL


def _of_its_encryption(error: Exception, uri: str) -> ObjectError | None:
    """What keeps an object from being decrypted; None for everything else."""
    code, text = error_code(error), _text(error)
    if _denying_policy(text):
        return None
    if "server side encryption" in text.replace("-", " ") and (
        "correct parameters" in text or "customer" in text
    ):
        return CustomerKey(
            f"Failed to fetch {uri}: it is encrypted with a key that only its owner has (SSE-C)."
            f"{said(error)}"
        )
    # S3 said the second before it named the permission.
    if "kms:decrypt" in text or "the ciphertext refers to a customer master key" in text:
        return KeyDenied(
            f"Failed to fetch {uri}: the credentials may not use the KMS key that encrypts it. "
            f"Allow them kms:Decrypt.{said(error)}"
        )
    is_of_a_key = "kms" in code.lower() or _KEY_ARN.search(text)
    if is_of_a_key and not _KEY_PASSING.search(code) and _KEY_UNUSABLE.search(f"{code} {text}"):
        return KeyUnusable(
            f"Failed to fetch {uri}: the KMS key that encrypts it cannot be used ({code}): it is "
            f"disabled, about to be deleted, or gone.{said(error)}"
        )
    return None


def said(error: Exception) -> str:
    """A sentence with what the store says itself, after a blank; "" where it says nothing."""
    if not isinstance(error, ClientError):
        return ""
    message = str(error.response.get("Error", {}).get("Message") or "").strip()
    # Looked through for secrets before it is cut, of which a half looks like none.
    cleaned = redact(message[: 2 * _MAX_SAID_CHARACTERS]).rstrip(" .")
    return f" The store says: {printable(cleaned, _MAX_SAID_CHARACTERS)}." if cleaned else ""


def _text(error: Exception) -> str:
    """What the store says, in lower case and without names of objects; for comparison only."""
    if not isinstance(error, ClientError):
        return ""
    message = str(error.response.get("Error", {}).get("Message") or "")[:4096].lower()
    return _OBJECT_ARN.sub("", message)


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
