"""What a tenant registers of a bucket; bounds and defaults are those of the specification."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from activekg_pipelines.errors import InvalidConnector
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.config import (
    AccessKey,
    Asked,
    EndpointUrlWithPath,
    Prefix,
    SourceConfig,
)
from activekg_pipelines.sources.network.addresses import check_endpoint
from activekg_pipelines.sources.source import Location

# What any store takes, and AWS did in us-east-1 until 2018. A name of dots alone would
# lead out of its place in a path.
_BUCKET: Final = r"^[A-Za-z0-9_][A-Za-z0-9._-]{1,253}[A-Za-z0-9_]$"
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_AWS_BUCKET: Final = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_HOST_LABEL: Final = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_DIRECTORY: Final = re.compile(r".+--(?P<zone>[a-z0-9-]+)--x-s3")
# One label of a host name, which botocore accepts as a region: no region may lead out of
# AWS's domain.
_REGION: Final = r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$"
# What the specification says of AWS's keys. Other stores have shorter ones: 31 characters
# at Backblaze, 30 at Alibaba, and whatever an administrator chose at MinIO and Ceph.
_AWS_KEY_CHARACTERS: Final = {"access_key_id": 16, "secret_access_key": 32}
_AWS_SUFFIXES: Final = (".amazonaws.com", ".amazonaws.com.cn", ".amazonaws.eu")
# They refuse every request that has the bucket in its path.
_VIRTUAL_ONLY: Final = (".aliyuncs.com",)


class S3Config(SourceConfig):
    """A bucket, a prefix, and the keys that open them."""

    bucket: Annotated[str, Field(pattern=_BUCKET, description="The bucket's name.")]
    prefix: Prefix = ""
    region: Annotated[
        str,
        Field(
            pattern=_REGION,
            description="AWS region, or what another store has in its place, such as `auto`.",
        ),
    ] = "us-east-1"
    anonymous: bool = Field(
        default=False,
        strict=True,
        description="Read a public bucket without keys, where the operator allows it.",
    )
    access_key_id: Annotated[
        AccessKey,
        Field(
            description="At least 16 characters at AWS. Required, but where `anonymous` is true."
        ),
        Asked("AWS_ACCESS_KEY_ID", "AWS access key id", hidden=False, is_option=True),
    ] = Field(default=None, validate_default=True)
    secret_access_key: Annotated[
        AccessKey,
        Field(
            description="At least 32 characters at AWS. Required, but where `anonymous` is true."
        ),
        Asked("AWS_SECRET_ACCESS_KEY", "AWS secret access key"),
    ] = Field(default=None, validate_default=True)
    endpoint_url: EndpointUrlWithPath | None = Field(
        default=None,
        description="Address of a store that the operator allows. Without it: AWS.",
    )
    addressing_style: Literal["auto", "path", "virtual"] = Field(
        default="auto",
        description="Where requests name the bucket: in the path, or in front of the host. `auto` "
        "is the path, except for stores that are known to refuse it.",
    )
    requester_pays: bool = Field(
        default=False,
        strict=True,
        description="Agree to pay for the requests, where a bucket's owner demands it.",
    )

    @field_validator("access_key_id", "secret_access_key")
    @classmethod
    def _keys_unless_anonymous(
        cls, value: SecretStr | None, info: ValidationInfo
    ) -> SecretStr | None:
        if value is None and not info.data.get("anonymous"):
            raise PydanticCustomError("missing", "is required, but where `anonymous` is true")
        return value

    @classmethod
    def needs_secrets(cls, values: Mapping[str, Any]) -> bool:
        """Not for a public bucket."""
        return not values.get("anonymous")

    def location(self) -> Location:
        """``s3://bucket/prefix``."""
        return Location("s3", self.bucket, self.prefix)

    def origin(self) -> tuple[object, ...]:
        """Another store may hold another bucket of the same name."""
        return self.location(), self.endpoint_url

    @property
    def directory_zone(self) -> str | None:
        """The availability zone of a directory bucket; None for an ordinary one."""
        match = _DIRECTORY.fullmatch(self.bucket)
        return match["zone"] if match else None

    def is_aws(self, settings: Settings) -> bool:
        """Whether the bucket lies at AWS, and not in another store."""
        host = self._host(settings)
        return host is None or host.endswith(_AWS_SUFFIXES)

    def bucket_in_host(self, settings: Settings) -> bool:
        """Whether requests name the bucket in front of the host, and not in the path."""
        if self.directory_zone is not None:
            return True
        if self.addressing_style != "auto":
            return self.addressing_style == "virtual"
        host = self._host(settings) or ""
        return host.endswith(_VIRTUAL_ONLY) and self.may_be_in_host(settings)

    def may_be_in_host(self, settings: Settings) -> bool:
        """Whether the bucket and the endpoint's host make a host name together."""
        try:
            ip_address(self._host(settings) or "")
        except ValueError:
            # A certificate for all buckets of a host is for none with a dot.
            return _HOST_LABEL.fullmatch(self.bucket) is not None
        return False

    def check(self, settings: Settings) -> None:
        """Refuse what the operator does not allow, and what this store cannot have."""
        if self.endpoint_url is not None:
            check_endpoint(self.endpoint_url, settings.activekg_endpoint_allowlist)
        if self.anonymous and settings.activekg_s3_anonymous != "allowed":
            raise InvalidConnector(
                "must not be true. The operator allows buckets to be read without keys with "
                "ACTIVEKG_S3_ANONYMOUS=allowed, for every process.",
                field="anonymous",
            )
        if self.is_aws(settings):
            self._check_bounds_of_aws()
        if self.addressing_style == "virtual" and not self.may_be_in_host(settings):
            raise InvalidConnector(
                "must not be virtual here: before the name of a host, and not before an address, "
                "stands a bucket of 3 to 63 lower-case letters, digits and hyphens.",
                field="addressing_style",
            )
        if self.directory_zone is not None and self.prefix and not self.prefix.endswith("/"):
            raise InvalidConnector(
                "must end in a slash: directory buckets take no other prefixes.", field="prefix"
            )

    def hints(self) -> dict[str, str]:
        """The first and the last characters of the access key id, four each at most."""
        if self.access_key_id is None:
            return dict.fromkeys(self.secret_fields(), "")
        key = self.access_key_id.get_secret_value()
        shown = min(4, len(key) // 4)
        return {"access_key_id": f"{key[:shown]}…{key[len(key) - shown :]}"}

    def _host(self, settings: Settings) -> str | None:
        """The host of the store, in lower case; None for AWS's own."""
        endpoint_url = self.endpoint_url or settings.activekg_s3_endpoint_url
        return None if endpoint_url is None else urlsplit(endpoint_url).hostname or ""

    def _check_bounds_of_aws(self) -> None:
        # What was made in us-east-1 before 2018 has kept its name.
        if self.region != "us-east-1" and not _AWS_BUCKET.fullmatch(self.bucket):
            raise InvalidConnector(
                "must be 3 to 63 lower-case letters, digits, hyphens and dots. Other names exist "
                "at AWS in us-east-1 alone.",
                field="bucket",
            )
        for field, least in _AWS_KEY_CHARACTERS.items():
            # Secrets that do not change are not at hand.
            key: SecretStr | None = getattr(self, field)
            if key is not None and len(key.get_secret_value()) < least:
                raise InvalidConnector(
                    f"must have at least {least} characters at AWS. A store that is not AWS is "
                    "named by endpoint_url.",
                    field=field,
                )
