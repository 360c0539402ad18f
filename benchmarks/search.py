"""Search among many tenants: how much of the exact answer it finds, and how soon.

    python -m benchmarks.search [--chunks 100000] [--tenants 50] [--questions 400]

The tenants are of very different size. Vectors are those of real chunks, moved along
the differences between others, so that they lie to each other as real ones do. Words
are made up, and as frequent as those of English are (Zipf's law, the most frequent
hundred being stop words): a made-up text of few sentences would hold every word in
every third chunk. A question is eight words out of a chunk, and has a vector near that
of the chunk. Eight English words are encoded in its stead. The exact answer reads every
chunk of the tenant.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.conninfo import make_conninfo

from activekg_pipelines.database.pool import Database
from activekg_pipelines.embedding import Encoder
from activekg_pipelines.graph.nodes import Document
from activekg_pipelines.graph.search import DEFAULT_THRESHOLDS, Thresholds, search
from activekg_pipelines.services import Services
from benchmarks.documents import CHUNKS_PER_DOCUMENT, handbook
from benchmarks.encoder import load_chunks
from benchmarks.measure import Result, measure, print_results
from benchmarks.system import folder, services

LIMIT = 10
_REAL = 600
_BATCH = 64
_WORDS_A_CHUNK = 160
_STOP_WORDS = """
the of and to in a is that for it as was with be by on not he i this are or his from at
which but have an had they you were there one all we can her has been if more when will
would who so no out up into do any your what its about than then them some could these
other only over such after also did many through where much most should very those
""".split()  # noqa: SIM905 - eighty of them read better so
_CONSONANTS, _VOWELS = "bdfgklmnprstvz", "aeiou"


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody asks, and the vector that stands for it."""

    tenant_id: str
    text: str
    vector: NDArray[np.float32]


class Questioned:
    """The encoder at work on real questions, which returns made-up vectors."""

    def __init__(self, encoder: Encoder, sentences: Iterable[str]) -> None:
        self._encoder = encoder
        self._questions = itertools.cycle(" ".join(sentence.split()[:8]) for sentence in sentences)
        self.version = encoder.version
        self.vector: NDArray[np.float32] = np.zeros(0, np.float32)

    def encode(self, _: Sequence[str]) -> NDArray[np.float32]:
        """Encode eight English words, as made-up ones have three times the tokens."""
        self._encoder.encode([next(self._questions)])
        return self.vector[None]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--chunks", type=int, default=100_000)
    parser.add_argument("--tenants", type=int, default=50)
    parser.add_argument("--questions", type=int, default=400)
    arguments = parser.parse_args()
    with folder() as home, services(home) as opened:
        sizes = tenant_sizes(arguments.chunks, arguments.tenants)
        graph = _Graph(opened, [chunk.text for chunk in load_chunks(opened.encoder, None, _REAL)])
        graph.fill(sizes)
        # A superuser sees past row-level security, an application's role does not, nor
        # does an owner who is none.
        with opened.database.transaction() as conn:
            # What such an owner may read and an application may not.
            conn.execute("GRANT SELECT ON connectors.released_embeddings TO activekg_reader")
        bound = Database(
            make_conninfo(opened.settings.require_dsn(), options="-c role=activekg_reader")
        )
        all_of_them, number = list(sizes), arguments.questions
        results = [
            _encoder_alone(graph),
            *_ask(
                graph, opened.database, f"{arguments.tenants} tenants in turn", all_of_them, number
            ),
            *[
                _median(graph, opened.database, tenant_id, sizes[tenant_id])
                for tenant_id in _by_powers_of_ten(sizes)
            ],
            *_ask(
                graph,
                opened.database,
                f"the largest, {max(sizes.values()):,} chunks",
                [_largest(sizes)],
                100,
            ),
            *_ask(
                graph,
                bound,
                f"{arguments.tenants} tenants, row-level security",
                all_of_them,
                number,
            ),
            *_ask(graph, bound, "the largest, row-level security", [_largest(sizes)], 100),
            _known_texts(graph, bound, _largest(sizes)),
        ]
        bound.close()
    title = (
        f"Search: {sum(sizes.values()):,} chunks of {len(sizes)} tenants with "
        f"{min(sizes.values())} and more each"
    )
    print_results(title, results)


def tenant_sizes(chunks: int, tenants: int) -> dict[str, int]:
    """Chunks of each tenant, by Zipf's law with exponent 1.2.

    The second has a bit under half of the first, and so on.
    """
    shares = np.arange(1, tenants + 1) ** -1.2
    documents = np.maximum(1, shares / shares.sum() * chunks / CHUNKS_PER_DOCUMENT).astype(int)
    return {
        f"tenant_{number:02}": int(count) * CHUNKS_PER_DOCUMENT
        for number, count in enumerate(documents)
    }


class _Graph:
    """A graph full of chunks."""

    def __init__(self, opened: Services, texts: Sequence[str]) -> None:
        self.services = opened
        self.texts = texts
        self._real = opened.encoder.encode(texts)
        self._chance = np.random.default_rng(7)
        vocabulary = [*_STOP_WORDS, *_made_up_words(30_000)]
        frequencies = 1 / np.arange(3, len(vocabulary) + 3)
        self._vocabulary = np.array(vocabulary)
        self._frequencies = frequencies / frequencies.sum()
        self._samples: dict[str, list[tuple[str, NDArray[np.float32]]]] = {}

    def fill(self, sizes: dict[str, int]) -> None:
        """Write all tenants' documents, and make the vector index last.

        Maintaining it would take most of the time.
        """
        database = self.services.database
        with database.transaction() as conn:
            row = conn.execute(
                "SELECT pg_get_indexdef('public.idx_nodes_embedding_hnsw'::regclass)"
            ).fetchone()
            assert row is not None
            conn.execute("DROP INDEX public.idx_nodes_embedding_hnsw")
        # In turns, as documents arrive: no tenant's chunks lie all together.
        waiting = {
            tenant_id: self._documents(tenant_id, chunks // CHUNKS_PER_DOCUMENT)
            for tenant_id, chunks in sizes.items()
        }
        while waiting:
            for tenant_id, documents in list(waiting.items()):
                # As much of each as it is larger, so that all end together.
                size = max(1, sizes[tenant_id] * _BATCH // max(sizes.values()))
                batch = list(itertools.islice(documents, size))
                if not batch:
                    del waiting[tenant_id]
                    continue
                with database.transaction(tenant_id=tenant_id) as conn:
                    self.services.graph.swap(conn, tenant_id, batch, self.services.encoder.version)
        with database.transaction() as conn:
            conn.execute("SET LOCAL maintenance_work_mem = '1GB'")
            conn.execute(str(row[0]).encode())
        # As autovacuum does after so many rows.
        with psycopg.connect(self.services.settings.require_dsn(), autocommit=True) as conn:
            conn.execute("VACUUM (ANALYZE) public.nodes, public.edges")

    def question(self, tenant_id: str) -> Question:
        """One that a chunk of the tenant answers."""
        samples = self._samples[tenant_id]
        text, vector = samples[int(self._chance.integers(len(samples)))]
        words = text.split()
        start = int(self._chance.integers(max(1, len(words) - 8)))
        return Question(
            tenant_id, " ".join(words[start : start + 8]), self._moved(vector[None], 0.3)[0]
        )

    def _documents(self, tenant_id: str, number: int) -> Iterator[Document]:
        samples = self._samples[tenant_id] = []
        for index in range(number):
            which = self._chance.integers(len(self._real), size=CHUNKS_PER_DOCUMENT)
            vectors = self._moved(self._moved(self._real[which], 0.5), 0.5)
            document = handbook(tenant_id, index, self._parts(), vectors)
            if len(samples) < 500:
                samples.append((document.chunks[0].text, vectors[0]))
            yield document

    def _moved(self, vectors: NDArray[np.float32], how_far: float) -> NDArray[np.float32]:
        ones, others = self._chance.integers(len(self._real), size=(2, len(vectors)))
        moved = vectors + how_far * (self._real[ones] - self._real[others])
        return cast(
            "NDArray[np.float32]",
            (moved / np.linalg.norm(moved, axis=1, keepdims=True)).astype(np.float32),
        )

    def _parts(self) -> list[tuple[int, str]]:
        size = (CHUNKS_PER_DOCUMENT, _WORDS_A_CHUNK)
        chosen = self._chance.choice(self._vocabulary, size, p=self._frequencies)
        return [(number * 1000, " ".join(words)) for number, words in enumerate(chosen)]


def _made_up_words(number: int) -> list[str]:
    """Words of five letters."""
    made = [
        "".join(letters) for letters in itertools.product(*(_CONSONANTS, _VOWELS) * 2, _CONSONANTS)
    ]
    return [made[index * len(made) // number] for index in range(number)]


def _ask(
    graph: _Graph, database: Database, what: str, tenants: list[str], number: int
) -> list[Result]:
    questioned = Questioned(graph.services.question_encoder, graph.texts)
    questions = [graph.question(tenants[index % len(tenants)]) for index in range(number)]
    for tenant_id in tenants:
        # These do not count: caches fill, statements are prepared.
        _search(database, questioned, graph.question(tenant_id))
    seconds = [
        measure(partial(_search, database, questioned, question)).wall for question in questions
    ]
    recalls = []
    for question in questions:
        # Of which nothing is left but its vector: what words find is found exactly
        # either way.
        vague = replace(question, text="the")
        found = _search(database, questioned, vague)
        exact = _search(database, questioned, vague, Thresholds(exact_up_to=10**9))
        recalls.append(len(found & exact) / len(exact))
    recall, (p50, p95) = (
        float(np.mean(recalls)),
        map(float, 1000 * np.percentile(seconds, [50, 95])),
    )
    return [
        Result(
            f"{what}: recall@{LIMIT} of the vectors against the exact answer",
            f"{recall:.3f}",
            "0.95",
            recall >= 0.95,
        ),
        Result(
            "- question to answer, the encoder included: p95",
            f"{p95:.0f} ms (p50 {p50:.0f})",
            "< 50 ms",
            p95 < 50,
        ),
    ]


def _largest(sizes: dict[str, int]) -> str:
    return max(sizes, key=sizes.__getitem__)


def _by_powers_of_ten(sizes: dict[str, int]) -> list[str]:
    """The tenants with the fewest chunks, about ten times as many, a hundred times …"""
    fewest = min(sizes.values())
    wanted = itertools.takewhile(
        lambda size: size < 2 * max(sizes.values()), (fewest * 10**n for n in itertools.count())
    )
    return [min(sizes, key=lambda tenant_id: abs(sizes[tenant_id] - size)) for size in wanted]


def _median(graph: _Graph, database: Database, tenant_id: str, chunks: int) -> Result:
    questioned = Questioned(graph.services.question_encoder, graph.texts)
    questions = [graph.question(tenant_id) for _ in range(20)]
    seconds = [
        measure(partial(_search, database, questioned, question)).wall for question in questions
    ]
    return Result(
        f"- one tenant asked again and again, {chunks:,} chunks: median",
        f"{1000 * np.median(seconds):.0f} ms",
    )


def _encoder_alone(graph: _Graph) -> Result:
    questioned = Questioned(graph.services.question_encoder, graph.texts)
    seconds = [measure(partial(questioned.encode, [])).wall for _ in range(50)]
    return Result("encoding a question: median", f"{1000 * np.median(seconds):.0f} ms")


def _known_texts(graph: _Graph, bound: Database, tenant_id: str) -> Result:
    """What a sync asks for each batch of documents."""
    hashes = [hashlib.sha256(str(number).encode()).digest() for number in range(700)]
    find = partial(
        graph.services.graph.find_vectors, encoder_version=graph.services.encoder.version
    )

    def seconds(database: Database) -> float:
        with database.transaction(tenant_id=tenant_id) as conn:
            return min(
                measure(partial(find, conn, tenant_id, text_hashes=hashes)).wall for _ in range(5)
            )

    freely, safely = seconds(graph.services.database), seconds(bound)
    return Result(
        "- whether vectors of 700 texts are there already: of the time without row-level security",
        f"{safely / freely:.1f} x ({1000 * safely:.0f} ms)",
    )


def _search(
    database: Database,
    encoder: Questioned,
    question: Question,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
) -> set[tuple[str, int]]:
    encoder.vector = question.vector
    hits = search(
        database,
        cast("Encoder", encoder),
        tenant_id=question.tenant_id,
        query=question.text,
        limit=LIMIT,
        thresholds=thresholds,
    )
    return {(hit.uri, hit.chunk_index) for hit in hits}


if __name__ == "__main__":
    main()
