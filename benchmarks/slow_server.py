"""An S3 server that makes its clients wait.

    python -m benchmarks.slow_server page|trickle

With ``page`` each page of a listing without end comes after 5 seconds, with ``trickle``
an answer comes a byte a second. Prints its port and serves until its standard input
closes.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from itertools import count
from typing import Final

_PAGE_SECONDS: Final = 5.0
_PAGE: Final = (
    '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult>'
    "<Name>bucket</Name><KeyCount>1</KeyCount><IsTruncated>true</IsTruncated><Contents><Key>{number:09}</Key>"
    "<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>e</ETag><Size>1024</Size></Contents>"
    "<NextContinuationToken>{number}</NextContinuationToken></ListBucketResult>"
)


async def _serve(manner: str) -> None:
    numbers = count()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                body = _PAGE.format(number=next(numbers)).encode()
                head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n".encode()
                if manner == "page":
                    await asyncio.sleep(_PAGE_SECONDS)
                    writer.write(head + body)
                    await writer.drain()
                    continue
                for byte in head + body:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(1)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=1000)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
