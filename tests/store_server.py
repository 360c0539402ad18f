"""Stand-ins for stores that no test can have, with the manners that their makers document.

Each is a server that checks signatures, takes the addresses that the store takes, and
refuses others in the store's own words. Nothing is written to it over HTTP.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qs, quote, unquote
from xml.sax.saxutils import escape

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.local_server import answering

Answer = tuple[int, str, Mapping[str, str]]
"""Status, XML and headers."""

_XMLNS = "http://s3.amazonaws.com/doc/2006-03-01/"
_MOMENT = 1_700_000_000
_SESSION = ("SESSIONKEYEXAMPLE123", "a-secret-of-one-session-only-0123456789", "a-token")


def refusal(status: int, code: str, message: str, **more: str) -> Answer:
    """An error as S3 writes it; ``more`` are further elements."""
    elements = {"Code": code, "Message": message, **more}
    inner = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in elements.items())
    return status, f"<Error>{inner}</Error>", {"Content-Type": "application/xml"}


DENIED = refusal(403, "AccessDenied", "Access Denied")
NO_BUCKET = refusal(404, "NoSuchBucket", "The specified bucket does not exist.")
BUCKETS: Answer = (
    200,
    f'<ListAllMyBucketsResult xmlns="{_XMLNS}"><Owner><ID>1</ID></Owner><Buckets/>'
    "</ListAllMyBucketsResult>",
    {"Content-Type": "application/xml"},
)


@dataclass
class Store:
    """A store with one bucket.

    Attributes:
        host: that the store is called by.
        bucket: its name.
        keys: access key id and secret; None where nobody needs any.
        regions: of which a signature has to name one; empty for any.
        styles: where the bucket may stand, ``path`` and ``virtual``.
        path: before everything else in an address.
        in_path: what it says to a bucket in the path that it does not take there.
        in_host: the same, for one in front of the host.
        elsewhere: what it says outside its path.
        wrong_region: what it says to a signature for another region.
        wants_payer: it serves those who agree to pay alone.
        has_sessions: requests are signed with a session's keys, as for directory buckets;
            keys are listed in no order, and prefixes end in a slash.
        objects: bodies by key.
        requests: method and target of each request so far.
        signatures: the header of each request so far; None where it has none.
    """

    host: str
    bucket: str
    keys: tuple[str, str] | None
    regions: tuple[str, ...] = ()
    styles: tuple[str, ...] = ("path", "virtual")
    path: str = ""
    in_path: Answer = NO_BUCKET
    in_host: Answer = NO_BUCKET
    elsewhere: Answer = NO_BUCKET
    wrong_region: Answer = DENIED
    wants_payer: bool = False
    has_sessions: bool = False
    objects: dict[str, bytes] = field(default_factory=dict)
    requests: list[str] = field(default_factory=list)
    signatures: list[str | None] = field(default_factory=list)
    port: int = 0

    @property
    def url(self) -> str:
        """The endpoint, as a connector names it."""
        return f"http://{self.host}:{self.port}{self.path}"

    def answer(self, method: str, target: str, headers: Mapping[str, str]) -> Answer | bytes:
        """What the store says; bytes are an object's."""
        self.requests.append(f"{method} {target}")
        self.signatures.append(headers.get("Authorization"))
        path, _, query = target.partition("?")
        name = headers.get("Host", "").rpartition(":")[0]
        if name == f"{self.bucket}.{self.host}":
            bucket, key = self.bucket, path.removeprefix("/")
            if "virtual" not in self.styles:
                return self.in_host
        elif not path.startswith(f"{self.path}/"):
            return self.elsewhere
        else:
            bucket, _, key = path.removeprefix(f"{self.path}/").partition("/")
            if bucket and "path" not in self.styles:
                return self.in_path
        if refused := self._refused(method, target, headers):
            return refused
        if not bucket:
            return BUCKETS
        if bucket != self.bucket:
            return NO_BUCKET
        parameters = {one: values[0] for one, values in parse_qs(query, True).items()}
        if self.has_sessions and "session" in parameters:
            return self._session()
        if self.wants_payer and headers.get("x-amz-request-payer") != "requester":
            return DENIED
        if not key:
            return self._listing(parameters)
        return self._object(unquote(key), headers)

    def _refused(self, method: str, target: str, headers: Mapping[str, str]) -> Answer | None:
        if self.keys is None:
            return None
        said = headers.get("Authorization", "")
        if not said:
            return DENIED
        scope = said.split("Credential=")[1].split(",")[0].split("/")
        keys = self.keys
        token = None
        if self.has_sessions and "?session" not in target:
            *session, token = _SESSION
            keys = (session[0], session[1])
            if headers.get("x-amz-s3session-token") != token:
                return DENIED
        if self.regions and scope[2] not in self.regions:
            return self.wrong_region
        if scope[0] != keys[0]:
            return refusal(403, "InvalidAccessKeyId", "The access key id does not exist.")
        signed = said.split("SignedHeaders=")[1].split(",")[0].split(";")
        request = AWSRequest(
            method,
            f"http://{headers['Host']}{target}",
            {name: headers[name] for name in signed if name != "host"},
        )
        request.context["timestamp"] = headers["x-amz-date"]
        auth = S3SigV4Auth(Credentials(*keys), scope[3], scope[2])
        to_sign = auth.string_to_sign(request, auth.canonical_request(request))
        if not said.endswith(f"Signature={auth.signature(to_sign, request)}"):
            return refusal(403, "SignatureDoesNotMatch", "The signature does not match.")
        return None

    def _session(self) -> Answer:
        names = ("AccessKeyId", "SecretAccessKey", "SessionToken")
        inner = "".join(
            f"<{name}>{value}</{name}>" for name, value in zip(names, _SESSION, strict=True)
        )
        return (
            200,
            f'<CreateSessionResult xmlns="{_XMLNS}"><Credentials>{inner}'
            "<Expiration>2100-01-01T00:00:00Z</Expiration></Credentials></CreateSessionResult>",
            {"Content-Type": "application/xml"},
        )

    def _listing(self, asked: Mapping[str, str]) -> Answer:
        prefix = asked.get("prefix", "")
        keys = sorted(key for key in self.objects if key.startswith(prefix))
        after = asked.get("start-after", "")
        if self.has_sessions:
            if after:
                return refusal(501, "NotImplemented", "StartAfter is not supported.")
            if prefix and not prefix.endswith("/"):
                return refusal(400, "InvalidArgument", "The prefix has to end in a delimiter.")
            keys.reverse()
        contents = "".join(
            f"<Contents><Key>{quote(key)}</Key><Size>{len(self.objects[key])}</Size>"
            f"<ETag>&quot;{_etag(self.objects[key])}&quot;</ETag>"
            "<LastModified>2026-01-01T00:00:00.000Z</LastModified></Contents>"
            for key in keys
            if key > after or self.has_sessions
        )
        return (
            200,
            f'<ListBucketResult xmlns="{_XMLNS}"><Name>{self.bucket}</Name>'
            f"<EncodingType>url</EncodingType><IsTruncated>false</IsTruncated>{contents}"
            "</ListBucketResult>",
            {"Content-Type": "application/xml"},
        )

    def _object(self, key: str, headers: Mapping[str, str]) -> Answer | bytes:
        body = self.objects.get(key)
        if body is None:
            return refusal(404, "NoSuchKey", "The specified key does not exist.")
        if headers.get("If-Match", f'"{_etag(body)}"') != f'"{_etag(body)}"':
            return refusal(412, "PreconditionFailed", "The condition does not hold.")
        return body


@contextmanager
def serve(store: Store) -> Iterator[Store]:
    """Let a store answer on this machine, whatever it is called; it gets its port."""
    with answering(_handler(store.answer)) as port:
        store.port = port
        yield store


def _etag(body: bytes) -> str:
    return hashlib.md5(body).hexdigest()


def _handler(answer: Callable[..., Answer | bytes]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            said = answer(self.command, self.path, self.headers)
            status, headers = 200, dict[str, str]()
            if isinstance(said, bytes):
                body = said
                headers = {
                    "ETag": f'"{_etag(said)}"',
                    "Last-Modified": formatdate(_MOMENT, usegmt=True),
                }
                if self.headers.get("Range") == "bytes=0-0":
                    status, body = 206, said[:1]
            else:
                status, text, more = said
                body, headers = text.encode(), dict(more)
            self.send_response_only(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    return Handler
