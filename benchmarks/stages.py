"""How much faster each stage is than the obvious way, interleaved in one run. Prints ratios, never absolute goals.

    python benchmarks/stages.py

The obvious way: pdfplumber page by page; sentence-transformers at its defaults; for a scan, the bare LIST requests that
any scan must make. Works on the documents that the project ships, and starts its own Postgres and S3 server.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.fernet import Fernet

EXAMPLES = Path(__file__).parents[1] / "examples" / "documents"
ROUNDS = 5
OBJECTS = 20_000


def compare(name: str, ours: Callable[[], object], theirs: Callable[[], object]) -> None:
    """Time both in turn after a warm-up and print the median of the pairwise ratios."""
    ours()
    theirs()
    ratios = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        theirs()
        middle = time.perf_counter()
        ours()
        ratios.append((middle - began) / (time.perf_counter() - middle))
    print(f"{name:58} {statistics.median(ratios):6.2f} x   ({min(ratios):.2f} to {max(ratios):.2f})", flush=True)


def pdf() -> None:
    """Text and tables of the shipped PDFs."""
    import pdfplumber

    from activekg_pipelines.extraction import Limits, extract_file

    files = sorted(EXAMPLES.rglob("*.pdf"))

    def theirs() -> None:
        for path in files:
            with pdfplumber.open(path) as document:
                for page in document.pages:
                    page.extract_text()
                    page.extract_tables()

    compare(
        f"PDF: {len(files)} files, text and tables, vs pdfplumber",
        lambda: [extract_file(path, path.name, None, Limits()) for path in files],
        theirs,
    )


def encoder(home: Path) -> None:
    """192 chunks of the shipped Markdown documents."""
    from sentence_transformers import SentenceTransformer

    from activekg_pipelines.embedding import DEFAULT_MODEL, Backend, chunk_document, load_encoder, resolve_model

    ours = load_encoder(DEFAULT_MODEL, Backend.AUTO, None, home / "models", None)
    theirs = SentenceTransformer(str(resolve_model(DEFAULT_MODEL, home / "models").path))
    documents = [path.read_text(encoding="utf-8") for path in sorted(EXAMPLES.rglob("*.md"))]
    chunks = [chunk.text for text in documents for chunk in chunk_document(text, ours.tokenizer, ours.max_tokens)]
    texts = (chunks * 8)[:192]
    compare(
        f"Encoder: {len(texts)} chunks, vs sentence-transformers' defaults",
        lambda: ours.encode(texts),
        lambda: theirs.encode(texts),
    )


def scan(home: Path) -> None:
    """An unchanged bucket, against its bare listing."""
    from moto.server import ThreadedMotoServer

    from activekg_pipelines.database.embedded import ensure_database, start_embedded
    from activekg_pipelines.database.migrate import migrate
    from activekg_pipelines.pipeline.scan import scan_connector
    from activekg_pipelines.services import Services
    from activekg_pipelines.settings import load_settings
    from tests.s3_bucket import Bucket

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    dsn = ensure_database(start_embedded(home / "postgres"), "benchmark")
    migrate(dsn)
    os.environ |= {
        "ACTIVEKG_DSN": dsn,
        "ACTIVEKG_HOME": str(home),
        "ACTIVEKG_S3_ENDPOINT_ALLOWLIST": f"{host}:{port}",
        "CONNECTOR_KEK_V1": Fernet.generate_key().decode(),
    }
    services = Services(load_settings())
    bucket = Bucket.create(f"http://{host}:{port}", "benchmark")
    bucket.put_many({f"notes/{number:07}.txt": b"x" for number in range(OBJECTS)})
    connector = bucket.register(services)
    client = services.client(connector)

    def listing() -> None:
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket.name):
            page["Contents"]

    compare(
        f"Scan: {OBJECTS:,} unchanged objects, as a share of the bare LIST",
        lambda: scan_connector(services, connector, budget_seconds=None),
        listing,
    )
    services.database.close()
    server.stop()


def main() -> None:
    """Run every comparison."""
    import logging

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    print(f"{os.cpu_count()} cores; median of {ROUNDS} pairs: theirs / ours, more than 1 is faster\n")
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        # Other users may need to pass through it: as root, the server runs as another one.
        home.chmod(0o755)
        pdf()
        encoder(home)
        scan(home)


if __name__ == "__main__":
    main()
