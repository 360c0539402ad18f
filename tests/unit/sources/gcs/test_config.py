"""What may be registered of a bucket on Google Cloud Storage, and what is kept of it."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import SecretStr, ValidationError

from activekg_pipelines.errors import InvalidConnector
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.config import patch_of, view_of
from activekg_pipelines.sources.gcs import GOOGLE_TOKENS, PROVIDER, GcsConfig, ServiceAccount
from activekg_pipelines.sources.registry import provider
from tests.places import SERVICE_ACCOUNT, key_file, private_key

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey


def config(**changes: object) -> GcsConfig:
    values = {"bucket": "documents", "service_account_json": key_file()}
    return GcsConfig.model_validate(values | changes)


def sentences(**changes: object) -> str:
    with pytest.raises(ValidationError) as caught:
        config(**changes)
    return " ".join(error["msg"] for error in caught.value.errors(include_url=False))


def test_the_registry_knows_it() -> None:
    assert provider("gcs") is PROVIDER
    assert PROVIDER.config is GcsConfig


@pytest.mark.parametrize(
    "name",
    ["abc", "my-bucket_2024", "0a0", "a" * 63, "docs.example.com", ".".join(["a" * 63] * 3)],
)
def test_bucket_names_are_those_of_google(name: str) -> None:
    assert config(bucket=name).location().uri("a b.txt") == f"gs://{name}/a b.txt"


@pytest.mark.parametrize(
    "name",
    [
        "",
        "ab",
        "a" * 64,
        "Documents",
        "-abc",
        "abc-",
        "_abc",
        ".abc",
        "abc.",
        "a..b",
        "a/b",
        "a b",
        "abc\n",
        "ümlaut",
        f"{'a' * 64}.b",
        ".".join(["a" * 63] * 4),
    ],
)
def test_other_names_are_no_buckets(name: str) -> None:
    assert sentences(bucket=name)


@pytest.mark.parametrize("project", ["my-project-1", "example.com:my-project", None])
def test_a_project_may_be_named(project: str | None) -> None:
    assert config(project=project).project == project


@pytest.mark.parametrize("project", ["", "ab", "My-Project", "a" * 31, "my-project-", "a b cdef"])
def test_what_is_no_project_id_is_refused(project: str) -> None:
    assert sentences(project=project)


def test_a_key_file_is_kept_whole_and_shown_by_its_address() -> None:
    made = config()
    assert made.secret_fields() == ("service_account_json",)
    assert (
        json.loads(made.secrets()["service_account_json"].get_secret_value())["client_email"]
        == SERVICE_ACCOUNT
    )
    assert made.own() == {
        "bucket": "documents",
        "prefix": "",
        "project": None,
        "endpoint_url": None,
    }
    assert made.hints() == {"service_account_json": SERVICE_ACCOUNT}
    assert GcsConfig.stored(made.own(), made.secrets()).hints() == made.hints()
    assert view_of(GcsConfig).model_fields["service_account_json"].description == "Masked."


def test_a_key_in_another_form_is_refused() -> None:
    for text in ("", "null", "[]", '"text"', "{", private_key(), "/etc/key.json", "[" * 9999):
        assert "must be the JSON text of a service account's key file" in sentences(
            service_account_json=text
        )


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"type": "authorized_user"}, "must be the key of a service account"),
        ({"type": None}, "must be the key of a service account"),
        ({"client_email": None}, "`client_email`"),
        ({"client_email": 7}, "`client_email`"),
        ({"client_email": "nobody"}, "e-mail address"),
        ({"client_email": "a@b\r\nX-Header: 1"}, "e-mail address"),
        ({"private_key": None}, "`private_key`"),
        ({"private_key": ["x"]}, "`private_key`"),
        ({"private_key": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----"}, "RSA"),
        ({"token_uri": None}, "`token_uri`"),
        ({"token_uri": "file:///etc/passwd"}, "`token_uri`"),
        ({"token_uri": "https://user@tokens.example.com/token"}, "`token_uri`"),
        ({"token_uri": "https://oauth2.googleapis.com/token?a=b"}, "`token_uri`"),
        ({"token_uri": "https://[::1"}, "`token_uri`"),
        ({"token_uri": "https://tokens.example.com"}, "`token_uri`"),
        ({"universe_domain": "example.com"}, "googleapis.com"),
        ({"universe_domain": None, "token_uri": "//"}, "`token_uri`"),
    ],
)
def test_a_key_file_with_something_amiss_is_refused(changes: dict[str, Any], words: str) -> None:
    assert words in sentences(service_account_json=key_file(**changes))


def _made_up_rsa_key(bits: int) -> RSAPrivateKey:
    """Of numbers that are no primes: to look for primes takes as long as to test them."""
    from cryptography.hazmat.primitives.asymmetric.rsa import (
        RSAPrivateNumbers,
        RSAPublicNumbers,
    )

    p, q = 2 ** (bits // 2) - 1, 2 ** (bits // 2) - 3
    d, e = pow(65537, -1, (p - 1) * (q - 1)), 65537
    numbers = RSAPrivateNumbers(
        p, q, d, d % (p - 1), d % (q - 1), pow(q, -1, p), RSAPublicNumbers(e, p * q)
    )
    return numbers.private_key(unsafe_skip_rsa_key_validation=True)


def test_whether_a_keys_primes_are_prime_is_not_found_out_at_the_callers_cost() -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    pem = _made_up_rsa_key(4096).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert ServiceAccount.parse(key_file(private_key=pem.decode())).email == SERVICE_ACCOUNT


@pytest.mark.parametrize("field", ["project_id", "private_key_id", "client_email"])
@pytest.mark.parametrize("odd", [" ", "\n", "\u200b", "é", "\u202e"])
def test_a_key_file_with_an_odd_character_is_refused(field: str, odd: str) -> None:
    whole = json.loads(key_file())
    words = sentences(service_account_json=json.dumps(whole | {field: f"{whole[field]}{odd}"}))
    assert f"`{field}`" in words


def test_keys_of_other_kinds_are_refused() -> None:
    from cryptography.hazmat.primitives.asymmetric import ec, rsa
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    short = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    for key in (short, _made_up_rsa_key(8192), ec.generate_private_key(ec.SECP256R1())):
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
        assert "RSA" in sentences(service_account_json=key_file(private_key=pem))


def test_a_key_file_that_is_far_too_large_is_refused() -> None:
    assert "16384" in sentences(service_account_json=key_file(padding="x" * 20_000))


def test_no_sentence_and_no_text_of_an_error_holds_a_part_of_the_key() -> None:
    secret = "a-part-of-the-key"
    for text in (
        f'{{"type": "service_account", "{secret}',
        key_file(private_key=secret),
        key_file(client_email=secret),
        key_file(token_uri=f"https://{secret}"),
        key_file(universe_domain=secret),
        key_file(type=secret),
    ):
        with pytest.raises(ValidationError) as caught:
            config(service_account_json=text)
        assert secret not in str(caught.value)
        with pytest.raises(ValidationError) as caught:
            patch_of(GcsConfig).model_validate({"service_account_json": text})
        assert secret not in str(caught.value)


def test_neither_configuration_nor_account_shows_the_key() -> None:
    made = config()
    inside = private_key().splitlines()[3]
    for text in (repr(made), str(made), made.model_dump_json(), repr(made.service_account())):
        assert inside not in text


@pytest.mark.parametrize(
    "token_uri",
    [
        GOOGLE_TOKENS,
        "https://accounts.google.com/o/oauth2/token",
        "https://www.googleapis.com/oauth2/v4/token",
    ],
)
def test_the_token_addresses_of_older_key_files_mean_todays(token_uri: str) -> None:
    made = config(service_account_json=key_file(token_uri=token_uri))
    made.check(Settings())
    assert made.service_account().token_uri == GOOGLE_TOKENS


def test_another_token_address_is_the_operators_to_allow() -> None:
    made = config(service_account_json=key_file(token_uri="https://tokens.example.com/a/token"))
    with pytest.raises(InvalidConnector, match=r"tokens\.example\.com, which is neither Google's"):
        made.check(Settings())
    made.check(Settings(activekg_endpoint_allowlist=("tokens.example.com",)))
    GcsConfig.stored(made.own(), {}).check(Settings())
    assert made.service_account().token_uri == "https://tokens.example.com/a/token"


def test_another_endpoint_is_the_operators_to_allow() -> None:
    made = config(endpoint_url="https://storage.example.com:8443")
    with pytest.raises(InvalidConnector, match=r"endpoint_url: the host storage\.example\.com"):
        made.check(Settings())
    made.check(Settings(activekg_endpoint_allowlist=("storage.example.com:8443",)))
    assert made.origin() != config().origin()


def test_without_its_package_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "activekg_pipelines.sources.gcs.source", raising=False)
    monkeypatch.setitem(sys.modules, "google.cloud.storage", None)
    with pytest.raises(InvalidConnector, match=r"pip install 'activekg-pipelines\[gcs\]'"):
        PROVIDER.open(config(), Settings())


def test_a_new_key_alone_is_a_change() -> None:
    patch = patch_of(GcsConfig).model_validate({"service_account_json": key_file()})
    assert list(patch.changes()) == ["service_account_json"]
    assert isinstance(patch.changes()["service_account_json"], SecretStr)
    with pytest.raises(ValidationError):
        patch_of(GcsConfig).model_validate({"service_account_json": "{}"})
    assert patch_of(GcsConfig).model_validate({"project": None}).changes() == {"project": None}
