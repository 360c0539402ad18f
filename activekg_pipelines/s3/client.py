"""Makes the S3 client of a connector. A tenant's client uses that tenant's keys and
nothing of the environment.
"""

from __future__ import annotations

import os
from datetime import datetime
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, cast
from urllib.parse import urlsplit

from activekg_pipelines.connectors.models import Credentials, check_endpoint
from activekg_pipelines.s3.addresses import EVERYWHERE, AddressRule, rule_for_tenants
from activekg_pipelines.settings import Settings

if TYPE_CHECKING:
    from botocore.session import Session
    from types_boto3_s3 import S3Client

    from activekg_pipelines.s3.transport import Route

# The AWS library makes clients in one thread at a time.
_making_a_client = Lock()


class Source(Protocol):
    """Where a bucket is: a stored connector, or a configuration that is being tried."""

    @property
    def region(self) -> str:
        """AWS region."""
        ...

    @property
    def endpoint_url(self) -> str | None:
        """Address of an S3-compatible store; None for AWS."""
        ...


def make_client(source: Source, credentials: Credentials, settings: Settings) -> S3Client:
    """An S3 client; safe to share between threads.

    Its calls raise :class:`EndpointForbidden` where the endpoint lies at an address
    that it may not have.

    Raises:
        InvalidConnector: the endpoint is not on the operator's list (it may have been
            taken off since registration).
    """
    # Here, because it costs time and most processes never open a bucket.
    from botocore.config import Config

    from activekg_pipelines.s3.transport import CONNECT_SECONDS, READ_SECONDS, Transport

    route = _route(source, settings)
    transport = Transport(
        route,
        max_connections=settings.activekg_download_threads + 2,
        verify=settings.aws_ca_bundle or settings.requests_ca_bundle or True,
    )
    with _making_a_client:
        client = _session().create_client(
            "s3",
            aws_access_key_id=credentials.access_key_id,
            aws_secret_access_key=credentials.secret_access_key,
            region_name=source.region,
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


def _route(source: Source, settings: Settings) -> Route:
    from activekg_pipelines.s3.transport import Route

    if source.endpoint_url is not None:
        check_endpoint(source.endpoint_url, settings.activekg_endpoint_allowlist)
        host = urlsplit(source.endpoint_url).hostname or ""
        rule = rule_for_tenants(host, settings.activekg_private_networks)
    else:
        rule = AddressRule(EVERYWHERE)
    endpoint_url = source.endpoint_url or settings.activekg_s3_endpoint_url
    return Route(
        # Always an explicit one: AWS_ENDPOINT_URL in the environment would redirect
        # every tenant.
        endpoint_url=endpoint_url or _aws_endpoint(source.region),
        addresses=rule,
        min_bytes_per_second=settings.activekg_min_bytes_per_second,
    )


@cache
def _session() -> Session:
    """The AWS library as it is without environment variables and files; it keeps the
    description of S3 (10 MB).
    """
    from botocore.session import Session

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
    """A time of an answer. The library's own way takes three quarters of the time that
    a listing takes to be read.
    """
    from botocore.utils import parse_timestamp

    try:
        moment = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        # HTTP's form, and what is none.
        return parse_timestamp(value)
    return moment if moment.tzinfo else parse_timestamp(value)


def _aws_endpoint(region: str) -> str:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://s3.{region}.{suffix}"
