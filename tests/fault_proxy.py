"""An endpoint of S3 or Google Cloud Storage that fails on demand.

It is a proxy in front of the real one, with rules for each operation and key.
"""

from __future__ import annotations

import http.client
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from tests.local_server import answering

LIST = "LIST"
"""The operation of a bucket listing; every other operation is its HTTP method."""

_GOOGLE = re.compile(r"(?:/download)?/storage/v1/b/(?P<bucket>[^/]+)/o(?:/(?P<key>[^/]+))?")
_HOP_BY_HOP = {
    "connection",
    "keep-alive",
    "transfer-encoding",
    "te",
    "trailer",
    "upgrade",
    "content-length",
}


@dataclass(frozen=True)
class Request:
    """What a client asked for.

    Attributes:
        operation: ``LIST`` or the HTTP method.
        bucket: name.
        key: the object's, decoded; of a listing its ``start-after``, "" on the first
            page.
    """

    operation: str
    bucket: str
    key: str


@dataclass
class Answer:
    """The real endpoint's answer; a fault may change it before it is sent.

    Attributes:
        body: the bytes that are sent.
        declared: the length that is declared; None declares none (chunked).
        pause: seconds between pieces of the body, ``piece`` bytes each.
        reset: cut the connection after the body, as a machine that dies does.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    declared: int | None
    pause: float = 0.0
    piece: int = 65536
    reset: bool = False


class Fault(Protocol):
    """Changes an answer."""

    def __call__(self, answer: Answer) -> Answer: ...


def status(code: int, error: str, message: str = "injected") -> Fault:
    """S3's own error answer, instead of the real one."""
    content = f"<Code>{error}</Code><Message>{message}</Message>"
    body = f'<?xml version="1.0"?><Error>{content}</Error>'.encode()
    return lambda _: Answer(code, {"Content-Type": "application/xml"}, body, len(body))


def truncate(keep: int) -> Fault:
    """The connection ends after ``keep`` bytes of the declared ones."""

    def change(answer: Answer) -> Answer:
        answer.body = answer.body[:keep]
        answer.reset = True
        return answer

    return change


def reset() -> Fault:
    """The connection is cut before the first byte."""
    return lambda _: Answer(0, {}, b"", None, reset=True)


def slow(seconds: float, *, piece: int = 65536) -> Fault:
    """A pause before each piece of the body."""

    def change(answer: Answer) -> Answer:
        answer.pause, answer.piece = seconds, piece
        return answer

    return change


def rewrite(change_body: Callable[[bytes], bytes]) -> Fault:
    """Another body, with its true length."""

    def change(answer: Answer) -> Answer:
        answer.body = change_body(answer.body)
        answer.declared = len(answer.body)
        return answer

    return change


def undeclared() -> Fault:
    """A body without a declared length, as some stores send it."""

    def change(answer: Answer) -> Answer:
        answer.declared = None
        return answer

    return change


def after(action: Callable[[], object]) -> Fault:
    """Do something once the real endpoint has answered, and let the answer pass."""

    def change(answer: Answer) -> Answer:
        action()
        return answer

    return change


@dataclass
class _Rule:
    operation: str
    key: str | None
    fault: Fault
    skip: int
    times: int | None

    def applies(self, request: Request) -> bool:
        """Whether the rule is this request's; counts it."""
        if (
            request.operation != self.operation
            or self.key not in {None, request.key}
            or self.times == 0
        ):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times is not None:
            self.times -= 1
        return True


@dataclass
class FaultProxy:
    """A proxy under ``url``. Requests without a rule pass unchanged."""

    upstream: str
    url: str = ""
    requests: list[Request] = field(default_factory=list)
    _rules: list[_Rule] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def inject(
        self,
        operation: str,
        key: str | None,
        fault: Fault,
        *,
        skip: int = 0,
        times: int | None = None,
    ) -> object:
        """Let requests fail; returns the rule, for :meth:`heal`.

        Args:
            operation: ``LIST``, ``GET``, …
            key: of this object (of a listing: after this key); None for every key.
            fault: how.
            skip: requests that pass before.
            times: requests that fail; None for all.
        """
        rule = _Rule(operation, key, fault, skip, times)
        with self._lock:
            self._rules.append(rule)
        return rule

    def heal(self, *rules: object) -> None:
        """Remove these rules, or all of them."""
        with self._lock:
            self._rules = [
                rule
                for rule in self._rules
                if rules and not any(rule is healed for healed in rules)
            ]

    def count(self, operation: str, key: str | None = None) -> int:
        """Requests so far."""
        with self._lock:
            return sum(
                seen.operation == operation and key in {None, seen.key} for seen in self.requests
            )

    def fault_for(self, request: Request) -> Fault | None:
        """Record a request, and choose its rule: the oldest one that applies."""
        with self._lock:
            self.requests.append(request)
            return next((rule.fault for rule in self._rules if rule.applies(request)), None)


@contextmanager
def fault_proxy(upstream: str) -> Iterator[FaultProxy]:
    """Run a proxy in front of the endpoint ``upstream`` (scheme, host and port)."""
    proxy = FaultProxy(upstream)
    with answering(_handler(proxy)) as port:
        proxy.url = f"http://127.0.0.1:{port}"
        yield proxy


def _handler(proxy: FaultProxy) -> type[BaseHTTPRequestHandler]:
    host = urlsplit(proxy.upstream).netloc

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Headers and body are two writes: without this each answer waits 40 ms for an
        # acknowledgement.
        disable_nagle_algorithm = True

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            fault = proxy.fault_for(_request(self.command, self.path))
            answer = self._ask(body)
            self._send(fault(answer) if fault else answer)

        # The names that the base class looks for.
        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

        def _ask(self, body: bytes) -> Answer:
            connection = http.client.HTTPConnection(host, timeout=30)
            try:
                connection.putrequest(
                    self.command, self.path, skip_host=True, skip_accept_encoding=True
                )
                for name, value in self.headers.items():
                    if name.lower() not in _HOP_BY_HOP:
                        connection.putheader(name, value)
                connection.putheader("Content-Length", str(len(body)))
                connection.endheaders(body)
                answer = connection.getresponse()
                content = answer.read()
                headers = {
                    name: value
                    for name, value in answer.getheaders()
                    if name.lower() not in _HOP_BY_HOP
                }
                declared = int(answer.headers.get("Content-Length", len(content)))
                return Answer(answer.status, headers, content, declared)
            finally:
                connection.close()

        def _send(self, answer: Answer) -> None:
            if answer.status:
                self.send_response_only(answer.status)
                for name, value in answer.headers.items():
                    self.send_header(name, value)
                if answer.declared is None:
                    self.send_header("Transfer-Encoding", "chunked")
                else:
                    self.send_header("Content-Length", str(answer.declared))
                self.end_headers()
                if self.command != "HEAD":
                    self._send_body(answer)
            if answer.reset:
                self.wfile.flush()
                # Linger of zero seconds: the kernel sends RST instead of FIN.
                self.connection.setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0)
                )
                self.close_connection = True

        def _send_body(self, answer: Answer) -> None:
            for start in range(0, len(answer.body), answer.piece):
                time.sleep(answer.pause)
                piece = answer.body[start : start + answer.piece]
                self.wfile.write(
                    piece if answer.declared is not None else b"%x\r\n%s\r\n" % (len(piece), piece)
                )
            if answer.declared is None:
                self.wfile.write(b"0\r\n\r\n")

        def handle(self) -> None:
            # A client that closed the connection is no error of the proxy.
            try:
                super().handle()
            except (BrokenPipeError, ConnectionResetError):
                self.close_connection = True

    return Handler


def _request(method: str, target: str) -> Request:
    # Not urlsplit: a target that starts with "//" is a path here.
    path, _, query = target.partition("?")
    parameters = parse_qs(query, keep_blank_values=True)
    if google := _GOOGLE.fullmatch(path):
        if google["key"] is None:
            return Request(LIST, google["bucket"], parameters.get("startOffset", [""])[0])
        return Request(method, google["bucket"], unquote(google["key"]))
    bucket, _, key = path.removeprefix("/").partition("/")
    if "list-type" in parameters:
        start_after = parameters.get("start-after", [""])[0]
        return Request(LIST, bucket, start_after)
    return Request(method, bucket, unquote(key))
