"""The HTTP connections of one S3 client: to its endpoint only, to allowed addresses
only, never for an unbounded time.

botocore signs, sends and retries; its event ``before-send`` hands each request to the
session here. An address is checked when a connection is made and is the one that is
connected to, so that a name cannot change its mind in between.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from botocore.awsrequest import (
    AWSHTTPConnection,
    AWSHTTPConnectionPool,
    AWSHTTPSConnection,
    AWSHTTPSConnectionPool,
    AWSPreparedRequest,
)
from botocore.exceptions import HTTPClientError
from botocore.httpsession import URLLib3Session
from botocore.utils import get_environ_proxies
from urllib3.connection import HTTPConnection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from activekg_pipelines.errors import EndpointForbidden, SourceUnavailable
from activekg_pipelines.s3.addresses import AddressRule
from activekg_pipelines.s3.patience import seconds_left

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse

CONNECT_SECONDS: Final = 5.0
READ_SECONDS: Final = 30.0
"""Between two pieces of an answer."""
_ANSWER_SECONDS: Final = 60.0
"""What every answer may take, however small; a larger one has the time of the minimum
rate on top.
"""


@dataclass(frozen=True, slots=True)
class Route:
    """Where one client's requests may go, and how slow their answers may be.

    Attributes:
        endpoint_url: scheme, host and port.
        addresses: that the host may have.
        min_bytes_per_second: an answer that comes more slowly is given up after its
            first minute.
    """

    endpoint_url: str
    addresses: AddressRule
    min_bytes_per_second: int

    def leads_to(self, url: str) -> bool:
        """Whether a URL is one of the endpoint's."""
        wanted, allowed = urlsplit(url), urlsplit(self.endpoint_url)
        return (wanted.scheme, wanted.hostname, wanted.port) == (
            allowed.scheme,
            allowed.hostname,
            allowed.port,
        )

    def refusal(self) -> str | None:
        """Why the endpoint, where it is given by address and not by name, may not be
        reached.
        """
        host = urlsplit(self.endpoint_url).hostname or ""
        try:
            return self.addresses.refusal(host)
        except ValueError:
            return None


class Transport(URLLib3Session):
    """botocore's HTTP session, whose connections keep to a route.

    Proxies of the environment are used, as everywhere. A proxy resolves names itself:
    where one stands in between, what a name leads to is the proxy's to judge.

    Args:
        route: where to.
        max_connections: kept open at most.
        verify: certificates that an endpoint's must lead to: a file, or True for the
            public ones.
    """

    def __init__(self, route: Route, *, max_connections: int, verify: str | bool) -> None:
        # Their stubs are narrower than the parameters.
        options: dict[str, Any] = {"verify": verify, "timeout": (CONNECT_SECONDS, READ_SECONDS)}
        super().__init__(
            proxies=get_environ_proxies(route.endpoint_url),
            max_pool_connections=max_connections,
            **options,
        )
        self._route = route
        # Had either attribute another name, this would raise and no client be made.
        self._pool_classes_by_scheme.update(_pool_classes(route))  # type: ignore[attr-defined]
        self._manager.pool_classes_by_scheme = self._pool_classes_by_scheme  # type: ignore[attr-defined]

    def before_send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Send a request of botocore's; the handler of its event of that name.

        Raises:
            EndpointForbidden: it leads elsewhere; botocore does not try it again.
            SourceUnavailable: no time is left for it; botocore does not try it again.
        """
        if not self._route.leads_to(request.url):
            raise EndpointForbidden(
                f"A request was to leave the S3 endpoint {self._route.endpoint_url} for "
                f"{urlsplit(request.url).netloc}, and was not sent."
            )
        if refusal := self._route.refusal():
            raise EndpointForbidden(
                f"The S3 endpoint {self._route.endpoint_url} has an address {refusal}."
            )
        if seconds_left(1.0) <= 0:
            raise SourceUnavailable("The S3 endpoint did not answer in time; nothing was deleted.")
        try:
            return self.send(request)
        except HTTPClientError as error:
            cause = error.kwargs.get("error")
            raise cause if isinstance(cause, EndpointForbidden) else error from None


class _RoutedConnection(HTTPConnection):
    """A connection that keeps to a route; the concrete classes are made for each route."""

    route: Route

    def __init__(self, *args: Any, **options: Any) -> None:
        # botocore's, too, puts something callable in place of the class.
        self.response_class = partial(  # type: ignore[assignment]
            _PacedResponse, min_bytes_per_second=self.route.min_bytes_per_second
        )
        super().__init__(*args, **options)

    def _new_conn(self) -> socket.socket:
        """The place where urllib3 makes a socket, for the first time and after a lost
        connection alike.
        """
        if self.proxy is not None:
            return super()._new_conn()
        name, timeout = self._dns_host, self.timeout
        addresses = self._allowed_addresses(name)
        until = time.monotonic() + seconds_left(CONNECT_SECONDS)
        try:
            while True:
                # An address in place of the name: what was checked is what is connected
                # to.
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
        try:
            found = socket.getaddrinfo(name.strip("[]"), self.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise NameResolutionError(name, self, error) from error
        addresses = _alternating(list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)))
        refusals = {address: self.route.addresses.refusal(address) for address in addresses}
        allowed = [address for address, refusal in refusals.items() if refusal is None]
        if not allowed:
            address, refusal = next(iter(refusals.items()))
            raise EndpointForbidden(f"The S3 endpoint {name} has the address {address}, {refusal}.")
        return allowed


def _alternating(addresses: list[str]) -> list[str]:
    """IPv6 and IPv4 in turn: where a network swallows one of them, the other is tried
    second and not ninth.
    """
    of_family: Counter[bool] = Counter()
    turn: dict[str, int] = {}
    for address in addresses:
        is_ipv6 = ":" in address
        turn[address] = of_family[is_ipv6]
        of_family[is_ipv6] += 1
    return sorted(addresses, key=turn.__getitem__)


def _pool_classes(route: Route) -> dict[str, Any]:
    classes = {
        "http": (AWSHTTPConnectionPool, AWSHTTPConnection),
        "https": (AWSHTTPSConnectionPool, AWSHTTPSConnection),
    }
    made = {}
    for scheme, (pool, connection) in classes.items():
        routed = type(
            f"Routed{connection.__name__}", (_RoutedConnection, connection), {"route": route}
        )
        made[scheme] = type(f"Routed{pool.__name__}", (pool,), {"ConnectionCls": routed})
    return made


class _PacedResponse(http.client.HTTPResponse):
    """An answer, status line to last byte, whose sender must keep up a minimum rate."""

    def __init__(
        self, sock: socket.socket, *args: Any, min_bytes_per_second: int, **options: Any
    ) -> None:
        super().__init__(sock, *args, **options)
        self.fp = io.BufferedReader(_PacedBytes(self.fp.detach(), sock, min_bytes_per_second))


class _PacedBytes(io.RawIOBase):
    """The bytes of a socket, which must come within the time that their number is
    worth.

    A timeout of the socket alone bounds nothing: a byte a second never lets it run out.
    """

    def __init__(self, raw: io.RawIOBase, sock: socket.socket, min_bytes_per_second: int) -> None:
        self._raw = raw
        self._sock = sock
        self._between_pieces = sock.gettimeout() or READ_SECONDS
        self._give_up_at = time.monotonic() + _ANSWER_SECONDS
        self._seconds_per_byte = 1 / min_bytes_per_second

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        """Up to ``len(buffer)`` bytes, as soon as there are some.

        Raises:
            TimeoutError: the sender is too slow; urllib3 and botocore make a read
                timeout of it.
        """
        left = seconds_left(self._give_up_at - time.monotonic())
        if left <= 0:
            raise TimeoutError("The answer comes more slowly than ACTIVEKG_MIN_BYTES_PER_SECOND.")
        self._sock.settimeout(min(left, self._between_pieces))
        received: int | None = self._raw.readinto(buffer)
        self._give_up_at += (received or 0) * self._seconds_per_byte
        return received

    def close(self) -> None:
        self._raw.close()
        super().close()
