"""A bucket as a source, read with Google's client: its listing, an object, one byte.

The client's requests go through a session of its own, whose connections keep to their
routes. Objects are downloaded with that session and not with the client's ``Blob``,
which writes to a file by itself and knows no limit.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlsplit

import google_crc32c
from google.api_core.exceptions import (
    GoogleAPICallError,
    GoogleAPIError,
    from_http_status,
)
from google.api_core.retry import Retry
from google.auth import jwt
from google.auth.credentials import Credentials
from google.auth.exceptions import GoogleAuthError, TransportError
from google.auth.transport.requests import AuthorizedSession, Request
from google.cloud.storage import Client
from google.oauth2 import service_account
from requests import PreparedRequest, Response, Session
from requests.adapters import HTTPAdapter
from requests.exceptions import (
    ChunkedEncodingError,
    RequestException,
    SSLError,
    Timeout,
)
from requests.exceptions import ConnectionError as NoConnection
from requests.utils import get_environ_proxies
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import HTTPError

from activekg_pipelines.deadline import give_up_at, seconds_left
from activekg_pipelines.errors import FetchFailed, SourceUnavailable
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.download import CHUNK_BYTES, write_body
from activekg_pipelines.sources.encodings import named_codings
from activekg_pipelines.sources.gcs import GOOGLE_TOKENS, GcsConfig, ServiceAccount
from activekg_pipelines.sources.gcs.errors import may_be_outage, object_error, source_error
from activekg_pipelines.sources.listing import entry_of, in_utc
from activekg_pipelines.sources.network.addresses import (
    EVERYWHERE,
    AddressRule,
    rule_for_tenants,
)
from activekg_pipelines.sources.network.answer_size import (
    ERROR_BYTES,
    LISTING_BYTES,
    Meter,
    answers_of,
)
from activekg_pipelines.sources.network.connections import (
    CONNECT_SECONDS,
    READ_SECONDS,
    Route,
    routed,
)
from activekg_pipelines.sources.source import Entry, Fetched, Location, Page, Source

_GOOGLE: Final = "https://storage.googleapis.com"
_GOOGLE_TOKENS: Final = "https://oauth2.googleapis.com"
_READ_ONLY: Final = "https://www.googleapis.com/auth/devstorage.read_only"
_PAGE: Final = 1000
_FIELDS: Final = "items(name,generation,size,updated,storageClass),nextPageToken"
# More than any store takes, and little enough for Postgres.
_MAX_OBJECT_BYTES: Final = 2**53
_ATTEMPTS: Final = 4
_RETRIED_SECONDS: Final = 60.0
_PASSING: Final = frozenset({408, 429, 500, 502, 503, 504})
# The request was allowed; the object is empty, or was deleted since the listing.
_ALLOWED_ANYWAY: Final = frozenset({404, 416})
# What a request may end in: the API's answer, the token service's, or none.
_FAILURES: Final = (GoogleAPIError, GoogleAuthError, RequestException, HTTPError)
# What the client makes of an answer that is none of Google's.
_UNREADABLE: Final = (ValueError, KeyError, TypeError, AttributeError, OverflowError)

T = TypeVar("T")


class GcsSource(Source):
    """One bucket and prefix.

    Args:
        client: of the connector.
        session: sends the client's requests; closed with the source.
        tokens: sends the requests for access tokens; closed with the source.
        endpoint_url: of the API.
        location: bucket and prefix.
        least_page_seconds: what a page may take in any case. Of a tick's budget may be
            left next to nothing, and then no page would ever come.
    """

    def __init__(
        self,
        client: Client,
        session: Session,
        tokens: Session,
        endpoint_url: str,
        location: Location,
        least_page_seconds: float,
    ) -> None:
        self._client = client
        self._session = session
        self._tokens = tokens
        self._endpoint_url = endpoint_url
        self._location = location
        self._bucket = location.container
        self._least_page = least_page_seconds

    @property
    def location(self) -> Location:
        """``gs://bucket/prefix``."""
        return self._location

    def listing(self, after: str = "", *, deadline: float | None = None) -> Generator[Page]:
        """Objects.list by the store's own page tokens."""
        return self._list(self._location.prefix, after, deadline)

    def find(self, key: str, *, in_order: bool = True) -> Entry | None:
        """Ask the listing, which tells of an absent object and of an absent bucket apart."""
        return entry_of(key, self._list(key, "", None), in_order=in_order)

    def fetch(self, key: str, etag: str, target: Path, *, max_bytes: int) -> Fetched:
        """Objects.get of the present version, as it is stored, and unpacked here.

        The listed generation is no condition of the request. Where it was overwritten,
        the present one is wanted, and the answer says which one it is.
        """
        uri = self._location.uri(key)
        try:
            with self._get(key) as answer:
                headers = answer.headers
                length = headers.get("Content-Length")
                generation = str(int(headers["X-Goog-Generation"]))
                modified_at = in_utc(parsedate_to_datetime(headers["Last-Modified"]))
                written = write_body(
                    _checked(answer, uri),
                    target,
                    uri=uri,
                    declared=None if length is None else int(length),
                    max_bytes=max_bytes,
                    codings=named_codings(headers.get("Content-Encoding")),
                )
        except _FAILURES as error:
            if may_be_outage(error):
                # Of an outage no object is to lose an attempt: then this raises.
                with closing(self.listing()) as pages:
                    next(pages, None)
            raise object_error(error, self._bucket, key) from None
        except _UNREADABLE:
            raise FetchFailed(
                f"Failed to fetch {uri}: the answer has no generation, length or time that can be "
                "read"
            ) from None
        return Fetched(
            target,
            generation,
            written.size,
            modified_at,
            written.sha256,
            headers.get("Content-Type"),
        )

    def read_one_byte(self, key: str) -> None:
        """Objects.get with a range of one byte."""
        try:
            self._get(key, {"Range": "bytes=0-0"}).close()
        except _FAILURES as error:
            if isinstance(error, GoogleAPICallError) and error.code in _ALLOWED_ANYWAY:
                return
            raise object_error(error, self._bucket, key) from None

    def close(self) -> None:
        """Close the client's connections."""
        self._session.close()
        self._tokens.close()

    def _list(self, prefix: str, after: str, deadline: float | None) -> Generator[Page]:
        listing = self._client.list_blobs(
            self._bucket,
            prefix=prefix or None,
            start_offset=after or None,
            fields=_FIELDS,
            page_size=_PAGE,
            retry=_retried,
        )
        answers = iter(listing.pages)
        try:
            while (answer := self._next(answers, deadline)) is not None:
                entries = self._entries(answer, prefix)
                # The offset itself belongs to what is listed.
                entries = [entry for entry in entries if entry.key != after]
                yield Page(entries, is_last=not listing.next_page_token)
        except _FAILURES as error:
            raise source_error(error, self._bucket) from None

    def _next(self, answers: Iterator[Any], deadline: float | None) -> Mapping[str, Any] | None:
        """The next page as it was answered; None after the last."""
        moment = None if deadline is None else max(deadline, time.monotonic() + self._least_page)
        with give_up_at(moment), answers_of(LISTING_BYTES):
            try:
                page = next(answers, None)
            except _FAILURES:
                raise
            except _UNREADABLE:
                raise SourceUnavailable(
                    "The store answers with a listing that cannot be read."
                ) from None
        return None if page is None else page.raw_page

    def _entries(self, answer: Mapping[str, Any], prefix: str) -> list[Entry]:
        try:
            entries = [_entry(listed) for listed in answer.get("items", ())]
        except _UNREADABLE:
            raise SourceUnavailable(
                f"The store lists an object of bucket {self._bucket!r} without a name, generation, "
                "size or time that can be read."
            ) from None
        for entry in entries:
            if not 0 <= entry.size <= _MAX_OBJECT_BYTES:
                raise SourceUnavailable(
                    f"The store lists an object of bucket {self._bucket!r} with a size of "
                    f"{entry.size} bytes."
                )
            if not entry.key.startswith(prefix):
                raise SourceUnavailable(
                    f"The store lists keys of bucket {self._bucket!r} that do not begin with the "
                    "prefix."
                )
        return entries

    def _get(self, key: str, headers: Mapping[str, str] | None = None) -> Response:
        path = f"/download/storage/v1/b/{quote(self._bucket)}/o/{quote(key, safe='')}"

        def get() -> Response:
            answer = self._session.get(
                self._endpoint_url + path,
                params={"alt": "media"},
                # As it is stored: without it Google unpacks what was uploaded as gzip,
                # and then neither length nor checksum are those of the listing.
                headers={"Accept-Encoding": "gzip", **(headers or {})},
                stream=True,
            )
            if not 200 <= answer.status_code < 300:
                with closing(answer):
                    text = answer.raw.read(ERROR_BYTES, decode_content=True)
                raise from_http_status(answer.status_code, text.decode(errors="replace"))
            return answer

        return _retried(get)()


def connect(
    config: GcsConfig, settings: Settings, answer_seconds: float, least_page_seconds: float
) -> GcsSource:
    """A bucket, with a client of its own that uses nothing of the environment but proxies.

    Raises:
        InvalidConnector: a host is not on the operator's list.
    """
    config.check(settings)
    account = config.service_account()
    endpoint_url = config.endpoint_url or _GOOGLE
    credentials = _credentials(account, endpoint_url)
    route = partial(_route, settings=settings, answer_seconds=answer_seconds)
    tokens = Session()
    _keep_to(route("Google token", account.token_origin), tokens, settings)
    session = AuthorizedSession(credentials, auth_request=Request(tokens))
    _keep_to(route("Google Cloud Storage", endpoint_url), session, settings)
    client = Client(
        project=config.project or account.project,
        credentials=credentials,
        _http=session,
        # Always an explicit one: STORAGE_EMULATOR_HOST in the environment would redirect
        # every tenant.
        client_options={"api_endpoint": endpoint_url},
    )
    # Otherwise each new client asks for the bucket's description from a thread of its own,
    # which a role that may only read objects does not allow.
    client._bucket_metadata_cache = None
    return GcsSource(client, session, tokens, endpoint_url, config.location(), least_page_seconds)


class _Adapter(HTTPAdapter):
    """Makes connections that keep to a route, and follows no redirect.

    Whoever answers with a redirect would get a request that carries the tenant's token.
    """

    def __init__(self, route: Route, max_connections: int) -> None:
        self._route = route
        self._pools = {
            "http": routed(HTTPConnectionPool, HTTPConnection, route),
            "https": routed(HTTPSConnectionPool, HTTPSConnection, route),
        }
        super().__init__(pool_maxsize=max_connections)

    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, *args: Any, **options: Any) -> Any:
        manager = super().proxy_manager_for(*args, **options)
        manager.pool_classes_by_scheme = self._pools
        return manager

    def send(self, request: PreparedRequest, *args: Any, **options: Any) -> Response:
        """Send a request.

        Raises:
            EndpointForbidden: it leads elsewhere, or to an address that is not allowed.
            SourceUnavailable: no time is left for it, it is answered by a redirect, or the
                answer is too large.
        """
        self._route.check(request.url or "")
        options["timeout"] = (CONNECT_SECONDS, READ_SECONDS)
        answer = super().send(request, *args, **options)
        if answer.is_redirect:
            answer.close()
            raise SourceUnavailable(
                f"The {self._route.service} endpoint {self._route.endpoint_url} answered with a "
                f"redirect ({answer.status_code}), which is not followed; nothing was deleted."
            )
        if not options.get("stream"):
            self._read_whole(answer)
        return answer

    def _read_whole(self, answer: Response) -> None:
        """Read a body that the session would read, and no more than may be kept of it.

        The connection counts what arrives. Here counts what it unpacks to.
        """
        meter = Meter(self._route.service, LISTING_BYTES)
        kept = bytearray()
        for piece in answer.iter_content(CHUNK_BYTES):
            kept += piece
            if not answer.ok and len(kept) >= ERROR_BYTES:
                answer.close()
                break
            meter.count(len(piece))
        answer._content = bytes(kept)
        answer._content_consumed = True


def _keep_to(route: Route, session: Session, settings: Settings) -> None:
    """Let a session make connections by a route only.

    Proxies of the environment are used, as everywhere. A proxy resolves names itself:
    where one stands in between, what a name leads to is the proxy's to judge.
    """
    adapter = _Adapter(route, max_connections=settings.activekg_download_threads + 2)
    # Otherwise it would take passwords from .netrc, too.
    session.trust_env = False
    session.proxies = get_environ_proxies(route.endpoint_url)
    session.verify = settings.aws_ca_bundle or settings.requests_ca_bundle or True
    for scheme in ("http://", "https://"):
        session.mount(scheme, adapter)


def _route(service: str, endpoint_url: str, settings: Settings, answer_seconds: float) -> Route:
    if endpoint_url in {_GOOGLE, _GOOGLE_TOKENS}:
        # Google itself may lie behind a private address (Private Google Access).
        rule = AddressRule(EVERYWHERE)
    else:
        host = urlsplit(endpoint_url).hostname or ""
        rule = rule_for_tenants(host, settings.activekg_private_networks)
    return Route(
        service,
        endpoint_url,
        addresses=rule,
        min_bytes_per_second=settings.activekg_min_bytes_per_second,
        answer_seconds=answer_seconds,
    )


def _credentials(account: ServiceAccount, endpoint_url: str) -> Credentials:
    """What signs or fetches the tokens of an account's requests.

    Only Google gets a token that opens anything at Google. An endpoint of somebody else
    gets one that the account's key signs for that endpoint alone, unless the key comes
    from a token service of the operator's.
    """
    made: Credentials = service_account.Credentials.from_service_account_info(
        {
            "client_email": account.email,
            "private_key": account.private_key,
            "private_key_id": account.private_key_id,
            "token_uri": account.token_uri,
        },
        scopes=[_READ_ONLY],
    )
    if account.token_uri != GOOGLE_TOKENS or _is_googles(endpoint_url):
        return made
    bound: Credentials = jwt.Credentials.from_signing_credentials(made, audience=f"{endpoint_url}/")
    return bound


def _is_googles(endpoint_url: str) -> bool:
    """Whether only Google can answer there, be it by Private Service Connect."""
    parts = urlsplit(endpoint_url)
    return parts.scheme == "https" and (parts.hostname or "").endswith(".googleapis.com")


def _entry(listed: Mapping[str, Any]) -> Entry:
    key = str(listed["name"])
    return Entry(
        key,
        str(int(listed["generation"])),
        int(listed["size"]),
        # The client's own way takes ten times as long.
        in_utc(datetime.fromisoformat(listed["updated"])),
        listed.get("storageClass"),
    )


def _checked(answer: Response, uri: str) -> Iterator[bytes]:
    """A body as it arrives, held against the checksum that the answer names.

    Raises:
        FetchFailed: at the end, where it is another one.
    """
    named = dict(
        pair.strip().split("=", 1)
        for pair in answer.headers.get("X-Goog-Hash", "").split(",")
        if "=" in pair
    )
    expected = named.get("crc32c") if google_crc32c.implementation == "c" else None
    checksum = google_crc32c.Checksum()
    for piece in answer.raw.stream(CHUNK_BYTES, decode_content=False):
        if expected is not None:
            checksum.update(piece)
        yield piece
    if expected is not None and base64.b64encode(checksum.digest()).decode() != expected:
        raise FetchFailed(f"Failed to fetch {uri}: what arrived has another checksum (CRC32C)")


def _retried(call: Callable[[], T]) -> Callable[[], T]:
    """A request that is tried up to four times, within the time that its caller has.

    It is made anew for each request: the client calls it so, in place of a ``Retry``.
    """
    failures = count(1)
    retry = Retry(
        lambda error: _may_pass(error) and next(failures) < _ATTEMPTS,
        initial=0.5,
        maximum=8.0,
        timeout=max(0.0, seconds_left(_RETRIED_SECONDS)),
    )
    made: Callable[[], T] = retry(call)
    return made


def _may_pass(error: Exception) -> bool:
    """Whether the same request may succeed in a moment."""
    if isinstance(error, TransportError) and error.args and isinstance(error.args[0], Exception):
        return _may_pass(error.args[0])
    if isinstance(error, GoogleAPICallError):
        return error.code in _PASSING
    return isinstance(error, NoConnection | Timeout | ChunkedEncodingError) and not isinstance(
        error, SSLError
    )
