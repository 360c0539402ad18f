"""Turns Google's exceptions into this package's: named, with the fix, without a secret."""

from __future__ import annotations

import re
from typing import Any, Final

from google.api_core.exceptions import GoogleAPICallError, RetryError
from google.auth.exceptions import GoogleAuthError, RefreshError, TransportError
from requests.exceptions import (
    ConnectionError,
    ConnectTimeout,
    ProxyError,
    ReadTimeout,
    SSLError,
)
from urllib3.exceptions import MaxRetryError, ReadTimeoutError

from activekg_pipelines.errors import (
    AccessDenied,
    ClockSkewed,
    CredentialsRefused,
    CustomerKey,
    EndpointUnreachable,
    FetchFailed,
    ListingDenied,
    ObjectError,
    ObjectGone,
    RequesterPays,
    SourceError,
    SourceMissing,
    SourceUnavailable,
)

_ALLOW = (
    "Give the service account the role Storage Object Viewer (roles/storage.objectViewer) on the "
    "bucket: it holds storage.objects.list and storage.objects.get"
)
_NEW_KEY = (
    "Check in the Google Cloud console that the service account exists and is enabled, create a "
    "new JSON key for it, update the connector with it, and test the connection again."
)
# Limits are answered with 403, too.
_TOO_MANY: Final = frozenset({"rateLimitExceeded", "userRateLimitExceeded", "quotaExceeded"})
_OAUTH_CODE: Final = re.compile(r"[a-z_]{1,40}")


def source_error(error: Exception, bucket: str) -> SourceError:
    """The error of a bucket as a whole behind a failed request.

    Args:
        error: what Google's client, its authentication or the connection raised.
        bucket: named in the message.
    """
    error = _cause(error)
    if _is_unreachable(error):
        return EndpointUnreachable(
            f"The Google Cloud Storage endpoint of bucket {bucket!r} cannot be reached: check "
            "address and network.",
            fix="Check `endpoint_url`, and that the network lets ActiveKG reach "
            "storage.googleapis.com and oauth2.googleapis.com.",
        )
    if isinstance(error, RefreshError):
        return _refused_key(error, bucket)
    status = error.code if isinstance(error, GoogleAPICallError) else None
    if status == 401:
        return CredentialsRefused(
            f"Google refused the service account's key for bucket {bucket!r}: it is wrong, "
            "expired or deactivated.",
            fix=_NEW_KEY,
        )
    if _is_requester_pays(error):
        return RequesterPays(
            f"The bucket {bucket!r} is a requester-pays bucket, which this connector does not "
            "read: it would be billed for every request.",
            fix="Turn off Requester Pays for the bucket, or copy its documents into another one.",
        )
    if _is_without_billing(error):
        return ListingDenied(
            f"Google denies every request to bucket {bucket!r}: its project has no active billing "
            "account.",
            fix="Activate billing for the bucket's project in the Google Cloud console.",
        )
    if status == 404:
        return SourceMissing(
            f"The bucket {bucket!r} does not exist.",
            fix="Check the spelling of `bucket`, and that the bucket was not deleted.",
        )
    if status == 403 and not _TOO_MANY & _reasons(error):
        return ListingDenied(
            f"Google Cloud Storage denies listing the bucket {bucket!r}: check that the service "
            "account has storage.objects.list on it.",
            fix=f"{_ALLOW}. Check, too, that no deny policy and no VPC Service Controls perimeter "
            "keeps it out.",
        )
    return SourceUnavailable(
        f"Google Cloud Storage failed on bucket {bucket!r} ({_code(error)}); nothing was deleted "
        "and the next scan goes on."
    )


def object_error(error: Exception, bucket: str, key: str) -> ObjectError | SourceError:
    """The error behind a failed download.

    It is the object's, or the whole bucket's where no object of it can be had.
    An outage must not use up the attempts of every object that is waiting.

    Args:
        error: what Google's client, its authentication or the connection raised.
        bucket, key: the object, named in the message.
    """
    uri = f"gs://{bucket}/{key}"
    error = _cause(error)
    status = error.code if isinstance(error, GoogleAPICallError) else None
    if (
        _is_unreachable(error)
        or isinstance(error, GoogleAuthError)
        or status == 401
        or (status == 404 and "bucket does not exist" in _text(error))
        or _is_requester_pays(error)
        or _is_without_billing(error)
    ):
        return source_error(error, bucket)
    if status == 404:
        return ObjectGone(f"Failed to fetch {uri}: it is gone")
    if status == 403 and not _TOO_MANY & _reasons(error):
        return AccessDenied(
            f"Failed to fetch {uri}: 403. Check that the service account has storage.objects.get "
            "on it.",
            fix=f"{_ALLOW}. Where objects are encrypted with a Cloud KMS key, check that the key "
            "is enabled.",
        )
    if status == 400 and "customer-supplied encryption key" in _text(error):
        return CustomerKey(
            f"Failed to fetch {uri}: it is encrypted with a customer-supplied key, which only "
            "its owner has.",
            fix="Rewrite the object with Google's encryption or a Cloud KMS key.",
        )
    if isinstance(error, ReadTimeout | ReadTimeoutError):
        return FetchFailed(
            f"Failed to fetch {uri}: the bytes stopped, or came more slowly than "
            "ACTIVEKG_MIN_BYTES_PER_SECOND."
        )
    return FetchFailed(f"Failed to fetch {uri}: {_code(error)}")


def may_be_outage(error: Exception) -> bool:
    """Whether a failed download may be no matter of its object."""
    cause = _cause(error)
    status = cause.code if isinstance(cause, GoogleAPICallError) else None
    return status is not None and (status >= 500 or status == 429)


def _refused_key(error: RefreshError, bucket: str) -> SourceError:
    """What Google's token service means. Its sentences are stable, its codes are few."""
    text = _text(error)
    if error.retryable:
        return SourceUnavailable(
            f"Google's token service failed for bucket {bucket!r}; nothing was deleted and the "
            "next scan goes on."
        )
    if "reasonable timeframe" in text or "iat and exp" in text:
        return ClockSkewed(
            "Google refused the time of the request for an access token: this machine's clock is "
            "minutes off."
        )
    if "account not found" in text:
        why = "the service account was deleted"
    elif "disabled" in text:
        why = "the service account is disabled"
    elif "signature" in text:
        why = "the key was deleted or disabled"
    else:
        why = "it is wrong, expired or deactivated"
    return CredentialsRefused(
        f"Google refused the service account's key for bucket {bucket!r} ({_code(error)}): {why}.",
        fix=_NEW_KEY,
    )


def _cause(error: Exception) -> Exception:
    """What Google's retries and authentication wrapped."""
    if isinstance(error, RetryError) and isinstance(error.cause, Exception):
        return _cause(error.cause)
    if isinstance(error, TransportError) and error.args and isinstance(error.args[0], Exception):
        return _cause(error.args[0])
    return error


def _is_unreachable(error: Exception) -> bool:
    if isinstance(error, ConnectTimeout | SSLError | ProxyError):
        return True
    # Of requests' many reasons this one means that no connection came about.
    return isinstance(error, ConnectionError) and any(
        isinstance(reason, MaxRetryError) for reason in error.args
    )


def _is_requester_pays(error: Exception) -> bool:
    return "requester pays" in _text(error)


def _is_without_billing(error: Exception) -> bool:
    return "accountDisabled" in _reasons(error) or "billing account" in _text(error)


def _text(error: Exception) -> str:
    """What Google says, in lower case; for comparison only."""
    return str(error).lower()


def _reasons(error: Exception) -> set[str]:
    """The reasons of the JSON interface's errors."""
    listed: Any = error.errors if isinstance(error, GoogleAPICallError) else ()
    return {str(one.get("reason")) for one in listed if isinstance(one, dict)}


def _code(error: Exception) -> str:
    """The HTTP status or OAuth code, or the exception's class where Google did not answer."""
    if isinstance(error, GoogleAPICallError):
        return str(error.code)
    # Its first argument is "code: sentence", its second the whole answer.
    if isinstance(error, RefreshError) and (code := _OAUTH_CODE.match(str(error.args[0]))):
        return code[0]
    return type(error).__name__
