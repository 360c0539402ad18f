"""What a tenant registers of a source: the fields that every provider has.

A provider's configuration is one pydantic model, derived from :class:`SourceConfig`.
Everything else follows from it: which fields are secret, the patch that changes some of
them, the view that hides the secrets, and the options of the command line.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from ipaddress import IPv6Address
from typing import Annotated, Any, ClassVar, Self, cast, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    create_model,
    model_validator,
)
from pydantic.fields import FieldInfo

from activekg_pipelines.names import slug
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.source import Location

_NAME = r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,99}$"
# Host names as botocore takes them, without underscores. With a dot at the end, one host
# would have two names.
_LABEL = r"(?!-)[a-z0-9-]{1,63}(?<!-)"
_HOST = rf"(?:{_LABEL}\.)*{_LABEL}|\[(?P<v6>[0-9a-f:.]+)\]"
_ENDPOINT = re.compile(rf"https?://(?:{_HOST})(?::(?P<port>[0-9]{{1,5}}))?/?")
# No segment of dots alone, none that is empty, and nothing that is escaped: it stays what
# it is, whoever puts it together with a key.
_PATH = re.compile(r"(?:/(?!\.+(?:/|$))[A-Za-z0-9._~-]+)+/?")
# AWS's longest is a secret of 40; other stores' are up to a few hundred.
_MAX_KEY_CHARACTERS = 256


def _storable(value: str) -> str:
    if "\x00" in value:
        raise ValueError("must not contain the character NUL")
    try:
        encoded = value.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode text") from None
    if len(encoded) > 1024:
        raise ValueError("must be at most 1,024 bytes long, as keys are")
    return value


def no_dots(value: str) -> str:
    """Refuse "..", which Dagster does not take in partition keys."""
    if ".." in value:
        raise ValueError("must not contain two dots in a row")
    return value


def _http_url(value: str) -> str:
    # The check is strict: where two parsers read two hosts from one address, such checks
    # fail.
    if "@" in value:
        raise ValueError("must hold no user name or password")
    # Before the next line: the Kelvin sign in lower case is a k.
    if not value.isascii():
        raise ValueError("must hold no character outside ASCII")
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


def _http_url_with_path(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    host, slash, path = rest.partition("/")
    origin = _http_url(scheme + separator + host)
    if not path:
        return origin
    if not _PATH.fullmatch(slash + path):
        raise ValueError(
            "must have a path of letters, digits, hyphens, dots, underscores and slashes, or none"
        )
    return f"{origin}/{path.rstrip('/')}"


def _key_characters(value: SecretStr | None) -> SecretStr | None:
    if value is None:
        return None
    # The sentences hold no part of the key.
    if not 0 < len(value.get_secret_value()) <= _MAX_KEY_CHARACTERS:
        raise ValueError(f"must have 1 to {_MAX_KEY_CHARACTERS} characters")
    if not all("!" <= character <= "~" for character in value.get_secret_value()):
        raise ValueError(
            "must hold no blank, no line end and no character outside ASCII; a key that was "
            "copied may have one at its end"
        )
    return value


ConnectorName = Annotated[str, Field(pattern=_NAME), AfterValidator(no_dots)]
Key = Annotated[str, AfterValidator(_storable)]
Prefix = Annotated[Key, Field(description="Only keys that begin with it.")]
# It goes into a header, or a signature is made with it: a blank that nobody sees is a
# refusal that nobody understands.
AccessKey = Annotated[SecretStr | None, AfterValidator(_key_characters)]
EndpointUrl = Annotated[str, Field(max_length=255), AfterValidator(_http_url)]
EndpointUrlWithPath = Annotated[str, Field(max_length=255), AfterValidator(_http_url_with_path)]
# Strict: a value of another JSON type is a mistake of the client.
PollInterval = Annotated[
    int, Field(ge=60, le=3600, strict=True, description="Seconds between two polls.")
]
Enabled = Annotated[bool, Field(strict=True, description="Whether the connector is polled.")]
DeleteGuard = Annotated[int, Field(ge=1, le=100, strict=True)]


@dataclass(frozen=True, slots=True)
class Asked:
    """How the command line asks for a secret, which is never a plain argument.

    Attributes:
        environment: the variable that holds it.
        prompt: the question if the variable is not set.
        hidden: the answer is not shown while it is typed.
        is_option: it may also be an option, because it identifies more than it
            protects.
        is_file: the variable, or the answer, names a file that holds it.
    """

    environment: str
    prompt: str
    hidden: bool = True
    is_option: bool = False
    is_file: bool = False


class SourceConfig(BaseModel):
    """A connector's configuration. A provider adds its own fields."""

    # A validation error would quote what it refuses, and that may be a secret.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    SHARED: ClassVar[tuple[str, ...]] = (
        "name",
        "poll_interval_seconds",
        "enabled",
        "delete_guard_percent",
    )
    """Fields that the registry keeps in columns of their own."""

    poll_interval_seconds: PollInterval = 900
    enabled: Enabled = True
    delete_guard_percent: DeleteGuard | None = Field(
        default=None,
        description="A scan that would delete a larger share of the objects deletes nothing until "
        "somebody confirms it; null means as the installation's settings say, and 100 never.",
    )
    name: ConnectorName | None = Field(
        default=None,
        description="How people and partition keys call the connector. It is made from the "
        "source when it is not given.",
    )

    @abstractmethod
    def location(self) -> Location:
        """Where the objects lie."""

    def origin(self) -> tuple[object, ...]:
        """The values that identify the source. When they change, it is listed from the start."""
        return (self.location(),)

    def check(self, settings: Settings) -> None:
        """Refuse what the operator does not allow.

        Raises:
            InvalidConnector: it is not allowed.
        """

    def hints(self) -> dict[str, str]:
        """The parts of the secrets that may be shown, by field."""
        return {}

    def default_name(self) -> str:
        """A readable connector name, at most 100 characters."""
        location = self.location()
        prefix = location.prefix.strip("/")
        return slug(f"{location.container}-{prefix}" if prefix else location.container, 100)

    @classmethod
    def needs_secrets(cls, values: Mapping[str, Any]) -> bool:
        """Whether a registration with these values goes with secrets."""
        return True

    @classmethod
    def secret_fields(cls) -> tuple[str, ...]:
        """The fields that are stored encrypted and never shown."""
        return tuple(name for name, field in cls.model_fields.items() if _is_secret(field))

    def own(self) -> dict[str, Any]:
        """The provider's own fields that are no secrets, as the registry keeps them."""
        return self.model_dump(mode="json", exclude={*self.SHARED, *self.secret_fields()})

    def secrets(self) -> dict[str, SecretStr]:
        """The secrets, by field."""
        values = {name: getattr(self, name, None) for name in self.secret_fields()}
        return {name: value for name, value in values.items() if value is not None}

    @classmethod
    def stored(cls, own: Mapping[str, Any], secrets: Mapping[str, SecretStr]) -> Self:
        """A configuration as the registry has it.

        It is not validated again. It was valid when it was stored, and a newer rule must
        not stop a connector that has been working.
        """
        values: dict[str, Any] = {**own, **secrets}
        return cast("Self", cls.model_construct(**values))


class ConfigPatch(BaseModel):
    """Changes to a connector's configuration: only the given fields change."""

    # A validation error would quote what it refuses, and that may be a secret.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    NULLABLE: ClassVar[frozenset[str]] = frozenset()
    SECRETS: ClassVar[tuple[str, ...]] = ()

    @model_validator(mode="after")
    def _all_secrets_or_none(self) -> Self:
        given = [name for name in self.SECRETS if getattr(self, name) is not None]
        if given and len(given) < len(self.SECRETS):
            raise ValueError(f"{' and '.join(self.SECRETS)} change together: send both or neither")
        return self

    @model_validator(mode="after")
    def _nothing_unset(self) -> Self:
        for name in sorted(self.model_fields_set - self.NULLABLE):
            if getattr(self, name) is None:
                raise ValueError(f"{name} must not be null: leave it out to keep its value")
        return self

    def changes(self) -> dict[str, Any]:
        """The fields that the caller gave."""
        return {name: getattr(self, name) for name in self.model_fields_set}


@cache
def patch_of(config: type[SourceConfig]) -> type[ConfigPatch]:
    """The model of changes to a configuration: every field but the name, none required."""
    fields = {name: field for name, field in config.model_fields.items() if name != "name"}
    secret = config.secret_fields()
    nullable = frozenset(
        name for name, field in fields.items() if _may_be_null(field) and name not in secret
    )

    def describe(schema: dict[str, Any]) -> None:
        for name, described in schema["properties"].items():
            if name not in nullable:
                described.update(described.pop("anyOf")[0])
                del described["default"]

    made: type[ConfigPatch] = create_model(
        f"{config.__name__}Patch",
        __base__=ConfigPatch,
        __doc__=ConfigPatch.__doc__,
        **{name: (_optional(field), None) for name, field in fields.items()},  # type: ignore[call-overload]
    )
    made.model_config["json_schema_extra"] = describe
    made.NULLABLE = nullable
    made.SECRETS = config.secret_fields()
    made.model_rebuild(force=True)
    return made


def masked(config: SourceConfig, hints: Mapping[str, str]) -> BaseModel:
    """A configuration as it is shown.

    Args:
        hints: what may be shown of the secrets, by field. A field without a hint shows
            a mask.
    """
    secrets = {name: hints.get(name, _MASK) for name in config.secret_fields()}
    return view_of(type(config)).model_construct(**{**dict(config), **secrets})


_MASK = "********"


@cache
def view_of(config: type[SourceConfig]) -> type[BaseModel]:
    """The model of a configuration as it is shown, with its secrets masked."""
    own = {name: f for name, f in config.model_fields.items() if name not in config.SHARED}
    shared = {name: config.model_fields[name] for name in config.SHARED if name != "name"}
    fields: dict[str, Any] = {"name": (str, ...)}
    for name, field in (own | shared).items():
        if _is_secret(field):
            fields[name] = (str, Field(description="Masked."))
        else:
            fields[name] = (field.annotation, ...)
    return create_model(
        f"{config.__name__}View", __doc__="A configuration with its secrets masked.", **fields
    )


def _is_secret(field: FieldInfo) -> bool:
    """Whether a field holds a secret, with or without rules of its own.

    Raises:
        TypeError: it holds something made of secrets, which is not stored.
    """
    if field.annotation is SecretStr or set(get_args(field.annotation)) == {SecretStr, type(None)}:
        return True
    if _holds_secret(field.annotation):
        raise TypeError(
            "A secret field is a SecretStr, or SecretStr | None with its rules in Annotated "
            "around the whole."
        )
    return False


def _holds_secret(annotation: Any) -> bool:
    return annotation is SecretStr or any(map(_holds_secret, get_args(annotation)))


def _may_be_null(field: FieldInfo) -> bool:
    return type(None) in get_args(field.annotation)


def _optional(field: FieldInfo) -> Any:
    """The type of a field with its rules and its description, or null."""
    described = [Field(description=field.description)] if field.description else []
    metadata = (*field.metadata, *described)
    annotation: Any = Annotated[(field.annotation, *metadata)] if metadata else field.annotation
    return annotation if _may_be_null(field) else annotation | None
