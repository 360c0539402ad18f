"""The audit finds and repairs every kind of damage, and raises no false alarm."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import dagster as dg
import psycopg
import pytest

from activekg_pipelines.audit.audit import audit_connector
from activekg_pipelines.audit.differences import Difference, Report
from activekg_pipelines.audit.repair import Repaired, repair_connector
from activekg_pipelines.audit.walk import external_root, walk
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.defs.assets import extract_and_index, source_objects
from activekg_pipelines.defs.checks import audit_connectors, no_drift, weekly_audit
from activekg_pipelines.defs.jobs import sync_connector
from activekg_pipelines.defs.sensors import start_due_work
from activekg_pipelines.errors import ConnectorChanged, SourceMissing
from activekg_pipelines.services import Services
from activekg_pipelines.sources.s3.source import S3Source
from tests.fault_proxy import FaultProxy, status
from tests.integration.syncing import (
    chunk_nodes,
    documents,
    found,
    graph_of,
    in_transaction,
    outcomes,
    query,
    scan,
    start_run,
    states,
    sync,
)
from tests.s3_bucket import Bucket

HOUSE = "\n\n".join(
    f"# Section {number}\n\n" + f"Paragraph {number} is about the {word} of the house. " * 12
    for number, word in enumerate(["roof", "cellar", "garden", "kitchen", "library", "attic"])
)
# The document that is broken, by its key, and its chunks.
DOCUMENT = "SELECT document_id FROM connectors.objects WHERE key = 'house.md'"
CHUNKS = f"SELECT src FROM edges WHERE dst = ({DOCUMENT})"
THIRD = f"SELECT src FROM edges WHERE dst = ({DOCUMENT}) AND props ->> 'chunk_index' = '2'"
EVERY_THIRD = THIRD.replace("dst = (", "dst IN (")
NOWHERE = "'00000000-0000-0000-0000-000000000001'"


@pytest.fixture
def filled(services: Services, bucket: Bucket, connector: Connector) -> Connector:
    """A synced connector: two documents, a long and a short one, and objects without one."""
    bucket.put_many(
        {
            "house.md": HOUSE,
            "note.txt": "The pump runs at 40 bar.",
            "photo.png": b"x",
            "gone.txt": "Soon.",
        }
    )
    sync(services, connector)
    bucket.delete("gone.txt")
    scan(services, connector)
    age_objects(services)
    assert audit_connector(services, connector).clean
    return connector


def age_objects(services: Services) -> None:
    """Let all scans have begun well after the objects were written."""
    query(services, "UPDATE connectors.scans SET started_at = started_at + interval '10 minutes'")


def counted(report: Report) -> dict[Difference, int]:
    return {difference: tally.count for difference, tally in report.differences.items()}


def repair_and_run(services: Services, connector: Connector, report: Report) -> Repaired:
    """What people do: repair, let the sync run that it asks for, audit again."""
    repaired = repair_connector(services, connector, report)
    if repaired.sync_id is not None:
        sync(services, connector)
        age_objects(services)
    return repaired


def chunks_of_house(services: Services) -> int:
    return int(
        query(services, "SELECT chunks FROM connectors.objects WHERE key = 'house.md'")[0][0]
    )


ALL = -1
"""As many as the document has chunks."""


@dataclass(frozen=True)
class Damage:
    """Damage done by hand, and what the audit says of it."""

    name: str
    statements: tuple[str, ...]
    expected: dict[Difference, int]
    key: str = "house.md"
    gone: frozenset[str] = field(default_factory=frozenset)


DAMAGES = [
    Damage(
        "the ledger lost an object",
        ("DELETE FROM connectors.objects WHERE key = 'house.md'",),
        {Difference.NOT_IN_LEDGER: 1, Difference.DOCUMENT_ORPHANED: 1},
    ),
    Damage(
        "the ledger calls an object deleted",
        (
            f"DELETE FROM edges WHERE dst = ({DOCUMENT})",
            "DELETE FROM nodes WHERE props ->> 'uri' LIKE '%/house.md'",
            "DELETE FROM connectors.texts WHERE object_id = (SELECT id FROM connectors.objects "
            "WHERE key = 'house.md')",
            "UPDATE connectors.objects SET state = 'deleted', document_id = NULL, chunks = 0 "
            "WHERE key = 'house.md'",
        ),
        {Difference.NOT_IN_LEDGER: 1},
    ),
    Damage(
        "the ledger has another ETag",
        (
            "UPDATE connectors.objects SET etag = 'other', indexed_etag = 'other' WHERE key = "
            "'house.md'",
            f'UPDATE nodes SET props = props || \'{{"etag": "other"}}\' WHERE id = ({DOCUMENT})',
        ),
        {Difference.ETAG_DIFFERS: 1},
    ),
    Damage(
        "the ledger has an object that is in no bucket",
        (
            "INSERT INTO connectors.objects (connector_id, tenant_id, key, etag, size, "
            "modified_at, state)"
            " SELECT connector_id, tenant_id, 'invented.txt', 'e', 5, now(), 'skipped' FROM "
            "connectors.objects LIMIT 1",
        ),
        {Difference.NOT_IN_BUCKET: 1},
        key="invented.txt",
    ),
    Damage(
        "a text is lost",
        (
            "DELETE FROM connectors.texts WHERE object_id = (SELECT id FROM connectors.objects "
            "WHERE key = 'house.md')",
        ),
        {Difference.TEXT_MISSING: 1},
    ),
    Damage(
        "a text that waits to be indexed is lost",
        (
            "DELETE FROM connectors.texts WHERE object_id = (SELECT id FROM connectors.objects "
            "WHERE key = 'house.md')",
            "UPDATE connectors.objects SET state = 'extracted' WHERE key = 'house.md'",
        ),
        {Difference.TEXT_MISSING: 1},
    ),
    Damage(
        "a text was edited",
        ("UPDATE connectors.texts SET text = 'x' || text WHERE text LIKE '# Section%'",),
        # Nothing that begins one character later is at its place any more.
        {Difference.TEXT_DAMAGED: 1, Difference.CHUNK_TEXT_DIFFERS: ALL},
    ),
    Damage(
        "a text's hash was edited",
        ("UPDATE connectors.texts SET text_hash = sha256('x') WHERE text LIKE '# Section%'",),
        {Difference.TEXT_DAMAGED: 1, Difference.STALE: 1},
    ),
    Damage(
        "a deleted object kept its text",
        (
            "INSERT INTO connectors.texts (object_id, tenant_id, text, mime_type, characters, "
            "content_hash, text_hash,"
            " extractor_version) SELECT id, tenant_id, 'Soon.', 'text/plain', 5, sha256('Soon.'), "
            "sha256('Soon.'), '1'"
            " FROM connectors.objects WHERE key = 'gone.txt'",
        ),
        {Difference.TEXT_LEFT_OVER: 1},
        key="gone.txt",
    ),
    Damage(
        "the graph holds another text than the ledger says",
        ("UPDATE connectors.objects SET indexed_text_hash = sha256('x') WHERE key = 'house.md'",),
        {Difference.STALE: 1, Difference.DOCUMENT_DIFFERS: 1},
    ),
    Damage(
        "the graph holds another version than the ledger says",
        ("UPDATE connectors.objects SET indexed_etag = 'old' WHERE key = 'house.md'",),
        {Difference.STALE: 1, Difference.DOCUMENT_DIFFERS: 1},
    ),
    Damage(
        "a document was made by another model, and no scan noticed",
        (
            "UPDATE connectors.objects SET encoder_version = 'old/float32' WHERE key = 'house.md'",
            f'UPDATE nodes SET props = props || \'{{"embedding_model": "old/float32"}}\' WHERE id '
            f"IN ({CHUNKS})",
        ),
        {Difference.OUTDATED: 1},
    ),
    Damage(
        "a document is lost",
        (f"DELETE FROM nodes WHERE id = ({DOCUMENT})",),
        {Difference.DOCUMENT_MISSING: 1, Difference.EDGE_WITHOUT_DOCUMENT: ALL},
    ),
    Damage(
        "a document with all that hangs on it is lost",
        (
            f"DELETE FROM edges WHERE dst = ({DOCUMENT})",
            "DELETE FROM nodes WHERE props ->> 'uri' LIKE '%/house.md'",
        ),
        {Difference.DOCUMENT_MISSING: 1, Difference.CHUNK_COUNT_DIFFERS: 1},
    ),
    Damage(
        "the ledger forgot the document",
        ("UPDATE connectors.objects SET document_id = NULL WHERE key = 'house.md'",),
        {Difference.CHUNK_COUNT_DIFFERS: 1},
    ),
    Damage(
        "a deleted object has a document again",
        (
            "INSERT INTO nodes (tenant_id, classes, props) SELECT tenant_id, classes, props || "
            "jsonb_build_object("
            " 'external_id', replace(props ->> 'external_id', 'note.txt', 'gone.txt'))"
            " FROM nodes WHERE props ->> 'uri' LIKE '%/note.txt' AND 'Document' = ANY(classes)",
        ),
        {Difference.DOCUMENT_LEFT_OVER: 1},
        key="gone.txt",
    ),
    Damage(
        "a document that nothing stands behind",
        (
            "INSERT INTO nodes (tenant_id, classes, props) SELECT tenant_id, classes, props || "
            "jsonb_build_object("
            " 'external_id', replace(props ->> 'external_id', 'note.txt', 'never.txt'))"
            " FROM nodes WHERE props ->> 'uri' LIKE '%/note.txt' AND 'Document' = ANY(classes)",
        ),
        {Difference.DOCUMENT_ORPHANED: 1},
        key="never.txt",
    ),
    *(
        Damage(
            f"a document's {name} was edited",
            (
                f"UPDATE nodes SET props = props || '{{\"{name}\": {value}}}' WHERE id = "
                f"({DOCUMENT})",
            ),
            {Difference.DOCUMENT_DIFFERS: 1},
        )
        for name, value in [
            ("etag", '"x"'),
            ("uri", '"s3://b/k"'),
            ("size", "1"),
            ("total_chunks", "1"),
            ("content_hash", '"x"'),
            ("document_text_hash", '"x"'),
        ]
    ),
    Damage(
        "a document's external id was edited",
        (f'UPDATE nodes SET props = props || \'{{"external_id": "x"}}\' WHERE id = ({DOCUMENT})',),
        {Difference.DOCUMENT_DIFFERS: 1, Difference.CHUNK_WITHOUT_EDGE: ALL},
    ),
    Damage(
        "a document lost its class",
        (f"UPDATE nodes SET classes = '{{Thing}}' WHERE id = ({DOCUMENT})",),
        {Difference.DOCUMENT_DIFFERS: 1},
    ),
    Damage(
        "a document went to another tenant",
        (f"UPDATE nodes SET tenant_id = 'globex' WHERE id = ({DOCUMENT})",),
        {Difference.WRONG_TENANT: 1},
    ),
    Damage(
        "a chunk went to another tenant",
        (f"UPDATE nodes SET tenant_id = 'globex' WHERE id = ({THIRD})",),
        {Difference.WRONG_TENANT: 1},
    ),
    Damage(
        "an edge went to another tenant",
        (f"UPDATE edges SET tenant_id = 'globex' WHERE src = ({THIRD})",),
        {Difference.WRONG_TENANT: 1},
    ),
    Damage(
        "the ledger counts other chunks",
        ("UPDATE connectors.objects SET chunks = 77 WHERE key = 'house.md'",),
        {Difference.CHUNK_COUNT_DIFFERS: 1, Difference.DOCUMENT_DIFFERS: 1},
    ),
    Damage(
        "a chunk is lost with its edge",
        (f"DELETE FROM nodes WHERE id = ({THIRD})", f"DELETE FROM edges WHERE src = ({THIRD})"),
        {Difference.CHUNK_COUNT_DIFFERS: 1, Difference.CHUNKS_OUT_OF_ORDER: 1},
    ),
    Damage(
        "a chunk is lost",
        (f"DELETE FROM nodes WHERE id = ({THIRD})",),
        {
            Difference.EDGE_WITHOUT_CHUNK: 1,
            Difference.CHUNK_COUNT_DIFFERS: 1,
            Difference.CHUNKS_OUT_OF_ORDER: 1,
        },
    ),
    Damage(
        "an edge begins at nothing",
        (
            f"INSERT INTO edges (src, rel, dst, tenant_id) SELECT {NOWHERE}, 'DERIVED_FROM', "
            f"({DOCUMENT}), 'acme_corp'",
        ),
        {Difference.EDGE_WITHOUT_CHUNK: 1},
    ),
    Damage(
        "an edge is lost",
        (f"DELETE FROM edges WHERE src = ({THIRD})",),
        {
            Difference.CHUNK_WITHOUT_EDGE: 1,
            Difference.CHUNK_COUNT_DIFFERS: 1,
            Difference.CHUNKS_OUT_OF_ORDER: 1,
        },
    ),
    Damage(
        "an edge ends at nothing",
        (
            f"INSERT INTO edges (src, rel, dst, tenant_id) SELECT ({THIRD}), 'DERIVED_FROM', "
            f"{NOWHERE}, 'acme_corp'",
        ),
        {Difference.EDGE_WITHOUT_DOCUMENT: 1},
    ),
    Damage(
        "a chunk that is no part of any document",
        (
            "INSERT INTO nodes (tenant_id, classes, props) SELECT tenant_id, classes,"
            f' props || \'{{"external_id": "stray"}}\' FROM nodes WHERE id = ({THIRD})',
        ),
        {Difference.CHUNK_WITHOUT_EDGE: 1},
    ),
    Damage(
        "two chunks have one position",
        (
            "UPDATE edges SET props = props || '{\"chunk_index\": 1}'"
            f" WHERE dst = ({DOCUMENT}) AND props ->> 'chunk_index' = '2'",
        ),
        {Difference.CHUNKS_OUT_OF_ORDER: 1},
    ),
    Damage(
        "a position is no number",
        (f"UPDATE edges SET props = props || '{{\"chunk_index\": null}}' WHERE src = ({THIRD})",),
        {Difference.CHUNKS_OUT_OF_ORDER: 1},
    ),
    Damage(
        "a chunk's place is elsewhere",
        (
            f'UPDATE edges SET props = props || \'{{"char_start": 5, "char_end": 9}}\' WHERE src '
            f"= ({THIRD})",
        ),
        {Difference.CHUNK_TEXT_DIFFERS: 1},
    ),
    Damage(
        "a chunk's place is nonsense",
        (
            f'UPDATE edges SET props = props || \'{{"char_start": "x", "char_end": 1e300}}\' '
            f"WHERE src = ({THIRD})",
        ),
        {Difference.CHUNK_TEXT_DIFFERS: 1},
    ),
    Damage(
        "a chunk's text was edited",
        (f'UPDATE nodes SET props = props || \'{{"text": "Nonsense."}}\' WHERE id = ({THIRD})',),
        {Difference.CHUNK_TEXT_DIFFERS: 1},
    ),
    Damage(
        "a chunk has no vector",
        (f"UPDATE nodes SET embedding = NULL WHERE id = ({THIRD})",),
        {Difference.VECTOR_MISSING: 1},
    ),
    Damage(
        "a vector is zero",
        (f"UPDATE nodes SET embedding = array_fill(0, ARRAY[384])::vector WHERE id = ({THIRD})",),
        {Difference.VECTOR_DAMAGED: 1},
    ),
    Damage(
        "a vector has other dimensions",
        (
            "DROP INDEX idx_nodes_embedding_hnsw",
            "ALTER TABLE nodes ALTER COLUMN embedding TYPE vector",
            f"UPDATE nodes SET embedding = '[1,0,0]' WHERE id = ({THIRD})",
        ),
        {Difference.VECTOR_DAMAGED: 1},
    ),
    Damage(
        "a chunk carries another model",
        (
            f'UPDATE nodes SET props = props || \'{{"embedding_model": "other"}}\' WHERE id = '
            f"({THIRD})",
        ),
        {Difference.VECTOR_OF_OTHER_MODEL: 1},
    ),
]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.name)
def test_damage_is_named_repaired_and_gone(
    services: Services, bucket: Bucket, filled: Connector, damage: Damage
) -> None:
    chunks = chunks_of_house(services)
    assert chunks > 3
    before = chunk_nodes(services)
    with services.database.transaction() as conn:
        for statement in damage.statements:
            conn.execute(statement)  # type: ignore[arg-type]

    report = audit_connector(services, filled)

    assert counted(report) == {
        kind: chunks if n == ALL else n for kind, n in damage.expected.items()
    }
    uri = f"s3://{bucket.name}/{damage.key}"
    for tally in report.differences.values():
        assert all(example.startswith(uri) for example in tally.examples), tally.examples

    repair_and_run(services, filled, report)

    assert counted(audit_connector(services, filled)) == {}
    assert {text: id_ for text, (id_, _) in chunk_nodes(services).items()} == {
        text: id_ for text, (id_, _) in before.items()
    }
    assert f"s3://{bucket.name}/house.md" in found(services, "the garden of the house")
    assert documents(services) == {f"s3://{bucket.name}/house.md", f"s3://{bucket.name}/note.txt"}


def test_every_kind_of_difference_is_broken_somewhere() -> None:
    tested = {kind for damage in DAMAGES for kind in damage.expected}
    assert set(Difference) - tested == {Difference.VECTOR_WRONG}


def test_a_vector_of_another_text_is_found_by_computing_it_again(
    services: Services, bucket: Bucket, filled: Connector
) -> None:
    query(
        services,
        "UPDATE nodes SET embedding = (SELECT embedding FROM nodes WHERE props ->> 'uri' LIKE "
        "'%%/note.txt'"
        f" AND embedding IS NOT NULL) WHERE id = ({THIRD})",
    )
    assert audit_connector(services, filled).clean, "only the model can tell"

    report = audit_connector(services, filled, vectors=1000)

    assert counted(report) == {Difference.VECTOR_WRONG: 1}
    assert report.vectors_checked == chunks_of_house(services) + 1
    assert audit_connector(services, filled, vectors=2).vectors_checked == 2
    repair_and_run(services, filled, report)
    assert audit_connector(services, filled, vectors=1000).clean


def test_every_format_is_clean_after_a_sync(
    services: Services, bucket: Bucket, connector: Connector, project_root: Path
) -> None:
    folder = project_root / "examples" / "documents"
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert {path.suffix for path in files} >= {".pdf", ".docx", ".html", ".md", ".txt"}
    bucket.put_many({str(path.relative_to(folder)): path.read_bytes() for path in files})
    sync(services, connector)
    age_objects(services)

    report = audit_connector(services, connector, vectors=50)

    assert counted(report) == {}
    assert (report.listed, report.objects, report.in_flight) == (len(files), len(files), 0)
    assert report.nodes == sum(graph_of(services)[:2])


@pytest.mark.parametrize(
    "code",
    ["access_denied", "corrupt"],
)
def test_dead_letters_are_no_drift(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy, code: str
) -> None:
    bucket.put("a.txt", "A text about penguins.")
    sync(proxied, via_proxy)
    key = "a.txt" if code == "access_denied" else "b.pdf"
    bucket.put(
        key,
        "A new text about walruses."
        if code == "access_denied"
        else b"%PDF-1.7\nNothing of a PDF follows.",
    )
    if code == "access_denied":
        proxy.inject("GET", "a.txt", status(403, "AccessDenied"))
    sync(proxied, via_proxy)
    age_objects(proxied)
    assert states(proxied, via_proxy)[key] == ("dead", code)

    assert counted(audit_connector(proxied, via_proxy)) == {}


def test_a_damaged_document_that_cannot_be_read_any_more_is_removed(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put("house.md", HOUSE)
    sync(proxied, via_proxy)
    bucket.put("house.md", HOUSE + "\n\nMore.")
    proxy.inject("GET", "house.md", status(403, "AccessDenied"))
    sync(proxied, via_proxy)
    age_objects(proxied)
    assert documents(proxied) == {f"s3://{bucket.name}/house.md"}
    query(proxied, f"DELETE FROM nodes WHERE id = ({THIRD})")

    repaired = repair_and_run(proxied, via_proxy, audit_connector(proxied, via_proxy))

    assert (repaired.fetch, repaired.documents) == (1, 1)
    assert states(proxied, via_proxy) == {"house.md": ("dead", "access_denied")}
    assert graph_of(proxied) == (0, 0, 0)
    assert audit_connector(proxied, via_proxy).clean


def test_work_under_way_is_counted_and_no_drift(
    services: Services, bucket: Bucket, filled: Connector
) -> None:
    # Since the last scan.
    bucket.put("new.txt", "New.")
    bucket.put("note.txt", "The pump runs at 41 bar.")
    query(services, "UPDATE connectors.scans SET started_at = started_at - interval '10 minutes'")
    report = audit_connector(services, filled)
    assert (counted(report), report.in_flight) == ({}, 2)
    # Found, and not done yet.
    scan(services, filled)
    age_objects(services)
    report = audit_connector(services, filled)
    assert (counted(report), report.in_flight) == ({}, 2)
    # Failed, and tried again later; missing, and the guard holds it back.
    query(
        services,
        "UPDATE connectors.objects SET state = 'failed', next_attempt_at = now() + interval '1 "
        "hour'",
    )
    bucket.delete("photo.png")
    query(services, "UPDATE connectors.objects SET missing_since_scan = 1 WHERE key = 'photo.png'")
    assert counted(audit_connector(services, filled)) == {}


def test_a_connector_before_its_first_scan_is_clean(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "A text.")
    report = audit_connector(services, connector)
    assert (counted(report), report.listed, report.objects, report.in_flight) == ({}, 1, 0, 1)


def test_a_sync_that_runs_meanwhile_raises_no_alarm(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put_many(
        {f"{number:03}.txt": f"Text number {number} of the first version." for number in range(120)}
    )
    done = threading.Event()
    failures: list[Exception] = []

    def move() -> None:
        try:
            sync(services, connector)
            for turn in range(4):
                changes = {
                    f"{number:03}.txt": f"Text {number}, version {turn}."
                    for number in range(turn, 120, 7)
                }
                bucket.put_many(
                    changes
                    | {f"new-{turn}-{n}.txt": f"New text {n} of turn {turn}." for n in range(10)}
                )
                sync(services, connector)
        except Exception as error:  # noqa: BLE001 - told by the thread that started this one
            failures.append(error)
        finally:
            done.set()

    thread = threading.Thread(target=move)
    thread.start()
    reports = []
    while not done.is_set():
        reports.append(audit_connector(services, connector))
    thread.join()

    assert failures == []
    assert len(reports) > 3
    assert any(report.in_flight for report in reports)
    assert [counted(report) for report in reports] == [{}] * len(reports)
    age_objects(services)
    assert audit_connector(services, connector).clean


def test_another_tenant_is_neither_audited_nor_touched(
    services: Services, bucket: Bucket, filled: Connector
) -> None:
    other = bucket.register(services, "globex")
    sync(services, other)
    age_objects(services)
    for tenant in ("acme_corp", "globex"):
        query(
            services,
            "DELETE FROM edges WHERE tenant_id = %s AND src IN (SELECT id FROM nodes WHERE props "
            "->> 'uri' LIKE %s)",
            tenant,
            "%/house.md",
        )
    rows = query(
        services, "SELECT id, version, props FROM nodes WHERE tenant_id = 'globex' ORDER BY id"
    )

    report = audit_connector(services, filled)
    repair_and_run(services, filled, report)

    assert audit_connector(services, filled).clean
    assert (
        query(
            services, "SELECT id, version, props FROM nodes WHERE tenant_id = 'globex' ORDER BY id"
        )
        == rows
    )
    assert counted(audit_connector(services, other)) == counted(report)


def test_other_nodes_of_the_tenant_are_no_business_of_the_audit(
    services: Services, filled: Connector
) -> None:
    query(
        services,
        "INSERT INTO nodes (tenant_id, classes, props) VALUES"
        " ('acme_corp', '{Document}', '{\"external_id\": \"mail:1\"}'),"
        ' (\'acme_corp\', \'{Chunk}\', \'{"external_id": "mail:1#1", "parent_id": "mail:1"}\')',
    )
    # Somebody derived a summary from the document.
    query(
        services,
        "WITH made AS (INSERT INTO nodes (tenant_id, classes, props)"
        " VALUES ('acme_corp', '{Summary}', '{}') RETURNING id)"
        f" INSERT INTO edges (src, rel, dst, tenant_id) SELECT id, 'DERIVED_FROM', ({DOCUMENT}), "
        "'acme_corp' FROM made",
    )
    before = graph_of(services)
    report = audit_connector(services, filled)
    assert counted(report) == {}
    repair_connector(services, filled, report)
    assert graph_of(services) == before


def test_what_a_run_holds_is_left_to_it(services: Services, filled: Connector) -> None:
    query(services, f"DELETE FROM edges WHERE src = ({THIRD})")
    report = audit_connector(services, filled)
    run = start_run(services, filled)
    query(
        services,
        "UPDATE connectors.objects SET claimed_by = %s, claim_expires_at = now() + interval '1 "
        "minute'"
        " WHERE key = 'house.md'",
        run,
    )
    before = graph_of(services)
    repaired = repair_connector(services, filled, report)
    assert (repaired.left_to_runs, repaired.fetch, repaired.index, repaired.chunks) == (1, 0, 0, 0)
    assert graph_of(services) == before
    assert query(services, "SELECT claimed_by FROM connectors.objects WHERE key = 'house.md'") == [
        (run,)
    ]
    in_transaction(services, services.ledger.release_claims, run)
    repair_and_run(services, filled, report)
    assert audit_connector(services, filled).clean


def test_a_paused_connector_is_repaired_without_a_sync(
    services: Services, filled: Connector
) -> None:
    query(services, f"DELETE FROM edges WHERE src = ({THIRD})")
    query(services, "UPDATE connectors.connectors SET enabled = false")
    paused = services.connector(filled.id)
    repaired = repair_connector(services, paused, audit_connector(services, paused))
    assert (repaired.index, repaired.sync_id) == (1, None)


def test_objects_missing_from_the_bucket_are_left_to_the_scan_and_its_guard(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put_many({f"{number:02}.txt": f"Text number {number}." for number in range(20)})
    sync(services, connector)
    age_objects(services)
    bucket.delete(*(f"{number:02}.txt" for number in range(20)))

    report = audit_connector(services, connector)
    assert counted(report) == {Difference.NOT_IN_BUCKET: 20}
    repaired = repair_and_run(services, connector, report)

    assert (repaired.left_to_scan, repaired.documents) == (20, 0)
    assert graph_of(services) == (20, 20, 20)
    assert services.connector(connector.id).deletions_held_back == 20
    assert audit_connector(services, connector).clean


def test_suspiciously_many_orphans_stay_until_somebody_says_so(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put_many({f"{number:02}.txt": f"Text number {number}." for number in range(20)})
    sync(services, connector)
    age_objects(services)
    query(services, "DELETE FROM connectors.objects")
    bucket.delete(*(f"{number:02}.txt" for number in range(1, 20)))

    report = audit_connector(services, connector)
    assert counted(report) == {Difference.NOT_IN_LEDGER: 1, Difference.DOCUMENT_ORPHANED: 20}
    held = repair_connector(services, connector, report)
    assert (held.orphans_held_back, held.documents) == (20, 0)
    assert graph_of(services)[0] == 20

    repaired = repair_connector(services, connector, report, remove_orphans=20)
    assert (repaired.orphans_held_back, repaired.documents) == (0, 19)
    sync(services, connector)
    assert documents(services) == {f"s3://{bucket.name}/00.txt"}
    age_objects(services)
    assert audit_connector(services, connector).clean


def test_what_was_kept_from_another_connector_waits_for_the_first_scan(
    services: Services, bucket: Bucket, filled: Connector
) -> None:
    query(services, "DELETE FROM connectors.connectors")
    again = bucket.register(services)
    assert counted(audit_connector(services, again)) == {}
    sync(services, again)
    age_objects(services)
    assert counted(audit_connector(services, again)) == {}


def test_a_difference_that_is_gone_at_the_recheck_is_none(
    services: Services, bucket: Bucket, filled: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An object changed and was synced between two reads of the audit.

    The bucket was listed before that, the ledger was read after it.
    """

    pages = S3Source.pages

    def slow(*arguments: object, **options: object) -> Iterator[object]:
        for page in pages(*arguments, **options):  # type: ignore[arg-type]
            monkeypatch.setattr(S3Source, "pages", pages)
            bucket.put("note.txt", "Other.")
            bucket.put("added.txt", "Added.")
            sync(services, filled)
            age_objects(services)
            yield page

    monkeypatch.setattr(S3Source, "pages", slow)
    assert counted(audit_connector(services, filled)) == {}
    assert outcomes(services, filled)["note.txt"].state == "indexed"


def test_a_huge_listing_is_walked_in_bounded_pieces(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put_many({f"data/{number:05}.png": b"x" for number in range(5000)})
    scan(services, connector)
    age_objects(services)
    # A range of the ledger that is far wider than a page of the listing.
    query(
        services,
        "INSERT INTO connectors.objects (connector_id, tenant_id, key, etag, size, modified_at, "
        "state)"
        " SELECT %s, 'acme_corp', 'data/00500-' || n, 'e', 1, now(), 'skipped' FROM "
        "generate_series(1, 3000) n",
        connector.id,
    )
    pieces = list(walk(services, connector))
    assert all(piece.listed <= 1000 and piece.objects <= 1000 for piece in pieces)
    assert sum(piece.listed for piece in pieces) == 5000
    assert sum(piece.objects for piece in pieces) == 8000
    report = audit_connector(services, connector)
    assert counted(report) == {Difference.NOT_IN_BUCKET: 3000}
    assert len(report.differences[Difference.NOT_IN_BUCKET].examples) == 5


def test_nodes_are_walked_page_by_page_and_each_is_seen_once(
    services: Services, filled: Connector
) -> None:
    query(services, f"DELETE FROM edges WHERE dst = ({DOCUMENT})")
    query(
        services,
        "UPDATE connectors.objects SET key = 'note.tx', document_id = NULL WHERE key = 'note.txt'",
    )
    chunks = chunks_of_house(services)
    bucket_of_tenant = external_root(filled).removeprefix("s3:").removesuffix("/")
    # Others' nodes, before, between and behind the connector's in the order of external
    # ids.
    query(
        services,
        "INSERT INTO nodes (tenant_id, classes, props) SELECT 'acme_corp', '{Chunk}',"
        " jsonb_build_object('external_id', mark || %s || beyond || n, 'parent_id', 'x')"
        " FROM unnest('{s3:, chunk:s3:}'::text[]) mark, unnest('{., 0, ~}'::text[]) beyond, "
        "generate_series(1, 5) n",
        bucket_of_tenant,
    )
    whole = counted(audit_connector(services, filled))
    assert whole[Difference.CHUNK_WITHOUT_EDGE] == chunks
    assert whole[Difference.DOCUMENT_ORPHANED] == 1
    for size in range(1, 6):
        pieces = [piece for piece in walk(services, filled, page_nodes=size) if not piece.objects]
        assert all(piece.nodes <= size for piece in pieces)
        assert sum(piece.nodes for piece in pieces) == chunks + 3, "two documents"
        assert counted(audit_connector(services, filled, page_nodes=size)) == whole


def test_an_audit_costs_a_few_statements_a_page_and_none_a_document(
    services: Services, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.put_many({f"{number:04}.txt": f"Text number {number}." for number in range(300)})
    sync(services, connector)
    age_objects(services)
    statements: list[object] = []
    real = {name: getattr(psycopg.Cursor, name) for name in ("execute", "stream")}

    def counting(name: str) -> Callable[..., object]:
        def call(self: object, *arguments: object, **options: object) -> object:
            statements.append(arguments[0])
            return real[name](self, *arguments, **options)

        return call

    for name in real:
        monkeypatch.setattr(psycopg.Cursor, name, counting(name))
    assert audit_connector(services, connector).clean
    assert len(statements) < 20


def test_a_bucket_that_cannot_be_listed_is_an_error_and_no_drift(
    services: Services, filled: Connector
) -> None:
    query(
        services, "UPDATE connectors.connectors SET bucket = 'no-such-bucket', updated_at = now()"
    )
    with pytest.raises(SourceMissing):
        audit_connector(services, services.connector(filled.id))


def test_a_connector_that_moved_meanwhile_is_not_compared(
    services: Services, filled: Connector
) -> None:
    query(services, "UPDATE connectors.connectors SET generation = generation + 1")
    with pytest.raises(ConnectorChanged):
        audit_connector(services, filled)


def definitions() -> dg.Definitions:
    return dg.Definitions(
        assets=[source_objects, extract_and_index],
        asset_checks=[no_drift],
        jobs=[sync_connector, audit_connectors],
        schedules=[weekly_audit],
    )


def test_the_check_tells_the_drift_of_every_connector(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, filled: Connector
) -> None:
    other = bucket.register(services, "globex", name="away")
    sync(services, other)
    query(services, f"DELETE FROM edges WHERE tenant_id = 'acme_corp' AND src IN ({EVERY_THIRD})")
    query(
        services,
        "UPDATE connectors.connectors SET bucket = 'no-such-bucket', updated_at = now()"
        " WHERE tenant_id = 'globex'",
    )
    job = definitions().resolve_job_def("audit_connectors")

    run = job.execute_in_process(instance=instance)

    assert run.success
    drift, away = run.get_asset_check_evaluations()
    assert (drift.partition, away.partition) == (filled.partition_key, other.partition_key)
    assert (drift.passed, drift.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert {record.data["difference"] for record in drift.metadata["differences"].records} == {
        "chunk_without_edge",
        "chunk_count_differs",
        "chunks_out_of_order",
    }
    assert not away.passed
    assert "Could not look" in str(away.description)

    repair_and_run(services, filled, audit_connector(services, filled))
    config = {"ops": {"audit": {"config": {"connectors": [filled.partition_key]}}}}
    (evaluation,) = job.execute_in_process(
        instance=instance, run_config=config
    ).get_asset_check_evaluations()
    assert evaluation.passed
    # Each connector has a light of its own, which stands until its next materialization.
    check = evaluation.asset_check_key
    shown = instance.event_log_storage.get_asset_check_partition_info([check])
    assert {one.partition_key: one.latest_execution_status.value for one in shown} == {
        filled.partition_key: "SUCCEEDED",
        other.partition_key: "FAILED",
    }
    assert all(one.is_current for one in shown)


def test_no_sync_evaluates_the_audit_and_nobody_is_audited_unasked(
    services: Services, instance: dg.DagsterInstance, filled: Connector
) -> None:
    instance.add_dynamic_partitions("connector", [filled.partition_key])
    job = definitions().resolve_job_def("sync_connector")
    in_transaction(services, services.ledger.request_manual_run, filled.id, filled.tenant_id)
    (request,) = start_due_work(services).run_requests or ()
    # As the daemon narrows the job down for what a sensor asks for.
    asked = job.get_subset(
        asset_selection=set(request.asset_selection or ()),
        asset_check_selection=set(request.asset_check_keys or ()),
    )
    for sync_job in (job, asked):
        run = sync_job.execute_in_process(instance=instance, partition_key=filled.partition_key)
        assert [evaluation.check_name for evaluation in run.get_asset_check_evaluations()] == [
            "every_object_indexed"
        ]
    assert weekly_audit.default_status is dg.DefaultScheduleStatus.STOPPED


def test_a_partition_that_is_materialized_by_hand_has_its_own_connector_audited(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket, filled: Connector
) -> None:
    bucket.register(services, "globex")
    instance.add_dynamic_partitions("connector", [filled.partition_key])
    run = (
        definitions()
        .resolve_implicit_global_asset_job_def()
        .execute_in_process(instance=instance, partition_key=filled.partition_key)
    )
    evaluations = {
        evaluation.check_name: evaluation for evaluation in run.get_asset_check_evaluations()
    }
    assert evaluations["no_drift"].passed
    assert evaluations["no_drift"].partition == filled.partition_key
