"""Every environment variable this package reads, once, typed and checked.

Nothing else in the package touches ``os.environ`` for configuration. Secrets are
``SecretStr`` so that no repr, log or error shows them. ``docs/configuration.md`` is
made from this module: each section is a heading, each field a row.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import AliasChoices, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from activekg_pipelines.errors import SettingsError

_KEK_VARIABLE = re.compile(r"CONNECTOR_KEK_V(\d+)")


@dataclass(frozen=True, slots=True)
class Unit:
    """What a number counts, for the page of the settings."""

    name: str


def _split_commas(value: object) -> object:
    """The parts of a variable that holds a list."""
    return (
        tuple(part.strip() for part in value.split(",") if part.strip())
        if isinstance(value, str)
        else value
    )


def _cores() -> int:
    """The number of processor cores."""
    return os.cpu_count() or 1


def _half_the_cores() -> int:
    """Half the number of processor cores."""
    return max(1, _cores() // 2)


class _Section(BaseSettings):
    # Built at the first use: only Settings ever is.
    model_config = SettingsConfigDict(
        extra="ignore", frozen=True, env_ignore_empty=True, defer_build=True
    )


class Installation(_Section):
    """Database, files and logs"""

    activekg_dsn: SecretStr | None = Field(
        default=None,
        description="Postgres that holds graph, ledger and registry, as a connection string or "
        "URL of libpq. Where it is not set, `activekg-pipelines up` starts an embedded one.",
    )
    activekg_pool_size: Annotated[int, Unit("connections")] = Field(
        default=10, ge=2, description="Connections to Postgres that one process opens at most."
    )
    activekg_home: Path = Field(
        default=Path(".activekg"),
        description="Folder of the embedded database, the generated keys, the converted model, "
        "the logs and Dagster's files.",
    )
    activekg_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO",
        description="The least important lines that are written. `DEBUG` also names each "
        "unchanged object.",
    )
    activekg_log_style: Literal["text", "json"] = Field(
        default="text", description="`text` is for people, `json` for machines."
    )


class Keys(_Section):
    """Keys and tokens"""

    connector_kek_active_version: int | None = Field(
        default=None,
        description="Version of the key that encrypts new credentials. It may be left out where "
        "there is only one key.",
    )
    jwt_secret_key: SecretStr | None = Field(
        default=None,
        description="Secret that signs and checks tokens (HS256). `activekg-pipelines up` makes "
        "one where no key is set.",
    )
    jwt_public_key: SecretStr | None = Field(
        default=None,
        description="Public key, in PEM, of tokens that are signed elsewhere (RS256, ES256).",
    )
    jwt_algorithm: str = Field(
        default="HS256", description="How tokens are signed: `HS256`, `RS256` or `ES256`."
    )
    jwt_audience: str = Field(default="activekg", description="What `aud` of a token must name.")
    jwt_issuer: str = Field(default="activekg-auth", description="What `iss` of a token must be.")
    jwt_leeway_seconds: Annotated[int, Unit("seconds")] = Field(
        default=30,
        ge=0,
        le=300,
        description="By how much the clocks of issuer and API may differ.",
    )
    jwt_max_life_seconds: Annotated[int, Unit("seconds")] = Field(
        default=30 * 24 * 3600,
        ge=60,
        description="How long a token may live, from `iat` (without that, from now) to `exp`. A "
        "longer one is refused.",
    )


class AdminApi(_Section):
    """Admin API"""

    activekg_api_host: str = Field(
        default="127.0.0.1", description="Address that the API listens on."
    )
    activekg_api_port: int = Field(
        default=8000, ge=1, le=65535, description="Port that the API listens on."
    )
    activekg_api_rate_limit: str = Field(
        default="600/minute",
        description="Requests of one caller, and refused tokens of one address, at one process of "
        "the API. `off` means no limit.",
    )
    activekg_api_trusted_proxies: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = (
        Field(
            default=(),
            description="Addresses or networks of the proxies in front of the API. Only their "
            "`X-Forwarded-For` and `X-Forwarded-Proto` count.",
        )
    )
    activekg_api_request_seconds: Annotated[float, Unit("seconds")] = Field(
        default=30.0,
        ge=1,
        le=300,
        description="How long a request may take. What it asks of Postgres and of stores ends "
        "then, too.",
    )
    activekg_api_search_seconds: Annotated[float, Unit("seconds")] = Field(
        default=10.0, ge=1, le=300, description="How long a search may take."
    )
    activekg_api_requests_per_tenant: Annotated[int, Unit("requests")] = Field(
        default=4,
        ge=1,
        le=100,
        description="Requests of a tenant that one process of the API answers at once, fewer than "
        "half of `ACTIVEKG_POOL_SIZE` in any case. Four times as many of all tenants. Further "
        "ones wait for 2 seconds, and are refused then.",
    )
    activekg_api_searches_per_tenant: Annotated[int, Unit("searches")] = Field(
        default_factory=_half_the_cores,
        ge=1,
        le=100,
        description="The same for searches, which take a core each. Those of all tenants take half "
        "of `ACTIVEKG_POOL_SIZE` at most.",
    )
    activekg_api_source_requests_per_tenant: Annotated[int, Unit("requests")] = Field(
        default=3,
        ge=1,
        le=100,
        description="The same for previews and connection tests, which wait for stores.",
    )
    activekg_api_monitoring_seconds: Annotated[float, Unit("seconds")] = Field(
        default=1.0,
        ge=0,
        description="For how long an answer of `/metrics` or `/readyz` is given again to whoever "
        "asks.",
    )
    activekg_metrics: Literal["token", "open", "off"] = Field(
        default="token",
        description="Who may read `/metrics`: a token with scope `metrics:read`, anybody, or "
        "nobody.",
    )

    @field_validator("activekg_api_trusted_proxies", mode="before")
    @classmethod
    def _split_proxies(cls, value: object) -> object:
        return _split_commas(value)


class DagsterUi(_Section):
    """Dagster's UI

    `activekg-pipelines up` and `activekg-pipelines webserver` serve it.
    """

    activekg_webserver_url: str = Field(
        default="http://127.0.0.1:3000",
        description="Dagster's webserver. The API asks it to reload the code location, and links "
        "to its runs.",
    )
    activekg_webserver_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Names by which browsers reach the UI, such as `dagster.example.com`, beside "
        "this machine's own and that of `ACTIVEKG_WEBSERVER_URL`. Requests for other names are "
        "refused.",
    )
    activekg_webserver_login: Literal["auto", "on", "proxy"] = Field(
        default="auto",
        description="Who asks people to log in. `auto`: the webserver, unless it can be reached "
        "from this machine alone. `on`: the webserver, always. `proxy`: a proxy that nobody gets "
        "around.",
    )
    activekg_webserver_secret: SecretStr | None = Field(
        default=None,
        description="Secret of 32 bytes or more that webserver, API and command line share: it "
        "signs sessions, and the API's own requests. Without it, `JWT_SECRET_KEY` counts.",
    )

    @field_validator("activekg_webserver_hosts", mode="before")
    @classmethod
    def _split_hosts(cls, value: object) -> object:
        return _split_commas(value)


class Sources(_Section):
    """Sources"""

    activekg_endpoint_allowlist: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        validation_alias=AliasChoices(
            "activekg_endpoint_allowlist", "activekg_s3_endpoint_allowlist"
        ),
        description="`host` or `host:port` of the stores that connectors may name as "
        "`endpoint_url`.",
    )
    activekg_private_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode] = Field(
        default=(),
        validation_alias=AliasChoices("activekg_private_networks", "activekg_s3_private_networks"),
        description="Networks that are not public, such as `10.2.0.0/16`, in which every allowed "
        "store may lie.",
    )
    activekg_s3_endpoint_url: str | None = Field(
        default=None,
        description="The store of S3 connectors that name no `endpoint_url`, where an "
        "installation has its own. Without it they read from AWS.",
    )
    activekg_s3_anonymous: Literal["refused", "allowed"] = Field(
        default="refused",
        description="Whether S3 connectors may read buckets without keys (`anonymous`). In a "
        "store of your own, that shows to every tenant what is public there.",
    )
    activekg_min_bytes_per_second: Annotated[int, Unit("bytes a second")] = Field(
        default=128 * 1024,
        ge=1,
        validation_alias=AliasChoices(
            "activekg_min_bytes_per_second", "activekg_s3_min_bytes_per_second"
        ),
        description="An answer that comes more slowly is given up after its first minute, and "
        "the download is tried again.",
    )
    activekg_download_threads: Annotated[int, Unit("downloads")] = Field(
        default=8,
        ge=1,
        le=64,
        description="Downloads at once in a run. Lower it where temporary disk is scarce.",
    )
    aws_ca_bundle: str | None = Field(
        default=None,
        description="File of the authorities that stores' certificates lead to. Without it, "
        "`REQUESTS_CA_BUNDLE` counts, then the public authorities.",
    )
    requests_ca_bundle: str | None = Field(
        default=None, description="The same, where `AWS_CA_BUNDLE` is not set."
    )

    @field_validator("activekg_endpoint_allowlist", "activekg_private_networks", mode="before")
    @classmethod
    def _split_allowed(cls, value: object) -> object:
        return _split_commas(value)


class TenantLimits(_Section):
    """Limits of one tenant

    `activekg-pipelines limits` sets other limits for a single tenant. 0 means no limit.
    """

    activekg_max_connectors_per_tenant: Annotated[int, Unit("connectors")] = Field(
        default=100,
        ge=0,
        description="Registrations beyond it are refused. Each connector is a partition and a "
        "poll, and a loop must not make a million.",
    )
    activekg_max_objects_per_connector: Annotated[int, Unit("objects")] = Field(
        default=0,
        ge=0,
        description="Objects that scans take in. Off by default: an index of one's own buckets "
        "must not miss documents by a limit that nobody set.",
    )
    activekg_max_bytes_per_day: Annotated[int, Unit("bytes")] = Field(
        default=0,
        ge=0,
        description="Downloaded by a tenant on a day in UTC. Off for the same reason.",
    )


class Fairness(_Section):
    """Fairness between tenants"""

    activekg_concurrent_runs: Annotated[int, Unit("runs")] = Field(
        default=4,
        ge=1,
        description="`max_concurrent_runs` of `dagster.yaml`. Only where as many are under way "
        "does a run make way for another.",
    )
    activekg_runs_per_tenant: Annotated[int, Unit("runs")] = Field(
        default=4,
        ge=1,
        description="Runs of a tenant that are queued or running at once: Dagster's limit on the "
        "tag `activekg/tenant`, and one more that waits.",
    )
    activekg_fair_share_seconds: Annotated[float, Unit("seconds")] = Field(
        default=30.0,
        gt=0,
        validation_alias=AliasChoices("activekg_fair_share_seconds", "activekg_turn_seconds"),
        description="A run ends early after this time when a tenant with fewer runs has waited as "
        "long.",
    )


class DocumentLimits(_Section):
    """Limits of one document"""

    activekg_max_file_bytes: Annotated[int, Unit("bytes")] = Field(
        default=100 * 1024 * 1024, ge=1, description="The largest object that is downloaded."
    )
    activekg_max_text_chars: Annotated[int, Unit("characters")] = Field(
        default=20_000_000, ge=1, description="The longest text that is indexed."
    )
    activekg_parse_timeout_seconds: Annotated[float, Unit("seconds")] = Field(
        default=60.0, gt=0, description="How long a parser may work on one document."
    )
    activekg_parse_memory_bytes: Annotated[int, Unit("bytes")] = Field(
        default=2 * 1024**3,
        ge=256 * 1024**2,
        description="How much memory a parser may use for one document.",
    )
    activekg_parse_workers: Annotated[int, Unit("processes")] = Field(
        default_factory=_cores, ge=1, description="Parsers that work at once in a run."
    )
    activekg_pdf_engine: Literal["pdfium", "pdfplumber"] = Field(
        default="pdfium",
        description="What reads PDF. `pdfplumber` means pdfplumber alone, which is 33 times "
        "slower.",
    )


class Embedding(_Section):
    """Embedding"""

    activekg_embedding_model: str = Field(
        default="sentence-transformers/all-MiniLM-L6-v2",
        description="Name or folder of a model with 384 dimensions.",
    )
    activekg_embedding_backend: str = Field(
        default="auto",
        description="What computes the vectors. `auto` is openvino on a CPU, torch on a GPU.",
    )
    activekg_embedding_device: str | None = Field(
        default=None,
        description="Torch's name of the device, for example `cuda:1` or `cpu`. Without it, a GPU "
        "is used if there is one.",
    )
    activekg_embedding_precision: Literal["auto", "float32", "bfloat16", "float16", "int8"] = Field(
        default="auto",
        description="`auto` takes half precision where the hardware has it. `int8` needs "
        "`activekg-pipelines[onnx]` and makes other vectors: switching to it, or back, embeds "
        "every document again.",
    )
    activekg_embedding_reuse_days: Annotated[float, Unit("days")] = Field(
        default=7.0,
        ge=0,
        description="How long the vectors of deleted or replaced chunks are kept, so that a "
        "rename or a second upload encodes nothing.",
    )


class Runs(_Section):
    """Scans and runs"""

    activekg_tick_budget_seconds: Annotated[float, Unit("seconds")] = Field(
        default=20.0,
        gt=0,
        description="How long a sensor's tick may list. Keep it well under "
        "`DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS`.",
    )
    activekg_max_objects_per_run: Annotated[int, Unit("objects")] = Field(
        default=1000, ge=1, description="Objects that one run takes up at most."
    )
    activekg_runs_per_connector: Annotated[int, Unit("runs")] = Field(
        default=2, ge=1, description="Runs that work on one connector at once."
    )
    activekg_run_budget_seconds: Annotated[float, Unit("seconds")] = Field(
        default=1500.0,
        gt=0,
        description="Time after which a run takes up nothing more. Keep it well below "
        "`run_monitoring.max_runtime_seconds` of `dagster.yaml`.",
    )
    activekg_lease_seconds: Annotated[int, Unit("seconds")] = Field(
        default=120,
        ge=1,
        description="When this ends, the objects of a run that was killed or froze are free "
        "again. A run that makes progress renews it.",
    )
    activekg_lost_run_seconds: Annotated[float, Unit("seconds")] = Field(
        default=240.0,
        gt=0,
        description="A run without a sign of life for so long is dead. Set it above 80: a step "
        "may wait as long before it is tried again.",
    )
    activekg_max_attempts: Annotated[int, Unit("attempts")] = Field(
        default=5,
        ge=1,
        description="Attempts at one object before it is a dead letter. Two that its parser does "
        "not survive are enough.",
    )
    activekg_retry_base_seconds: Annotated[float, Unit("seconds")] = Field(
        default=30.0,
        gt=0,
        description="The longest time before an object's second attempt. It doubles with each "
        "further one, and the moment is drawn from its second half.",
    )
    activekg_retry_cap_seconds: Annotated[float, Unit("seconds")] = Field(
        default=3600.0, gt=0, description="What that time grows to at most."
    )
    activekg_delete_guard_share: float = Field(
        default=0.2,
        gt=0,
        le=1,
        description="A scan that would delete more than this share of a connector's objects "
        "deletes nothing until somebody confirms it. A connector's `delete_guard_percent` "
        "overrides it.",
    )
    activekg_delete_guard_min_objects: Annotated[int, Unit("objects")] = Field(
        default=10, ge=0, description="Up to as many objects are deleted without a confirmation."
    )


class Retention(_Section):
    """Retention"""

    activekg_dagster_retention_days: Annotated[int, Unit("days")] = Field(
        default=30,
        ge=1,
        description="Age from which Dagster's finished runs are deleted, with their events and "
        "logs. The last ones of a partition stay.",
    )
    activekg_deleted_retention_days: Annotated[int, Unit("days")] = Field(
        default=30,
        ge=1,
        description="How long the ledger shows an object as deleted that is gone from its source.",
    )


class Settings(
    Installation,
    Keys,
    AdminApi,
    DagsterUi,
    Sources,
    TenantLimits,
    Fairness,
    DocumentLimits,
    Embedding,
    Runs,
    Retention,
):
    """The process's configuration. Field names are the variables in lower case."""

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


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that is no field of :class:`Settings`, for the page of the settings.

    Attributes:
        section: the section that it is shown in.
        values: what it may be, in words.
        default: what counts where it is not set, in words.
    """

    name: str
    section: type[BaseSettings]
    values: str
    default: str
    description: str


READ_ELSEWHERE: Final = (
    Variable(
        "ACTIVEKG_DAGSTER_DSN",
        Installation,
        "text",
        "`<db>_dagster`, beside the other",
        "Postgres that holds Dagster's own storage. `dagster.yaml` reads it, and "
        "`activekg-pipelines up` makes the database.",
    ),
    Variable(
        "ACTIVEKG_DAGSTER_FILES",
        Installation,
        "folder",
        "below `ACTIVEKG_HOME`",
        "Dagster's compute logs and other files. `dagster.yaml` reads it.",
    ),
    Variable(
        "ACTIVEKG_LOGS_BUCKET",
        Installation,
        "name of a bucket",
        "not set",
        "Bucket of Dagster's compute logs. Only `deploy/dagster.aws.yaml` reads it.",
    ),
    Variable(
        "DAGSTER_HOME",
        Installation,
        "folder",
        "below `ACTIVEKG_HOME`",
        "Folder of the instance's `dagster.yaml`. Dagster reads it.",
    ),
    Variable(
        "DAGSTER_GRPC_TIMEOUT_SECONDS",
        Runs,
        "whole number of seconds",
        "`60`; `up` sets `180`",
        "How long Dagster waits for the code server, also until a run's process has loaded the "
        "definitions. As long as `run_monitoring` waits for a run to start.",
    ),
    Variable(
        "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS",
        Runs,
        "whole number of seconds",
        "`60`; `up` sets `120`",
        "How long Dagster waits for a sensor's tick. A tick lists for "
        "`ACTIVEKG_TICK_BUDGET_SECONDS`, and a store that does not answer can hold it longer.",
    ),
    Variable(
        "CONNECTOR_KEK_V<n>",
        Keys,
        "Fernet key",
        "not set",
        "The keys that encrypt the connectors' credentials, one variable for each version. "
        "`activekg-pipelines up` makes version 1 where none is set.",
    ),
    Variable(
        "ACTIVEKG_DEMO_S3_PORT",
        Sources,
        "whole number, 1 to 65,535",
        "`5055`",
        "Port of the demonstration's stand-in for S3.",
    ),
    Variable(
        "AWS_ACCESS_KEY_ID",
        Sources,
        "text",
        "not set",
        "Access key of a connector that `activekg-pipelines connectors` adds or changes, with "
        "`AWS_SECRET_ACCESS_KEY`. The command asks for what is not set. Connectors never use the "
        "keys of the environment.",
    ),
    Variable(
        "AWS_SECRET_ACCESS_KEY", Sources, "text", "not set", "The secret of `AWS_ACCESS_KEY_ID`."
    ),
    Variable(
        "HTTP_PROXY",
        Sources,
        "URL",
        "not set",
        "Proxy on the way to stores without TLS. A proxy resolves names itself, and must keep its "
        "clients from internal addresses.",
    ),
    Variable("HTTPS_PROXY", Sources, "URL", "not set", "The same for stores with TLS."),
    Variable(
        "NO_PROXY",
        Sources,
        "list, separated by commas",
        "not set",
        "Hosts that are reached without a proxy.",
    ),
)
"""Variables that Dagster, the command line or a library reads."""


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


def variables_of(field: str) -> tuple[str, ...]:
    """The environment variables of a field of :class:`Settings`, the current name first."""
    alias = Settings.model_fields[field].validation_alias
    names = alias.choices if isinstance(alias, AliasChoices) else [field]
    return tuple(str(name).upper() for name in names)


def load_settings() -> Settings:
    """Read the environment now.

    Raises:
        SettingsError: naming each variable and the rule that it breaks, never its
            value.
    """
    if disagreements := list(_disagreements()):
        raise SettingsError(f"The configuration is unusable. {' '.join(disagreements)}")
    try:
        return Settings()
    except ValidationError as error:
        problems = "; ".join(
            f"{_given_name(*item['loc'])}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False, include_context=False)
        )
        raise SettingsError(f"The configuration is unusable. {problems}") from None


@cache
def settings() -> Settings:
    """The settings of this process, read at the first call."""
    return load_settings()


def connector_keks(environ: Mapping[str, str] | None = None) -> dict[int, SecretStr]:
    """The key-encryption keys in the environment, by version.

    They come from ``CONNECTOR_KEK_V<n>``.
    """
    source = os.environ if environ is None else environ
    return {
        int(match.group(1)): SecretStr(value)
        for name, value in source.items()
        if value and (match := _KEK_VARIABLE.fullmatch(name))
    }


def _disagreements() -> Iterator[str]:
    """A sentence for each setting whose old and new variable say different things."""
    for field in Settings.model_fields:
        given = _given(field)
        if len(set(given.values())) > 1:
            name, *others = given
            yield f"{name} and {others[0]}, its older name, differ: set only {name}."


def _given(field: str) -> dict[str, str]:
    """Those of the field's variables that are set, the current name first."""
    environment = {name.upper(): value for name, value in os.environ.items() if value}
    return {name: environment[name] for name in variables_of(field) if name in environment}


def _given_name(field: int | str, *item: int | str) -> str:
    """The variable that was set, and not the current name of it, with the item in it."""
    name = next(iter(_given(str(field))), str(field).upper())
    return ".".join([name, *(str(part).upper() for part in item)])
