"""The pipeline that the specification's list of libraries suggests at first sight.

    python -m benchmarks.naive ENDPOINT DSN

It is there to compare with, and prints JSON. It takes pdfplumber page by page,
BeautifulSoup's html.parser, python-docx's paragraphs, chunks of 1,000 characters,
sentence-transformers at its defaults, one SELECT an object, one INSERT a row, one
commit a document.
"""

from __future__ import annotations

import hashlib
import io
import json
import signal
import sys
import time
from uuid import NAMESPACE_URL, uuid5

import psycopg
from pgvector.psycopg import register_vector
from psycopg.types.json import Jsonb

TENANT = "naive"
# A document that hangs its parser would never end.
SECONDS_A_DOCUMENT = 60


def text_of(key: str, body: bytes) -> str:
    """A document's text."""
    suffix = key.rpartition(".")[2].lower()
    if suffix == "pdf":
        import pdfplumber

        with pdfplumber.open(io.BytesIO(body)) as pdf:
            return "\n\n".join(page.extract_text() or "" for page in pdf.pages)
    if suffix == "docx":
        import docx

        return "\n".join(paragraph.text for paragraph in docx.Document(io.BytesIO(body)).paragraphs)
    if suffix in {"html", "htm"}:
        from bs4 import BeautifulSoup

        return BeautifulSoup(body, "html.parser").get_text()
    return body.decode("utf-8", errors="replace")


def main() -> None:
    """Sync once."""
    import boto3
    from sentence_transformers import SentenceTransformer

    from activekg_pipelines.embedding import DEFAULT_MODEL, resolve_model
    from activekg_pipelines.settings import load_settings

    endpoint, dsn = sys.argv[1:3]
    model_path = resolve_model(DEFAULT_MODEL, load_settings().activekg_home / "models").path
    keys = {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1"}
    client = boto3.client("s3", endpoint_url=endpoint, **keys)
    began = time.perf_counter()
    model = SentenceTransformer(str(model_path))
    done = chunks = failed = 0
    signal.signal(signal.SIGALRM, _give_up)
    with psycopg.connect(dsn) as conn:
        register_vector(conn)
        for page in client.get_paginator("list_objects_v2").paginate(Bucket="benchmark"):
            for entry in page["Contents"]:
                signal.alarm(SECONDS_A_DOCUMENT)
                try:
                    chunks += _sync(client, conn, model, entry["Key"], entry["ETag"])
                    done += 1
                except Exception:  # noqa: BLE001 - parsers raise anything
                    failed += 1
                    conn.rollback()
                finally:
                    signal.alarm(0)
    seconds = time.perf_counter() - began
    print(json.dumps({"seconds": seconds, "indexed": done, "chunks": chunks, "failed": failed}))


def _sync(client, conn, model, key: str, etag: str) -> int:  # type: ignore[no-untyped-def]
    row = conn.execute(
        "SELECT props ->> 'etag' FROM nodes WHERE props ->> 'uri' = %s", (key,)
    ).fetchone()
    if row and row[0] == etag:
        return 0
    body = client.get_object(Bucket="benchmark", Key=key)["Body"].read()
    text = text_of(key, body).replace("\0", "")
    parts = [text[start : start + 1000] for start in range(0, len(text), 1000)]
    vectors = model.encode(parts, show_progress_bar=False) if parts else []
    document = uuid5(NAMESPACE_URL, key)
    _insert(
        conn,
        document,
        "Document",
        {"external_id": key, "uri": key, "etag": etag, "title": key},
        None,
    )
    for index, (part, vector) in enumerate(zip(parts, vectors, strict=True)):
        chunk = uuid5(NAMESPACE_URL, f"{key}#{index}")
        text_hash = hashlib.sha256(part.encode()).hexdigest()
        props = {
            "external_id": f"{key}#{index}",
            "parent_id": key,
            "text": part,
            "text_hash": text_hash,
        }
        _insert(conn, chunk, "Chunk", props, vector)
        conn.execute(
            "INSERT INTO edges (src, rel, dst, props, tenant_id)"
            " VALUES (%s, 'DERIVED_FROM', %s, %s, %s)",
            (chunk, document, Jsonb({"chunk_index": index}), TENANT),
        )
    conn.commit()
    return len(parts)


def _insert(conn, node, label: str, props: dict[str, object], vector: object) -> None:  # type: ignore[no-untyped-def]
    conn.execute(
        "INSERT INTO nodes (id, tenant_id, classes, props, embedding) VALUES (%s, %s, %s, %s, %s)",
        (node, TENANT, [label], Jsonb(props), vector),
    )


def _give_up(*_: object) -> None:
    raise TimeoutError


if __name__ == "__main__":
    main()
