"""A store whose every byte the test decides, for tests of endpoints.

Its resolver answers what the test wants.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

import pytest

EMPTY_LISTING = (
    b'<?xml version="1.0" '
    b'encoding="UTF-8"?><ListBucketResult><Name>bucket</Name><KeyCount>0</KeyCount>'
    b"<IsTruncated>false</IsTruncated></ListBucketResult>"
)

Behaviour = Callable[[socket.socket], None]


def reply(body: bytes = EMPTY_LISTING, status: str = "200 OK", headers: str = "") -> Behaviour:
    """One answer, and the end of the connection."""
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n{headers}\r\n"
    return lambda connection: connection.sendall(head.encode() + body)


@dataclass
class Server:
    """What listens under ``address``.

    Attributes:
        connections: how many were accepted.
        requests: what arrived, each up to the empty line.
    """

    address: tuple[str, int]
    connections: int = 0
    requests: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return self.address[1]

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.port}"


@contextmanager
def serve(
    behaviour: Behaviour,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Server]:
    """Answer each request with ``behaviour``, which gets the connection."""
    with socket.create_server((host, port)) as listener:
        server = Server(listener.getsockname()[:2])

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                server.connections += 1
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            # A client that closes the connection is no error of the server.
            with (
                suppress(OSError),
                connection if tls is None else tls.wrap_socket(connection, True) as stream,
            ):
                request = b""
                while not request.endswith(b"\r\n\r\n"):
                    if not (piece := stream.recv(65536)):
                        return
                    request += piece
                server.requests.append(request.decode())
                behaviour(stream)

        threading.Thread(target=accept, daemon=True).start()
        yield server
        listener.shutdown(socket.SHUT_RDWR)


@dataclass
class Resolver:
    """Names of the test, each with the answers of its resolutions.

    The first one is that of the first resolution, and so on. The last one stays.
    """

    names: dict[str, list[list[str]]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def set(self, name: str, *answers: Iterable[str]) -> None:
        """Let a name lead to addresses."""
        self.names[name] = [list(answer) for answer in answers]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Resolver:
    """The name service, which a test cannot own.

    Addresses are resolved as ever, other names are not found.
    """
    made = Resolver()
    real = socket.getaddrinfo

    def getaddrinfo(host: str, port: int, *args: object, **options: object) -> list[object]:
        if host not in made.names:
            return real(host, port, *args, **options | {"flags": socket.AI_NUMERICHOST})  # type: ignore[arg-type,return-value]
        made.asked.append(host)
        answers = made.names[host]
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        return [
            found for address in addresses for found in real(address, port, type=socket.SOCK_STREAM)
        ]

    monkeypatch.setattr("socket.getaddrinfo", getaddrinfo)
    return made
