"""Goes through a connector once, in bounded pieces.

First its listing beside its ledger, then its nodes. Every piece is one snapshot of the
database, so that a run that writes is seen before or after its write. Memory holds one
page of the listing, the bare rows of its keys, and one text.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from activekg_pipelines.audit.differences import Difference, Found
from activekg_pipelines.audit.judge import Facts, disagreements
from activekg_pipelines.audit.listing import Row, Standing, compare, in_flight
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.pool import act_for, let_idle
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.errors import ConnectorChanged
from activekg_pipelines.ledger.states import ObjectState
from activekg_pipelines.services import Services
from activekg_pipelines.sources.source import Entry, Source

SQL = load_queries(Path(__file__).with_name("queries.sql"))

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
    """What the external ids of the connector's documents begin with, before the key."""
    return connector.location.external_root(connector.tenant_id)


def dimensions(services: Services) -> int:
    """Dimensions that every vector has.

    The column's, or the model's where the column takes any.
    """
    with services.database.transaction() as conn:
        return services.graph.dimensions(conn) or services.encoder.dimensions


@contextmanager
def snapshot(services: Services, connector: Connector) -> Iterator[Connection[TupleRow]]:
    """One unchanging view of what the connector's tenant has."""
    with services.database.transaction() as conn:
        # Before the first query, and so before the tenant is set.
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        let_idle(conn)
        # Compiling the window's statement takes longer than running it, a thousand
        # times over.
        conn.execute("SET LOCAL jit = off")
        act_for(conn, connector.tenant_id)
        yield conn


def walk(
    services: Services, connector: Connector, *, page_nodes: int = PAGE_NODES
) -> Generator[Piece]:
    """All of the connector, piece by piece. Writes nothing.

    Args:
        page_nodes: nodes of the tenant that one statement reads.

    Raises:
        SourceError: the source cannot be listed, or the connector reads another one by
            now.
    """
    size = dimensions(services)
    after = ""
    pages = services.source(connector).pages()
    with closing(pages):
        for page in pages:
            upto = None if page.is_last else page.entries[-1].key if page.entries else after
            while after != upto:
                listed = {entry.key: entry for entry in page.entries if entry.key > after}
                piece, reached = _look(services, connector, size, listed, after, upto)
                yield piece
                if reached is None:
                    break
                after = reached
    yield from _walk_graph(services, connector, page_nodes)


def _look(
    services: Services,
    connector: Connector,
    size: int,
    listed: Mapping[str, Entry],
    after: str,
    upto: str | None,
) -> tuple[Piece, str | None]:
    """One window of keys, and how far it reaches; None at the end of all."""
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
        standing = _standing(conn, connector)
        model = services.versions.encoder if _looked_through(services, standing) else None
        cursor = conn.cursor(row_factory=class_row(Facts))
        for facts in cursor.stream(SQL["window"], parameters, binary=True):
            rows[facts.key] = Row(facts.key, facts.etag, facts.state, facts.settled)
            piece.objects += facts.state != ObjectState.DELETED
            for difference, count in disagreements(facts, connector, encoder_version=model):
                piece.found.append(Found(difference, count, facts.key, facts.id, facts.node_id))
    reached = next(reversed(rows)) if len(rows) == _ROWS else upto
    keys = {key for key in listed if reached is None or key <= reached} | rows.keys()
    piece.listed = sum(key in listed for key in keys)
    piece.in_flight = sum(in_flight(listed.get(key), rows.get(key), standing) for key in keys)
    suspects = _differences(keys, listed, rows, standing)
    if suspects:
        confirmed = _look_again(services, connector, suspects, after)
        piece.found += [Found(suspects[key], 1, key) for key in sorted(confirmed)]
    return piece, reached


def _differences(
    keys: Iterable[str],
    listed: Mapping[str, Entry],
    rows: Mapping[str, Row],
    standing: Standing,
) -> dict[str, Difference]:
    compared = {key: compare(listed.get(key), rows.get(key), standing) for key in keys}
    return {key: difference for key, difference in compared.items() if difference is not None}


def _look_again(
    services: Services, connector: Connector, suspects: Mapping[str, Difference], after: str
) -> Iterable[str]:
    """The suspects at which listing and ledger still disagree.

    The bucket changes between the two looks.
    """
    listed = _listed_now(services.source(connector), suspects, after)
    with snapshot(services, connector) as conn:
        standing = _standing(conn, connector)
        cursor = conn.cursor(row_factory=class_row(Row))
        parameters = {"connector_id": connector.id, "keys": list(suspects)}
        rows = {row.key: row for row in cursor.execute(SQL["look_again"], parameters)}
    still = _differences(suspects, listed, rows, standing)
    return [key for key, difference in still.items() if suspects[key] is difference]


def _listed_now(source: Source, keys: Collection[str], after: str) -> dict[str, Entry]:
    if not source.lists_in_order:
        # To list from a key on would be to list all.
        return {key: entry for key in keys if (entry := source.find(key)) is not None}
    last = max(keys)
    listed: dict[str, Entry] = {}
    with closing(source.pages(after)) as pages:
        for page in pages:
            listed |= {entry.key: entry for entry in page.entries if entry.key in keys}
            if page.entries and page.entries[-1].key >= last:
                break
    return listed


def _standing(conn: Connection[TupleRow], connector: Connector) -> Standing:
    cursor = conn.cursor(row_factory=class_row(Standing))
    standing = cursor.execute(SQL["standing"], {"connector_id": connector.id}).fetchone()
    if standing is None or standing.generation != connector.generation:
        raise ConnectorChanged(
            "The connector reads another source by now, or is gone: audit it once more."
        )
    return standing


def _looked_through(services: Services, standing: Standing) -> bool:
    """Whether a scan has queued what other versions made.

    Before that, outdated documents are work under way.
    """
    return standing.versions == services.versions.label


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
            # Until a listing was completed, what was kept from another connector has no
            # row yet.
            listed_once = _standing(conn, connector).scanned_at is not None
            rows = conn.execute(SQL["graph_page"], parameters).fetchall()
        *found, (_, piece.nodes, reached, seen, _) = rows
        for kind, count, key, object_id, node in found:
            difference = Difference[kind.upper()]
            if listed_once or difference is not Difference.DOCUMENT_ORPHANED:
                piece.found.append(Found(difference, count, key, object_id, node))
        yield piece
        after = reached if seen == page_nodes else None
