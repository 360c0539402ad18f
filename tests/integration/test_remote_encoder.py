"""The pipeline with an encoder that has no folder of weights, as one behind HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.embedding import BACKENDS
from activekg_pipelines.errors import ModelError
from activekg_pipelines.graph.search import search
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from tests import remote_encoder
from tests.integration.syncing import (
    drain,
    extract,
    in_transaction,
    index,
    query,
    scan,
    start_run,
    sync,
)
from tests.remote_encoder import MAX_TOKENS, MODEL, VERSION, Remote
from tests.s3_bucket import Bucket

TEXT = "\n\n".join(
    f"The {room} of the house has {count} windows. Nobody has ever opened the last of them, "
    "and the paint around it is still the first."
    for count, room in enumerate(["roof", "cellar", "garden", "kitchen", "library", "attic"])
)


@pytest.fixture
def services(
    app_settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Services]:
    """Services of a process whose settings name the remote backend."""
    monkeypatch.setitem(BACKENDS, "remote", remote_encoder.BACKEND)
    changes = {
        "activekg_embedding_backend": "remote",
        "activekg_embedding_model": MODEL,
        "activekg_home": tmp_path,
    }
    opened = Services(app_settings.model_copy(update=changes))
    yield opened
    opened.database.close()


def test_documents_are_split_by_its_tokenizer_and_found_by_its_vectors(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("house.md", TEXT)
    counts = sync(services, connector)
    assert (counts.indexed, counts.failed) == (1, 0)
    assert counts.embeddings_computed == counts.chunks >= 4

    chunks = query(
        services,
        "SELECT (props ->> 'tokens')::int, props ->> 'embedding_model', vector_norm(embedding)"
        " FROM nodes WHERE 'Chunk' = ANY(classes)",
    )
    assert max(tokens for tokens, _, _ in chunks) <= MAX_TOKENS
    assert {model for _, model, _ in chunks} == {VERSION}
    assert all(abs(norm - 1) < 1e-5 for _, _, norm in chunks)
    (hit, *_) = search(
        services.database,
        services.question_encoder,
        tenant_id=connector.tenant_id,
        query="library windows",
        limit=3,
    )
    assert "library" in hit.snippet
    assert not services.model_cache.exists(), "nothing was loaded from a folder or kept in one"


def test_a_later_sync_embeds_what_changed_and_nothing_else(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("house.md", TEXT)
    first = sync(services, connector)
    assert sync(services, connector).embeddings_computed == 0
    bucket.put("house.md", TEXT.replace("kitchen", "pantry"))
    second = sync(services, connector)
    assert second.indexed == 1
    assert 0 < second.embeddings_computed < first.embeddings_computed


def test_a_text_that_its_service_refuses_costs_only_its_own_document(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("house.md", TEXT)
    bucket.put("bad.md", "A forbidden text.")
    counts = sync(services, connector)
    assert (counts.indexed, counts.errors) == (1, {"encoder_failure": 1})


def test_a_service_that_does_not_answer_ends_the_run_and_costs_no_document_an_attempt(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("house.md", TEXT)
    encoder = services.encoder
    assert isinstance(encoder, Remote)
    encoder.answers = False
    scan(services, connector)
    run = start_run(services, connector)
    extract(services, connector, run)
    with pytest.raises(ModelError, match="does not answer"):
        index(services, connector, run)
    in_transaction(services, services.ledger.finish_run, run, succeeded=False)
    rows = query(services, "SELECT state, attempts, error_code FROM connectors.objects")
    assert rows == [("extracted", 0, None)]

    encoder.answers = True
    assert drain(services, connector).indexed == 1
