"""The login: a page with one field for a token, and the session in a cookie.

It works without JavaScript.
"""

from __future__ import annotations

import logging
from html import escape
from typing import Final
from urllib.parse import parse_qs, urlencode

from limits import parse
from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from activekg_pipelines.administration.sessions import Session, Sessions
from activekg_pipelines.administration.tokens import (
    MAX_TOKEN_BYTES,
    Principal,
    TokenRefused,
    TokenVerifier,
)
from activekg_pipelines.api.request_limits import RequestWindows
from activekg_pipelines.webserver.origins import OriginRefused, Origins

LOGIN: Final = "/_login"
LOGOUT: Final = "/_logout"

_MAX_FORM_BYTES: Final = 2 * MAX_TOKEN_BYTES
# A person mistypes nothing: tokens are pasted.
_WRONG_TOKENS: Final = "10/minute"
_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'",
    # With no-referrer, a browser would not say where the form comes from either.
    "Referrer-Policy": "same-origin",
}
_COMMAND: Final = "activekg-pipelines token --scope super_admin --scope dagster:ui"

_logger = logging.getLogger(__name__)


class NotAllowed(Exception):
    """The token is valid and does not open the UI."""


class Login:
    """Lets people in with a token, and knows them again by a cookie.

    Args:
        verifier: checks tokens.
        sessions: of this page.
        cookie: name of the cookie. Cookies are shared by all ports of a host, so it holds
            the port.
        prefix: of all paths, such as ``/dagster``; empty for none.
    """

    def __init__(
        self, verifier: TokenVerifier, sessions: Sessions, *, cookie: str, prefix: str
    ) -> None:
        self._verifier = verifier
        self._sessions = sessions
        self._cookie = cookie
        self._prefix = prefix
        self._wrong = RequestWindows(parse(_WRONG_TOKENS))

    def session(self, connection: HTTPConnection) -> Session | None:
        """The session that a request belongs to, if it belongs to one."""
        text = connection.cookies.get(self._cookie)
        return self._sessions.read(text) if text else None

    def principal(self, token: str) -> Principal:
        """Who may use the UI with a token.

        Raises:
            TokenRefused: it proves nothing.
            NotAllowed: it proves somebody who may not.
        """
        principal = self._verifier.verify(token)
        if not principal.may_use_dagster:
            raise NotAllowed(
                "This token does not open Dagster's UI, which shows every tenant. It needs the "
                "scopes super_admin and dagster:ui."
            )
        return principal

    def renew(self, session: Session, connection: HTTPConnection, headers: MutableHeaders) -> None:
        """Give a session that is used a later end, with the answer that is on its way."""
        later = self._sessions.renewed(session)
        # The origin says whether the cookie was, and stays, one for TLS alone.
        if later and "origin" in connection.headers:
            answer = Response()
            self._keep(answer, later, connection)
            headers.append("set-cookie", answer.headers["set-cookie"])

    def send_to_login(self, path: str, query: str) -> Response:
        """Ask for a login, and come back afterwards."""
        wanted = f"{path}?{query}" if query else path
        return RedirectResponse(
            f"{self._prefix}{LOGIN}?{urlencode({'next': wanted})}",
            status_code=303,
            headers={"Cache-Control": "no-store"},
        )

    def page(self, request: Request) -> Response:
        """The page itself; to whoever is logged in it offers the way out."""
        if session := self.session(request):
            return _page(
                f"<p>You are logged in as {escape(session.subject)}.</p>"
                f'<form method="post" action="{escape(self._prefix)}{LOGOUT}">'
                "<button>Log out</button></form>"
                f'<p><a href="{escape(self._prefix)}/">Go to Dagster</a></p>'
            )
        return self._form(_target(request.query_params.get("next"), self._prefix))

    async def log_in(self, request: Request, origins: Origins) -> Response:
        """Take the form, and begin a session."""
        try:
            origins.check_form(request.headers)
            fields = await _fields(request)
        except (OriginRefused, ValueError) as error:
            return self._form("", str(error), status=403)
        target = _target(fields.get("next"), self._prefix)
        address = request.client.host if request.client else ""
        try:
            principal = self.principal(fields.get("token", "").strip())
        except (TokenRefused, NotAllowed) as error:
            return self._refuse(address, target, str(error))
        _logger.info("Login to Dagster's UI: %s, from %s", principal.subject, address)
        answer = RedirectResponse(target, status_code=303, headers={"Cache-Control": "no-store"})
        self._keep(answer, self._sessions.begin(principal.subject, principal.expires), request)
        return answer

    def log_out(self, request: Request, origins: Origins) -> Response:
        """End the session."""
        try:
            origins.check_form(request.headers)
        except OriginRefused as error:
            return self._form("", str(error), status=403)
        if session := self.session(request):
            self._sessions.end(session)
        answer = RedirectResponse(f"{self._prefix}{LOGIN}", status_code=303)
        answer.delete_cookie(self._cookie, path=self._path)
        return answer

    @property
    def _path(self) -> str:
        return self._prefix or "/"

    def _refuse(self, address: str, target: str, reason: str) -> Response:
        """The form again. A valid token is taken all the same, whoever else mistypes.

        Tokens cannot be guessed; the limit keeps the log and the processor free.
        """
        wait = self._wrong.seconds_to_wait(address)
        if wait:
            sentence = f"Too many wrong tokens came from here. Try again in {wait} seconds."
            answer = self._form(target, sentence, status=429)
            answer.headers["Retry-After"] = str(wait)
            return answer
        self._wrong.count(address)
        _logger.warning("Login to Dagster's UI refused, from %s: %s", address, reason)
        return self._form(target, reason, status=401)

    def _keep(self, answer: Response, session: Session, connection: HTTPConnection) -> None:
        # What the browser fetched our own page with, whatever proxies lie in between.
        origin = connection.headers.get("origin", "")
        answer.set_cookie(
            self._cookie,
            self._sessions.written(session),
            path=self._path,
            secure=origin.startswith("https:") or connection.url.scheme == "https",
            httponly=True,
            # A link in a mail finds the session; what changes anything never leaves its
            # own page.
            samesite="lax",
        )

    def _form(self, target: str, problem: str = "", status: int = 200) -> Response:
        warning = f'<p role="alert"><strong>{escape(problem)}</strong></p>' if problem else ""
        return _page(
            f'{warning}<form method="post" action="{escape(self._prefix)}{LOGIN}">'
            f'<input type="hidden" name="next" value="{escape(target)}">'
            '<p><label for="token">Token</label><br>'
            '<input id="token" name="token" type="password" size="60" required autofocus '
            'autocomplete="off" spellcheck="false"></p>'
            "<p><button>Log in</button></p></form>"
            "<p>Whoever runs this installation makes a token with</p>"
            f"<p><code>{_COMMAND}</code></p>",
            status,
        )


def _page(body: str, status: int = 200) -> Response:
    return HTMLResponse(
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        "<title>Log in to Dagster</title><style>body{font:16px/1.5 sans-serif;max-width:38em;"
        "margin:4em auto;padding:0 1em}input{font:inherit;max-width:100%}button{font:inherit}"
        "</style></head><body><h1>Log in to Dagster</h1>"
        f"<p>This page shows the runs of every tenant.</p>{body}</body></html>",
        status_code=status,
        headers=_HEADERS,
    )


async def _fields(request: Request) -> dict[str, str]:
    """The form's fields, each once.

    Raises:
        ValueError: the form is too large or not one of this page's.
    """
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MAX_FORM_BYTES:
            raise ValueError("The form is too large.")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        raise ValueError("The form is not one of this page.")
    fields = parse_qs(body.decode("utf-8", "replace"), max_num_fields=10)
    return {name: values[0] for name, values in fields.items()}


def _target(wanted: str | None, prefix: str) -> str:
    """Where a login leads to: a path of this server, whatever was asked for."""
    start = f"{prefix}/"
    is_path = wanted is not None and wanted.startswith(start) and wanted.isprintable()
    # `//host` and `/\host` are addresses of other servers to a browser.
    if wanted is None or not is_path or "\\" in wanted or wanted.startswith("//"):
        return start
    return wanted
