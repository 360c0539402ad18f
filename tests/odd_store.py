"""A small S3 server whose objects and answers a test makes as odd as real stores' are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from urllib.parse import parse_qs, quote, unquote
from xml.sax.saxutils import escape

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.services import Services
from activekg_pipelines.sources.s3.config import S3Config
from tests.local_server import answering
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY


@dataclass(frozen=True)
class Refusal:
    """An error as S3 writes it."""

    status: int
    code: str
    message: str = "refused"


@dataclass
class Stored:
    """An object.

    Attributes:
        etag: as it is written, without its quotes.
        headers: of its answers.
        refusal: what a GET of it is answered with.
        sent: makes the bytes of each answer.
    """

    body: bytes
    etag: str
    headers: Mapping[str, str]
    refusal: Refusal | None
    sent: Callable[[bytes], bytes]


@dataclass
class OddStore:
    """The server under ``url``, with one bucket.

    Attributes:
        conditions: what a request with If-Match is answered with.
        listing: what a listing is answered with.
        requests: method and key of each; the key of a listing is "".
    """

    url: str = ""
    objects: dict[str, Stored] = field(default_factory=dict)
    conditions: Refusal | None = None
    listing: Refusal | None = None
    requests: list[tuple[str, str]] = field(default_factory=list)

    def put(
        self,
        key: str,
        body: bytes | str,
        *,
        etag: str | None = None,
        headers: Mapping[str, str] | None = None,
        refusal: Refusal | None = None,
        sent: Callable[[bytes], bytes] = lambda body: body,
    ) -> None:
        """Write an object."""
        data = body.encode() if isinstance(body, str) else body
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        self.objects[key] = Stored(data, etag or md5, headers or {}, refusal, sent)

    def config(self, **changes: object) -> S3Config:
        """A configuration of its bucket."""
        values = {
            "bucket": "odd-bucket",
            "endpoint_url": self.url,
            "access_key_id": ACCESS_KEY_ID,
            "secret_access_key": SECRET_ACCESS_KEY,
        }
        return S3Config.model_validate(values | changes)

    def register(self, services: Services) -> Connector:
        """Register a connector for its bucket."""
        with services.database.transaction(tenant_id="acme_corp") as conn:
            return services.connectors.create(conn, "acme_corp", "s3", self.config())

    def gets(self, key: str) -> int:
        """GETs of an object so far."""
        return self.requests.count(("GET", key))


@contextmanager
def odd_store() -> Iterator[OddStore]:
    """Run one."""
    store = OddStore()
    with answering(_handler(store)) as port:
        store.url = f"http://127.0.0.1:{port}"
        yield store


def _handler(store: OddStore) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            key = unquote(path.lstrip("/").partition("/")[2])
            store.requests.append((self.command, key))
            if not key:
                prefix = parse_qs(query).get("prefix", [""])[0]
                self._answer(store.listing or _listing(store, prefix))
            elif key not in store.objects:
                self._answer(Refusal(404, "NoSuchKey"))
            elif refusal := store.objects[key].refusal:
                self._answer(refusal)
            elif store.conditions and self.headers["If-Match"]:
                self._answer(store.conditions)
            else:
                found = store.objects[key]
                headers = {
                    "ETag": f'"{found.etag}"',
                    "Last-Modified": "Fri, 02 Jan 2026 03:04:05 GMT",
                    **found.headers,
                }
                self._send(200, headers, found.sent(found.body))

        def log_message(self, *_: object) -> None:
            pass

        def _answer(self, answer: Refusal | str) -> None:
            xml = {"Content-Type": "application/xml"}
            if isinstance(answer, str):
                self._send(200, xml, answer.encode())
                return
            content = f"<Code>{answer.code}</Code><Message>{escape(answer.message)}</Message>"
            self._send(answer.status, xml, f"<Error>{content}</Error>".encode())

        def _send(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in {"Content-Length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    return Handler


def _listing(store: OddStore, prefix: str) -> str:
    entries = "".join(
        f"<Contents><Key>{quote(key)}</Key><ETag>&quot;{found.etag}&quot;</ETag>"
        f"<LastModified>2026-01-02T03:04:05.000Z</LastModified><Size>{len(found.body)}</Size>"
        "<StorageClass>STANDARD</StorageClass></Contents>"
        for key, found in sorted(store.objects.items(), key=lambda item: item[0].encode())
        if key.startswith(prefix)
    )
    return (
        "<ListBucketResult><Name>odd-bucket</Name><EncodingType>url</EncodingType>"
        f"<IsTruncated>false</IsTruncated>{entries}</ListBucketResult>"
    )
