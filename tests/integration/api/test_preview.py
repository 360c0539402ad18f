"""A preview says what the next sync does, and changes nothing."""

from __future__ import annotations

from typing import Any

import pytest
from psycopg import sql

from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.services import Services
from tests.integration.api.conftest import CONFIGS, Caller, LedgerRows, assert_problem
from tests.s3_bucket import Bucket

TABLES = ["connectors", "objects", "texts", "scans", "runs", "released_embeddings"]


def everything(admin: Services) -> dict[str, list[Any]]:
    """Every row of ours, with the transaction that wrote it.

    An update that changes nothing shows, too.
    """
    with admin.database.transaction() as conn:
        return {
            table: conn.execute(
                sql.SQL(
                    "SELECT t.ctid::text, t.xmin::text, t::text FROM {}.{} t ORDER BY 3"
                ).format(sql.Identifier(schema), sql.Identifier(table))
            ).fetchall()
            for schema, table in [
                *(("connectors", name) for name in TABLES),
                ("public", "nodes"),
                ("public", "edges"),
            ]
        }


def register(caller: Caller, bucket: Bucket, **changes: Any) -> dict[str, Any]:
    return caller.register(
        bucket=bucket.name, endpoint_url=bucket.endpoint_url, prefix="", **changes
    )


def preview(caller: Caller, config: dict[str, Any], **params: Any) -> dict[str, Any]:
    answer = caller.post(f"{CONFIGS}/{config['id']}/preview", **params)
    assert answer.status_code == 200, answer.text
    return answer.json()


def counts(shown: dict[str, Any]) -> dict[str, int]:
    return {
        name: change["objects"] for name, change in shown["changes"].items() if change["objects"]
    }


def add(
    ledger_rows: LedgerRows,
    config: dict[str, Any],
    key: str,
    state: str,
    etag: str = "e1",
    **values: Any,
) -> None:
    """An object of the ledger with its stored text.

    It is as a sync of this version leaves it.
    """
    ledger_rows.add(config, key, state=state)
    columns = {"etag": etag} | values
    assignments = ", ".join(f"{name} = %s" for name in columns)
    ledger_rows.execute(
        f"UPDATE connectors.objects SET {assignments} WHERE key = %s", [*columns.values(), key]
    )


def test_each_class_is_counted_sampled_and_weighed(
    acme: Caller, bucket: Bucket, ledger_rows: LedgerRows
) -> None:
    created = register(acme, bucket)
    etags = {
        key: bucket.put(key, key * 10)
        for key in ("changed.txt", "done.txt", "failed.txt", "new.txt", "late.txt")
    }
    bucket.put("photo.jpg", "jpeg")
    bucket.put("folder/", "")
    add(ledger_rows, created, "changed.txt", "indexed", "old")
    add(ledger_rows, created, "done.txt", "indexed", etags["done.txt"], size=80)
    add(
        ledger_rows,
        created,
        "failed.txt",
        "failed",
        etags["failed.txt"],
        size=100,
        next_attempt_at="2020-01-01T00:00:00Z",
    )
    add(
        ledger_rows,
        created,
        "late.txt",
        "failed",
        etags["late.txt"],
        size=80,
        next_attempt_at="2999-01-01T00:00:00Z",
    )
    add(ledger_rows, created, "gone.txt", "indexed")
    add(ledger_rows, created, "gone-for-long.txt", "deleted")

    shown = preview(acme, created)

    assert shown["config_id"] == created["id"]
    assert (shown["complete"], shown["pages"], shown["listed"]) == (True, 1, 7)
    assert {name: change["sample"] for name, change in shown["changes"].items()} == {
        "add": ["new.txt"],
        "update": ["changed.txt"],
        "delete": ["gone.txt"],
        "skip": ["folder/", "photo.jpg"],
        "waiting": ["failed.txt"],
        "outdated": [],
        "unchanged": ["done.txt", "late.txt"],
    }
    assert shown["bytes_to_fetch"] == 10 * len("new.txt" + "changed.txt" + "failed.txt")
    assert shown["changes"]["add"]["bytes"] == 70
    assert shown["deletions_held_back"] is False


def test_nothing_is_written(
    acme: Caller, bucket: Bucket, ledger_rows: LedgerRows, admin: Services
) -> None:
    created = register(acme, bucket)
    for number in range(30):
        bucket.put(f"{number}.txt", "text")
    add(ledger_rows, created, "gone.txt", "indexed")
    before = everything(admin)
    preview(acme, created)
    preview(acme, created, max_pages=1)
    assert everything(admin) == before


def test_a_preview_that_fails_writes_nothing_either(
    acme: Caller, bucket: Bucket, admin: Services
) -> None:
    created = acme.register(bucket="no-such-bucket-here", endpoint_url=bucket.endpoint_url)
    before = everything(admin)
    problem = assert_problem(acme.post(f"{CONFIGS}/{created['id']}/preview"), 502, "no_such_bucket")
    assert "Check the spelling" in problem["detail"]
    assert everything(admin) == before


def test_the_next_scan_does_what_was_announced(
    acme: Caller, bucket: Bucket, ledger_rows: LedgerRows, admin: Services
) -> None:
    created = register(acme, bucket)
    bucket.put_many({f"{number:04}.txt": "text" for number in range(2500)})
    # Gone before, between, on and behind the pages' bounds, and in every order that
    # other collations have.
    gone = [
        "!first.txt",
        "0999x.txt",
        "1000.txtx",
        "2499.txtz",
        "Z.txt",
        "a.txt",
        "ä.txt",
        "\U0001f600.txt",
    ]
    for key in gone:
        add(ledger_rows, created, key, "indexed")
    for number in range(100, 200):
        add(ledger_rows, created, f"{number:04}.txt", "indexed", "old")

    shown = preview(acme, created)

    assert (shown["pages"], shown["listed"], shown["complete"]) == (3, 2500, True)
    assert counts(shown) == {"add": 2400, "update": 100, "delete": len(gone)}
    assert shown["changes"]["delete"]["sample"] == gone
    assert shown["changes"]["add"]["sample"] == [f"{number:04}.txt" for number in range(20)]
    done = scan_connector(admin, admin.connector(created["id"]), budget_seconds=None)
    assert (done.counts.added, done.counts.changed, done.counts.deleted) == (2400, 100, len(gone))
    assert counts(preview(acme, created)) == {"waiting": 2500}


def test_a_bound_on_pages_makes_lower_bounds(
    acme: Caller, bucket: Bucket, ledger_rows: LedgerRows
) -> None:
    created = register(acme, bucket)
    bucket.put_many({f"{number:04}.txt": "text" for number in range(1500)})
    add(ledger_rows, created, "zzz.txt", "indexed")
    shown = preview(acme, created, max_pages=1)
    assert (shown["complete"], shown["listed"], shown["deletions_held_back"]) == (False, 1000, None)
    assert counts(shown) == {"add": 1000}
    for wrong in (0, 1001, "many"):
        assert_problem(acme.post(f"{CONFIGS}/{created['id']}/preview", max_pages=wrong), 422)


@pytest.mark.parametrize(("kept", "held_back"), [(43, True), (44, False)])
def test_the_delete_guard_is_asked(
    acme: Caller,
    bucket: Bucket,
    ledger_rows: LedgerRows,
    admin: Services,
    kept: int,
    held_back: bool,
) -> None:
    created = register(acme, bucket)
    for number in range(kept):
        bucket.put(f"{number}.txt", "text")
    for number in range(11):
        add(ledger_rows, created, f"gone-{number}.txt", "indexed")
    assert preview(acme, created)["deletions_held_back"] is held_back
    # The scan weighs the same way, once it has added what is new.
    done = scan_connector(admin, admin.connector(created["id"]), budget_seconds=None)
    assert bool(done.held_back) is held_back
    acme.post(f"{CONFIGS}/{created['id']}/confirm-deletes")
    assert preview(acme, created)["deletions_held_back"] is False


def test_what_another_version_made_is_done_again(
    acme: Caller, bucket: Bucket, ledger_rows: LedgerRows, admin: Services
) -> None:
    created = register(acme, bucket)
    versions = admin.versions
    for key, chunker, extractor in [
        ("chunker.txt", "older", versions.extractor),
        ("extractor.txt", versions.chunker, "older"),
        ("today.txt", versions.chunker, versions.extractor),
    ]:
        add(
            ledger_rows,
            created,
            key,
            "indexed",
            bucket.put(key, "text"),
            size=4,
            chunker_version=chunker,
            encoder_version=versions.encoder,
        )
        ledger_rows.execute(
            "INSERT INTO connectors.texts (object_id, tenant_id, text, mime_type, characters, "
            "content_hash, text_hash,"
            " extractor_version) SELECT id, tenant_id, 'text', 'text/plain', 4, '', '', %s FROM "
            "connectors.objects"
            " WHERE key = %s",
            [extractor, key],
        )
    shown = preview(acme, created)
    assert shown["changes"]["outdated"]["sample"] == ["chunker.txt", "extractor.txt"]
    # Texts that the current extractor made are stored: only the other one is fetched.
    assert shown["bytes_to_fetch"] == 4
    assert counts(shown) == {"outdated": 2, "unchanged": 1}
    scan_connector(admin, admin.connector(created["id"]), budget_seconds=None)
    assert {key: state for key, (state, _) in ledger_rows.states(created).items()} == {
        "chunker.txt": "extracted",
        "extractor.txt": "pending",
        "today.txt": "indexed",
    }


def test_without_history_there_is_no_estimate(acme: Caller, bucket: Bucket) -> None:
    created = register(acme, bucket)
    assert preview(acme, created)["estimate"]["chunks"] == 0
    bucket.put("a.txt", "text")
    assert preview(acme, created)["estimate"] == {
        "chunks": None,
        "seconds": None,
        "basis": None,
        "documents": 0,
        "runs": 0,
    }


def test_estimates_come_from_the_connectors_own_history_by_kind_of_file(
    acme: Caller, globex: Caller, bucket: Bucket, ledger_rows: LedgerRows
) -> None:
    created = register(acme, bucket)
    etag = bucket.put("known.txt", "x" * 1000)
    add(ledger_rows, created, "known.txt", "indexed", etag, size=1000, chunks=10)
    etag = bucket.put("known.pdf", "x" * 1000)
    add(ledger_rows, created, "known.pdf", "indexed", etag, size=1000, chunks=1)
    ledger_rows.run(
        created,
        started_at="2026-01-01T00:00:00Z",
        finished_at="2026-01-01T00:00:55Z",
        chunks=110,
        indexed=2,
    )
    bucket.put("new.txt", "x" * 2000)
    bucket.put("new.pdf", "x" * 2000)
    bucket.put("new.PDF", "x" * 1000)
    estimate = preview(acme, created)["estimate"]
    assert estimate == {
        "chunks": 23,
        "seconds": 11.5,
        "basis": "connector",
        "documents": 2,
        "runs": 1,
    }

    # A second connector of the tenant learns from the first one; another tenant does
    # not learn that it exists.
    second = Bucket.create(bucket.endpoint_url, f"{bucket.name}-2")
    second.put("a.txt", "text")
    other = register(acme, second)
    assert preview(acme, other)["estimate"]["basis"] == "tenant"
    foreign = register(globex, bucket, tenant_id="globex")
    assert preview(globex, foreign)["estimate"]["basis"] is None
