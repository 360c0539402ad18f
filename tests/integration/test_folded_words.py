"""Words are found in whatever form a text has them, and shown in that form."""

from __future__ import annotations

import pytest

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.graph.search import search
from activekg_pipelines.services import Services
from tests.integration.syncing import TENANT, sync
from tests.s3_bucket import Bucket

TEXTS = {
    "ligature.txt": "The \ufb01nal o\ufb03ce \ufb02oor plan.",
    "wide.txt": "Order \uff21\uff22\uff23\uff11\uff12\uff13 is paid.",
    "zero_width.txt": "The pass\u200bword and the re\u2060imbursement form.",
    "decomposed.txt": "The cafe\u0301 opens at nine.",
    "plain.txt": "The garden, the final word of ABC123.",
}


@pytest.fixture
def filled(services: Services, connector: Connector, bucket: Bucket) -> Connector:
    bucket.put_many(TEXTS)
    sync(services, connector)
    return connector


def found_by_words(services: Services, question: str) -> set[str]:
    hits = search(
        services.database, services.encoder, tenant_id=TENANT, query=question, limit=len(TEXTS)
    )
    # A rank of one list alone gives at most 1 / 61.
    return {hit.uri.rpartition("/")[2] for hit in hits if hit.score > 1 / 61}


def test_forms_of_letters_are_folded_for_words(services: Services, filled: Connector) -> None:
    expected = {
        "final": {"ligature.txt", "plain.txt"},
        "\ufb01nal": {"ligature.txt", "plain.txt"},
        "office": {"ligature.txt"},
        "ABC123": {"wide.txt", "plain.txt"},
        "\uff21\uff22\uff23\uff11\uff12\uff13": {"wide.txt", "plain.txt"},
        "password": {"zero_width.txt"},
        "reimburse\u00adment": {"zero_width.txt"},
        "cafe\u0301": {"decomposed.txt"},
        "caf\u00e9": {"decomposed.txt"},
    }
    assert {each: found_by_words(services, each) for each in expected} == expected


def test_what_is_stored_is_what_stands_in_the_document(
    services: Services, filled: Connector
) -> None:
    with services.database.transaction(tenant_id=filled.tenant_id) as conn:
        rows = conn.execute(
            "SELECT props ->> 'text' FROM public.nodes WHERE classes @> '{Chunk}'"
        ).fetchall()
    assert {text for (text,) in rows} == {
        text.replace("cafe\u0301", "caf\u00e9") for text in TEXTS.values()
    }
