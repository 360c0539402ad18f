"""Tokens: what proves a caller, and every way in which a token proves nothing."""

from __future__ import annotations

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from activekg_pipelines.administration.tokens import (
    MAX_TOKEN_BYTES,
    AccessScope,
    OtherTenant,
    Principal,
    TokenRefused,
    TokenVerifier,
    mint_token,
)
from activekg_pipelines.errors import SettingsError
from activekg_pipelines.settings import Settings

SECRET = "a-secret-of-the-tests-that-is-long-enough"


@pytest.fixture
def hs256() -> Settings:
    return Settings(jwt_secret_key=SECRET, jwt_algorithm="HS256")


@pytest.fixture(scope="module")
def rsa_pair() -> tuple[str, str]:
    return pems(rsa.generate_private_key(public_exponent=65537, key_size=2048))


@pytest.fixture(scope="module")
def ec_pair() -> tuple[str, str]:
    return pems(ec.generate_private_key(ec.SECP256R1()))


def pems(key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey) -> tuple[str, str]:
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return private.decode(), public.decode()


def claims(**changes: Any) -> dict[str, Any]:
    values = {
        "sub": "alice",
        "tenant_id": "acme_corp",
        "scopes": ["connectors:admin"],
        "aud": "activekg",
        "iss": "activekg-auth",
        "exp": int(time.time()) + 600,
    } | changes
    return {name: value for name, value in values.items() if value is not None}


def token(**changes: Any) -> str:
    return jwt.encode(claims(**changes), SECRET, algorithm="HS256")


def test_a_minted_token_names_its_caller(hs256: Settings) -> None:
    minted = mint_token(hs256, "alice", "acme_corp", ["search:read", "connectors:admin"], 60)
    assert TokenVerifier(hs256).verify(minted) == Principal(
        "alice", "acme_corp", frozenset({"search:read", "connectors:admin"})
    )


@pytest.mark.parametrize(
    "given",
    [
        {"scopes": ["connectors:admin", "search:read"]},
        {"scopes": "connectors:admin search:read"},
        {"scopes": "connectors:admin,search:read"},
        {"scopes": "connectors:admin, search:read"},
        {"scopes": None, "scope": "connectors:admin search:read"},
    ],
)
def test_scopes_come_as_list_or_string_or_as_scope(hs256: Settings, given: dict[str, Any]) -> None:
    assert TokenVerifier(hs256).verify(token(**given)).scopes == {"connectors:admin", "search:read"}


def test_a_clock_that_is_a_little_off_is_forgiven(hs256: Settings) -> None:
    now = int(time.time())
    TokenVerifier(hs256).verify(token(exp=now - 20, nbf=now + 20, iat=now + 20))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"exp": int(time.time()) - 3600}, "expired"),
        ({"exp": None}, "no exp claim"),
        ({"nbf": int(time.time()) + 3600}, "not valid yet"),
        ({"iat": int(time.time()) + 3600}, "not valid yet"),
        ({"aud": "somebody-else"}, "another audience"),
        ({"aud": None}, "no aud claim"),
        ({"iss": "somebody-else"}, "another issuer"),
        ({"iss": None}, "no iss claim"),
        ({"sub": None}, "no sub claim"),
        ({"sub": ""}, "empty sub"),
        ({"tenant_id": None}, "no tenant_id"),
        ({"tenant_id": ""}, "not a valid tenant id"),
        ({"tenant_id": "a/b"}, "not a valid tenant id"),
        ({"tenant_id": "a:b"}, "not a valid tenant id"),
        ({"tenant_id": 7}, "not a valid tenant id"),
        ({"tenant_id": ["acme_corp"]}, "not a valid tenant id"),
        ({"scopes": {"connectors:admin": True}}, "scopes"),
        ({"scopes": [1]}, "scopes"),
        ({"exp": float("inf")}, "not a valid one"),
        ({"exp": "soon"}, "not a valid one"),
    ],
)
def test_wrong_claims_are_refused_with_the_reason(
    hs256: Settings, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TokenRefused, match=reason):
        TokenVerifier(hs256).verify(token(**changes))


def test_a_super_admin_may_have_no_tenant(hs256: Settings) -> None:
    assert (
        TokenVerifier(hs256).verify(token(scopes=["super_admin"], tenant_id=None)).tenant_id is None
    )


def test_an_unsigned_token_is_refused(hs256: Settings) -> None:
    with pytest.raises(TokenRefused):
        TokenVerifier(hs256).verify(jwt.encode(claims(), None, algorithm="none"))


def test_another_algorithm_of_the_same_key_is_refused(hs256: Settings) -> None:
    with pytest.raises(TokenRefused):
        TokenVerifier(hs256).verify(jwt.encode(claims(), SECRET * 2, algorithm="HS512"))


def test_another_key_is_refused(hs256: Settings) -> None:
    with pytest.raises(TokenRefused):
        TokenVerifier(hs256).verify(jwt.encode(claims(), "b" * 40, algorithm="HS256"))


def test_asymmetric_tokens_are_accepted(
    rsa_pair: tuple[str, str], ec_pair: tuple[str, str]
) -> None:
    for algorithm, (private, public) in (("RS256", rsa_pair), ("ES256", ec_pair)):
        verifier = TokenVerifier(Settings(jwt_public_key=public, jwt_algorithm=algorithm))
        assert (
            verifier.verify(jwt.encode(claims(), private, algorithm=algorithm)).subject == "alice"
        )


@pytest.mark.parametrize("algorithm", ["RS256", "ES256"])
def test_the_public_key_as_a_shared_secret_is_refused(
    algorithm: str, rsa_pair: tuple[str, str], ec_pair: tuple[str, str]
) -> None:
    public = {"RS256": rsa_pair, "ES256": ec_pair}[algorithm][1]
    verifier = TokenVerifier(Settings(jwt_public_key=public, jwt_algorithm=algorithm))
    # PyJWT refuses to sign like this; an attacker does not ask it.
    header, body = (segment({"alg": "HS256", "typ": "JWT"}), segment(claims()))
    signing = jwt.get_algorithm_by_name("HS256").sign(f"{header}.{body}".encode(), public.encode())
    forged = f"{header}.{body}.{base64.urlsafe_b64encode(signing).decode().rstrip('=')}"
    with pytest.raises(TokenRefused):
        verifier.verify(forged)


def segment(content: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(content).encode()).decode().rstrip("=")


def test_an_oversized_token_is_refused_even_with_a_good_signature(hs256: Settings) -> None:
    large = token(padding="x" * MAX_TOKEN_BYTES)
    with pytest.raises(TokenRefused, match="longer"):
        TokenVerifier(hs256).verify(large)


@pytest.mark.parametrize(
    "garbage",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "é.é.é",
        segment({"alg": "HS256"}) + "..",
        base64.urlsafe_b64encode(b"[" * 5000).decode() + ".e30.x",
        segment({"alg": ["HS256"], "crit": 5}) + ".e30.x",
        segment({"alg": "HS256", "kid": "../../dev/null"}) + ".e30.x",
    ],
)
def test_garbage_is_refused(hs256: Settings, garbage: str) -> None:
    with pytest.raises(TokenRefused):
        TokenVerifier(hs256).verify(garbage)


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({}, "JWT_SECRET_KEY is not set"),
        ({"jwt_secret_key": "short"}, "shorter than 32 bytes"),
        ({"jwt_algorithm": "RS256"}, "JWT_PUBLIC_KEY is not set"),
        ({"jwt_algorithm": "RS256", "jwt_public_key": "no key at all"}, "no usable key"),
        ({"jwt_algorithm": "none", "jwt_secret_key": SECRET}, "must be HS256, RS256 or ES256"),
    ],
)
def test_an_installation_that_cannot_check_tokens_does_not_start(
    values: dict[str, str], problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem) as error:
        TokenVerifier(Settings(**values))
    assert SECRET not in str(error.value)


def test_a_public_key_is_no_shared_secret(rsa_pair: tuple[str, str]) -> None:
    with pytest.raises(SettingsError, match="no usable key"):
        TokenVerifier(Settings(jwt_secret_key=rsa_pair[1], jwt_algorithm="HS256"))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (("alice", None, ["connectors:admin"], 60), "no tenant_id"),
        (("alice", "a/b", ["connectors:admin"], 60), "not a valid tenant id"),
        (("", "acme_corp", ["connectors:admin"], 60), "empty sub"),
        (("alice", "acme_corp", ["connectors:everything"], 60), "Unknown scopes"),
        (("alice", "acme_corp", ["connectors:admin"], 0), "at least 1 second"),
    ],
)
def test_a_token_that_the_api_would_refuse_is_not_minted(
    hs256: Settings, arguments: Any, problem: str
) -> None:
    with pytest.raises(SettingsError, match=problem):
        mint_token(hs256, *arguments)


def test_without_a_secret_nothing_is_minted(rsa_pair: tuple[str, str]) -> None:
    with pytest.raises(SettingsError, match="JWT_SECRET_KEY"):
        mint_token(Settings(), "alice", "acme_corp", ["connectors:admin"], 60)
    with pytest.raises(SettingsError, match="signed elsewhere"):
        mint_token(
            Settings(jwt_algorithm="RS256", jwt_public_key=rsa_pair[1]),
            "alice",
            "acme_corp",
            ["connectors:admin"],
            60,
        )


def test_who_acts_for_whom() -> None:
    admin = Principal("alice", "acme_corp", frozenset({AccessScope.CONNECTORS_ADMIN}))
    assert admin.acting_for(None) == admin.acting_for("acme_corp") == admin.boundary == "acme_corp"
    with pytest.raises(OtherTenant):
        admin.acting_for("globex")
    assert not admin.may(AccessScope.SEARCH_READ)

    root = Principal("root", None, frozenset({AccessScope.SUPER_ADMIN}))
    assert root.acting_for("globex") == "globex"
    assert root.acting_for(None) is None
    assert root.boundary is None
    assert root.may(AccessScope.SEARCH_READ)
