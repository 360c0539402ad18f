"""Many documents are removed with their connector, or with its bucket.

They are removed in batches, and a crash between two batches does no harm.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from uuid import UUID

import numpy as np
import pytest
from psycopg import Connection
from psycopg.rows import TupleRow

from activekg_pipelines.administration.operations import reconfigure
from activekg_pipelines.administration.removal import DocumentFate, remove
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.errors import ConnectorChanged, ConnectorNotFound
from activekg_pipelines.graph.nodes import node_id
from activekg_pipelines.graph.store import Graph
from activekg_pipelines.services import Services
from tests.integration.api.conftest import RecordingOrchestrator
from tests.integration.syncing import (
    documents,
    graph_of,
    in_transaction,
    query,
    scan,
    start_run,
    sync,
)
from tests.parts import with_parts
from tests.registry import due_for_poll
from tests.s3_bucket import Bucket, S3ConfigPatch

# Two full batches and a rest.
DOCUMENTS = 1203


class _Crash(Exception):
    pass


class CrashingGraph(Graph):
    """A graph whose process dies at the ``at``-th removal."""

    def __init__(self, at: int) -> None:
        super().__init__(reuse_days=7)
        self.sizes: list[int] = []
        self._at = at

    def remove(self, conn: Connection[TupleRow], tenant_id: str, documents: Sequence[UUID]) -> None:
        super().remove(conn, tenant_id, documents)
        self.sizes.append(len(documents))
        if len(self.sizes) == self._at:
            raise _Crash


@pytest.fixture
def admin(services: Services) -> Services:
    services.orchestrator = RecordingOrchestrator()
    return services


@pytest.fixture
def full(services: Services, connector: Connector) -> Connector:
    """A connector with many documents of one chunk.

    They are in the ledger and in the graph as a sync leaves them.
    """
    keys = [f"many/{number:05}.txt" for number in range(DOCUMENTS)]
    vectors = np.random.default_rng(7).standard_normal((DOCUMENTS, 384)).astype(np.float32)
    externals = [f"s3:acme_corp:{connector.location.container}/{key}" for key in keys]
    parameters = {
        "connector": connector.id,
        "bucket": connector.location.container,
        "keys": keys,
        "externals": externals,
        "documents": [node_id(external) for external in externals],
        "chunks": [node_id(f"{external}#chunk") for external in externals],
        "vectors": [str(vector.tolist()) for vector in vectors],
    }
    with services.database.transaction() as conn:
        conn.execute(
            """
            CREATE TEMPORARY TABLE many ON COMMIT DROP AS SELECT * FROM unnest(
                %(keys)s::text[], %(externals)s::text[], %(documents)s::uuid[],
                %(chunks)s::uuid[], %(vectors)s::text[]
            ) AS m (key, external, document, chunk, vector)
            """,
            parameters,
        )
        conn.execute(
            """
            INSERT INTO connectors.objects
                (connector_id, tenant_id, key, etag, size, modified_at, state, document_id,
                indexed_etag, chunks)
            SELECT %(connector)s, 'acme_corp', key, 'e', 9, now(), 'indexed', document, 'e', 1
            FROM many
            """,
            parameters,
        )
        conn.execute(
            """
            INSERT INTO nodes (id, tenant_id, classes, props)
            SELECT document, 'acme_corp', '{Document}', jsonb_build_object(
                'external_id', external, 'uri', 's3://' || %(bucket)s || '/' || key) FROM many
            """,
            parameters,
        )
        conn.execute(
            """
            INSERT INTO nodes (id, tenant_id, classes, props, embedding)
            SELECT chunk, 'acme_corp', '{Chunk}', jsonb_build_object(
                'parent_id', external, 'text', key, 'text_hash', md5(key), 'embedding_model', 'm'
            ), vector::vector FROM many
            """
        )
        conn.execute(
            """
            INSERT INTO edges (src, rel, dst, tenant_id)
            SELECT chunk, 'DERIVED_FROM', document, 'acme_corp' FROM many
            """
        )
    return connector


def consistent(services: Services) -> bool:
    """Whether ledger and graph hold the same documents, and the graph no half one."""
    known = {
        row[0]
        for row in query(
            services, "SELECT document_id FROM connectors.objects WHERE document_id IS NOT NULL"
        )
    }
    held = {
        row[0] for row in query(services, "SELECT id FROM nodes WHERE 'Document' = ANY(classes)")
    }
    derived = {
        row[0] for row in query(services, "SELECT dst FROM edges WHERE rel = 'DERIVED_FROM'")
    }
    return known == held == derived and len(set(graph_of(services))) == 1


@contextmanager
def crashing(admin: Services, at: int) -> Iterator[tuple[Services, CrashingGraph]]:
    graph = CrashingGraph(at)
    with pytest.raises(_Crash):
        yield with_parts(admin, graph=graph), graph


def test_a_removed_connectors_documents_go_in_batches_and_all(
    services: Services, admin: Services, full: Connector
) -> None:
    graph = CrashingGraph(at=0)
    assert (
        remove(with_parts(admin, graph=graph), full.id, DocumentFate.REMOVE).documents == DOCUMENTS
    )
    assert max(graph.sizes) == 500
    assert graph_of(services) == (0, 0, 0)
    assert query(services, "SELECT 1 FROM connectors.objects") == []
    assert list(admin.every_connector()) == []


def test_a_removal_that_was_cut_short_leaves_a_paused_connector_and_the_next_one_ends_it(
    services: Services, admin: Services, full: Connector, bucket: Bucket
) -> None:
    bucket.put("many/00000.txt", "This one is still in the bucket.")
    run = start_run(services, full)
    with crashing(admin, at=2) as (dying, _):
        remove(dying, full.id, DocumentFate.REMOVE)
    assert consistent(services)
    assert graph_of(services)[0] == DOCUMENTS - 500, (
        "the first batch is gone for good, the second is not"
    )
    stored = services.connector(full.id)
    assert not stored.enabled
    assert due_for_poll(services, "acme_corp") == []
    assert (
        in_transaction(
            services,
            services.ledger.work,
            max_objects=1000,
            cap=2,
            scan_idle_seconds=30,
            lost_after_seconds=240,
        )
        == []
    )
    # A run that read the connector before gets nothing to do.
    limits = {"generation": full.generation, "limit": 10}
    assert (
        in_transaction(
            services, services.ledger.claim_pending, full.id, run, extractor="1", **limits
        )
        == []
    )
    assert (
        in_transaction(
            services, services.ledger.claim_extracted, full.id, run, characters=1000, **limits
        )
        == []
    )

    assert remove(admin, full.id, DocumentFate.REMOVE).documents == DOCUMENTS - 500
    assert graph_of(services) == (0, 0, 0)
    with pytest.raises(ConnectorNotFound):
        services.connector(full.id)


def test_a_removal_that_keeps_documents_forgets_their_objects_in_batches(
    services: Services, admin: Services, full: Connector
) -> None:
    assert remove(admin, full.id, DocumentFate.KEEP).documents == DOCUMENTS
    assert graph_of(services) == (DOCUMENTS,) * 3
    assert query(services, "SELECT 1 FROM connectors.objects") == []


def test_a_scan_that_goes_on_during_the_removal_does_not_keep_it_from_ending(
    services: Services, admin: Services, full: Connector, bucket: Bucket
) -> None:
    bucket.put_many({f"new/{number:04}.txt": "x" for number in range(700)})

    begun = threading.Event()

    def scan_again_and_again() -> None:
        while True:
            try:
                scan(services, services.connector(full.id))
            except ConnectorNotFound:
                return
            except ConnectorChanged:
                pass
            begun.set()

    with ThreadPoolExecutor(1) as threads:
        scanner = threads.submit(scan_again_and_again)
        assert begun.wait(timeout=60)
        remove(admin, full.id, DocumentFate.REMOVE)
        assert query(services, "SELECT 1 FROM connectors.objects") == []
        assert graph_of(services) == (0, 0, 0)
        scanner.result(timeout=60)
    assert query(services, "SELECT 1 FROM connectors.objects") == []


def test_a_move_that_was_cut_short_changes_nothing_but_what_the_next_scan_repairs(
    services: Services, admin: Services, full: Connector, bucket: Bucket, s3_endpoint: str
) -> None:
    other = Bucket.create(s3_endpoint, bucket.name + "-two")
    other.put("other.txt", "A text in the other bucket.")
    bucket.put("many/00000.txt", "This one is still in the bucket.")
    patch = S3ConfigPatch(bucket=other.name)
    with crashing(admin, at=2) as (dying, _):
        reconfigure(dying, full.id, patch, documents=DocumentFate.REMOVE)
    assert consistent(services)
    assert graph_of(services)[0] == DOCUMENTS - 500
    stored = services.connector(full.id)
    assert (stored.location.container, stored.enabled) == (bucket.name, True)
    scan(services, stored)
    assert query(services, "SELECT state FROM connectors.objects WHERE key = 'many/00000.txt'") == [
        ("pending",)
    ]

    changed = reconfigure(admin, full.id, patch, documents=DocumentFate.REMOVE)
    assert (changed.connector.location.container, changed.documents) == (
        other.name,
        DOCUMENTS - 500,
    )
    assert graph_of(services) == (0, 0, 0)
    sync(services, changed.connector)
    assert documents(services) == {f"s3://{other.name}/other.txt"}


def test_a_prefix_takes_out_of_reach_what_is_outside_it_in_batches_and_nothing_else(
    services: Services, admin: Services, full: Connector
) -> None:
    graph = CrashingGraph(at=0)
    changed = reconfigure(
        with_parts(admin, graph=graph),
        full.id,
        S3ConfigPatch(prefix="many/000"),
        documents=DocumentFate.REMOVE,
    )
    assert changed.documents == DOCUMENTS - 100
    assert max(graph.sizes) == 500
    assert consistent(services)
    assert graph_of(services)[0] == 100
