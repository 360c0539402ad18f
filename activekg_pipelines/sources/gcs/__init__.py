"""Google Cloud Storage: what a tenant registers of a bucket, and the provider's record."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, TypeAdapter

from activekg_pipelines.errors import InvalidConnector
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.config import Asked, EndpointUrl, Prefix, SourceConfig
from activekg_pipelines.sources.network.addresses import check_endpoint
from activekg_pipelines.sources.provider import Provider
from activekg_pipelines.sources.source import Location

if TYPE_CHECKING:
    from activekg_pipelines.sources.gcs.source import GcsSource

# https://cloud.google.com/storage/docs/buckets#naming
_BUCKET: Final = r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$"
_MAX_LABEL: Final = 63
# https://cloud.google.com/resource-manager/docs/creating-managing-projects; some old
# ones begin with a domain: "example.com:project".
_PROJECT: Final = r"^([a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]$"
_EMAIL: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*@[A-Za-z0-9][A-Za-z0-9.-]*")
_WORD: Final = re.compile(r"[!-~]*")
# A key file has 2.4 kB.
_MAX_KEY_FILE: Final = 16 * 1024
_RSA_BITS: Final = range(2048, 4097)

GOOGLE_TOKENS: Final = "https://oauth2.googleapis.com/token"
"""Where Google issues access tokens."""
# What key files of earlier years say; Google answers all of them at the same service.
_GOOGLE_TOKEN_URIS: Final = frozenset(
    {
        GOOGLE_TOKENS,
        "https://accounts.google.com/o/oauth2/token",
        "https://www.googleapis.com/oauth2/v3/token",
        "https://www.googleapis.com/oauth2/v4/token",
    }
)
_TOKEN_URI: Final = re.compile(r"(?P<origin>https?://[^/?#]+)(?P<path>/[A-Za-z0-9._~/-]+)")
_ORIGIN: Final[TypeAdapter[str]] = TypeAdapter(EndpointUrl)
_ANOTHER_KEY: Final = "Create a JSON key of the service account in the Google Cloud console"


@dataclass(frozen=True, slots=True)
class ServiceAccount:
    """What is used of a service account's key file, and nothing else of it.

    Attributes:
        email: of the account.
        project: in which the account was made; None where the file does not say.
        token_uri: where it gets its access tokens.
        private_key: PEM.
        private_key_id: names the key to Google.
    """

    email: str
    project: str | None
    token_uri: str
    private_key: str = field(repr=False)
    private_key_id: str | None = field(repr=False)

    @classmethod
    def parse(cls, text: str) -> Self:
        """The account of a key file.

        Raises:
            ValueError: it is no service account's key. The sentence holds no part of it.
        """
        values = _json_object(text)
        if values.get("type") != "service_account":
            raise ValueError(
                f'must be the key of a service account, with "type": "service_account". '
                f"{_ANOTHER_KEY}"
            )
        if values.get("universe_domain", "googleapis.com") != "googleapis.com":
            raise ValueError("must be of an account at googleapis.com: no other cloud is supported")
        email = _text(values, "client_email")
        if not _EMAIL.fullmatch(email):
            raise ValueError("must have an e-mail address as `client_email`")
        private_key = _text(values, "private_key")
        _check_private_key(private_key)
        return cls(
            email,
            _word(values, "project_id"),
            _token_uri(_text(values, "token_uri")),
            private_key,
            _word(values, "private_key_id"),
        )

    @classmethod
    def stored(cls, text: str) -> Self:
        """The account of a key file that was valid when it was stored."""
        values = json.loads(text)
        return cls(
            values["client_email"],
            values.get("project_id"),
            _token_uri(values["token_uri"]),
            values["private_key"],
            values.get("private_key_id"),
        )

    @property
    def token_origin(self) -> str:
        """Scheme, host and port of ``token_uri``."""
        parts = urlsplit(self.token_uri)
        return f"{parts.scheme}://{parts.netloc}"


def _bucket(name: str) -> str:
    labels = name.split(".")
    if not all(0 < len(label) <= _MAX_LABEL for label in labels):
        raise ValueError(
            f"must have 1 to {_MAX_LABEL} characters before, between and after its dots"
        )
    return name


def _key_file(secret: SecretStr) -> SecretStr:
    ServiceAccount.parse(secret.get_secret_value())
    return secret


class GcsConfig(SourceConfig):
    """A bucket, a prefix, and the service account that may read them."""

    bucket: Annotated[
        str, Field(pattern=_BUCKET, description="The bucket's name."), AfterValidator(_bucket)
    ]
    prefix: Prefix = ""
    project: Annotated[str, Field(pattern=_PROJECT)] | None = Field(
        default=None,
        description="Id of the Google Cloud project; null for the service account's own.",
    )
    service_account_json: Annotated[
        SecretStr,
        Field(
            max_length=_MAX_KEY_FILE,
            description="The service account's key file: the JSON text, not its name.",
        ),
        AfterValidator(_key_file),
        Asked("GOOGLE_APPLICATION_CREDENTIALS", "File with the key", is_file=True),
    ]
    endpoint_url: EndpointUrl | None = Field(
        default=None,
        description="Address of an endpoint that the operator allows. Without it: Google's.",
    )

    def location(self) -> Location:
        """``gs://bucket/prefix``."""
        return Location("gs", self.bucket, self.prefix)

    def origin(self) -> tuple[object, ...]:
        """Another endpoint may hold another bucket of the same name."""
        return self.location(), self.endpoint_url

    def service_account(self) -> ServiceAccount:
        """Who reads the bucket."""
        return ServiceAccount.stored(self.service_account_json.get_secret_value())

    def check(self, settings: Settings) -> None:
        """Refuse hosts that are neither Google's nor on the operator's list."""
        allowlist = settings.activekg_endpoint_allowlist
        if self.endpoint_url is not None:
            check_endpoint(self.endpoint_url, allowlist)
        # A stored configuration may be without its secrets; it is checked again when it is
        # opened with them.
        if getattr(self, "service_account_json", None) is None:
            return
        account = self.service_account()
        if account.token_uri != GOOGLE_TOKENS:
            try:
                check_endpoint(account.token_origin, allowlist)
            except InvalidConnector:
                raise InvalidConnector(
                    "service_account_json: its token_uri leads to "
                    f"{urlsplit(account.token_uri).netloc}, which is neither Google's nor on the "
                    "operator's list, ACTIVEKG_ENDPOINT_ALLOWLIST."
                ) from None

    def hints(self) -> dict[str, str]:
        """The service account's e-mail address."""
        return {"service_account_json": self.service_account().email}


def open_gcs(
    config: GcsConfig,
    settings: Settings,
    *,
    answer_seconds: float = 60.0,
    least_page_seconds: float = 10.0,
) -> GcsSource:
    """A bucket, with a client of its own.

    Args:
        config: with its secret.
        settings: of the process.
        answer_seconds: what every answer may take, however small.
        least_page_seconds: what a page of a listing may take, however little time is
            left until the deadline.

    Raises:
        InvalidConnector: a host is not on the operator's list, or google-cloud-storage
            is not installed.
    """
    try:
        # Here, because it costs time, and most processes never open a bucket.
        from activekg_pipelines.sources.gcs.source import connect
    except ModuleNotFoundError as missing:
        if (missing.name or "").partition(".")[0] not in {"google", "google_crc32c", "requests"}:
            raise
        raise InvalidConnector(
            "Google Cloud Storage needs a package that is not installed here. The operator "
            "installs it for every process: pip install 'activekg-pipelines[gcs]'"
        ) from None
    return connect(config, settings, answer_seconds, least_page_seconds)


PROVIDER = Provider(
    "gcs",
    title="Google Cloud Storage",
    place="Google Cloud Storage bucket",
    config=GcsConfig,
    open=open_gcs,
)


def _json_object(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        # Not raised here: the cause quotes the text.
        values = None
    if not isinstance(values, dict):
        raise ValueError(  # noqa: TRY004 - pydantic takes only a ValueError
            f"must be the JSON text of a service account's key file. {_ANOTHER_KEY}"
        )
    return values


def _text(values: dict[str, Any], name: str) -> str:
    value = values.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"must have a text as `{name}`. {_ANOTHER_KEY}")
    return value


def _word(values: dict[str, Any], name: str) -> str | None:
    value = values.get(name)
    if not isinstance(value, str):
        return None
    if not _WORD.fullmatch(value):
        raise ValueError(
            f"must hold no blank, no line end and no character outside ASCII in its `{name}`"
        )
    return value


def _token_uri(uri: str) -> str:
    if uri in _GOOGLE_TOKEN_URIS:
        return GOOGLE_TOKENS
    try:
        if (match := _TOKEN_URI.fullmatch(uri)) is not None:
            return str(_ORIGIN.validate_python(match["origin"])) + match["path"]
    except ValueError:
        # A pydantic error quotes what it was given.
        pass
    raise ValueError(f"must have {GOOGLE_TOKENS} as `token_uri`")


def _check_private_key(pem: str) -> None:
    # Here, because every process imports this module.
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        # Whether its primes are prime takes seconds for a large key, and is not ours to
        # find out.
        key = load_pem_private_key(pem.encode(), password=None, unsafe_skip_rsa_key_validation=True)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, RSAPrivateKey) or key.key_size not in _RSA_BITS:
        raise ValueError(f"must have an RSA key in PEM form as `private_key`. {_ANOTHER_KEY}")
