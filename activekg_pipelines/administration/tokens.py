"""Tokens (JWT): what they say, which ones are accepted here, and how one is signed.

It knows nothing of HTTP.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import jwt
from pydantic import TypeAdapter, ValidationError

from activekg_pipelines.connectors.models import TenantId
from activekg_pipelines.errors import ActiveKGError, SettingsError
from activekg_pipelines.settings import Settings

MAX_TOKEN_BYTES: Final = 8 * 1024
# It stands in logs, in the record of actions and in terminals.
_MAX_SUBJECT_CHARACTERS: Final = 256

_ASYMMETRIC: Final = frozenset({"RS256", "ES256"})
# RFC 7518, section 3.2: a key as long as the hash; section 3.3: what RS256 needs.
_MIN_SECRET_BYTES: Final = 32
_MIN_RSA_BITS: Final = 2048
_HOW_TO_MAKE_A_SECRET: Final = (
    "Make one with: python -c 'import secrets; print(secrets.token_urlsafe(48))'"  # noqa: S105
)
_LATEST: Final = 2**53
_tenant_ids: TypeAdapter[str] = TypeAdapter(TenantId)


class AccessScope(StrEnum):
    """What a token may allow."""

    CONNECTORS_ADMIN = "connectors:admin"
    """Everything about the token's own tenant's connectors."""
    SUPER_ADMIN = "super_admin"
    """Everything, for every tenant."""
    SEARCH_READ = "search:read"
    """Search in the token's own tenant's documents."""
    METRICS_READ = "metrics:read"
    """The metrics of the token's own tenant. A token for nothing else may name no
    tenant (that of a Prometheus server): it reads the metrics of all."""
    DAGSTER_UI = "dagster:ui"
    """Dagster's UI. It shows every tenant, so it opens to a super admin alone, and only
    with a token that names this scope as well: no token of the API logs in by accident."""


class TokenRefused(Exception):
    """The token proves nothing."""


class OtherTenant(ActiveKGError):
    """The token is another tenant's than the one that the request names."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Whom a valid token names.

    Attributes:
        tenant_id: None only for a super admin, or a reader of metrics and nothing else,
            whose token names no tenant.
        expires: when the token ends, in seconds since 1970.
    """

    subject: str
    tenant_id: str | None
    scopes: frozenset[str]
    expires: float = field(default=0.0, compare=False)

    @property
    def is_super_admin(self) -> bool:
        """Whether the caller acts for any tenant."""
        return AccessScope.SUPER_ADMIN in self.scopes

    @property
    def boundary(self) -> str | None:
        """The only tenant whose rows the caller may meet.

        None for a super admin, who may meet all.
        """
        return None if self.is_super_admin else self.tenant_id

    @property
    def may_use_dagster(self) -> bool:
        """Whether the caller may log in to Dagster's UI."""
        return self.is_super_admin and AccessScope.DAGSTER_UI in self.scopes

    def may(self, scope: AccessScope) -> bool:
        """Whether the caller has a scope; a super admin has all."""
        return self.is_super_admin or scope in self.scopes

    def acting_for(self, named: str | None) -> str | None:
        """The tenant that a request is about.

        Args:
            named: what the request says, if it says anything.

        Returns:
            None only when a super admin names nobody: every tenant.

        Raises:
            OtherTenant: the caller named another tenant than its own.
        """
        if self.is_super_admin:
            return named
        if named not in {None, self.tenant_id}:
            raise OtherTenant
        return self.tenant_id


class TokenVerifier:
    """Checks tokens against this installation's key, algorithm, audience and issuer.

    Raises:
        SettingsError: the key or the algorithm is missing or does not fit.
    """

    def __init__(self, settings: Settings) -> None:
        self._key = _verification_key(settings)
        self._settings = settings

    def verify(self, token: str) -> Principal:
        """The caller behind a token.

        Raises:
            TokenRefused: with the reason, for the caller to read.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise TokenRefused(f"The token is longer than {MAX_TOKEN_BYTES:,} bytes.")
        claims = self._claims(token)
        _check_life(claims, self._settings.jwt_max_life_seconds)
        return _principal(claims)

    def _claims(self, token: str) -> dict[str, Any]:
        try:
            return jwt.decode(
                token,
                self._key,
                # From the settings alone: what the token's own header says decides
                # nothing.
                algorithms=[self._settings.jwt_algorithm],
                audience=self._settings.jwt_audience,
                issuer=self._settings.jwt_issuer,
                leeway=self._settings.jwt_leeway_seconds,
                options={"require": ["exp", "sub", "aud", "iss"]},
            )
        except jwt.ExpiredSignatureError:
            raise TokenRefused("The token has expired.") from None
        except jwt.ImmatureSignatureError:
            raise TokenRefused("The token is not valid yet.") from None
        except jwt.MissingRequiredClaimError as error:
            raise TokenRefused(f"The token has no {error.claim} claim.") from None
        except jwt.InvalidAudienceError:
            raise TokenRefused("The token is for another audience.") from None
        except jwt.InvalidIssuerError:
            raise TokenRefused("The token is from another issuer.") from None
        # The others are what PyJWT lets through from numbers and nesting that it does
        # not expect.
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise TokenRefused("The token is not a valid one of this installation.") from None


def mint_token(
    settings: Settings,
    subject: str,
    tenant_id: str | None,
    scopes: Collection[str],
    ttl_seconds: int,
) -> str:
    """A token that this installation's API accepts.

    This is for installations that sign with ``JWT_SECRET_KEY`` themselves.

    Args:
        settings: key, audience and issuer.
        subject: whom the token names.
        tenant_id: whose data; None only for a super admin or a reader of all metrics.
        scopes: of :class:`AccessScope`.
        ttl_seconds: seconds until it expires, at least 1.

    Raises:
        SettingsError: there is no secret to sign with, or an argument would make a
            token that the API refuses.
    """
    if settings.jwt_algorithm != "HS256":
        raise SettingsError(
            f"Tokens are signed elsewhere: JWT_ALGORITHM is {settings.jwt_algorithm}, and only "
            "the public key is here."
        )
    if unknown := sorted(set(scopes) - set(AccessScope)):
        raise SettingsError(
            f"Unknown scopes: {', '.join(unknown)}. Known are: {', '.join(AccessScope)}."
        )
    if ttl_seconds < 1:
        raise SettingsError("A token must live for at least 1 second.")
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": subject,
        "scopes": sorted(scopes),
        "aud": settings.jwt_audience,
        "iss": settings.jwt_issuer,
        "iat": now,
        "nbf": now,
        "exp": now + ttl_seconds,
    }
    if tenant_id is not None:
        claims["tenant_id"] = tenant_id
    try:
        _check_life(claims, settings.jwt_max_life_seconds)
        _principal(claims)
    except TokenRefused as error:
        raise SettingsError(str(error)) from None
    return jwt.encode(claims, _verification_key(settings), algorithm="HS256")


def _verification_key(settings: Settings) -> str:
    algorithm = settings.jwt_algorithm
    if algorithm == "HS256":
        if settings.jwt_secret_key is None:
            raise SettingsError(
                "JWT_SECRET_KEY is not set: nothing can be signed or checked. "
                f"{_HOW_TO_MAKE_A_SECRET}"
            )
        key = settings.jwt_secret_key.get_secret_value()
        if len(key.encode()) < _MIN_SECRET_BYTES:
            raise SettingsError(
                f"JWT_SECRET_KEY is shorter than {_MIN_SECRET_BYTES} bytes. {_HOW_TO_MAKE_A_SECRET}"
            )
    elif algorithm in _ASYMMETRIC:
        if settings.jwt_public_key is None:
            raise SettingsError(
                f"JWT_PUBLIC_KEY is not set, and JWT_ALGORITHM={algorithm} needs it (PEM)."
            )
        key = settings.jwt_public_key.get_secret_value()
    else:
        raise SettingsError("JWT_ALGORITHM must be HS256, RS256 or ES256.")
    name = "JWT_SECRET_KEY" if algorithm == "HS256" else "JWT_PUBLIC_KEY"
    try:
        # Also refuses a public key as an HS256 secret: everybody could sign with it.
        prepared: Any = jwt.get_algorithm_by_name(algorithm).prepare_key(key)
    except (jwt.PyJWTError, ValueError, TypeError):
        raise SettingsError(f"{name} is no usable key for JWT_ALGORITHM={algorithm}.") from None
    if hasattr(prepared, "private_bytes"):
        raise SettingsError(
            f"{name} is a private key. Set the public one: whoever checks tokens must not be able "
            "to sign them."
        )
    if algorithm == "RS256" and prepared.key_size < _MIN_RSA_BITS:
        raise SettingsError(
            f"{name} is an RSA key of {prepared.key_size:,} bits; at least {_MIN_RSA_BITS:,} are "
            "needed."
        )
    return key


def _check_life(claims: dict[str, Any], most_seconds: int) -> None:
    """Refuse times that are no numbers, and a life that is too long.

    PyJWT has compared them with the clock. It takes "7" and true for numbers.
    """
    for name in ("exp", "iat", "nbf"):
        if type(claims.get(name, 0)) not in {int, float}:
            raise TokenRefused(f"The token's {name} claim is not a number.")
    # An issuer that leaves out iat is held to what is left of the life.
    now = time.time()
    if claims["exp"] > min(claims.get("iat", now), now) + most_seconds:
        raise TokenRefused(f"The token lives longer than {most_seconds:,} seconds.")


def _principal(claims: dict[str, Any]) -> Principal:
    subject: str = claims["sub"]
    if not subject:
        raise TokenRefused("The token has an empty sub claim.")
    # Also a surrogate that stands alone is not printable; no database could store it.
    if len(subject) > _MAX_SUBJECT_CHARACTERS or not subject.isprintable():
        raise TokenRefused(
            f"The token's sub claim must have at most {_MAX_SUBJECT_CHARACTERS} characters, all of "
            "them printable."
        )
    scopes = _scopes(claims)
    tenant_id = claims.get("tenant_id")
    if tenant_id is None:
        # Nothing but the metrics may be open to a token without a tenant: elsewhere no
        # tenant means all of them.
        if AccessScope.SUPER_ADMIN not in scopes and scopes != {AccessScope.METRICS_READ}:
            raise TokenRefused("The token has no tenant_id claim.")
    else:
        try:
            tenant_id = _tenant_ids.validate_python(tenant_id, strict=True)
        except ValidationError:
            raise TokenRefused("The token's tenant_id claim is not a valid tenant id.") from None
    # A claim may be larger than any float.
    expires = float(min(int(claims["exp"]), _LATEST))
    return Principal(subject, tenant_id, scopes, expires)


def _scopes(claims: dict[str, Any]) -> frozenset[str]:
    given = claims["scopes"] if "scopes" in claims else claims.get("scope", [])
    if isinstance(given, str):
        given = [scope for scope in re.split(r"[\s,]+", given) if scope]
    if not isinstance(given, list) or not all(isinstance(scope, str) for scope in given):
        raise TokenRefused("The token's scopes claim is neither a list of strings nor a string.")
    return frozenset(given)
