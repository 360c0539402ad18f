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
from tests.tokens import forged, segment, signed

SECRET = "a-secret-of-the-tests-that-is-long-enough"
DAY = 24 * 3600


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
        ({"exp": str(int(time.time()) + 600)}, "exp claim is not a number"),
        ({"exp": 1e300}, "lives longer"),
        ({"exp": 10**400}, "lives longer"),
        ({"exp": int(time.time()) + 366 * DAY}, "lives longer than 2,592,000 seconds"),
        ({"iat": int(time.time()) - 30 * DAY}, "lives longer"),
        ({"iat": -(10**400)}, "lives longer"),
        ({"iat": str(int(time.time()))}, "iat claim is not a number"),
        ({"iat": True}, "iat claim is not a number"),
        ({"nbf": False}, "nbf claim is not a number"),
        ({"sub": "alice\nroot"}, "sub claim"),
        ({"sub": "alice\x00"}, "sub claim"),
        ({"sub": "\u202eecila"}, "sub claim"),
        ({"sub": "alice\u2028"}, "sub claim"),
        ({"sub": "a" * 257}, "sub claim"),
        ({"tenant_id": "acme\n"}, "not a valid tenant id"),
        ({"tenant_id": "\u202eacme"}, "not a valid tenant id"),
        ({"tenant_id": "acm\u0435"}, "not a valid tenant id"),
        ({"scopes": 7}, "scopes"),
        ({"scopes": True}, "scopes"),
    ],
)
def test_wrong_claims_are_refused_with_the_reason(
    hs256: Settings, changes: dict[str, Any], reason: str
) -> None:
    with pytest.raises(TokenRefused, match=reason):
        TokenVerifier(hs256).verify(token(**changes))


def test_no_value_of_any_claim_is_more_than_a_refusal(
    hs256: Settings, subtests: pytest.Subtests
) -> None:
    values: list[Any] = [
        True, False, 0, -1, 1.5, 10**400, 1e308, float("nan"), float("inf"), float("-inf"),
        "", " ", "x", "\x00", "\u202e", "9" * 5000, [], [[]], ["acme_corp", 7], {}, {"a": []},
    ]  # fmt: skip
    names = ("exp", "iat", "nbf", "sub", "aud", "iss", "tenant_id", "scopes", "scope", "jti")
    verifier = TokenVerifier(hs256)
    for name in names:
        for value in values:
            with subtests.test(claim=name, value=repr(value)[:20]):
                refused_or_the_same(verifier, forged(claims() | {name: value}, SECRET))


@pytest.mark.parametrize("payload", ["null", "7", '"text"', "[]", "{", "", "[" * 2500, "\ud800"])
def test_a_payload_that_is_no_object_is_refused(hs256: Settings, payload: str) -> None:
    with pytest.raises(TokenRefused):
        TokenVerifier(hs256).verify(signed(payload.encode("utf-8", "surrogatepass"), SECRET))


def test_deeply_nested_claims_and_lone_surrogates_are_refused(hs256: Settings) -> None:
    known = json.dumps(claims())[:-1]
    verifier = TokenVerifier(hs256)
    for more in ('"x": ' + "[" * 2500 + "]" * 2500, '"exp": ' + "9" * 5000):
        refused_or_the_same(verifier, signed(f"{known}, {more}}}".encode(), SECRET))
    for name in ("sub", "tenant_id"):
        with pytest.raises(TokenRefused):
            verifier.verify(signed(f'{known}, "{name}": "\\ud800"}}'.encode(), SECRET))


@pytest.mark.parametrize(
    "header",
    [
        {"kid": "../../../../dev/null"},
        {"kid": "' UNION SELECT 'secret"},
        {"jku": "http://127.0.0.1/keys"},
        {"x5u": "http://127.0.0.1/keys"},
        {"jwk": {"kty": "oct", "k": "AAAA"}},
    ],
)
def test_where_a_token_says_its_key_lies_counts_for_nothing(
    hs256: Settings, header: dict[str, Any]
) -> None:
    verifier = TokenVerifier(hs256)
    assert verifier.verify(forged(claims(), SECRET, **header)).subject == "alice"
    with pytest.raises(TokenRefused):
        verifier.verify(jwt.encode(claims(), "A" * 32, algorithm="HS256", headers=header))


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "None"},
        {"alg": "hs256"},
        {"alg": ["HS256"]},
        {"alg": {}},
        {"alg": None},
        {"kid": 7},
        {"kid": ["a"]},
        {"crit": ["exp"]},
        {"b64": False},
        {"b64": False, "crit": ["b64"]},
    ],
)
def test_a_header_that_asks_for_something_else_is_refused(
    hs256: Settings, header: dict[str, Any]
) -> None:
    with pytest.raises(TokenRefused):
        TokenVerifier(hs256).verify(forged(claims(), SECRET, **header))


def refused_or_the_same(verifier: TokenVerifier, given: str) -> None:
    """The token is refused with a sentence, or it names alice as every other does."""
    try:
        caller = verifier.verify(given)
    except TokenRefused as refusal:
        assert str(refusal).endswith(".")
        assert str(refusal).isprintable()
    else:
        assert caller.tenant_id in {"acme_corp", "x"}
        assert caller.subject.isprintable()
        assert caller.scopes <= {"connectors:admin", "x", "9" * 5000, "\x00", "\u202e"}


def test_a_longer_life_can_be_allowed() -> None:
    allowed = Settings(jwt_secret_key=SECRET, jwt_algorithm="HS256", jwt_max_life_seconds=400 * DAY)
    year = int(time.time()) + 366 * DAY
    assert TokenVerifier(allowed).verify(token(exp=year)).subject == "alice"


def test_no_token_is_minted_that_lives_too_long(hs256: Settings) -> None:
    mint_token(hs256, "alice", "acme_corp", ["connectors:admin"], 30 * DAY)
    with pytest.raises(SettingsError, match="lives longer than 2,592,000 seconds"):
        mint_token(hs256, "alice", "acme_corp", ["connectors:admin"], 31 * DAY)


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
    with pytest.raises(TokenRefused):
        verifier.verify(forged(claims(), public))


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


def test_a_key_that_is_too_short_is_refused_at_the_start() -> None:
    short = pems(rsa.generate_private_key(public_exponent=65537, key_size=1024))[1]
    with pytest.raises(SettingsError, match="1,024 bits; at least 2,048 are needed"):
        TokenVerifier(Settings(jwt_public_key=short, jwt_algorithm="RS256"))
    with pytest.raises(SettingsError, match="shorter than 32 bytes"):
        TokenVerifier(Settings(jwt_secret_key="s" * 31, jwt_algorithm="HS256"))


def test_a_private_key_is_not_taken_for_the_public_one(rsa_pair: tuple[str, str]) -> None:
    with pytest.raises(SettingsError, match="is a private key") as error:
        TokenVerifier(Settings(jwt_public_key=rsa_pair[0], jwt_algorithm="RS256"))
    assert "BEGIN" not in str(error.value)


def test_a_key_of_another_curve_is_refused_at_the_start() -> None:
    other = pems(ec.generate_private_key(ec.SECP384R1()))[1]
    with pytest.raises(SettingsError, match="no usable key"):
        TokenVerifier(Settings(jwt_public_key=other, jwt_algorithm="ES256"))


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
