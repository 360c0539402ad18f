"""Amazon S3 and stores that speak its protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING

from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.provider import Proposal, Provider
from activekg_pipelines.sources.s3.config import S3Config

if TYPE_CHECKING:
    from activekg_pipelines.sources.s3.source import S3Source


def open_s3(
    config: S3Config,
    settings: Settings,
    *,
    answer_seconds: float = 60.0,
    least_page_seconds: float = 10.0,
    attempts: int = 4,
) -> S3Source:
    """A bucket, with a client of its own.

    Args:
        config: with its secrets.
        answer_seconds: what every answer may take, however small.
        least_page_seconds: what a page of a listing may take, however little time is
            left until the deadline.
        attempts: at each request.

    Raises:
        InvalidConnector: the endpoint is not on the operator's list. It may have been
            taken off since the registration.
        CredentialsRefused: there are no keys, and the bucket is not read without.
    """
    # Here, because it costs time, and most processes never open a bucket.
    from activekg_pipelines.sources.s3.client import make_client
    from activekg_pipelines.sources.s3.source import S3Source

    client = make_client(config, settings, answer_seconds=answer_seconds, attempts=attempts)
    return S3Source(
        client,
        config.bucket,
        config.prefix,
        least_page_seconds=least_page_seconds,
        is_directory=config.directory_zone is not None,
        is_aws=config.is_aws(settings),
    )


def propose_s3(config: S3Config, settings: Settings, error: Exception) -> Proposal | None:
    """The change with which the bucket can be listed; None where none was found."""
    from activekg_pipelines.sources.s3.proposals import propose

    return propose(config, settings, error)


PROVIDER = Provider(
    "s3", title="S3", place="S3 bucket", config=S3Config, open=open_s3, propose=propose_s3
)
