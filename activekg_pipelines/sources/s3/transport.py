"""botocore's HTTP session, whose connections keep to a route.

botocore signs, sends and retries. Its event ``before-send`` hands each request to the
session here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Final

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

from activekg_pipelines.errors import SourceError, SourceUnavailable
from activekg_pipelines.sources.network.answer_size import ERROR_BYTES
from activekg_pipelines.sources.network.connections import (
    CONNECT_SECONDS,
    READ_SECONDS,
    Route,
    routed,
)

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse

# 1,000 entries have 30 each at most. The parser lets no other thread compute meanwhile:
# 40 ms for as many as this, and 100 MB and many seconds for a million.
_MOST_TAGS: Final = 40_000


class Transport(URLLib3Session):
    """Sends the requests of one client.

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
        self._pool_classes_by_scheme.update(  # type: ignore[attr-defined]
            {
                "http": routed(AWSHTTPConnectionPool, AWSHTTPConnection, route),
                "https": routed(AWSHTTPSConnectionPool, AWSHTTPSConnection, route),
            }
        )
        self._manager.pool_classes_by_scheme = self._pool_classes_by_scheme  # type: ignore[attr-defined]

    def before_send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Send a request of botocore's; the handler of its event of that name.

        botocore does not try again what these errors end.

        Raises:
            EndpointForbidden: it leads elsewhere, or to an address that is not allowed.
            SourceUnavailable: no time is left for it, or the answer is too large.
        """
        self._route.check(request.url)
        try:
            answer = self.send(request)
        except HTTPClientError as error:
            cause = error.kwargs.get("error")
            raise cause if isinstance(cause, SourceError) else error from None
        if answer.status_code >= 300:
            # botocore reads all of an error's body.
            answer.raw = _Beginning(answer.raw)
        elif not request.stream_output and answer.content.count(b"<") > _MOST_TAGS:
            raise SourceUnavailable(
                f"The S3 endpoint {self._route.endpoint_url} answered with more than "
                f"{_MOST_TAGS:,} XML tags where a page of a listing was expected; nothing was "
                "deleted."
            )
        return answer


class _Beginning:
    """The first bytes of an error's body; the connection is closed where more follow."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def stream(self) -> Iterator[bytes]:
        yield self._raw.read(ERROR_BYTES)
        self._raw.close()
