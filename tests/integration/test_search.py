"""Search through the vector index, as tenants with many chunks get it."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path

import pytest

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.graph.export import export_chunks
from activekg_pipelines.graph.search import (
    DEFAULT_THRESHOLDS,
    MAX_WORDS,
    SearchHit,
    Thresholds,
    search,
)
from activekg_pipelines.services import Services
from tests.integration.syncing import sync
from tests.s3_bucket import Bucket

BY_INDEX = Thresholds(exact_up_to=0, index_from=1)


def test_the_index_finds_what_exact_search_finds_and_as_many(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    words = ["roof", "cellar", "garden", "kitchen", "library", "attic"]
    bucket.put_many(
        {f"{n:03}.txt": f"Note {n} is about the {words[n % 6]} of house {n}." for n in range(120)}
    )
    sync(services, connector)
    crowd = bucket.register(services, "a_crowd")
    sync(services, crowd)
    questions = ["Where are the books? library", "house 17", "something that grows in the garden"]
    exact = [_ask(services, question) for question in questions]
    few = Thresholds(exact_up_to=0)
    assert [_ask(services, question, few) for question in questions] == exact, (
        "so few chunks of a model are read"
    )
    indexed = [_ask(services, question, BY_INDEX) for question in questions]
    for by_index, by_reading in zip(indexed, exact, strict=True):
        assert len(by_index) == len(by_reading) == 20
        assert len(set(by_index) & set(by_reading)) >= 18


def test_of_many_chunks_only_those_with_a_rare_word_are_ranked_by_words(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    bucket.put_many({f"{n:02}.txt": f"Note {n} about the garden." for n in range(40)})
    bucket.put("both.txt", "At http://example.com/o'neill lies the garden.")
    bucket.put("rare.txt", "Of http://example.com/o'neill and of nothing else.")
    sync(services, connector)
    few = replace(BY_INDEX, candidates=5)
    scores = {
        hit.uri.rpartition("/")[2]: hit.score
        for hit in _hits(services, "garden http://example.com/o'neill", few, limit=42)
    }
    # A rank of one list alone gives at most 1 / 61.
    assert {name for name, score in scores.items() if score > 1 / 61} == {"both.txt", "rare.txt"}
    assert len(scores) == 42
    assert len(_hits(services, "the of and", few, limit=42)) == 42, "a question without words"
    many = _hits(services, "garden example.com", BY_INDEX, limit=42)
    assert sum(hit.score > 1 / 61 for hit in many) > 30


@pytest.mark.parametrize("thresholds", [DEFAULT_THRESHOLDS, BY_INDEX], ids=["read", "indexed"])
def test_only_the_first_words_of_a_long_question_are_looked_for(
    services: Services, connector: Connector, bucket: Bucket, thresholds: Thresholds
) -> None:
    bucket.put("zebra.txt", "Something about a zebra.")
    bucket.put("garden.txt", "Something about a garden.")
    sync(services, connector)

    def found_by_words(words: list[str]) -> set[str]:
        hits = _hits(services, " ".join(words), thresholds, limit=2)
        assert len(hits) == 2
        # A rank of one list alone gives at most 1 / 61.
        return {hit.uri.rpartition("/")[2] for hit in hits if hit.score > 1 / 61}

    fillers = [f"filler{number}" for number in range(MAX_WORDS)]
    assert found_by_words(["zebra", *fillers[:2], "garden"]) == {"zebra.txt", "garden.txt"}
    assert found_by_words(["zebra", *fillers, "garden"]) == {"zebra.txt"}


def _ask(
    services: Services, question: str, thresholds: Thresholds = DEFAULT_THRESHOLDS
) -> list[str]:
    return [hit.uri for hit in _hits(services, question, thresholds, limit=20)]


def _hits(
    services: Services, question: str, thresholds: Thresholds = DEFAULT_THRESHOLDS, *, limit: int
) -> list[SearchHit]:
    return search(
        services.database,
        services.encoder,
        tenant_id="acme_corp",
        query=question,
        limit=limit,
        thresholds=thresholds,
    )


def test_a_chunk_with_more_of_the_words_comes_before_one_that_repeats_a_single_one(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    bucket.put("all.txt", "To reset a forgotten password, ask the administrator of the console.")
    bucket.put(
        "one.txt",
        "Password, password, password, password, password, password: the word password again.",
    )
    sync(services, connector)
    assert _ask(services, "reset password administrator console")[0].endswith("all.txt")


def test_what_a_search_reads_of_every_chunk_lies_in_its_row(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    # Word after word that no other is like, each a single token: as long a list of
    # lexemes as a chunk can have.
    words = sorted(
        word for word in services.encoder.tokenizer.get_vocab() if word.isascii() and word.isalpha()
    )
    random.Random(1).shuffle(words)
    bucket.put("words.txt", " ".join(words[:3000]))
    sync(services, connector)
    with services.database.transaction(tenant_id="acme_corp") as conn:
        rows = conn.execute(
            "SELECT pg_column_toast_chunk_id(embedding), "
            "pg_column_toast_chunk_id(text_search_vector),"
            " pg_column_size(text_search_vector) FROM nodes WHERE classes @> '{Chunk}'"
        ).fetchall()
    assert max(size for _, _, size in rows) > 1000
    assert {(vector, lexemes) for vector, lexemes, _ in rows} == {(None, None)}


def test_a_question_is_encoded_by_the_encoder_for_questions(
    services: Services, connector: Connector, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.txt", "The garden.")
    sync(services, connector)
    monkeypatch.setattr(services, "encoder", None)
    assert len(services.search("acme_corp", "garden", 5)) == 1


def test_a_chunk_that_points_at_another_tenants_document_shows_nothing_of_it(
    services: Services, connector: Connector, bucket: Bucket, tmp_path: Path
) -> None:
    """Also to a role that row-level security does not bind, as the tests' is."""
    bucket.put("secret.txt", "The secret merger.")
    sync(services, connector)
    bucket.put("public.txt", "The public garden.")
    sync(services, bucket.register(services, "mallory", prefix="public"))
    with services.database.transaction() as conn:
        conn.execute(
            "UPDATE nodes SET props = props || jsonb_build_object('parent_id', ("
            "   SELECT props ->> 'external_id' FROM nodes WHERE tenant_id = 'acme_corp' AND "
            "classes @> '{Document}'))"
            " WHERE tenant_id = 'mallory' AND classes @> '{Chunk}'"
        )
        conn.execute(
            "UPDATE edges SET dst = (SELECT id FROM nodes WHERE tenant_id = 'acme_corp' AND "
            "classes @> '{Document}')"
            " WHERE tenant_id = 'mallory'"
        )
    assert (
        search(services.database, services.encoder, tenant_id="mallory", query="garden", limit=5)
        == []
    )
    assert export_chunks(services.database, "mallory", tmp_path / "chunks.parquet") == 0
    assert export_chunks(services.database, "acme_corp", tmp_path / "chunks.parquet") == 1, (
        "nor puts it among theirs"
    )


def test_chunks_of_others_neither_take_places_nor_break_the_answer(
    services: Services, connector: Connector, bucket: Bucket
) -> None:
    bucket.put_many({f"{n}.txt": f"Note {n} about the zebra." for n in range(5)})
    sync(services, connector)
    with services.database.transaction(tenant_id="acme_corp") as conn:
        conn.execute(
            "INSERT INTO nodes (id, tenant_id, classes, props) SELECT gen_random_uuid(), "
            "'acme_corp', '{Chunk}',"
            " jsonb_build_object('text', 'zebra ' || n, 'external_id', 'other:' || n) FROM "
            "generate_series(1, 60) n"
        )
    assert len(_hits(services, "zebra", limit=5)) == 5
