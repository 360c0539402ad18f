"""What a tenant registers: one S3 source, its configuration as the connector's document
gives it, and its identity.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import datetime
from ipaddress import IPv6Address
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, model_validator

from activekg_pipelines.errors import InvalidConnector

# No ':' and no '/': an external id is s3:{tenant}:{bucket}/{key}, and two tenants must
# never share one.
_TENANT_ID = r"^[A-Za-z0-9][A-Za-z0-9_.@-]{0,127}$"
_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
# https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html
_BUCKET = r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$"
# Host names as botocore takes them, without underscores; a dot at the end would make
# one host two names.
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_HOST = rf"(?:{_LABEL}\.)*{_LABEL}|\[(?P<v6>[0-9a-f:.]+)\]"
_ENDPOINT = re.compile(rf"https?://(?:{_HOST})(?::(?P<port>[0-9]{{1,5}}))?/?")


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain the character NUL")
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode text") from None
    if len(encoded) > 1024:
        raise ValueError("must be at most 1,024 bytes long, as S3 keys are")
    return value


def _no_dots(value: str) -> str:
    # Dagster refuses "..." in partition keys.
    if ".." in value:
        raise ValueError("must not contain two dots in a row")
    return value


def _http_url(value: str) -> str:
    # Not what a lenient parser makes of it: two parsers that read one address as two
    # hosts are how such checks fail.
    if "@" in value:
        raise ValueError("must hold no user name or password")
    if not (match := _ENDPOINT.fullmatch(value.lower())):
        raise ValueError(
            "must be http:// or https://, a host of letters, digits, hyphens and dots, and "
            "perhaps a port"
        )
    if match["v6"] is not None:
        try:
            IPv6Address(match["v6"])
        except ValueError:
            raise ValueError("must be a valid IPv6 address between the brackets") from None
    if match["port"] is not None and not 0 < int(match["port"]) < 65536:
        raise ValueError("must have a port between 1 and 65535")
    return value.lower().rstrip("/")


TenantId = Annotated[str, Field(pattern=_TENANT_ID), AfterValidator(_no_dots)]
ConnectorName = Annotated[str, Field(pattern=_NAME), AfterValidator(_no_dots)]
BucketName = Annotated[str, Field(pattern=_BUCKET)]
Prefix = Annotated[str, AfterValidator(_storable)]
# One label of a host name, which botocore accepts as a region: no region may lead out
# of AWS's domain.
Region = Annotated[
    str, Field(pattern=r"^[a-z]([a-z0-9-]{0,38}[a-z0-9])?$", description="AWS region.")
]
EndpointUrl = Annotated[
    str,
    Field(
        max_length=255,
        description="Address of an S3-compatible store that the operator allows; null for AWS.",
    ),
    AfterValidator(_http_url),
]
AccessKeyId = Annotated[SecretStr, Field(min_length=16, max_length=128)]
SecretAccessKey = Annotated[SecretStr, Field(min_length=32, max_length=256)]
# Strict: what JSON writes as another type is a mistake of whoever wrote it.
PollInterval = Annotated[
    int, Field(ge=60, le=3600, strict=True, description="Seconds between two polls.")
]
Enabled = Annotated[bool, Field(strict=True, description="Whether the connector is polled.")]


class S3Config(BaseModel):
    """A connector's configuration; fields, bounds and defaults are those of the
    connector's document.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    bucket: BucketName
    prefix: Annotated[Prefix, Field(description="Only keys that begin with it.")] = ""
    region: Region = "us-east-1"
    access_key_id: AccessKeyId
    secret_access_key: SecretAccessKey
    poll_interval_seconds: PollInterval = 900
    enabled: Enabled = True
    endpoint_url: EndpointUrl | None = None
    name: ConnectorName | None = Field(
        default=None,
        description="How people and partition keys call the connector; made from bucket and "
        "prefix when not given.",
    )


def _only_the_endpoint_is_nullable(schema: dict[str, Any]) -> None:
    for name, described in schema["properties"].items():
        if name != "endpoint_url":
            described.update(described.pop("anyOf")[0])
            del described["default"]


class S3ConfigPatch(BaseModel):
    """Changes to a connector's configuration: only the given fields change."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, json_schema_extra=_only_the_endpoint_is_nullable
    )

    bucket: BucketName | None = None
    prefix: Annotated[Prefix, Field(description="Only keys that begin with it.")] | None = None
    region: Region | None = None
    access_key_id: AccessKeyId | None = None
    secret_access_key: SecretAccessKey | None = None
    poll_interval_seconds: PollInterval | None = None
    enabled: Enabled | None = None
    endpoint_url: EndpointUrl | None = None

    @model_validator(mode="after")
    def _both_or_neither(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise ValueError(
                "access_key_id and secret_access_key change together: send both or neither"
            )
        return self

    @model_validator(mode="after")
    def _nothing_unset(self) -> Self:
        # Only the endpoint may be taken away; everything else always has a value.
        for name in sorted(self.model_fields_set - {"endpoint_url"}):
            if getattr(self, name) is None:
                raise ValueError(f"{name} must not be null: leave it out to keep its value")
        return self

    def changes(self) -> dict[str, Any]:
        """The fields that the caller gave."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class ConnectorRequest(BaseModel):
    """The body of a registration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant_id: TenantId
    provider: Literal["s3"]
    config: S3Config


@dataclass(frozen=True, slots=True)
class Credentials:
    """An AWS key pair in clear; lives only between decryption and the S3 client."""

    access_key_id: str = field(repr=False)
    secret_access_key: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Connector:
    """A registered connector as stored, without its secrets."""

    id: UUID
    tenant_id: str
    provider: str
    name: str
    partition_key: str
    bucket: str
    prefix: str
    region: str
    endpoint_url: str | None
    poll_interval_seconds: int
    enabled: bool
    access_key_hint: str
    kek_version: int
    created_at: datetime
    updated_at: datetime
    last_scan_started_at: datetime | None
    last_scan_completed_at: datetime | None
    last_error_code: str | None
    last_error_message: str | None
    last_error_at: datetime | None
    deletions_held_back: int
    deletions_confirmed: int
    objects_over_limit: int
    failed_polls: int
    generation: int

    @property
    def needs_confirmation(self) -> bool:
        """Whether the delete-storm guard waits for somebody to confirm."""
        return self.deletions_held_back > self.deletions_confirmed

    def uri(self, key: str) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self.bucket}/{key}"


def default_name(bucket: str, prefix: str) -> str:
    """A readable connector name from bucket and prefix, at most 100 characters."""
    return _slug(f"{bucket}-{prefix.strip('/')}" if prefix.strip("/") else bucket, 100)


def partition_key(tenant_id: str, name: str) -> str:
    """The connector's Dagster partition key; tenant ids and names hold no character
    that Dagster refuses.
    """
    return f"{tenant_id}/{name}"


def sensor_name(tenant_id: str) -> str:
    """A tenant's sensor name: ``s3_<tenant>`` where Dagster accepts that, told apart by
    a hash where it does not.

    Two equal names would keep every tenant's sensors from loading, so the hash is too
    long for anybody to find two ids that share one.
    """
    return "s3_" + _slug(tenant_id, 80, allowed="A-Za-z0-9_", digits=32)


def mask(access_key_id: str) -> str:
    """The access key id as it may be shown: its first and last four characters."""
    return f"{access_key_id[:4]}…{access_key_id[-4:]}"


def overlaps(prefix: str, other: str) -> bool:
    """Whether two prefixes of one bucket share objects."""
    return prefix.startswith(other) or other.startswith(prefix)


def check_endpoint(endpoint_url: str, allowlist: Collection[str]) -> None:
    """Refuse endpoints that the operator did not allow: a tenant's URL must not reach
    into the operator's network.

    What the host's name leads to is checked when a connection is made
    (:mod:`activekg_pipelines.s3.addresses`).

    Raises:
        InvalidConnector: neither ``host`` nor ``host:port`` is on the list.
    """
    parts = urlsplit(endpoint_url)
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    if not {parts.hostname, host, f"{host}:{port}"} & {entry.lower() for entry in allowlist}:
        raise InvalidConnector(
            f"endpoint_url: the host {parts.netloc} is not allowed. "
            "The operator allows S3-compatible stores by name in ACTIVEKG_ENDPOINT_ALLOWLIST, "
            "for every process."
        )


def _slug(value: str, limit: int, allowed: str = "A-Za-z0-9_.-", digits: int = 8) -> str:
    """``value`` with other characters replaced; a hash tells apart what replacing or
    cutting made equal.
    """
    slug = re.sub(rf"[^{allowed}]+|\.\.+", "_", value)
    # A value that looks like somebody else's slug with hash gets a hash of its own.
    if slug == value and len(value) <= limit and not re.search(rf"_[0-9a-f]{{{digits}}}$", value):
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
    return f"{slug[: limit - digits - 1]}_{digest}"
