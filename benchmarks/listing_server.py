"""An S3 server that only lists, as many objects as it is told.

    python -m benchmarks.listing_server OBJECTS

They are made up page by page, so that none has to be stored. Prints its port and serves
until its standard input closes.
"""

from __future__ import annotations

import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final
from urllib.parse import parse_qs, urlsplit
from xml.sax.saxutils import escape

_PAGE: Final = 1000
_ENTRY: Final = (
    "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>"
    "<ETag>&quot;9a0364b9e99bb480dd25e1f0284c8555&quot;</ETag><Size>1024</Size><StorageClass>STANDARD</StorageClass></Contents>"
)
_ANSWER: Final = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
    "<Name>bucket</Name><Prefix></Prefix><KeyCount>{count}</KeyCount><MaxKeys>1000</MaxKeys><EncodingType>url</EncodingType>"
    "<IsTruncated>{truncated}</IsTruncated>{entries}{token}</ListBucketResult>"
)


def key(number: int) -> str:
    """The key of an object; their order is that of the numbers."""
    return f"notes/{number:09}.txt"


def main() -> None:
    """Serve."""
    objects = int(sys.argv[1])

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            query = parse_qs(urlsplit(self.path).query)
            after = (query.get("continuation-token") or query.get("start-after") or [""])[0]
            first = int(after.removeprefix("notes/").removesuffix(".txt")) + 1 if after else 0
            last = min(first + _PAGE, objects)
            body = _ANSWER.format(
                count=last - first,
                truncated="true" if last < objects else "false",
                entries="".join(
                    _ENTRY.format(key=escape(key(number))) for number in range(first, last)
                ),
                token=f"<NextContinuationToken>{key(last - 1)}</NextContinuationToken>"
                if last < objects
                else "",
            ).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/xml")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    print(server.server_port, flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
