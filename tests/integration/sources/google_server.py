"""A Google Cloud Storage whose every answer the test decides, with its token service."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import IO
from urllib.parse import parse_qs, urlsplit

TOKEN_PATH = "/a/token"


@dataclass(frozen=True)
class Answer:
    """What is sent back.

    Attributes:
        status: of HTTP.
        body: bytes; None where ``stream`` writes it.
        headers: besides the length, which ``headers`` may contradict.
        stream: writes the body piece by piece.
    """

    status: int = 200
    body: bytes = b"{}"
    headers: dict[str, str] = field(default_factory=dict)
    stream: Callable[[IO[bytes]], None] | None = None


@dataclass(frozen=True)
class Asked:
    """A request; the names of its headers are in title case."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: dict[str, str]


@dataclass
class GoogleServer:
    """Answers what the test put into ``api`` and ``tokens``, one after the other.

    The last answer of each stays.
    """

    url: str
    api: list[Answer] = field(default_factory=lambda: [Answer()])
    tokens: list[Answer] = field(default_factory=lambda: [token("ya29.a-token")])
    requests: list[Asked] = field(default_factory=list)

    @property
    def host(self) -> str:
        """Host and port, as an operator lists them."""
        return urlsplit(self.url).netloc

    @property
    def token_requests(self) -> list[Asked]:
        return [one for one in self.requests if one.path == TOKEN_PATH]

    @property
    def api_requests(self) -> list[Asked]:
        return [one for one in self.requests if one.path != TOKEN_PATH]


def token(value: str, seconds: int = 3600) -> Answer:
    """An access token."""
    return answer({"access_token": value, "expires_in": seconds, "token_type": "Bearer"})


def answer(body: object, status: int = 200) -> Answer:
    """JSON."""
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/json"})


def refusal(status: int, message: str, reason: str = "") -> Answer:
    """An error of the JSON interface."""
    errors = [{"domain": "global", "reason": reason, "message": message}]
    return answer({"error": {"code": status, "message": message, "errors": errors}}, status)


def item(key: str, **changes: object) -> dict[str, object]:
    """An object as a listing has it."""
    listed = {
        "name": key,
        "generation": "1795860650983330",
        "size": "5",
        "updated": "2026-11-28T10:10:50.983Z",
        "storageClass": "STANDARD",
    }
    return {name: value for name, value in (listed | changes).items() if value is not None}


def media(body: bytes = b"hello", **changes: str | None) -> Answer:
    """An object's bytes."""
    headers = {
        "Content-Type": "text/plain",
        "Last-Modified": "Sat, 28 Nov 2026 10:10:50 GMT",
        "X-Goog-Generation": "1795860650983330",
        **{name.replace("_", "-"): value for name, value in changes.items()},
    }
    return Answer(200, body, {name: value for name, value in headers.items() if value is not None})


@contextmanager
def google_server() -> Iterator[GoogleServer]:
    """Start a server on a free port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, *_: object) -> None:
            """Nobody reads it."""

        def _answer(self) -> None:
            parts = urlsplit(self.path)
            length = int(self.headers.get("Content-Length", 0))
            body = parse_qs(self.rfile.read(length).decode())
            google.requests.append(
                Asked(
                    self.command,
                    parts.path,
                    {name: values[0] for name, values in parse_qs(parts.query).items()},
                    {name.title(): value for name, value in self.headers.items()},
                    {name: values[0] for name, values in body.items()},
                )
            )
            script = google.tokens if parts.path == TOKEN_PATH else google.api
            chosen = script.pop(0) if len(script) > 1 else script[0]
            self.send_response(chosen.status)
            headers = {"Content-Length": str(len(chosen.body)), **chosen.headers}
            for name, value in headers.items():
                if value:
                    self.send_header(name, value)
            # What is cut short or goes on for ever must not confuse the next answer.
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                if chosen.stream is None:
                    self.wfile.write(chosen.body)
                else:
                    chosen.stream(self.wfile)
            except OSError:
                # The client gave up, as it should.
                self.close_connection = True

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    google = GoogleServer(f"http://127.0.0.1:{server.server_port}")
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield google
    finally:
        server.shutdown()
        server.server_close()
