"""botocore's HTTP session, whose connections keep to a route.

botocore signs, sends and retries. Its event ``before-send`` hands each request to the
session here.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator
from functools import partial
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
from activekg_pipelines.sources.s3.error_bodies import flat

if TYPE_CHECKING:
    from botocore.awsrequest import AWSResponse

# 1,000 entries have 30 each at most. The parser lets no other thread compute meanwhile:
# 40 ms for as many as this, and 100 MB and many seconds for a million.
_MOST_TAGS: Final = 40_000
_ERROR: Final = re.compile(rb"\s*(?:<\?[^>]{0,200}>)?\s*<(?:\w{1,20}:)?Error[\s>]")
# Of any other way to write it, botocore makes that the listing ends here.
_TRUNCATED: Final = re.compile(
    rb"(<(?:\w{1,20}:)?IsTruncated(?:\s[^<>]{0,200})?>)\s{0,100}(?:true|1)\s{0,100}(</)",
    re.IGNORECASE,
)


class Transport(URLLib3Session):
    """Sends the requests of one client.

    Proxies of the environment are used, as everywhere. A proxy resolves names itself:
    where one stands in between, what a name leads to is the proxy's to judge.

    Args:
        route: where to.
        max_connections: kept open at most.
        verify: certificates that an endpoint's must lead to: a file, or True for the
            public ones.
        hidden: the keys that sign, which no error may repeat.
    """

    def __init__(
        self,
        route: Route,
        *,
        max_connections: int,
        verify: str | bool,
        hidden: Collection[str] = (),
    ) -> None:
        # Their stubs are narrower than the parameters.
        options: dict[str, Any] = {"verify": verify, "timeout": (CONNECT_SECONDS, READ_SECONDS)}
        super().__init__(
            proxies=get_environ_proxies(route.endpoint_url),
            max_pool_connections=max_connections,
            **options,
        )
        self._route = route
        self._flat = partial(flat, hidden=hidden)
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
            # Its parser believes an error's body, and reads all of it.
            answer.raw = _Beginning(answer.raw, self._flat)
            if (read := vars(answer)["_content"]) is not None:
                vars(answer)["_content"] = self._flat(read[:ERROR_BYTES])
        elif not request.stream_output:
            vars(answer)["_content"] = self._page(answer.content)
        return answer

    def _page(self, content: bytes) -> bytes:
        """A listing as botocore reads it, or an error that has the status of one."""
        if _ERROR.match(content):
            return self._flat(content[:ERROR_BYTES])
        if content.count(b"<") > _MOST_TAGS:
            raise SourceUnavailable(
                f"The S3 endpoint {self._route.endpoint_url} answered with more than "
                f"{_MOST_TAGS:,} XML tags where a page of a listing was expected; nothing was "
                "deleted."
            )
        return _TRUNCATED.sub(rb"\1true\2", content)


class _Beginning:
    """The first bytes of an error's body; the connection is closed where more follow."""

    def __init__(self, raw: Any, flat: Callable[[bytes], bytes]) -> None:
        self._raw = raw
        self._flat = flat

    def stream(self) -> Iterator[bytes]:
        read = self._raw.read(ERROR_BYTES)
        self._raw.close()
        yield self._flat(read)
