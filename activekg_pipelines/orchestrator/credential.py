"""How the API and the command line show Dagster's webserver who they are.

They ask it to reload the definitions and what it knows of daemons, whether or not people
have to log in there. Each request carries a token of one minute, signed with a key that
both sides derive from the same secret. It opens nothing else.
"""

from __future__ import annotations

import hmac
import time
from typing import Final

import jwt

from activekg_pipelines.errors import SettingsError
from activekg_pipelines.settings import Settings

_SECONDS: Final = 60
_LEEWAY_SECONDS: Final = 30
_AUDIENCE: Final = "activekg-webserver"
_MIN_SECRET_BYTES: Final = 32


def webserver_key(settings: Settings, purpose: str) -> bytes | None:
    """A key that signs for one purpose at the webserver, and nothing else.

    Args:
        settings: with ``ACTIVEKG_WEBSERVER_SECRET``, or ``JWT_SECRET_KEY`` in its place.
        purpose: what is signed; another one has another key.

    Returns:
        32 bytes; None where neither is set.

    Raises:
        SettingsError: ``ACTIVEKG_WEBSERVER_SECRET`` is too short.
    """
    secret = settings.activekg_webserver_secret
    if secret is not None and len(secret.get_secret_value().encode()) < _MIN_SECRET_BYTES:
        raise SettingsError(
            f"ACTIVEKG_WEBSERVER_SECRET is shorter than {_MIN_SECRET_BYTES} bytes. Make one with: "
            "python -c 'import secrets; print(secrets.token_urlsafe(48))'"
        )
    secret = secret or settings.jwt_secret_key
    if secret is None:
        return None
    return hmac.digest(
        secret.get_secret_value().encode(), f"activekg webserver: {purpose}".encode(), "sha256"
    )


class ServiceCredential:
    """Makes and checks the tokens of API and command line."""

    def __init__(self, settings: Settings) -> None:
        self._key = webserver_key(settings, "service")

    def make(self) -> str | None:
        """A token for one request; None where there is no secret to sign with."""
        if self._key is None:
            return None
        claims = {"aud": _AUDIENCE, "exp": int(time.time()) + _SECONDS}
        return jwt.encode(claims, self._key, algorithm="HS256")

    def proves(self, token: str) -> bool:
        """Whether a token was made with the same secret, and is still valid."""
        if self._key is None:
            return False
        try:
            jwt.decode(
                token,
                self._key,
                algorithms=["HS256"],
                audience=_AUDIENCE,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "aud"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            return False
        return True
