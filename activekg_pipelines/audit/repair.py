"""Repairs what an audit found.

It removes rows and nodes that belong to no object, and queues objects for the next run.
It changes no object that a run holds. It deletes no object either: what is missing from
the source is decided by a completed scan with its delete-storm guard.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, Final
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from activekg_pipelines.audit.differences import BY_SCAN, Difference, Found, Report
from activekg_pipelines.audit.walk import SQL, Piece, dimensions, external_root, walk
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.graph.nodes import node_id
from activekg_pipelines.ledger import planner
from activekg_pipelines.ledger.states import ObjectState
from activekg_pipelines.services import Services

_FETCH: Final = frozenset({Difference.TEXT_MISSING, Difference.TEXT_DAMAGED, Difference.STALE})
"""The stored text cannot be trusted: the object is fetched again."""
_UNLINKED: Final = frozenset({Difference.CHUNK_WITHOUT_EDGE, Difference.EDGE_WITHOUT_DOCUMENT})
"""Chunks and edges that are removed.

Where the document needs such a chunk, its number of chunks differs too, and so it is
written again.
"""
_VECTORS: Final = frozenset(
    {
        Difference.VECTOR_MISSING,
        Difference.VECTOR_DAMAGED,
        Difference.VECTOR_WRONG,
        Difference.CHUNK_TEXT_DIFFERS,
    }
)
"""Some vectors do not belong to their text."""


@dataclass(slots=True)
class Repaired:
    """What was done, and what is left to scans and runs.

    Attributes:
        fetch: objects queued to be fetched and indexed again.
        index: objects queued to be indexed again from their stored text.
        documents, chunks, edges, texts: how many were removed because they belong to no
            object.
        left_to_runs: objects that a run holds or a scan decides about. The next audit
            shows what is left of them.
        left_to_scan: differences that the next scan of the source settles.
        orphans_held_back: documents outside the ledger that stay, because there are
            suspiciously many.
        sync_id: the sync that does the rest. None where nothing is left to do, or the
            connector is paused.
    """

    fetch: int = 0
    index: int = 0
    documents: int = 0
    chunks: int = 0
    edges: int = 0
    texts: int = 0
    left_to_runs: int = 0
    left_to_scan: int = 0
    orphans_held_back: int = 0
    sync_id: UUID | None = None


def repair_connector(
    services: Services, connector: Connector, report: Report, *, remove_orphans: int = 0
) -> Repaired:
    """Repair what an audit of the connector reported.

    It audits everything once more on the way.

    Args:
        report: what the audit found.
        remove_orphans: how many documents outside the ledger an operator allowed to
            remove. If there are more, and suspiciously many, they all stay.

    Raises:
        SourceError: as for the audit.
    """
    return _Repair(services, connector, report, remove_orphans).run()


@dataclass(slots=True)
class _Plan:
    """What is done with the objects of a piece, by the ledger's ids."""

    fetch: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    detach: list[int] = field(default_factory=list)
    drop_texts: list[int] = field(default_factory=list)
    drop_documents: list[UUID] = field(default_factory=list)
    keys: dict[int, str] = field(default_factory=dict)
    """Keys of the objects whose document is written again."""


class _Repair:
    def __init__(
        self, services: Services, connector: Connector, report: Report, remove_orphans: int
    ) -> None:
        self._services = services
        self._connector = connector
        self._report = report
        self._done = Repaired(
            left_to_scan=sum(
                tally.count for kind, tally in report.differences.items() if kind in BY_SCAN
            )
        )
        self._dimensions = dimensions(services)
        orphans = report.differences.get(Difference.DOCUMENT_ORPHANED)
        if orphans is not None and planner.deletions_held_back(
            orphans.count,
            orphans.count + report.objects,
            share=services.delete_guard_share(connector),
            min_objects=services.settings.activekg_delete_guard_min_objects,
            confirmed=remove_orphans,
        ):
            self._done.orphans_held_back = orphans.count

    def run(self) -> Repaired:
        done = self._done
        for piece in chain(
            walk(self._services, self._connector), [Piece(self._report.wrong_vectors)]
        ):
            if piece.found:
                # The source is asked before any row is locked.
                orphans = self._orphans(piece.found)
                with self._services.database.transaction(
                    tenant_id=self._connector.tenant_id
                ) as conn:
                    self._repair(conn, piece.found, orphans)
        if (done.fetch or done.index or done.left_to_scan) and self._connector.enabled:
            with self._services.database.transaction() as conn:
                done.sync_id = self._services.ledger.request_manual_run(
                    conn, self._connector.id, self._connector.tenant_id
                )
        return done

    def _repair(self, conn: Connection[TupleRow], found: list[Found], orphans: list[UUID]) -> None:
        kinds: dict[int, set[Difference]] = defaultdict(set)
        for one in found:
            if one.object_id is not None:
                kinds[one.object_id].add(one.difference)
        held = {row[0]: row for row in conn.execute(SQL["hold"], {"ids": list(kinds)})}
        self._done.left_to_runs += len(kinds) - len(held)
        found = [one for one in found if one.object_id is None or one.object_id in held]
        plan = _plan(held.values(), kinds, found)
        self._clear_graph(conn, plan, found, kinds)
        self._drop_unlinked(conn, [one.node_id for one in found if one.difference in _UNLINKED])
        if orphans:
            parameters = {"ids": orphans, **self._scope()}
            plan.drop_documents += [
                row[0] for row in conn.execute(SQL["still_orphaned"], parameters)
            ]
        detached = self._services.ledger.detach_documents(conn, plan.detach) if plan.detach else []
        self._services.graph.remove(
            conn, self._connector.tenant_id, [*plan.drop_documents, *detached]
        )
        self._done.documents += len(plan.drop_documents) + len(detached)
        self._done.texts += conn.execute(SQL["drop_texts"], {"ids": plan.drop_texts}).rowcount
        conn.execute(SQL["requeue"], {"fetch": plan.fetch, "index": plan.index})
        self._done.fetch += len(plan.fetch)
        self._done.index += len(plan.index)

    def _clear_graph(
        self,
        conn: Connection[TupleRow],
        plan: _Plan,
        found: list[Found],
        kinds: dict[int, set[Difference]],
    ) -> None:
        """Remove what a swap of the documents would not change."""
        if not plan.keys:
            return
        scope = self._scope() | self._documents(plan.keys.values())
        conn.execute(SQL["drop_misplaced"], scope)
        self._done.edges += conn.execute(SQL["drop_broken_edges"], scope).rowcount
        if keys := [key for id_, key in plan.keys.items() if kinds[id_] & _VECTORS]:
            wrong = [one.node_id for one in found if one.difference is Difference.VECTOR_WRONG]
            parameters = {
                "wrong": wrong,
                "dimensions": self._dimensions,
                **self._scope(),
                **self._documents(keys),
            }
            conn.execute(SQL["drop_released"], parameters)
            conn.execute(SQL["invalidate_vectors"], parameters)

    def _drop_unlinked(self, conn: Connection[TupleRow], nodes: list[UUID | None]) -> None:
        if nodes:
            self._done.edges += conn.execute(SQL["drop_dangling_edges"], {"ids": nodes}).rowcount
            self._done.chunks += conn.execute(
                SQL["drop_unlinked_chunks"], {"ids": nodes, **self._scope()}
            ).rowcount

    def _orphans(self, found: list[Found]) -> list[UUID]:
        """Documents outside the ledger whose object is not in the source either.

        Those whose object is there are left to the next scan.
        """
        orphans: list[UUID] = []
        for one in found:
            if one.difference is not Difference.DOCUMENT_ORPHANED or one.node_id is None:
                continue
            if self._is_in_source(one.key):
                self._done.left_to_scan += 1
            elif not self._done.orphans_held_back:
                orphans.append(one.node_id)
        return orphans

    def _is_in_source(self, key: str) -> bool:
        return self._services.source(self._connector).find(key) is not None

    def _scope(self) -> dict[str, Any]:
        return {
            "tenant_id": self._connector.tenant_id,
            "connector_id": self._connector.id,
            "root": external_root(self._connector),
        }

    def _documents(self, keys: Iterable[str]) -> dict[str, Any]:
        external_ids = [external_root(self._connector) + key for key in keys]
        return {
            "external_ids": external_ids,
            "documents": [node_id(external_id) for external_id in external_ids],
        }


def _plan(
    rows: Iterable[TupleRow], kinds: dict[int, set[Difference]], found: Iterable[Found]
) -> _Plan:
    """Decide what is done with the objects of a piece.

    Args:
        rows: id, key, state, and whether there is a text, as they are now.
        kinds: the differences of each object, by its id.
        found: the same differences with their nodes.
    """
    nodes = {
        one.object_id: one.node_id
        for one in found
        if one.difference is Difference.DOCUMENT_LEFT_OVER
    }
    plan = _Plan()
    for id_, key, state, has_text in rows:
        match ObjectState(state):
            case ObjectState.INDEXED if kinds[id_] - _UNLINKED:
                (plan.index if has_text and not kinds[id_] & _FETCH else plan.fetch).append(id_)
                plan.keys[id_] = key
            case ObjectState.DEAD if kinds[id_] - _UNLINKED - {Difference.DOCUMENT_LEFT_OVER}:
                # Half a document of an object that cannot be read any more is worse
                # than none. The object is tried once more.
                plan.detach.append(id_)
                plan.fetch.append(id_)
            case ObjectState.EXTRACTED if not has_text:
                plan.fetch.append(id_)
            case ObjectState.SKIPPED | ObjectState.DELETED:
                plan.drop_texts.append(id_)
        if (node := nodes.get(id_)) is not None and state != ObjectState.INDEXED:
            plan.drop_documents.append(node)
    return plan
