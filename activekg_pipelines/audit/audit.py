"""Audits a connector: walks through it once and counts what does not agree."""

from __future__ import annotations

from collections.abc import Callable

from psycopg import Connection
from psycopg.rows import TupleRow

from activekg_pipelines.audit.differences import Report
from activekg_pipelines.audit.vectors import check_vectors
from activekg_pipelines.audit.walk import PAGE_NODES, SQL, Piece, walk
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.services import Services

Progress = Callable[[Report], None]
"""Called after each piece with the report so far."""


def audit_connector(
    services: Services,
    connector: Connector,
    *,
    vectors: int = 0,
    progress: Progress | None = None,
    page_nodes: int = PAGE_NODES,
) -> Report:
    """Compare all that is stored of a connector with its listing. Nothing is written.

    Args:
        vectors: how many vectors to compute again, chosen at random.
        progress: called after each piece.
        page_nodes: nodes of the tenant that one statement reads.

    Raises:
        SourceError: the source cannot be listed, or the connector reads another one by
            now.
        ModelError: vectors are to be computed, and the model cannot be loaded.
    """
    report = Report()

    def add(piece: Piece) -> None:
        report.listed += piece.listed
        report.objects += piece.objects
        report.nodes += piece.nodes
        report.in_flight += piece.in_flight
        for found in piece.found:
            report.add(found, connector.uri(found.key))
        if progress is not None:
            progress(report)

    for piece in walk(services, connector, page_nodes=page_nodes):
        add(piece)
    if vectors:
        for checked, piece in check_vectors(services, connector, at_most=vectors):
            report.vectors_checked += checked
            report.wrong_vectors += piece.found
            add(piece)
    report.sort()
    return report


def known_objects(conn: Connection[TupleRow], connector: Connector) -> int:
    """How many objects an audit will go through."""
    row = conn.execute(SQL["known"], {"connector_id": connector.id}).fetchone()
    return row[0] if row else 0
