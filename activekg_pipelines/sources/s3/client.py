"""Makes the S3 client of one configuration.

It uses that tenant's keys, and nothing of the environment.
"""

from __future__ import annotations

import os
from datetime import datetime
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from botocore import UNSIGNED
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.session import Session
from botocore.utils import parse_timestamp

from activekg_pipelines.errors import CredentialsRefused
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.network.addresses import (
    EVERYWHERE,
    AddressRule,
    rule_for_tenants,
)
from activekg_pipelines.sources.network.connections import CONNECT_SECONDS, READ_SECONDS, Route
from activekg_pipelines.sources.s3.config import S3Config
from activekg_pipelines.sources.s3.transport import Transport

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

# The AWS library makes clients in one thread at a time.
_making_a_client = Lock()


def make_client(
    config: S3Config, settings: Settings, *, answer_seconds: float = 60.0, attempts: int = 4
) -> S3Client:
    """An S3 client; safe to share between threads.

    Its calls raise :class:`EndpointForbidden` where the endpoint lies at an address that
    it may not have.

    Args:
        config: which bucket, with its keys.
        settings: of the process.
        answer_seconds: what every answer may take, however small.
        attempts: at each request.

    Raises:
        InvalidConnector: the endpoint is not on the operator's list, or the store cannot
            have such a bucket.
        CredentialsRefused: there are no keys, and the bucket is not read without.
    """
    config.check(settings)
    in_host = config.bucket_in_host(settings)
    keys = (config.access_key_id, config.secret_access_key)
    if None in keys and not config.anonymous:
        raise CredentialsRefused(
            "The connector has no access key, because it has read a public bucket until now.",
            fix="Update the connector with `access_key_id` and `secret_access_key`.",
        )
    access_key_id, secret_access_key = (
        None if key is None or config.anonymous else key.get_secret_value() for key in keys
    )
    route = _route(config, settings, answer_seconds)
    transport = Transport(
        route,
        max_connections=settings.activekg_download_threads + 2,
        verify=settings.aws_ca_bundle or settings.requests_ca_bundle or True,
        hidden=[key for key in (access_key_id, secret_access_key) if key],
    )
    with _making_a_client:
        client = _session().create_client(
            "s3",
            aws_access_key_id=access_key_id,
            aws_secret_access_key=secret_access_key,
            region_name=config.region,
            endpoint_url=route.endpoint_url,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": attempts},
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                signature_version=UNSIGNED if config.anonymous else None,
                # By itself the path: dots in bucket names break TLS host names, and other
                # stores rarely serve bucket sub-domains.
                s3={"addressing_style": "virtual" if in_host else "path"},
            ),
        )
    if config.requester_pays:
        client.meta.events.register("before-sign.s3", _agree_to_pay)
    client.meta.events.register("before-send.s3", transport.before_send)  # type: ignore[arg-type]
    # The library's own connections, which it would close, are never used.
    client.close = transport.close  # type: ignore[method-assign]
    return cast("S3Client", client)


def _agree_to_pay(request: AWSRequest, **_: Any) -> None:
    """Before it is signed: S3 takes the header for the payer's word."""
    request.headers["x-amz-request-payer"] = "requester"


def _route(config: S3Config, settings: Settings, answer_seconds: float) -> Route:
    if config.endpoint_url is not None:
        host = urlsplit(config.endpoint_url).hostname or ""
        rule = rule_for_tenants(host, settings.activekg_private_networks)
    else:
        rule = AddressRule(EVERYWHERE)
    endpoint_url = config.endpoint_url or settings.activekg_s3_endpoint_url
    return Route(
        "S3",
        # Always an explicit one: AWS_ENDPOINT_URL in the environment would redirect
        # every tenant.
        endpoint_url=endpoint_url or _aws_endpoint(config.region, config.directory_zone),
        addresses=rule,
        subdomain=config.bucket if config.bucket_in_host(settings) else None,
        anywhere=AddressRule(settings.activekg_private_networks),
        min_bytes_per_second=settings.activekg_min_bytes_per_second,
        answer_seconds=answer_seconds,
    )


@cache
def _session() -> Session:
    """The AWS library without its environment variables and files.

    It keeps the description of S3 (10 MB).
    """
    values = {
        name: (None, None, default, convert)
        for name, (_, _, default, convert) in Session.SESSION_VARIABLES.items()
    }
    nowhere = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    session = Session(session_vars=values | nowhere)
    session.get_component("response_parser_factory").set_parser_defaults(
        timestamp_parser=_parse_timestamp
    )
    return session


def _parse_timestamp(value: Any) -> datetime:
    """Parse a time of an answer.

    The library's own parser takes three quarters of the time to read a listing.
    """
    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        # HTTP's form, and what is none.
        return parse_timestamp(value)
    return moment if moment.tzinfo else parse_timestamp(value)


def _aws_endpoint(region: str, zone: str | None) -> str:
    suffix = "amazonaws.com"
    if region.startswith("cn-"):
        suffix = "amazonaws.com.cn"
    elif region.startswith("eusc-"):
        suffix = "amazonaws.eu"
    return f"https://{f's3express-{zone}' if zone else 's3'}.{region}.{suffix}"
