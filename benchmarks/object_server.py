"""An S3 server with documents in its bucket ``benchmark``, for a process of its own.

    python -m benchmarks.object_server markdown|notes|mixed NUMBER

``markdown`` are made-up documents, ``notes`` made-up texts of a sentence or two, and
``mixed`` documents of every format, real ones first. Prints its port and serves until
its standard input closes.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator

from benchmarks.texts import markdown


def documents(kind: str, number: int) -> Iterator[tuple[str, bytes]]:
    """Keys and bodies."""
    match kind:
        case "markdown":
            return (
                (f"handbooks/{index:06}.md", markdown(index).encode()) for index in range(number)
            )
        case "notes":
            return ((f"notes/{index:06}.txt", note(index, 0).encode()) for index in range(number))
        case "mixed":
            from benchmarks.mixed import mixed_documents

            return mixed_documents(number)
    raise SystemExit(__doc__)


def note(index: int, version: int) -> str:
    """A short text that no other note has."""
    return (
        f"Note {index}, version {version}: pump P-{index} runs at {index % 90 + 10} bar since "
        "its last inspection."
    )


def main() -> None:
    """Serve."""
    from moto.backends import get_backend
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    backend = get_backend("s3")[DEFAULT_ACCOUNT_ID]["aws"]
    backend.create_bucket("benchmark", "us-east-1")
    for key, body in documents(sys.argv[1], int(sys.argv[2])):
        # Past HTTP: the server runs in this process.
        backend.put_object("benchmark", key, body)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    print(server.get_host_and_port()[1], flush=True)
    sys.stdin.read()
    server.stop()


if __name__ == "__main__":
    main()
