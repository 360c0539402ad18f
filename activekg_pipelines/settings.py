"""Every environment variable this package reads, once, typed and checked.

Nothing else in the package touches ``os.environ`` for configuration. Secrets are
``SecretStr`` so that no repr, log or error shows them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import PydanticKnownError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from activekg_pipelines.errors import SettingsError

_KEK_VARIABLE = re.compile(r"CONNECTOR_KEK_V(\d+)")


class Settings(BaseSettings):
    """The process's configuration. Field names are the environment variables in lower
    case.
    """

    model_config = SettingsConfigDict(extra="ignore", frozen=True, env_ignore_empty=True)

    # Where things are
    activekg_dsn: SecretStr | None = None
    """libpq connection string or URL of the database that holds graph, ledger and
    registry.
    """
    activekg_pool_size: int = Field(default=10, ge=2)
    """Connections to Postgres that one process opens at most."""
    activekg_home: Path = Path(".activekg")
    """Folder of the embedded database, generated keys, the converted model and
    Dagster's files.
    """
    activekg_webserver_url: str = "http://127.0.0.1:3000"
    """Dagster webserver; the API asks it to reload the code location and links to its
    runs.
    """

    activekg_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    activekg_log_style: Literal["text", "json"] = "text"
    activekg_metrics: Literal["token", "open", "off"] = "token"
    """Who may read ``/metrics``: a token with scope ``metrics:read``, anybody, or
    nobody.
    """

    # Secrets of tenants
    connector_kek_active_version: int | None = None
    """Version of the key that encrypts new secrets; the keys are
    ``CONNECTOR_KEK_V<n>``.
    """

    # Admin API
    jwt_secret_key: SecretStr | None = None
    jwt_public_key: SecretStr | None = None
    jwt_algorithm: str = "HS256"
    jwt_audience: str = "activekg"
    jwt_issuer: str = "activekg-auth"
    jwt_leeway_seconds: int = Field(default=30, ge=0, le=300)
    activekg_api_host: str = "127.0.0.1"
    activekg_api_port: int = Field(default=8000, ge=1, le=65535)
    activekg_api_rate_limit: str = "600/minute"
    """Requests of one caller, and refused tokens of one address, at one process of the
    API; ``off`` for no limit.
    """

    # S3
    activekg_s3_endpoint_allowlist: Annotated[tuple[str, ...], NoDecode] = ()
    """``host`` or ``host:port`` of the S3-compatible stores that connectors may name as
    ``endpoint_url``.
    """
    activekg_s3_endpoint_url: str | None = None
    """The store of connectors that name no ``endpoint_url``, where an installation has
    its own; AWS by default.
    """
    activekg_s3_private_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = ()
    """Networks that are not public, such as ``10.2.0.0/16``, in which every allowed
    store may lie.
    """
    activekg_s3_min_bytes_per_second: int = Field(default=128 * 1024, ge=1)
    """An answer that comes more slowly is given up after its first minute, and the
    download tried again.
    """
    aws_ca_bundle: str | None = None
    """File of the authorities that stores' certificates lead to; ``REQUESTS_CA_BUNDLE``
    where it is not set.
    """
    requests_ca_bundle: str | None = None
    activekg_download_threads: int = Field(default=8, ge=1, le=64)

    # Limits of one tenant, where `activekg-pipelines limits` sets no others; 0 for no
    # limit
    activekg_max_connectors_per_tenant: int = Field(default=100, ge=0)
    """Registrations beyond it are refused: each connector is a partition and a poll; a
    loop must not make a million.
    """
    activekg_max_objects_per_connector: int = Field(default=0, ge=0)
    """Off, because who indexes buckets of his own must not miss documents by a limit
    that nobody set.
    """
    activekg_max_bytes_per_day: int = Field(default=0, ge=0)
    """Downloaded by a tenant on a day in UTC; off for the same reason."""
    activekg_runs_per_tenant: int = Field(default=4, ge=1)
    """Queued or running at once: Dagster's limit on ``activekg/tenant``, and one that
    waits for its place.
    """
    activekg_concurrent_runs: int = Field(default=4, ge=1)
    """``max_concurrent_runs`` of dagster.yaml: only where as many are under way a run
    makes way for another.
    """
    activekg_turn_seconds: float = Field(default=30.0, gt=0)
    """A run ends early after this time when a tenant with fewer runs has waited as
    long.
    """

    # Limits of one object
    activekg_max_file_bytes: int = Field(default=100 * 1024 * 1024, ge=1)
    activekg_max_text_chars: int = Field(default=20_000_000, ge=1)
    activekg_parse_timeout_seconds: float = Field(default=60.0, gt=0)
    activekg_parse_memory_bytes: int = Field(default=2 * 1024**3, ge=256 * 1024**2)
    activekg_parse_workers: int = Field(default_factory=lambda: os.cpu_count() or 1, ge=1)
    activekg_pdf_engine: Literal["pdfium", "pdfplumber"] = "pdfium"

    # Embedding
    activekg_embedding_model: str = "sentence-transformers/all-MiniLM-L6-v2"
    activekg_embedding_backend: str = "auto"
    """``auto``, or the name of a backend in ``embedding/registry.py``."""
    activekg_embedding_device: str | None = None
    activekg_embedding_precision: Literal["auto", "float32", "bfloat16", "float16", "int8"] = "auto"
    """``auto`` takes half precision where the hardware has it. ``int8`` needs
    ``activekg-pipelines[onnx]``, and makes other vectors: switching to it, or back,
    embeds every document again."""
    activekg_embedding_reuse_days: float = Field(default=7.0, ge=0)
    """How long the vectors of deleted or replaced chunks are kept so that a rename or
    re-upload encodes nothing.
    """

    # Scans and runs
    activekg_tick_budget_seconds: float = Field(default=20.0, gt=0)
    """Wall time a sensor tick may list for; well under
    ``DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS`` (60 by default).
    """
    activekg_max_objects_per_run: int = Field(default=1000, ge=1)
    activekg_runs_per_connector: int = Field(default=2, ge=1)
    activekg_run_budget_seconds: float = Field(default=1500.0, gt=0)
    """Wall time after which a run takes up nothing more; well below
    ``run_monitoring.max_runtime_seconds``.
    """
    activekg_lease_seconds: int = Field(default=120, ge=1)
    """A killed run's objects come back when this ends; renewed while the run makes
    progress.
    """
    activekg_lost_run_seconds: float = Field(default=240.0, gt=0)
    """A run without a sign of life for so long is dead; a step waits for up to 80
    before it is tried again.
    """
    activekg_max_attempts: int = Field(default=5, ge=1)
    activekg_retry_base_seconds: float = Field(default=30.0, gt=0)
    activekg_retry_cap_seconds: float = Field(default=3600.0, gt=0)
    activekg_delete_guard_share: float = Field(default=0.5, gt=0, le=1)
    activekg_delete_guard_min_objects: int = Field(default=10, ge=0)

    # History
    activekg_dagster_retention_days: int = Field(default=30, ge=1)
    """Age from which Dagster's finished runs are deleted, with their events and logs;
    the last of a partition stay.
    """
    activekg_deleted_retention_days: int = Field(default=30, ge=1)
    """How long the ledger shows an object as deleted that is gone from its bucket."""

    @field_validator(
        "activekg_s3_endpoint_allowlist", "activekg_s3_private_networks", mode="before"
    )
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return (
            tuple(part.strip() for part in value.split(",") if part.strip())
            if isinstance(value, str)
            else value
        )

    @field_validator("activekg_embedding_backend")
    @classmethod
    def _registered_backend(cls, value: str) -> str:
        from activekg_pipelines.embedding import BACKENDS

        if value not in BACKENDS:
            names = [repr(name) for name in BACKENDS]
            expected = f"{', '.join(names[:-1])} or {names[-1]}"
            raise PydanticKnownError("literal_error", {"expected": expected})
        return value

    def require_dsn(self) -> str:
        """The database's connection string.

        Raises:
            SettingsError: ``ACTIVEKG_DSN`` is not set.
        """
        if self.activekg_dsn is None:
            raise SettingsError(
                "ACTIVEKG_DSN is not set. Set it to your Postgres (with pgvector), "
                "or start everything with the embedded one: activekg-pipelines up"
            )
        return check_dsn("ACTIVEKG_DSN", self.activekg_dsn.get_secret_value())


def check_dsn(variable: str, dsn: str) -> str:
    """``dsn``, if libpq can read it.

    Raises:
        SettingsError: it cannot; the sentence names the variable and never the value,
            which may hold a password.
    """
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        conninfo_to_dict(dsn)
    except ProgrammingError:
        raise SettingsError(
            f"{variable} is no address of a Postgres database. Write "
            "postgresql://user:password@host:5432/database, "
            "with special characters percent-encoded."
        ) from None
    return dsn


def load_settings() -> Settings:
    """Read the environment now.

    Raises:
        SettingsError: naming each variable and the rule that it breaks, never its
            value.
    """
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(str(part) for part in item['loc']).upper()}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise SettingsError(f"The configuration is unusable. {problems}") from None


@cache
def settings() -> Settings:
    """The settings of this process, read at the first call."""
    return load_settings()


def connector_keks(environ: Mapping[str, str] | None = None) -> dict[int, SecretStr]:
    """The key-encryption keys in the environment: version to Fernet key, from
    ``CONNECTOR_KEK_V<n>``.
    """
    source = os.environ if environ is None else environ
    return {
        int(match.group(1)): SecretStr(value)
        for name, value in source.items()
        if value and (match := _KEK_VARIABLE.fullmatch(name))
    }
