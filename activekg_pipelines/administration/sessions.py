"""Sessions of people who logged in with a token: made, read, renewed and ended.

A browser keeps a session as text that is signed here, so that several processes serve it
without a table. It knows nothing of HTTP.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final

import jwt

IDLE_SECONDS: Final = 3600
"""A session that is not used for so long has ended."""
LONGEST_SECONDS: Final = 12 * 3600
"""A session ends after this, however much it is used, and with the token that began it."""

# Each is remembered for as long as its session could live. Nobody ends so many.
_MAX_ENDED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who logged in.

    Attributes:
        id: stays the same when the session is renewed.
        subject: whom the token named.
        until: when it ends unless it is renewed, in seconds since 1970.
        latest: when it ends in any case.
    """

    id: str
    subject: str
    until: float
    latest: float


class Sessions:
    """The sessions of one web page.

    Args:
        key: signs them. Whoever has it can make sessions.
        audience: the page. Sessions of another one are not accepted.
        clock: seconds since 1970.
    """

    def __init__(
        self, key: bytes, audience: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._key = key
        self._audience = audience
        self._clock = clock
        self._ended: dict[str, float] = {}

    def begin(self, subject: str, token_expires: float) -> Session:
        """A new session.

        Args:
            subject: whom the token names.
            token_expires: when the token ends, in seconds since 1970.
        """
        now = self._clock()
        latest = min(token_expires, now + LONGEST_SECONDS)
        return Session(secrets.token_urlsafe(16), subject, min(now + IDLE_SECONDS, latest), latest)

    def renewed(self, session: Session) -> Session | None:
        """The same session with a later end; None while the one it has will do."""
        now = self._clock()
        until = min(now + IDLE_SECONDS, session.latest)
        if session.until - now > IDLE_SECONDS / 2 or until <= session.until:
            return None
        return replace(session, until=until)

    def written(self, session: Session) -> str:
        """The session as text, for a browser to keep."""
        claims = {
            "aud": self._audience,
            "jti": session.id,
            "sub": session.subject,
            "exp": session.until,
            "latest": session.latest,
        }
        return jwt.encode(claims, self._key, algorithm="HS256")

    def read(self, text: str) -> Session | None:
        """The session behind a browser's text; None when it proves nothing (any more)."""
        try:
            claims = jwt.decode(
                text,
                self._key,
                algorithms=["HS256"],
                audience=self._audience,
                # Below, by this object's clock and to the fraction of a second.
                options={"require": ["aud", "jti", "sub", "exp"], "verify_exp": False},
            )
            session = Session(
                claims["jti"], claims["sub"], float(claims["exp"]), float(claims["latest"])
            )
        except (jwt.PyJWTError, LookupError, ValueError, TypeError, OverflowError, RecursionError):
            return None
        alive = self._clock() < session.until and session.id not in self._ended
        return session if alive else None

    def end(self, session: Session) -> None:
        """Accept the session no more, in this process.

        Others forget it with its cookie; a copy of that lives until it ends by itself.
        """
        now = self._clock()
        self._ended = {id: latest for id, latest in self._ended.items() if latest > now}
        if len(self._ended) < _MAX_ENDED:
            self._ended[session.id] = session.latest
