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

from botocore.config import Config
from botocore.session import Session
from botocore.utils import parse_timestamp

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


def make_client(config: S3Config, settings: Settings, *, answer_seconds: float = 60.0) -> S3Client:
    """An S3 client; safe to share between threads.

    Its calls raise :class:`EndpointForbidden` where the endpoint lies at an address that
    it may not have.

    Args:
        config: which bucket, with its keys.
        settings: of the process.
        answer_seconds: what every answer may take, however small.

    Raises:
        InvalidConnector: the endpoint is not on the operator's list.
    """
    config.check(settings)
    route = _route(config, settings, answer_seconds)
    transport = Transport(
        route,
        max_connections=settings.activekg_download_threads + 2,
        verify=settings.aws_ca_bundle or settings.requests_ca_bundle or True,
    )
    with _making_a_client:
        client = _session().create_client(
            "s3",
            aws_access_key_id=config.access_key_id.get_secret_value(),
            aws_secret_access_key=config.secret_access_key.get_secret_value(),
            region_name=config.region,
            endpoint_url=route.endpoint_url,
            config=Config(
                retries={"mode": "standard", "total_max_attempts": 4},
                connect_timeout=CONNECT_SECONDS,
                read_timeout=READ_SECONDS,
                # Dots in bucket names break TLS host names, other stores rarely serve
                # bucket sub-domains, and every request stays with one host.
                s3={"addressing_style": "path"},
            ),
        )
    client.meta.events.register("before-send.s3", transport.before_send)  # type: ignore[arg-type]
    # The library's own connections, which it would close, are never used.
    client.close = transport.close  # type: ignore[method-assign]
    return cast("S3Client", client)


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
        endpoint_url=endpoint_url or _aws_endpoint(config.region),
        addresses=rule,
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


def _aws_endpoint(region: str) -> str:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://s3.{region}.{suffix}"
