"""What texts miss, from the parser to the graph, and back to nothing."""

from __future__ import annotations

from typing import Any

import pytest

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.graph.search import search
from activekg_pipelines.services import Services
from tests.integration.syncing import (
    TENANT,
    drain,
    in_transaction,
    query,
    scan,
    states,
    sync,
)
from tests.s3_bucket import Bucket

TEXT = "Füße überqueren die Straße, wo Pinguine wohnen. ".encode() * 20
DAMAGED = TEXT + b"\xff"


def warnings_of(services: Services) -> dict[str, list[str]]:
    return dict(query(services, "SELECT key, warnings FROM connectors.objects"))


def props_of(services: Services, name: str) -> dict[str, Any]:
    ((props,),) = query(
        services,
        "SELECT props FROM nodes WHERE 'Document' = ANY(classes) AND props ->> 'uri' LIKE %s",
        f"%/{name}",
    )
    return dict(props)


def test_a_text_that_misses_something_is_searchable_and_says_so(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("damaged.txt", DAMAGED)
    bucket.put("whole.txt", TEXT)
    sync(services, connector)
    assert set(states(services, connector).values()) == {("indexed", None)}
    assert warnings_of(services) == {"damaged.txt": ["bytes_replaced"], "whole.txt": []}
    damaged, whole = props_of(services, "damaged.txt"), props_of(services, "whole.txt")
    assert (damaged["warnings"], damaged["not_read_whole"]) == (["bytes_replaced"], True)
    assert (whole["warnings"], whole["not_read_whole"]) == ([], False)
    hits = search(services.database, services.encoder, tenant_id=TENANT, query="Pinguine", limit=10)
    assert {hit.uri.rpartition("/")[2]: list(hit.warnings) for hit in hits} == {
        "damaged.txt": ["bytes_replaced"],
        "whole.txt": [],
    }
    assert in_transaction(services, services.ledger.warnings, connector.id) == [
        ("bytes_replaced", 1, "damaged.txt")
    ]
    assert in_transaction(services, services.ledger.not_read_whole, connector.id) == 1


@pytest.mark.parametrize("what", ["mended", "unreadable", "skipped", "removed"])
def test_warnings_go_with_the_text_that_they_are_about(
    services: Services, bucket: Bucket, connector: Connector, what: str
) -> None:
    bucket.put("a.txt", DAMAGED)
    bucket.put("b.txt", TEXT)
    sync(services, connector)
    assert warnings_of(services)["a.txt"] == ["bytes_replaced"]
    match what:
        case "mended":
            bucket.put("a.txt", TEXT + b"mended")
        case "unreadable":
            bucket.put("a.txt", b"%PDF-1.7\nbroken")
        case "skipped":
            bucket.put("a.txt", b"")
        case "removed":
            bucket.delete("a.txt")
    sync(services, connector)
    assert warnings_of(services) == {"a.txt": [], "b.txt": []}


def test_sentences_of_an_older_version_are_left_out_until_the_text_is_read_again(
    services: Services,
    bucket: Bucket,
    connector: Connector,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bucket.put("a.txt", DAMAGED)
    sync(services, connector)
    query(
        services,
        "UPDATE connectors.texts SET extractor_version = 'older', facts = facts || "
        """'{"warnings": ["Some bytes were replaced."]}' RETURNING 1""",
    )
    query(
        services, "UPDATE connectors.objects SET warnings = '{}', state = 'extracted' RETURNING 1"
    )
    drain(services, connector)
    assert props_of(services, "a.txt")["warnings"] == []
    query(services, "UPDATE connectors.connectors SET versions = 'older 1 model' RETURNING 1")
    scan(services, connector)
    counts = drain(services, connector)
    assert (counts.extracted, counts.embeddings_computed) == (1, 0)
    assert warnings_of(services) == {"a.txt": ["bytes_replaced"]}
    assert props_of(services, "a.txt")["not_read_whole"] is True
