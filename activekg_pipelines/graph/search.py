"""Answers a question with a tenant's chunks, by vectors and by words together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from activekg_pipelines.database.pool import Database
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.graph.words import folded

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

# Without these, an index scan that meets few chunks of the tenant would stop after 20,000
# chunks of all tenants together.
_INDEX_SCAN = {
    "hnsw.iterative_scan": "relaxed_order",
    "hnsw.ef_search": "100",
    "hnsw.max_scan_tuples": "1000000",
    "hnsw.scan_mem_multiplier": "32",
    # The planner expects the filters to leave few chunks, and would read and sort them
    # all.
    "enable_sort": "off",
}


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From which size on a tenant is searched by the indexes.

    Attributes:
        exact_up_to: chunks of a tenant that are all read, which is quick and exact. An
            index over all tenants would be walked far before it meets enough chunks of
            a small tenant.
        index_from: a tenant with fewer chunks of the current model is read, too: it has
            only begun to use that model.
        sampled: chunks whose words show which words of the question are rare.
        candidates: chunks with a rare word that are ranked by all words, about. Ranking
            by words reads every chunk that holds one of them, a quarter of the tenant's
            for a long question. So a tenant whose vectors come from the index is ranked
            only over chunks that hold one of the rarest words.
    """

    exact_up_to: int = 20_000
    index_from: int = 2_000
    sampled: int = 250
    candidates: int = 1_000


MAX_WORDS: Final = 50
"""Different words of a question that count in the ranking by words, the first ones."""

DEFAULT_THRESHOLDS: Final = Thresholds()


@dataclass(frozen=True, slots=True)
class SearchHit:
    """A chunk that answers a question.

    Attributes:
        uri: of the document, such as ``s3://bucket/key``.
        score: fused reciprocal ranks; only the order means something.
        char_start, char_end: where the chunk lies in the document's extracted text.
        page_from, page_to: its pages, from 1; None where the document has none.
        headings: under which it begins, the outermost first.
        table_head: the head row of the table in which it begins, as Markdown.
        warnings: kinds of what a reader of the document's text should know.
    """

    uri: str
    title: str
    snippet: str
    score: float
    chunk_index: int
    document_id: UUID
    char_start: int
    char_end: int
    page_from: int | None = None
    page_to: int | None = None
    headings: Sequence[str] = ()
    table_head: str | None = None
    warnings: Sequence[str] = ()

    @property
    def link(self) -> str:
        """The document's URI, opened at the chunk's page where it has one (RFC 8118)."""
        return self.uri if self.page_from is None else f"{self.uri}#page={self.page_from}"


def search(
    database: Database,
    encoder: Encoder,
    *,
    tenant_id: str,
    query: str,
    limit: int,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
) -> list[SearchHit]:
    """The tenant's chunks that answer best, best first.

    Args:
        encoder: of the model that embedded the chunks.
        tenant_id: only this tenant's documents are searched.
        query: a question or words; NUL characters are ignored. All of it counts for the
            vector, as far as the model reads, and its first :data:`MAX_WORDS` words in
            the ranking by words.
        limit: hits at most, and exactly as many where the tenant has as many chunks.
        thresholds: when the indexes are used.
    """
    query = query.replace("\x00", " ").encode("utf-8", "ignore").decode()
    vector = encoder.encode([query])[0]
    parameters = {
        "tenant_id": tenant_id,
        "query": folded(query),
        "vector": vector,
        "encoder": encoder.version,
        "limit": limit,
        "most_words": MAX_WORDS,
        # Each ranking is read deeper than asked, so that it also holds candidates of the
        # other one.
        "depth": max(50, 4 * limit),
    }
    with database.transaction(tenant_id=tenant_id) as conn:
        # Compiling takes longer than running. The plans that the settings below forbid
        # get a cost so high that Postgres would compile.
        conn.execute("SET LOCAL jit = off")
        bounds = {"most": thresholds.exact_up_to + 1, "most_of_the_model": thresholds.index_from}
        row = conn.execute(_SQL["count_chunks"], parameters | bounds).fetchone()
        chunks, of_the_model = row or (0, 0)
        if chunks <= thresholds.exact_up_to or of_the_model < thresholds.index_from:
            return _answer(conn, parameters, "read_candidates")
        for name, value in _INDEX_SCAN.items():
            conn.execute("SELECT set_config(%s, %s, true)", (name, value))
        sizes = {"sampled": thresholds.sampled, "candidates": thresholds.candidates}
        rare = conn.execute(_RARE_WORDS, parameters | sizes).fetchone()
        hits = _answer(
            conn, parameters | {"rare_words": rare[0] if rare else None}, "look_up_candidates"
        )
        if len(hits) >= limit:
            return hits
        # The index scan ended before it met enough of this tenant's chunks.
        conn.execute("SET LOCAL enable_sort = on")
        return _answer(conn, parameters, "read_candidates")


def _answer(
    conn: Connection[TupleRow], parameters: dict[str, Any], candidates: str
) -> list[SearchHit]:
    return [SearchHit(*row) for row in conn.execute(_SEARCH[candidates], parameters)]
