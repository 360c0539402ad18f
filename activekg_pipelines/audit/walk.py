"""Goes through a connector once, in bounded pieces.

It compares the listing with the ledger first, and then reads the nodes. Every piece is
one snapshot of the database: what a run writes at that moment is seen completely or not
at all. Memory holds one page of the listing, the short rows of its keys, and one text.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from activekg_pipelines.audit.consistency import Facts, disagreements
from activekg_pipelines.audit.differences import Difference, Found
from activekg_pipelines.audit.listing import Row, ScanStatus, compare, in_flight
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.pool import act_for, let_idle
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.errors import ConnectorChanged
from activekg_pipelines.ledger.conditions import OBJECT_CONDITIONS
from activekg_pipelines.ledger.states import KnownVersion, ObjectState
from activekg_pipelines.services import Services
from activekg_pipelines.sources.source import Entry, Source

SQL = load_queries(Path(__file__).with_name("queries.sql"), OBJECT_CONDITIONS)

# As many as a listing's page has keys: one statement reads both sides of most pages.
_ROWS = 1000
PAGE_NODES: Final = 5000


@dataclass(slots=True)
class Piece:
    """What a part of the walk found.

    Attributes:
        found: differences, each at one object or node.
        listed, objects, nodes, in_flight: how many the part holds, as in
            :class:`~activekg_pipelines.audit.differences.Report`.
    """

    found: list[Found] = field(default_factory=list)
    listed: int = 0
    objects: int = 0
    nodes: int = 0
    in_flight: int = 0


def external_root(connector: Connector) -> str:
    """The part of the external ids of the connector's documents that precedes the key."""
    return connector.location.external_root(connector.tenant_id)


def dimensions(services: Services) -> int:
    """How many dimensions every vector has.

    They are the column's. Where the column takes any number, they are the model's.
    """
    with services.database.transaction() as conn:
        return services.graph.dimensions(conn) or services.encoder.dimensions


@contextmanager
def snapshot(services: Services, connector: Connector) -> Iterator[Connection[TupleRow]]:
    """A transaction that sees one state of the tenant's rows, and writes nothing."""
    with services.database.transaction() as conn:
        # Before the first query, and so before the tenant is set.
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        let_idle(conn)
        # Compiling the window's statement takes longer than running it, and an audit
        # runs it a thousand times.
        conn.execute("SET LOCAL jit = off")
        act_for(conn, connector.tenant_id)
        yield conn


def walk(
    services: Services, connector: Connector, *, page_nodes: int = PAGE_NODES
) -> Generator[Piece]:
    """Audit the whole connector, piece by piece. Nothing is written.

    Args:
        page_nodes: nodes of the tenant that one statement reads.

    Raises:
        SourceError: the source cannot be listed, or the connector reads another one by
            now.
    """
    size = dimensions(services)
    after = ""
    source = services.source(connector)
    pages = source.pages()
    with closing(pages):
        for page in pages:
            doubted = source.tokens_tell_bytes and page.shares_tokens
            upto = None if page.is_last else page.entries[-1].key if page.entries else after
            while after != upto:
                listed = {entry.key: entry for entry in page.entries if entry.key > after}
                piece, reached = _compare_window(
                    services, connector, size, listed, after, upto, doubted=doubted
                )
                yield piece
                if reached is None:
                    break
                after = reached
    yield from _walk_graph(services, connector, page_nodes)


def _compare_window(
    services: Services,
    connector: Connector,
    size: int,
    listed: Mapping[str, Entry],
    after: str,
    upto: str | None,
    *,
    doubted: bool,
) -> tuple[Piece, str | None]:
    """Compare one window of keys.

    Args:
        doubted: the page shows that the source's tokens do not change with the bytes.

    Returns:
        What was found, and the last key of the window; None after the last window.
    """
    piece = Piece()
    rows: dict[str, Row] = {}
    parameters = {
        "connector_id": connector.id,
        "root": external_root(connector),
        "after": after,
        "upto": upto,
        "limit": _ROWS,
        "dimensions": size,
    }
    with snapshot(services, connector) as conn:
        status = _scan_status(conn, connector, doubted=doubted)
        model = services.versions.encoder if _outdated_are_queued(services, status) else None
        cursor = conn.cursor(row_factory=class_row(Facts))
        for facts in cursor.stream(SQL["window"], parameters, binary=True):
            rows[facts.key] = Row(facts.key, facts.version, facts.state, facts.settled)
            piece.objects += facts.state != ObjectState.DELETED
            for difference, count in disagreements(facts, connector, encoder_version=model):
                piece.found.append(Found(difference, count, facts.key, facts.id, facts.node_id))
    reached = next(reversed(rows)) if len(rows) == _ROWS else upto
    keys = {key for key in listed if reached is None or key <= reached} | rows.keys()
    piece.listed = sum(key in listed for key in keys)
    piece.in_flight = sum(in_flight(listed.get(key), rows.get(key), status) for key in keys)
    suspects = _differences(keys, listed, rows, status)
    if suspects:
        confirmed = _recheck(services, connector, suspects, after, doubted=doubted)
        piece.found += [Found(suspects[key], 1, key) for key in sorted(confirmed)]
    return piece, reached


def _differences(
    keys: Iterable[str],
    listed: Mapping[str, Entry],
    rows: Mapping[str, Row],
    status: ScanStatus,
) -> dict[str, Difference]:
    compared = {key: compare(listed.get(key), rows.get(key), status) for key in keys}
    return {key: difference for key, difference in compared.items() if difference is not None}


def _recheck(
    services: Services,
    connector: Connector,
    suspects: Mapping[str, Difference],
    after: str,
    *,
    doubted: bool,
) -> Iterable[str]:
    """The suspects at which listing and ledger still disagree.

    The source may have changed between listing and ledger.
    """
    listed = _listed_now(services.source(connector), suspects, after)
    with snapshot(services, connector) as conn:
        status = _scan_status(conn, connector, doubted=doubted)
        parameters = {"connector_id": connector.id, "keys": list(suspects)}
        rows = {
            key: Row(key, KnownVersion(*version), state, settled)
            for key, *version, state, settled in conn.execute(SQL["recheck"], parameters)
        }
    still = _differences(suspects, listed, rows, status)
    return [key for key, difference in still.items() if suspects[key] is difference]


def _listed_now(source: Source, keys: Collection[str], after: str) -> dict[str, Entry]:
    if not source.lists_in_order:
        # Such a source can only list everything.
        return {key: entry for key in keys if (entry := source.find(key)) is not None}
    last = max(keys)
    listed: dict[str, Entry] = {}
    with closing(source.pages(after)) as pages:
        for page in pages:
            listed |= {entry.key: entry for entry in page.entries if entry.key in keys}
            if page.entries and page.entries[-1].key >= last:
                break
    return listed


def _scan_status(
    conn: Connection[TupleRow], connector: Connector, *, doubted: bool = False
) -> ScanStatus:
    cursor = conn.cursor(row_factory=class_row(ScanStatus))
    status = cursor.execute(SQL["scan_status"], {"connector_id": connector.id}).fetchone()
    if status is None or status.generation != connector.generation:
        raise ConnectorChanged(
            "The connector reads another source by now, or is gone: audit it once more."
        )
    return replace(status, trusts_etags=status.trusts_etags and not doubted)


def _outdated_are_queued(services: Services, status: ScanStatus) -> bool:
    """Whether a scan has queued the documents that other versions made.

    Before that, an outdated document is no difference: a run will replace it.
    """
    return status.versions == services.versions.label


def _walk_graph(services: Services, connector: Connector, page_nodes: int) -> Iterator[Piece]:
    after: str | None = ""
    while after is not None:
        piece = Piece()
        parameters = {
            "tenant_id": connector.tenant_id,
            "connector_id": connector.id,
            "root": external_root(connector),
            "prefix": connector.location.prefix,
            "after": after,
            "limit": page_nodes,
        }
        with snapshot(services, connector) as conn:
            # A document that was kept from another connector has no row before a
            # listing was completed.
            listed_once = _scan_status(conn, connector).scanned_at is not None
            rows = conn.execute(SQL["graph_page"], parameters).fetchall()
        *found, (_, piece.nodes, reached, seen, _) = rows
        for kind, count, key, object_id, node in found:
            difference = Difference[kind.upper()]
            if listed_once or difference is not Difference.DOCUMENT_ORPHANED:
                piece.found.append(Found(difference, count, key, object_id, node))
        yield piece
        after = reached if seen == page_nodes else None
