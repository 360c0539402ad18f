"""Answers a question with a tenant's chunks: vector and full-text search, fused."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from activekg_pipelines.database.pool import Database
from activekg_pipelines.database.queries import load_queries

if TYPE_CHECKING:
    from activekg_pipelines.embedding import Encoder

_SQL = load_queries(Path(__file__).with_name("queries.sql"))
_RARE_WORDS = _SQL["rare_words"].replace("{question_words}", _SQL["question_words"])
_SEARCH = {
    candidates: _SQL["search"]
    .replace("{candidates}", _SQL[candidates])
    .replace("{question_words}", _SQL["question_words"])
    for candidates in ("read_candidates", "look_up_candidates")
}

# Up to here reading every chunk of the tenant is quick and exact; an index over all
# tenants would be walked far before it meets enough of a small tenant's.
_READ_UP_TO = 20_000
# An index scan that the tenant filter starves goes on: by default only over 20,000
# chunks of all tenants together.
_INDEX_SCAN = {
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.ef_search": "100",
    "hnsw.max_scan_tuples": "1000000",
    "hnsw.scan_mem_multiplier": "32",
    # The planner takes the filters to leave few chunks, and would rather read and sort
    # them all.
    "enable_sort": "off",
}
# A tenant with fewer chunks of the current model is read: a new model has only begun.
_LOOK_UP_FROM = 2_000
# Ranking by words reads every chunk that holds one of them: a quarter of the tenant's
# for a long question. Of a tenant whose vectors come from the index, only those are
# read that hold one of the rarest words, and ranked by all of them.
_RARE = {"sampled": 250, "candidates": 1_000}


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A chunk that answers a question.

    Attributes:
        uri: ``s3://bucket/key`` of the document.
        score: fused reciprocal ranks; only the order means something.
        char_start, char_end: where the chunk lies in the document's extracted text.
    """

    uri: str
    title: str
    snippet: str
    score: float
    chunk_index: int
    document_id: UUID
    char_start: int
    char_end: int


def search(
    database: Database, encoder: Encoder, *, tenant_id: str, query: str, limit: int
) -> list[SearchHit]:
    """The tenant's chunks that answer best, best first.

    Args:
        database: the graph database.
        encoder: of the model that embedded the chunks.
        tenant_id: whose documents are searched, and nobody else's.
        query: a question or words; NUL characters are ignored.
        limit: hits at most, and exactly as many where the tenant has as many chunks.
    """
    query = query.replace("\x00", " ").encode("utf-8", "ignore").decode()
    vector = encoder.encode([query])[0]
    parameters = {
        "tenant_id": tenant_id,
        "query": query,
        "vector": vector,
        "encoder": encoder.version,
        "limit": limit,
        # Each ranking is read deeper than asked, for the other one's candidates to meet
        # it.
        "depth": max(50, 4 * limit),
    }
    with database.transaction(tenant_id=tenant_id) as conn:
        # Compiling takes longer than running, and what the settings below forbid has a
        # cost that asks for it.
        conn.execute("SET LOCAL jit = off")
        bounds = {"most": _READ_UP_TO + 1, "most_of_the_model": _LOOK_UP_FROM}
        row = conn.execute(_SQL["count_chunks"], parameters | bounds).fetchone()
        chunks, of_the_model = row or (0, 0)
        if chunks <= _READ_UP_TO or of_the_model < _LOOK_UP_FROM:
            return _answer(conn, parameters, "read_candidates")
        for name, value in _INDEX_SCAN.items():
            conn.execute("SELECT set_config(%s, %s, true)", (name, value))
        rare = conn.execute(_RARE_WORDS, parameters | _RARE).fetchone()
        hits = _answer(
            conn, parameters | {"rare_words": rare[0] if rare else None}, "look_up_candidates"
        )
        if len(hits) >= limit:
            return hits
        # The index gave up before it met enough of this tenant's chunks.
        conn.execute("SET LOCAL enable_sort = on")
        return _answer(conn, parameters, "read_candidates")


def _answer(
    conn: Connection[TupleRow], parameters: dict[str, Any], candidates: str
) -> list[SearchHit]:
    return [SearchHit(*row) for row in conn.execute(_SEARCH[candidates], parameters)]
