"""What a tenant registers of a bucket; bounds and defaults are those of the specification."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.config import AccessKey, Asked, EndpointUrl, Prefix, SourceConfig
from activekg_pipelines.sources.network.addresses import check_endpoint
from activekg_pipelines.sources.source import Location

# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
# One label of a host name, which botocore accepts as a region: no region may lead out of
# AWS's domain.
_REGION = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"


class S3Config(SourceConfig):
    """A bucket, a prefix, and the keys that open them."""

    bucket: Annotated[str, Field(pattern=_BUCKET, description="The bucket's name.")]
    prefix: Prefix = ""
    region: Annotated[str, Field(pattern=_REGION, description="AWS region.")] = "us-east-1"
    access_key_id: Annotated[
        AccessKey,
        Field(min_length=16, max_length=128),
        Asked("AWS_ACCESS_KEY_ID", "AWS access key id", hidden=False, is_option=True),
    ]
    secret_access_key: Annotated[
        AccessKey,
        Field(min_length=32, max_length=256),
        Asked("AWS_SECRET_ACCESS_KEY", "AWS secret access key"),
    ]
    endpoint_url: EndpointUrl | None = Field(
        default=None,
        description="Address of a store that the operator allows. Without it: AWS.",
    )

    def location(self) -> Location:
        """``s3://bucket/prefix``."""
        return Location("s3", self.bucket, self.prefix)

    def origin(self) -> tuple[object, ...]:
        """Another store may hold another bucket of the same name."""
        return self.location(), self.endpoint_url

    def check(self, settings: Settings) -> None:
        """Refuse an endpoint that is not on the operator's list."""
        if self.endpoint_url is not None:
            check_endpoint(self.endpoint_url, settings.activekg_endpoint_allowlist)

    def hints(self) -> dict[str, str]:
        """The first and the last four characters of the access key id."""
        key = self.access_key_id.get_secret_value()
        return {"access_key_id": f"{key[:4]}…{key[-4:]}"}
