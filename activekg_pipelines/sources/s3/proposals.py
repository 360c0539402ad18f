"""Finds the setting that keeps a bucket from being read, by trying others.

Each store has manners of its own, and what it says to a request in another's is rarely
the cause. So the likely settings are tried, one change at a time, and the first one is
proposed with which the store answers.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Final
from urllib.parse import urlsplit

from botocore.exceptions import ClientError
from pydantic import TypeAdapter, ValidationError

from activekg_pipelines.deadline import give_up_at, seconds_left
from activekg_pipelines.errors import (
    AccessDenied,
    CredentialsRefused,
    EndpointUnreachable,
    InvalidConnector,
    ListingDenied,
    ObjectError,
    RequesterPays,
    SourceError,
    SourceMissing,
    SourceUnavailable,
    WrongRegion,
)
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.config import EndpointUrlWithPath
from activekg_pipelines.sources.provider import Proposal
from activekg_pipelines.sources.s3 import open_s3
from activekg_pipelines.sources.s3.config import S3Config
from activekg_pipelines.sources.s3.errors import named_region

# A person waits for all of them together, after the test itself.
_SECONDS: Final = 12.0
_SECONDS_EACH: Final = 4.0
_SECONDS_TO_ANSWER: Final = 3.0
# Where products have S3 that have other things at their root.
_KNOWN_PATHS: Final = ("/storage/v1/s3",)
_ENDPOINT: Final = TypeAdapter(EndpointUrlWithPath)
# The request did not get as far as a store that knows buckets.
_ASTRAY: Final = (EndpointUnreachable, SourceUnavailable, WrongRegion)
# It did, and something else is wrong as well.
_ARRIVED: Final = (CredentialsRefused, ListingDenied)
# What a wrong address can be the cause of.
_OF_ADDRESS: Final = (*_ASTRAY, *_ARRIVED, SourceMissing)
# What not paying can be the cause of, and no policy or key that the store names: the try
# is charged. Of these alone, and of none derived from them.
_OF_WHO_PAYS: Final = frozenset({ListingDenied, RequesterPays, AccessDenied})

Changes = Mapping[str, str | bool]


def propose(config: S3Config, settings: Settings, error: Exception) -> Proposal | None:
    """The change with which the bucket can be listed; None where none was found.

    Args:
        config: with which it cannot be read.
        error: why not: what a test of the connection raised.
    """
    # What is known already has to be told in time, whatever is found.
    seconds = min(_SECONDS, seconds_left(_SECONDS + _SECONDS_TO_ANSWER) - _SECONDS_TO_ANSWER)
    until = time.monotonic() + seconds
    with give_up_at(until):
        for changes in _candidates(config, settings, error):
            if time.monotonic() >= until:
                break
            changed = config.model_copy(update=dict(changes))
            try:
                changed.check(settings)
            except InvalidConnector:
                if _host(changed) != _host(config):
                    return _proposal(changes, "once the operator allows that host")
                continue
            if _is_better(config, changed, settings, error):
                return _proposal(changes, "with that, the store answers")
    return None


def _proposal(changes: Changes, words: str) -> Proposal:
    said = {
        name: str(value).lower() if isinstance(value, bool) else value
        for name, value in changes.items()
    }
    settings = " and ".join(f"`{name}` to `{value}`" for name, value in said.items())
    charged = " Requests are charged to your account then." if "requester_pays" in changes else ""
    return Proposal(changes, f"Set {settings}: {words}.{charged}")


def _host(config: S3Config) -> str | None:
    return urlsplit(config.endpoint_url or "").hostname


def _is_better(old: S3Config, new: S3Config, settings: Settings, error: Exception) -> bool:
    """Whether the store answers to a changed configuration as it did not before."""
    schemes = [urlsplit(one.endpoint_url or "").scheme for one in (old, new)]
    if schemes == ["https", "http"]:
        # A guess, over a connection that anybody may read: nothing that a key has signed.
        new = new.model_copy(update={"anonymous": True})
        settings = settings.model_copy(update={"activekg_s3_anonymous": "allowed"})
    outcome = _outcome(new, settings, reads=isinstance(error, ObjectError))
    return outcome is None or (isinstance(error, _ASTRAY) and isinstance(outcome, _ARRIVED))


def _outcome(config: S3Config, settings: Settings, *, reads: bool) -> Exception | None:
    """What a try ends with; None where it works.

    Args:
        reads: an object is read as well, and not only a page listed.
    """
    until = time.monotonic() + _SECONDS_EACH
    waits = {"answer_seconds": _SECONDS_EACH, "least_page_seconds": _SECONDS_EACH}
    try:
        with (
            give_up_at(until),
            closing(open_s3(config, settings, attempts=1, **waits)) as source,
            closing(source.listing(deadline=until)) as pages,
        ):
            held = [entry for entry in next(pages).entries if entry.size > 0]
            if reads and held:
                source.read_one_byte(held[0].key)
    except (SourceError, ObjectError) as error:
        return error
    return None


def _candidates(config: S3Config, settings: Settings, error: Exception) -> Iterator[Changes]:
    """Changes to try, the likeliest first."""
    # What the store said lies behind the error that it became.
    cause = error.__context__
    if isinstance(cause, ClientError) and (region := named_region(cause)) not in {
        None,
        config.region,
    }:
        yield {"region": str(region)}
    if isinstance(error, _OF_ADDRESS):
        yield from _other_addresses(config, settings, error)
    if type(error) in _OF_WHO_PAYS and not config.anonymous and not config.requester_pays:
        yield {"requester_pays": True}


def _other_addresses(config: S3Config, settings: Settings, error: Exception) -> Iterator[Changes]:
    endpoint, cause = config.endpoint_url, error.__context__
    if endpoint is not None:
        for other in _other_endpoints(endpoint, config.bucket, cause):
            yield {"endpoint_url": other}
    if config.directory_zone is None:
        if config.bucket_in_host(settings):
            yield {"addressing_style": "path"}
        elif config.may_be_in_host(settings):
            yield {"addressing_style": "virtual"}
    scheme, _, rest = (endpoint or "").partition("://")
    if scheme == "http" and isinstance(error, _ASTRAY):
        yield {"endpoint_url": f"https://{rest}"}
    if scheme == "https" and isinstance(error, EndpointUnreachable):
        yield {"endpoint_url": f"http://{rest}"}


def _other_endpoints(endpoint: str, bucket: str, cause: BaseException | None) -> Iterator[str]:
    parts = urlsplit(endpoint)
    # Consoles show the bucket's own address.
    if parts.path.endswith(f"/{bucket}"):
        yield endpoint.removesuffix(f"/{bucket}")
    if parts.netloc.startswith(f"{bucket}."):
        yield endpoint.replace(f"//{bucket}.", "//", 1)
    if isinstance(cause, ClientError):
        yield from _named_endpoint(parts.scheme, parts.hostname or "", bucket, cause)
    if not parts.path:
        yield from (endpoint + path for path in _KNOWN_PATHS)


def _named_endpoint(scheme: str, host: str, bucket: str, cause: ClientError) -> Iterator[str]:
    """The address that a redirect names, where it is one of the same domain."""
    said: Mapping[str, object] = cause.response.get("Error", {})
    named = str(said.get("Endpoint", "")).removeprefix(f"{bucket}.")
    try:
        endpoint = _ENDPOINT.validate_python(f"{scheme}://{named}")
    except ValidationError:
        return
    if (urlsplit(endpoint).hostname or "").split(".")[-2:] == host.split(".")[-2:]:
        yield endpoint
