"""A database that revision 0007 filled: after the migration everything is found again.

Two tenants, three connectors, two versions of the key, a dead letter, an object that waits
for its next attempt, and a scan that stands half-way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from activekg_pipelines.audit.audit import audit_connector
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.migrate import current_revision, newest_revision
from activekg_pipelines.ledger.run_counts import RunCounts
from activekg_pipelines.ledger.states import ScanCounts
from activekg_pipelines.services import Services
from tests.integration.syncing import drain, found, make_retries_due, query, scan
from tests.integration.syncing import states as states_of
from tests.integration.upgrade.conftest import Rows, rows_of
from tests.registry import secrets_of
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Bucket


@pytest.fixture
def upgraded(services: Services) -> dict[str, Connector]:
    """The connectors of the migrated database by name.

    This process has the extractor and the chunker of the version before: what newer ones
    make due again is held by `tests/integration/test_versions.py`.
    """
    services.extractor_version = "2"
    services.versions = replace(services.versions, extractor="2", chunker="1")
    return {connector.name: connector for connector in services.every_connector()}


def rows_after(services: Services) -> Rows:
    with services.database.transaction() as conn:
        return rows_of(conn)


def graph_and_texts(services: Services) -> tuple[list[Any], ...]:
    """What search and readers see, with the versions of rows."""
    after = rows_after(services)
    return after["public.nodes"], after["public.edges"], after["connectors.texts"]


def test_every_row_is_there_again_with_every_column_that_it_had(
    dsn: str, rows_before: Rows, services: Services
) -> None:
    assert current_revision(dsn) == newest_revision()
    after = rows_after(services)
    for table, before in rows_before.items():
        had = before[0].keys() if before else set()
        kept = [{name: row[name] for name in row if name in had} for row in after[table]]
        assert sorted(kept, key=str) == sorted(before, key=str), table


def test_connectors_read_where_they_read_before_with_the_secrets_that_they_had(
    s3_endpoint: str, services: Services, upgraded: dict[str, Connector]
) -> None:
    described = {
        name: (connector.provider, connector.partition_key, dict(connector.config))
        for name, connector in upgraded.items()
    }
    shared = {"endpoint_url": s3_endpoint, "region": "us-east-1", "prefix": ""}
    assert described == {
        "handbook": ("s3", "acme_corp/handbook", {**shared, "bucket": "acme-handbook"}),
        "reports": (
            "s3",
            "acme_corp/reports",
            {**shared, "bucket": "acme-reports", "prefix": "2026/", "region": "eu-central-1"},
        ),
        "contracts": ("s3", "globex/contracts", {**shared, "bucket": "globex-contracts"}),
    }
    assert [str(upgraded[name].location) for name in described] == [
        f"s3://{config['bucket']}/{config['prefix']}" for _, _, config in described.values()
    ]
    for connector in upgraded.values():
        assert connector.lists_in_order
        assert connector.secret_hints == {"access_key_id": "AKIA…MPLE"}
        assert secrets_of(services, connector.id) == {
            "access_key_id": ACCESS_KEY_ID,
            "secret_access_key": SECRET_ACCESS_KEY,
        }
    assert {name: found.kek_version for name, found in upgraded.items()} == {
        "handbook": 1,
        "reports": 1,
        "contracts": 2,
    }


def test_the_next_sync_changes_nothing(
    services: Services, upgraded: dict[str, Connector], buckets: dict[str, Bucket]
) -> None:
    # The object that failed still waits for its next attempt, as it did then.
    query(
        services,
        "UPDATE connectors.objects SET next_attempt_at = now() + interval '1 hour'"
        " WHERE next_attempt_at IS NOT NULL RETURNING id",
    )
    before = graph_and_texts(services)
    for name, listed in (("handbook", 9), ("contracts", 3)):
        result = scan(services, upgraded[name])
        assert (result.counts, result.completed) == (ScanCounts(listed=listed), True)
        assert drain(services, upgraded[name]) == RunCounts()
    assert graph_and_texts(services) == before
    assert states_of(services, upgraded["handbook"]) == {
        "back.txt": ("failed", "not_found"),
        "broken.docx": ("dead", "corrupt"),
        "late.txt": ("indexed", None),
        "left.txt": ("deleted", None),
        "logo.png": ("skipped", "unsupported_type"),
        "notes/": ("skipped", "folder_marker"),
        "notes/empty.txt": ("skipped", "empty"),
        "notes/leave.html": ("indexed", None),
        "notes/übung größe 100%.txt": ("indexed", None),
        "pumps.md": ("indexed", None),
    }


def test_a_scan_that_stood_half_way_goes_on_from_its_key_and_deletes_what_it_missed(
    services: Services, upgraded: dict[str, Connector], buckets: dict[str, Bucket]
) -> None:
    connector = upgraded["reports"]
    (opened,) = query(
        services, "SELECT id, start_after FROM connectors.scans WHERE status = 'running'"
    )
    assert opened[1] == "2026/06-june.txt"
    nodes, edges, texts = graph_and_texts(services)
    result = scan(services, connector)
    assert (result.counts, result.completed) == (ScanCounts(listed=3, deleted=2), True)
    assert query(
        services,
        "SELECT status, listed, missing, deleted FROM connectors.scans WHERE id = %s",
        opened[0],
    ) == [("completed", 7, 2, 2)]
    assert drain(services, connector) == RunCounts()

    gone = {"s3://acme-reports/2026/01-january.txt", "s3://acme-reports/2026/05-may.txt"}
    after_nodes, after_edges, after_texts = graph_and_texts(services)
    assert (len(after_nodes), len(after_edges), len(after_texts)) == (
        len(nodes) - 4,
        len(edges) - 2,
        len(texts) - 2,
    )
    assert all(node in nodes for node in after_nodes), "no node was written"
    assert {node["props"]["uri"] for node in after_nodes}.isdisjoint(gone)


def test_what_failed_is_tried_again_and_nothing_else_is_downloaded(
    services: Services, upgraded: dict[str, Connector], buckets: dict[str, Bucket]
) -> None:
    connector = upgraded["handbook"]
    make_retries_due(services)
    scan(services, connector)
    counts = drain(services, connector)
    assert (counts.extracted, counts.indexed, counts.bytes_fetched) == (1, 1, 30)
    assert (counts.embeddings_computed, counts.errors) == (1, {})
    assert "s3://acme-handbook/back.txt" in found(services, "At what pressure does V-3 open?")


def test_the_audit_finds_no_difference_and_search_finds_what_it_found(
    services: Services, upgraded: dict[str, Connector], buckets: dict[str, Bucket]
) -> None:
    make_retries_due(services)
    for connector in upgraded.values():
        scan(services, connector)
        drain(services, connector)
        report = audit_connector(services, connector)
        assert report.clean, report.differences
    assert "s3://acme-handbook/pumps.md" in found(services, "pressure of the pump P-7")
    assert found(services, "silence", tenant_id="globex") >= {
        "s3://globex-contracts/nda.md",
        "s3://globex-contracts/copy of nda.md",
    }
    assert not {uri for uri in found(services, "silence") if "globex" in uri}


def test_ids_of_nodes_are_those_that_this_version_makes(
    services: Services, upgraded: dict[str, Connector], buckets: dict[str, Bucket]
) -> None:
    def ids() -> dict[str, tuple[UUID, ...]]:
        rows = query(services, "SELECT external_id, id FROM nodes ORDER BY 1")
        return dict(rows)

    connector = upgraded["contracts"]
    before = ids()
    query(
        services,
        "UPDATE connectors.objects SET state = 'pending', indexed_etag = NULL,"
        " indexed_text_hash = NULL, document_id = NULL WHERE connector_id = %s RETURNING id",
        connector.id,
    )
    query(services, "DELETE FROM nodes WHERE tenant_id = 'globex' RETURNING id")
    query(services, "DELETE FROM edges WHERE tenant_id = 'globex' RETURNING src")
    assert len(ids()) < len(before)
    drain(services, connector)
    assert ids() == before
