"""What writing documents into the graph costs, against a bare binary COPY of the rows.

    python -m benchmarks.database [--chunks 50000] [--rounds 3]

Ours is what a run does, in transactions of 64 documents: lock the ledger's rows,
replace the documents, record them, count. The COPY is one of nodes and one of edges,
into the same tables, without the ledger. Both are measured with the same triggers and
indexes: with all that there are, and with all but the vector index.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from functools import partial

import numpy as np
import psutil
from psycopg.types.json import Jsonb

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.graph.nodes import Document, node_id
from activekg_pipelines.ledger.run_counts import RunCounts
from activekg_pipelines.ledger.states import IndexedDocument, Mode
from activekg_pipelines.services import Services
from benchmarks.documents import CHUNKS_PER_DOCUMENT, handbook
from benchmarks.measure import Result, Sample, measure, print_results, ratio
from benchmarks.system import folder, register, services
from benchmarks.texts import markdown

BATCH = 64
DIMENSIONS = 384
ENCODER = "benchmark/float32"
TENANT = "acme_corp"
RUN = "benchmark"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--chunks", type=int, default=50_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    documents = make_documents(arguments.chunks // CHUNKS_PER_DOCUMENT)
    with folder() as home, services(home) as opened:
        database = _Database(
            opened, documents, int((home / "postgres" / "postmaster.pid").read_text().split()[0])
        )
        results = [
            *_compare(database, "all indexes", arguments.rounds),
            *_without_vector_index(database, arguments.rounds),
        ]
    print_results(
        f"Database: {len(documents):,} documents, {database.chunks:,} chunks, their edges", results
    )


def make_documents(number: int) -> list[Document]:
    """Documents of 15 chunks of about 1,000 characters.

    Their vectors lie around a few hundred topics.
    """
    directions = np.random.default_rng(1)
    topics = directions.normal(size=(300, DIMENSIONS))
    text = "\n\n".join(markdown(index) for index in range(200))
    made = []
    for index in range(number):
        vectors = topics[directions.integers(300, size=CHUNKS_PER_DOCUMENT)]
        vectors = vectors + 0.7 * directions.normal(size=vectors.shape)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        made.append(handbook(TENANT, index, _parts(index, text), vectors.astype(np.float32)))
    return made


def _parts(index: int, text: str) -> list[tuple[int, str]]:
    starts = [
        (index * CHUNKS_PER_DOCUMENT + number) * 1009 % (len(text) - 1100)
        for number in range(CHUNKS_PER_DOCUMENT)
    ]
    return [
        (start, f"Document {index}, part {number}. {text[start : start + 950]}")
        for number, start in enumerate(starts)
    ]


class _Database:
    """The tables, emptied before each way of filling them."""

    def __init__(self, services: Services, documents: Sequence[Document], server: int) -> None:
        self._server = psutil.Process(server)
        self.services = services
        self.chunks = sum(len(document.chunks) for document in documents)
        self._documents = documents
        self._connector = register(services, "http://127.0.0.1:1", "benchmark", TENANT)
        self._objects = _fill_ledger(services, self._connector, documents)

    def empty(self) -> None:
        """No node and no edge, and every object claimed by the run."""
        with self.services.database.transaction() as conn:
            conn.execute("TRUNCATE public.nodes, public.edges")
            conn.execute(
                "UPDATE connectors.objects SET state = 'extracted', claimed_by = %s,"
                " claim_expires_at = now() + interval '1 day'",
                (RUN,),
            )
            self.services.ledger.start_run(
                conn,
                self._connector.id,
                TENANT,
                RUN,
                request_id=None,
                parent_run=None,
                with_scan=False,
                mode=Mode.CHANGED,
            )

    def swap(self) -> None:
        """What a run does."""
        ledger, graph = self.services.ledger, self.services.graph
        for start in range(0, len(self._documents), BATCH):
            batch = self._documents[start : start + BATCH]
            ids = self._objects[start : start + BATCH]
            with self.services.database.transaction(tenant_id=TENANT) as conn:
                assert len(ledger.lock_claimed(conn, RUN, ids)) == len(batch)
                graph.swap(conn, TENANT, batch, ENCODER)
                indexed = [
                    IndexedDocument(object_id, document.id, len(document.chunks))
                    for object_id, document in zip(ids, batch, strict=True)
                ]
                latencies = ledger.store_indexed(conn, indexed, self.services.versions)
                ledger.count_run(conn, RUN, RunCounts(indexed=len(batch)), latencies=latencies)

    def copy(self) -> None:
        """One COPY of all nodes and one of all edges."""
        now = datetime.now(UTC)
        with self.services.database.transaction() as conn:
            with conn.cursor().copy(
                "COPY public.nodes (id, tenant_id, classes, props, embedding, embedding_status,"
                " embedding_updated_at, last_refreshed) FROM STDIN WITH (FORMAT BINARY)"
            ) as copy:
                copy.set_types(
                    [
                        "uuid",
                        "text",
                        "text[]",
                        "jsonb",
                        "vector",
                        "text",
                        "timestamptz",
                        "timestamptz",
                    ]
                )
                for document in self._documents:
                    props = Jsonb(document.props())
                    copy.write_row(
                        (document.id, TENANT, ["Document"], props, None, "skipped", now, now)
                    )
                    for chunk, vector in zip(document.chunks, document.vectors, strict=True):
                        chunk_id = node_id(document.chunk_external_id(chunk))
                        props = Jsonb(document.chunk_props(chunk, ENCODER))
                        copy.write_row(
                            (chunk_id, TENANT, ["Chunk"], props, vector, "ready", now, now)
                        )
            with conn.cursor().copy(
                "COPY public.edges (src, rel, dst, props, tenant_id)"
                " FROM STDIN WITH (FORMAT BINARY)"
            ) as copy:
                copy.set_types(["uuid", "text", "uuid", "jsonb", "text"])
                for document in self._documents:
                    for chunk in document.chunks:
                        chunk_id = node_id(document.chunk_external_id(chunk))
                        props = Jsonb(document.edge_props(chunk))
                        copy.write_row((chunk_id, "DERIVED_FROM", document.id, props, TENANT))

    def measure(self, work: Callable[[], object]) -> Sample:
        """As :func:`benchmarks.measure.measure`, with the database's CPU time."""
        before = self._server_seconds()
        sample = measure(work)
        return Sample(sample.wall, sample.cpu + self._server_seconds() - before)

    def _server_seconds(self) -> float:
        times = [process.cpu_times() for process in self._server.children()]
        return sum(time.user + time.system for time in times)

    def drop_vector_index(self) -> str:
        """Returns the statement that makes it again."""
        with self.services.database.transaction() as conn:
            row = conn.execute(
                "SELECT pg_get_indexdef('public.idx_nodes_embedding_hnsw'::regclass)"
            ).fetchone()
            conn.execute("DROP INDEX public.idx_nodes_embedding_hnsw")
        assert row is not None
        return str(row[0])

    def build(self, statement: str, memory: str) -> None:
        """Make an index with so much ``maintenance_work_mem``."""
        with self.services.database.transaction() as conn:
            conn.execute("SELECT set_config('maintenance_work_mem', %s, true)", (memory,))
            conn.execute(statement.encode())


def _fill_ledger(
    services: Services, connector: Connector, documents: Sequence[Document]
) -> list[int]:
    """A ledger row and a text for each document; returns the rows' ids."""
    with services.database.transaction() as conn:
        rows = conn.execute(
            "INSERT INTO connectors.objects"
            " (connector_id, tenant_id, key, etag, size, modified_at, state)"
            " SELECT %s, %s, key, etag, 15000, now(), 'extracted'"
            " FROM unnest(%s::text[], %s::text[]) AS d (key, etag) RETURNING id",
            (connector.id, TENANT, [one.key for one in documents], [one.etag for one in documents]),
        ).fetchall()
        conn.execute(
            "INSERT INTO connectors.texts"
            " (object_id, tenant_id, text, mime_type, characters, content_hash, text_hash,"
            " extractor_version)"
            " SELECT id, tenant_id, key, 'text/markdown', length(key), '', '', '1'"
            " FROM connectors.objects"
        )
    return [row[0] for row in rows]


def _compare(database: _Database, indexes: str, rounds: int) -> list[Result]:
    ours: list[Sample] = []
    bare: list[Sample] = []
    for _ in range(rounds):
        for samples, way in ((bare, database.copy), (ours, database.swap)):
            database.empty()
            samples.append(database.measure(way))
    results = []
    for clock, name in (("wall", "wall time"), ("cpu", "CPU time of client and server")):
        speeds = ", ".join(
            f"{way} {database.chunks / seconds:,.0f} chunks/s"
            for way, samples in (("swap", ours), ("COPY", bare))
            for seconds in [statistics.median(getattr(one, clock) for one in samples)]
        )
        share = ratio(ours, bare, clock)
        value = f"{share:.2f} x bare COPY ({speeds})"
        results.append(
            Result(f"swap with its ledger, {indexes}: {name}", value, "<= 1.5 x", share <= 1.5)
        )
    return results


def _without_vector_index(database: _Database, rounds: int) -> list[Result]:
    statement = database.drop_vector_index()
    results = _compare(database, "without the vector index", rounds)
    for memory in ("64MB", "512MB"):
        built = database.measure(partial(database.build, statement, memory))
        speed = f"{database.chunks / built.wall:,.0f} chunks/s"
        results.append(Result(f"building the vector index after, {memory}", speed))
        database.drop_vector_index()
    return results


if __name__ == "__main__":
    main()
