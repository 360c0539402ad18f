"""What a run does, without the orchestrator, and what is stored after it.

The tests of this folder share it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Concatenate, NamedTuple, ParamSpec, TypeVar
from uuid import UUID, uuid4

from psycopg import Connection
from psycopg.rows import TupleRow

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.graph.search import search
from activekg_pipelines.ledger.run_counts import RunCounts
from activekg_pipelines.ledger.states import Mode
from activekg_pipelines.pipeline.batching import DEFAULT, Batching
from activekg_pipelines.pipeline.extract import extract_pending
from activekg_pipelines.pipeline.index import index_extracted
from activekg_pipelines.pipeline.scan import ScanResult, scan_connector
from activekg_pipelines.pipeline.sync import extract_and_index
from activekg_pipelines.services import Services

TENANT = "acme_corp"
Given = ParamSpec("Given")
Answer = TypeVar("Answer")


class Ended(NamedTuple):
    """An object's state, and the reason."""

    state: str
    code: str | None
    message: str | None
    attempts: int


def in_transaction(
    services: Services,
    method: Callable[Concatenate[Connection[TupleRow], Given], Answer],
    *given: Given.args,
    **named: Given.kwargs,
) -> Answer:
    """What a store's method answers in a transaction of its own."""
    with services.database.transaction() as conn:
        return method(conn, *given, **named)


def scan(services: Services, connector: Connector) -> ScanResult:
    """A complete scan."""
    return scan_connector(services, connector, budget_seconds=None)


def start_run(
    services: Services,
    connector: Connector,
    mode: Mode = Mode.CHANGED,
    *,
    run: str | None = None,
    with_scan: bool = False,
) -> str:
    """A run of the connector that has begun; returns its id.

    Args:
        run: Dagster's run id, where Dagster knows of it.
    """
    run = run or str(uuid4())
    in_transaction(
        services,
        services.ledger.start_run,
        connector.id,
        connector.tenant_id,
        run,
        request_id=None,
        parent_run=None,
        with_scan=with_scan,
        mode=mode,
    )
    return run


def extract(services: Services, connector: Connector, run: str) -> int:
    """Only the extraction of a run."""
    return extract_pending(services, connector, run, max_objects=1000, budget_seconds=600)


def index(services: Services, connector: Connector, run: str) -> int:
    """Only the indexing of a run."""
    return index_extracted(services, connector, run, max_objects=1000, budget_seconds=600)


def drain(
    services: Services,
    connector: Connector,
    mode: Mode = Mode.CHANGED,
    *,
    batching: Batching = DEFAULT,
) -> RunCounts:
    """What a run does after the scan; returns its counts."""
    run = start_run(services, connector, mode)
    extract_and_index(
        services, connector, run, max_objects=1000, budget_seconds=600, batching=batching
    )
    in_transaction(services, services.ledger.finish_run, run, succeeded=True)
    return in_transaction(services, services.ledger.run_counts, run)


def sync(services: Services, connector: Connector) -> RunCounts:
    """Scan and drain."""
    scan(services, connector)
    return drain(services, connector)


def query(services: Services, sql: str, *parameters: object) -> list[tuple[Any, ...]]:
    """Rows of a statement, without any filter."""
    with services.database.transaction() as conn:
        cursor = conn.execute(sql, parameters)  # type: ignore[call-overload]
        return cursor.fetchall() if cursor.description else []


def chunk_nodes(services: Services, tenant_id: str = TENANT) -> dict[str, tuple[UUID, int]]:
    """Chunk texts of a tenant with node id and row version."""
    rows = query(
        services,
        "SELECT props ->> 'text', id, version FROM nodes WHERE tenant_id = %s AND 'Chunk' = "
        "ANY(classes)",
        tenant_id,
    )
    return {text: (id_, version) for text, id_, version in rows}


def states(services: Services, connector: Connector) -> dict[str, tuple[str, str | None]]:
    """State and error code by key."""
    return {key: (ended.state, ended.code) for key, ended in outcomes(services, connector).items()}


def outcomes(services: Services, connector: Connector) -> dict[str, Ended]:
    """Every object's outcome by key."""
    rows = query(
        services,
        "SELECT key, state, error_code, error_message, attempts FROM connectors.objects WHERE "
        "connector_id = %s",
        connector.id,
    )
    return {key: Ended(*rest) for key, *rest in rows}


def found(
    services: Services, question: str, *, tenant_id: str = TENANT, limit: int = 50
) -> set[str]:
    """URIs of the documents that search finds."""
    hits = search(
        services.database, services.encoder, tenant_id=tenant_id, query=question, limit=limit
    )
    return {hit.uri for hit in hits}


def documents(services: Services) -> set[str]:
    """URIs of the documents in the graph."""
    return {
        row[0]
        for row in query(
            services, "SELECT props ->> 'uri' FROM nodes WHERE 'Document' = ANY(classes)"
        )
    }


def texts(services: Services) -> dict[str, str]:
    """Stored texts by key."""
    return dict(
        query(
            services,
            "SELECT o.key, t.text FROM connectors.texts t JOIN connectors.objects o ON o.id = "
            "t.object_id",
        )
    )


def graph_of(services: Services) -> tuple[int, int, int]:
    """How many documents, chunks and edges there are."""
    (row,) = query(
        services,
        "SELECT (SELECT count(*) FROM nodes WHERE 'Document' = ANY(classes)),"
        " (SELECT count(*) FROM nodes WHERE 'Chunk' = ANY(classes)), (SELECT count(*) FROM edges)",
    )
    return row  # type: ignore[return-value]


def make_retries_due(services: Services) -> None:
    """Make failed objects due, as if their backoff had passed."""
    query(
        services,
        "UPDATE connectors.objects SET next_attempt_at = now() WHERE next_attempt_at IS NOT NULL "
        "RETURNING id",
    )


def end_leases(services: Services, run: str | None = None) -> None:
    """Expire claims: all of them, or one run's."""
    query(
        services,
        "UPDATE connectors.objects SET claim_expires_at = now() - interval '1 second'"
        " WHERE claimed_by = coalesce(%s, claimed_by) RETURNING id",
        run,
    )
