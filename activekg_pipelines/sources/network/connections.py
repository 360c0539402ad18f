"""HTTP connections of one source: to its endpoint, to allowed addresses, in bounded time.

An address is checked when a connection is made. The checked address is the one that is
connected to, so that a name cannot change its mind in between.

These are classes of urllib3, which the clients of AWS and of Google Cloud both use.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final
from urllib.parse import urlsplit

from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from activekg_pipelines.deadline import interruptible, seconds_left
from activekg_pipelines.errors import EndpointForbidden, SourceUnavailable
from activekg_pipelines.sources.network.addresses import AddressRule
from activekg_pipelines.sources.network.answer_size import Meter

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 30.0
"""Between two pieces of an answer."""
_PUBLIC: Final = AddressRule()


@dataclass(frozen=True, slots=True)
class Route:
    """Where one client's requests may go, and how slow their answers may be.

    Attributes:
        service: what people call the place, such as ``S3``.
        endpoint_url: scheme, host and port; perhaps a path.
        addresses: that the host may have.
        min_bytes_per_second: an answer that comes more slowly is given up, once
            ``answer_seconds`` are over.
        answer_seconds: what every answer may take, however small.
        subdomain: a name in front of the host, which then leads to the same store; None
            where there is none.
        anywhere: the addresses that a name may have which nobody has vouched for. The
            tenant chooses the subdomain: it may have those, and the host's own.
    """

    service: str
    endpoint_url: str
    addresses: AddressRule
    min_bytes_per_second: int
    answer_seconds: float = 60.0
    subdomain: str | None = None
    anywhere: AddressRule = _PUBLIC

    @property
    def host(self) -> str:
        """The endpoint's, in lower case."""
        return urlsplit(self.endpoint_url).hostname or ""

    def check(self, url: str) -> None:
        """Refuse a request that must not be sent.

        Raises:
            EndpointForbidden: it leads elsewhere, or to an address that is not allowed.
            SourceUnavailable: no time is left for it.
        """
        if not self._leads_to(url):
            raise EndpointForbidden(
                f"A request was to leave the {self.service} endpoint {self.endpoint_url} for "
                f"{urlsplit(url).netloc}, and was not sent."
            )
        if refusal := self._refusal():
            raise EndpointForbidden(
                f"The {self.service} endpoint {self.endpoint_url} has an address {refusal}."
            )
        if seconds_left(1.0) <= 0:
            raise SourceUnavailable(
                f"The {self.service} endpoint did not answer in time; nothing was deleted."
            )

    def _leads_to(self, url: str) -> bool:
        wanted, allowed = urlsplit(url), urlsplit(self.endpoint_url)
        hosts = {self.host, f"{self.subdomain}.{self.host}" if self.subdomain else self.host}
        return (wanted.scheme, wanted.port) == (
            allowed.scheme,
            allowed.port,
        ) and wanted.hostname in hosts

    def _refusal(self) -> str | None:
        """Why the endpoint, where it is given by address, may not be reached."""
        try:
            return self.addresses.refusal(self.host)
        except ValueError:
            return None


class RoutedConnection(HTTPConnection):
    """A connection that keeps to a route; :func:`routed` makes the concrete classes."""

    route: Route

    def __init__(self, *args: Any, **options: Any) -> None:
        # botocore's, too, puts something callable in place of the class.
        self.response_class = partial(_PacedResponse, route=self.route)  # type: ignore[assignment]
        super().__init__(*args, **options)

    def _new_conn(self) -> socket.socket:
        """Where urllib3 makes a socket, for the first time and after a lost connection."""
        if self.proxy is not None:
            return super()._new_conn()
        name, timeout = self._dns_host, self.timeout
        addresses = self._allowed_addresses(name)
        until = time.monotonic() + seconds_left(CONNECT_SECONDS)
        try:
            while True:
                # An address in place of the name: what was checked is what is connected to.
                self.host = addresses.pop(0)
                left = max(0.1, until - time.monotonic())
                # One that swallows connections leaves time for the next.
                self.timeout = min(left, max(1.0, left / 2)) if addresses else left
                try:
                    return super()._new_conn()
                except (NewConnectionError, ConnectTimeoutError):
                    if not addresses or time.monotonic() >= until:
                        raise
        finally:
            # TLS and the header Host want the name.
            self.host, self.timeout = name, timeout

    def _allowed_addresses(self, name: str) -> list[str]:
        addresses = self._resolve(name)
        refusals = {address: self.route.addresses.refusal(address) for address in addresses}
        host = self.route.host
        if name.lower().strip("[]") != host and any(map(self.route.anywhere.refusal, addresses)):
            own = self._resolve(host)
            for address in addresses:
                if self.route.anywhere.refusal(address) and address not in own:
                    refusals[address] = f"which is not public and none of {host}"
        allowed = [address for address, refusal in refusals.items() if refusal is None]
        if not allowed:
            address, refusal = next(iter(refusals.items()))
            raise EndpointForbidden(
                f"The {self.route.service} endpoint {name} has the address {address}, {refusal}."
            )
        return allowed

    def _resolve(self, name: str) -> list[str]:
        try:
            found = socket.getaddrinfo(name.strip("[]"), self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(name, self, error) from error
        return _alternating(list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)))


def routed(pool: type, connection: type, route: Route) -> Any:
    """A pool class of urllib3 whose connections keep to a route.

    Args:
        pool, connection: the classes that are used without a route.
        route: where to.
    """
    name = f"Routed{connection.__name__}"
    kept = type(name, (RoutedConnection, connection), {"route": route})
    return type(f"Routed{pool.__name__}", (pool,), {"ConnectionCls": kept})


def _alternating(addresses: list[str]) -> list[str]:
    """IPv6 and IPv4 by turns.

    Where a network swallows one of them, the other is tried second and not ninth.
    """
    of_family: Counter[bool] = Counter()
    turn: dict[str, int] = {}
    for address in addresses:
        is_ipv6 = ":" in address
        turn[address] = of_family[is_ipv6]
        of_family[is_ipv6] += 1
    return sorted(addresses, key=turn.__getitem__)


class _PacedResponse(http.client.HTTPResponse):
    """An answer, status line to last byte, whose sender must keep up a minimum rate."""

    def __init__(self, sock: socket.socket, *args: Any, route: Route, **options: Any) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_PacedBytes(self.fp.detach(), sock, route))


class _PacedBytes(io.RawIOBase):
    """The bytes of a socket, which must come within the time that their number is worth.

    A timeout of the socket alone bounds nothing: a byte a second never lets it run out.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, route: Route) -> None:
        self._raw = raw
        self._sock = sock
        self._between_pieces = sock.gettimeout() or READ_SECONDS
        self._give_up_at = time.monotonic() + route.answer_seconds
        self._seconds_per_byte = 1 / route.min_bytes_per_second
        self._meter = Meter(route.service)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Up to ``len(buffer)`` bytes, as soon as there are some.

        Raises:
            TimeoutError: the sender is too slow. urllib3 makes a read timeout of it.
            SourceUnavailable: the answer is larger than the caller expects.
        """
        left = seconds_left(self._give_up_at - time.monotonic())
        if left <= 0:
            raise TimeoutError("The answer comes more slowly than ACTIVEKG_MIN_BYTES_PER_SECOND.")
        self._sock.settimeout(min(left, self._between_pieces))
        with interruptible(self._cut):
            received: int | None = self._raw.readinto(buffer)
        self._give_up_at += (received or 0) * self._seconds_per_byte
        self._meter.count(received or 0)
        return received

    def _cut(self) -> None:
        """End the wait in another thread."""
        # Behind a proxy with TLS there is one more layer around the socket.
        sock = getattr(self._sock, "socket", self._sock)
        with suppress(OSError):  # The other end has closed it.
            # That of TLS would first forget its state, which the reader is using.
            socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def close(self) -> None:
        self._raw.close()
        super().close()
