"""New versions of extractor, chunker and model.

Each makes exactly the rows due that it affects.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.ledger.states import Versions
from activekg_pipelines.services import Services
from tests.integration.syncing import (
    chunk_nodes,
    drain,
    extract,
    found,
    graph_of,
    in_transaction,
    query,
    scan,
    start_run,
    states,
    sync,
)
from tests.s3_bucket import Bucket

KEYS = ("a.txt", "b.txt", "c.txt")


@pytest.fixture
def synced(services: Services, bucket: Bucket, connector: Connector) -> Connector:
    """A connector with three documents, an object without text and a dead letter."""
    for key in KEYS:
        bucket.put(key, f"The text of {key}, about penguins.")
    bucket.put("empty.txt", b"")
    bucket.put("broken.pdf", b"%PDF-1.7\nbroken")
    assert sync(services, connector).indexed == 3
    return connector


def upgrade(services: Services, monkeypatch: pytest.MonkeyPatch, **changes: str) -> Versions:
    """Go on as a process of another version."""
    versions = replace(services.versions, **changes)
    services.versions, services.extractor_version = versions, versions.extractor
    monkeypatch.setattr(services.encoder, "version", versions.encoder)
    return versions


def due(services: Services) -> dict[str, str]:
    return dict(
        query(
            services,
            "SELECT key, state FROM connectors.objects WHERE state IN ('pending', 'extracted')",
        )
    )


def test_a_new_extractor_reads_the_affected_objects_again_and_only_those(
    services: Services, bucket: Bucket, synced: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(services, monkeypatch, extractor="next")
    query(
        services,
        "UPDATE connectors.texts t SET extractor_version = 'next' FROM connectors.objects o"
        " WHERE o.id = t.object_id AND o.key = 'b.txt' RETURNING 1",
    )
    before = chunk_nodes(services)
    scan(services, synced)
    assert due(services) == {"a.txt": "pending", "c.txt": "pending", "broken.pdf": "pending"}
    assert len(found(services, "penguins")) == 3, "until then the old texts answer"
    counts = drain(services, synced)
    assert (counts.extracted, counts.indexed, counts.unchanged, counts.embeddings_computed) == (
        2,
        2,
        0,
        0,
    )
    assert query(services, "SELECT DISTINCT extractor_version FROM connectors.texts") == [("next",)]
    assert chunk_nodes(services) == before, "the same text makes the same chunks"
    scan(services, synced)
    assert due(services) == {}
    assert states(services, synced)["broken.pdf"] == ("dead", "corrupt"), (
        "a new extractor looked, and refused it again"
    )


def test_what_an_older_extractor_refused_gets_one_new_chance_unless_its_name_or_size_settles_it(
    services: Services, bucket: Bucket, synced: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("picture.png", b"\x89PNG\r\n\x1a\n picture")
    bucket.put("unnamed", b"\x89PNG\r\n\x1a\n picture")
    bucket.put("blank.txt", b"  \n ")
    sync(services, synced)
    query(
        services,
        "UPDATE connectors.objects SET state = 'dead', error_code = 'access_denied' WHERE key = "
        "'c.txt' RETURNING 1",
    )
    before = states(services, synced)
    assert (before["unnamed"], before["blank.txt"]) == (
        ("skipped", "unsupported_type"),
        ("skipped", "empty"),
    )
    upgrade(services, monkeypatch, chunker="next", encoder="another-model/float32")
    scan(services, synced)
    drain(services, synced)
    assert states(services, synced) == before, "neither chunker nor model refused them"
    upgrade(services, monkeypatch, extractor="next")
    scan(services, synced)
    assert due(services) == dict.fromkeys(
        ("a.txt", "b.txt", "broken.pdf", "unnamed", "blank.txt"), "pending"
    )
    drain(services, synced)
    assert states(services, synced) == before
    for _ in range(2):
        scan(services, synced)
        assert due(services) == {}


def test_what_a_run_of_an_older_version_writes_late_is_found_by_the_next_scan(
    services: Services, bucket: Bucket, synced: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    older = services.versions
    upgrade(services, monkeypatch, extractor="next")
    scan(services, synced)
    # The run of the older version, still under way.
    upgrade(services, monkeypatch, extractor=older.extractor)
    drain(services, synced)
    assert due(services) == {}
    upgrade(services, monkeypatch, extractor="next")
    scan(services, synced)
    assert set(due(services)) == {*KEYS, "broken.pdf"}
    drain(services, synced)
    assert query(services, "SELECT DISTINCT extractor_version FROM connectors.texts") == [("next",)]


def test_what_a_run_left_that_was_killed_during_an_upgrade_is_found_without_a_note(
    services: Services, synced: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    query(services, "UPDATE connectors.texts SET extractor_version = 'older' RETURNING 1")
    query(
        services,
        "UPDATE connectors.objects SET encoder_version = 'older' WHERE key = 'a.txt' RETURNING 1",
    )
    scan(services, synced)
    assert due(services) == {}, "these versions were looked for before"
    assert (
        in_transaction(
            services, services.ledger.requeue_outdated, synced.id, services.versions, thorough=True
        )
        == 3
    )
    assert due(services) == dict.fromkeys(KEYS, "pending")
    assert (
        in_transaction(
            services, services.ledger.requeue_outdated, synced.id, services.versions, thorough=True
        )
        == 0
    )


def test_a_new_chunker_indexes_again_without_download_or_embedding(
    services: Services, synced: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(services, monkeypatch, chunker="next")
    scan(services, synced)
    assert due(services) == dict.fromkeys(KEYS, "extracted")
    counts = drain(services, synced)
    assert (counts.bytes_fetched, counts.extracted, counts.indexed, counts.embeddings_computed) == (
        0,
        0,
        3,
        0,
    )
    assert query(
        services, "SELECT DISTINCT chunker_version FROM connectors.objects WHERE state = 'indexed'"
    ) == [("next",)]
    scan(services, synced)
    assert due(services) == {}


def test_a_new_model_embeds_again_without_download(
    services: Services, synced: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = chunk_nodes(services)
    upgrade(services, monkeypatch, encoder="another-model/float32")
    scan(services, synced)
    counts = drain(services, synced)
    assert (counts.bytes_fetched, counts.extracted, counts.indexed, counts.embeddings_computed) == (
        0,
        0,
        3,
        3,
    )
    assert graph_of(services) == (3, 3, 3)
    assert {text: id_ for text, (id_, _) in chunk_nodes(services).items()} == {
        text: id_ for text, (id_, _) in before.items()
    }
    assert query(
        services,
        "SELECT DISTINCT props ->> 'embedding_model' FROM nodes WHERE 'Chunk' = ANY(classes)",
    ) == [("another-model/float32",)]
    assert len(found(services, "penguins")) == 3


def test_what_a_dead_run_held_during_the_upgrade_is_not_forgotten(
    services: Services, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put("a.txt", "A text about penguins.")
    scan(services, connector)
    dead = start_run(services, connector)
    extract(services, connector, dead)
    assert in_transaction(
        services,
        services.ledger.claim_extracted,
        connector.id,
        dead,
        generation=0,
        limit=5,
        characters=1000,
    )
    upgrade(services, monkeypatch, extractor="next")
    scan(services, connector)
    assert due(services) == {"a.txt": "pending"}
    assert drain(services, connector).extracted == 1
    assert query(services, "SELECT extractor_version FROM connectors.texts") == [("next",)]


def test_new_bytes_and_new_model_together_end_in_the_new_model(
    services: Services, bucket: Bucket, synced: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    upgrade(services, monkeypatch, chunker="next", encoder="another-model/float32")
    # The same bytes under a new ETag would be done with, were it not for the model.
    query(
        services,
        "UPDATE connectors.objects SET etag = 'other', state = 'pending' WHERE key = 'a.txt' "
        "RETURNING 1",
    )
    counts = drain(services, synced)
    assert (counts.unchanged, counts.extracted, counts.indexed) == (0, 1, 1)
    assert query(
        services, "SELECT encoder_version FROM connectors.objects WHERE key = 'a.txt'"
    ) == [("another-model/float32",)]
