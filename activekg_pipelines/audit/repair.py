"""Repairs what an audit found.

It takes away what nothing stands behind, and queues objects for the next run.

Nothing is taken from a run that works on it, and no object is deleted: what is missing
from the bucket is for a completed scan, with its guard, to decide.
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
_STRAY: Final = frozenset({Difference.CHUNK_WITHOUT_EDGE, Difference.EDGE_WITHOUT_DOCUMENT})
"""Taken away. Where the document needs the chunk, its count differs too, and it is
written again for that.
"""
_VECTORS: Final = frozenset(
    {
        Difference.VECTOR_MISSING,
        Difference.VECTOR_DAMAGED,
        Difference.VECTOR_WRONG,
        Difference.CHUNK_TEXT_DIFFERS,
    }
)
"""Some vectors are not those of their text."""


@dataclass(slots=True)
class Repaired:
    """What was done, and what is left to others.

    Attributes:
        fetch: objects queued to be fetched and indexed again.
        index: objects queued to be indexed again from their stored text.
        documents, chunks, edges, texts: how many were taken away because nothing stands
            behind them.
        left_to_runs: objects that a run holds or a scan decides about; the next audit
            shows what is left of them.
        left_to_scan: differences that the next scan of the source settles.
        orphans_held_back: documents outside the ledger that stay, because there are
            suspiciously many.
        sync_id: the sync that does the rest; None where nothing is left to do, or the
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

    It looks at everything once more on the way.

    Args:
        report: what the audit found.
        remove_orphans: how many documents outside the ledger somebody said may go;
            suspiciously many others stay.

    Raises:
        SourceError: as for the audit.
    """
    return _Repair(services, connector, report, remove_orphans).carry_out()


@dataclass(slots=True)
class _Plan:
    """What becomes of the objects of a piece, by the ledger's ids."""

    fetch: list[int] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    forget: list[int] = field(default_factory=list)
    drop_texts: list[int] = field(default_factory=list)
    drop_documents: list[UUID] = field(default_factory=list)
    keys: dict[int, str] = field(default_factory=dict)
    """Of those whose document is written again."""


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
            share=services.settings.activekg_delete_guard_share,
            min_objects=services.settings.activekg_delete_guard_min_objects,
            confirmed=remove_orphans,
        ):
            self._done.orphans_held_back = orphans.count

    def carry_out(self) -> Repaired:
        done = self._done
        for piece in chain(
            walk(self._services, self._connector), [Piece(self._report.wrong_vectors)]
        ):
            if piece.found:
                # Asked of the source before anything is locked.
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
        self._drop_strays(conn, [one.node_id for one in found if one.difference in _STRAY])
        if orphans:
            parameters = {"ids": orphans, **self._whose()}
            plan.drop_documents += [
                row[0] for row in conn.execute(SQL["still_orphaned"], parameters)
            ]
        forgotten = self._services.ledger.forget_documents(conn, plan.forget) if plan.forget else []
        self._services.graph.remove(
            conn, self._connector.tenant_id, [*plan.drop_documents, *forgotten]
        )
        self._done.documents += len(plan.drop_documents) + len(forgotten)
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
        """Take away what a swap of the documents would leave as it is."""
        if not plan.keys:
            return
        whose = self._whose() | self._documents(plan.keys.values())
        conn.execute(SQL["drop_misplaced"], whose)
        self._done.edges += conn.execute(SQL["drop_broken_edges"], whose).rowcount
        if keys := [key for id_, key in plan.keys.items() if kinds[id_] & _VECTORS]:
            wrong = [one.node_id for one in found if one.difference is Difference.VECTOR_WRONG]
            parameters = {
                "wrong": wrong,
                "dimensions": self._dimensions,
                **self._whose(),
                **self._documents(keys),
            }
            conn.execute(SQL["forget_released"], parameters)
            conn.execute(SQL["disown_vectors"], parameters)

    def _drop_strays(self, conn: Connection[TupleRow], nodes: list[UUID | None]) -> None:
        if nodes:
            self._done.edges += conn.execute(SQL["drop_edges_to_nowhere"], {"ids": nodes}).rowcount
            self._done.chunks += conn.execute(
                SQL["drop_stray_chunks"], {"ids": nodes, **self._whose()}
            ).rowcount

    def _orphans(self, found: list[Found]) -> list[UUID]:
        """Documents outside the ledger whose object is not in the source either.

        The others are for the next scan.
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

    def _whose(self) -> dict[str, Any]:
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
    """What becomes of the objects.

    Args:
        rows: id, key, state, and whether there is a text, as they are now.
        kinds: what was found at each.
        found: the same with the nodes.
    """
    nodes = {
        one.object_id: one.node_id
        for one in found
        if one.difference is Difference.DOCUMENT_LEFT_OVER
    }
    plan = _Plan()
    for id_, key, state, has_text in rows:
        match ObjectState(state):
            case ObjectState.INDEXED if kinds[id_] - _STRAY:
                (plan.index if has_text and not kinds[id_] & _FETCH else plan.fetch).append(id_)
                plan.keys[id_] = key
            case ObjectState.DEAD if kinds[id_] - _STRAY - {Difference.DOCUMENT_LEFT_OVER}:
                # Half of a document that cannot be read any more is worse than none; it
                # is tried once more.
                plan.forget.append(id_)
                plan.fetch.append(id_)
            case ObjectState.EXTRACTED if not has_text:
                plan.fetch.append(id_)
            case ObjectState.SKIPPED | ObjectState.DELETED:
                plan.drop_texts.append(id_)
        if (node := nodes.get(id_)) is not None and state != ObjectState.INDEXED:
            plan.drop_documents.append(node)
    return plan
