"""Makes the S3 client of a connector. A tenant's client uses that tenant's keys and nothing of the environment."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from activekg_pipelines.connectors.models import Credentials, check_endpoint
from activekg_pipelines.settings import Settings

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client


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

    Raises:
        InvalidConnector: the endpoint is not on the operator's list (it may have been taken off since registration).
    """
    # Here, because it costs half a second and most processes never open a bucket.
    from boto3 import Session
    from botocore.config import Config

    if source.endpoint_url is not None:
        check_endpoint(source.endpoint_url, settings.activekg_s3_endpoint_allowlist)
    endpoint_url = source.endpoint_url or settings.activekg_s3_endpoint_url
    return Session().client(
        "s3",
        aws_access_key_id=credentials.access_key_id,
        aws_secret_access_key=credentials.secret_access_key,
        region_name=source.region,
        # Without an explicit endpoint, AWS_ENDPOINT_URL in the environment would redirect every tenant.
        endpoint_url=endpoint_url or _aws_endpoint(source.region),
        config=Config(
            retries={"mode": "standard", "total_max_attempts": 4},
            connect_timeout=5,
            read_timeout=30,
            max_pool_connections=settings.activekg_download_threads + 2,
            # Dots in bucket names break TLS host names; other stores rarely serve bucket sub-domains.
            s3={"addressing_style": "auto" if endpoint_url is None else "path"},
        ),
    )


def _aws_endpoint(region: str) -> str:
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://s3.{region}.{suffix}"
