"""The history of syncs, the ledger, and the dead letters."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from activekg_pipelines.extraction.warnings import DocumentWarning, WarningKind
from tests.integration.api.conftest import CONFIGS, RUNS, Caller, LedgerRows, assert_problem

NOW = datetime.now(UTC)


def test_a_sync_that_was_asked_for_appears_in_the_history(acme: Caller) -> None:
    created = acme.register()
    sync_id = acme.post(f"{CONFIGS}/{created['id']}/sync").json()["sync_id"]
    (run,) = acme.get(RUNS, config_id=created["id"]).json()["items"]
    assert (run["id"], run["status"], run["trigger"]) == (sync_id, "waiting", "manual")
    assert run["started_at"] is run["duration_seconds"] is run["dagster_run_url"] is None


def test_a_sync_that_waits_or_runs_is_cancelled_and_says_by_whom(
    acme: Caller, globex: Caller, ledger_rows: LedgerRows
) -> None:
    created = acme.register()
    waiting = acme.post(f"{CONFIGS}/{created['id']}/sync").json()["sync_id"]
    running = ledger_rows.run(created, status="running", started_at=NOW, dagster_run_id="4f9e")
    ended = ledger_rows.run(created, status="succeeded")
    (shown, *_) = acme.get(RUNS, status="waiting").json()["items"]
    assert shown["waits_for"] == "the sensor work_queue, which asks Dagster for a run"
    assert acme.get(f"{CONFIGS}/{created['id']}").json()["waits_for"] == shown["waits_for"]

    assert_problem(globex.post(f"{RUNS}/{waiting}/cancel"), 404, "not_found")
    for _ in range(2):
        answer = acme.post(f"{RUNS}/{waiting}/cancel")
        assert answer.status_code == 202
        assert (answer.json()["status"], answer.json()["cancelled_by"]) == ("cancelled", "alice")
    # Its run ends by itself.
    answer = acme.post(f"{RUNS}/{running}/cancel").json()
    assert (answer["status"], answer["cancelled_by"]) == ("running", "alice")
    assert_problem(acme.post(f"{RUNS}/{ended}/cancel"), 409, "conflict")
    assert_problem(acme.post(f"{RUNS}/{uuid4()}/cancel"), 404, "not_found")
    assert [run["id"] for run in acme.get(RUNS, status="cancelled").json()["items"]] == [waiting]
    assert acme.get(RUNS, status="failed").json()["items"] == []


def test_a_finished_run_shows_what_it_did(acme: Caller, ledger_rows: LedgerRows) -> None:
    created = acme.register()
    ledger_rows.run(
        created,
        started_at=NOW,
        finished_at=NOW + timedelta(seconds=90),
        dagster_run_id="4f9e",
        listed=12,
        indexed=10,
        failed=1,
        dead=1,
        bytes_fetched=4096,
        chunks=30,
        embeddings_computed=25,
        embeddings_reused=5,
        errors={"fetch_failed": 1, "corrupt": 1},
    )
    (run,) = acme.get(RUNS, config_id=created["id"]).json()["items"]
    assert run["duration_seconds"] == 90
    assert run["config_id"] == created["id"]
    assert run["objects"]["indexed"] == 10
    assert run["bytes_fetched"] == 4096
    assert run["errors"] == {"fetch_failed": 1, "corrupt": 1}
    assert (run["dagster_run_id"], run["dagster_run_url"]) == (
        "4f9e",
        "http://dagster.test/runs/4f9e",
    )


def test_runs_are_filtered_and_paged_newest_first(acme: Caller, ledger_rows: LedgerRows) -> None:
    created = acme.register()
    other = acme.register(prefix="images/")
    ids = [
        str(ledger_rows.run(created, requested_at=NOW - timedelta(hours=hours), status=status))
        for hours, status in enumerate(["succeeded", "failed", "succeeded", "failed"])
    ]
    ledger_rows.run(other, requested_at=NOW)

    def found(**filters: Any) -> list[str]:
        return [
            run["id"] for run in acme.get(RUNS, config_id=created["id"], **filters).json()["items"]
        ]

    assert found() == ids
    assert found(status="failed") == [ids[1], ids[3]]
    assert found(since=(NOW - timedelta(minutes=90)).isoformat()) == ids[:2]
    first = acme.get(RUNS, config_id=created["id"], limit=3).json()
    assert [run["id"] for run in first["items"]] == ids[:3]
    assert found(cursor=first["next_cursor"]) == ids[3:]
    assert len(acme.get(RUNS).json()["items"]) == 5
    assert len(acme.get(RUNS, tenant_id="acme_corp").json()["items"]) == 5


def test_filters_that_mean_nothing_are_refused(acme: Caller) -> None:
    cases: list[dict[str, Any]] = [
        {"status": "excellent"},
        {"since": "yesterday"},
        {"since": "2025-01-01T00:00:00"},
        {"limit": 0},
        {"limit": 1001},
    ]
    for filters in cases:
        problem = assert_problem(acme.get(RUNS, **filters), 422)
        assert [error["field"] for error in problem["errors"]] == list(filters)


def test_the_history_of_an_unknown_connector_is_not_found(acme: Caller) -> None:
    assert_problem(acme.get(RUNS, config_id=str(uuid4())), 404)
    assert_problem(acme.get(RUNS, config_id="my-connector"), 422)


def test_objects_are_listed_by_key_filtered_by_state_and_paged(
    acme: Caller, ledger_rows: LedgerRows
) -> None:
    created = acme.register()
    for key in ("documents/ä.txt", "documents/b.txt", "documents/a.txt"):
        ledger_rows.add(created, key)
    ledger_rows.add(created, "documents/scan.pdf", state="dead", error="no_text_layer")
    url = f"{CONFIGS}/{created['id']}/objects"

    first = acme.get(url, state="pending", limit=2).json()
    assert [item["key"] for item in first["items"]] == ["documents/a.txt", "documents/b.txt"]
    rest = acme.get(url, state="pending", limit=2, cursor=first["next_cursor"]).json()
    assert [item["uri"] for item in rest["items"]] == ["s3://my-documents-bucket/documents/ä.txt"]
    assert rest["next_cursor"] is None
    assert_problem(acme.get(url, state="lost"), 422)
    # A cursor that holds the character NUL, which no key does.
    assert_problem(acme.get(url, cursor="IlwwMDAwIg"), 422)
    assert_problem(acme.get(url, cursor="IlxcdTAwMDAi"[:-1]), 422)


def test_objects_say_what_their_text_misses_and_are_filtered_by_it(
    acme: Caller, ledger_rows: LedgerRows
) -> None:
    created = acme.register()
    url = f"{CONFIGS}/{created['id']}/objects"
    scan = DocumentWarning(WarningKind.PARTLY_READ, 9, 10)
    flat = DocumentWarning(WarningKind.STRUCTURE_LOST, detail="The text is complete.")
    for key, warnings in {"a.pdf": [scan, flat], "b.html": [flat], "c.pdf": [scan]}.items():
        ledger_rows.add(created, key, warnings=warnings)
    ledger_rows.add(created, "d.txt")

    def found(**filters: Any) -> list[str]:
        return [item["key"] for item in acme.get(url, **filters).json()["items"]]

    assert found() == ["a.pdf", "b.html", "c.pdf", "d.txt"]
    assert found(warning="partly_read") == found(not_read_whole=True) == ["a.pdf", "c.pdf"]
    assert found(warning="structure_lost") == ["a.pdf", "b.html"]
    assert found(warning="structure_lost", not_read_whole=True) == ["a.pdf"]
    assert found(warning="pages_broken") == []
    assert found(not_read_whole=False) == found()
    page = acme.get(url, not_read_whole=True, limit=1).json()
    assert found(not_read_whole=True, cursor=page["next_cursor"]) == ["c.pdf"]
    (first,) = page["items"]
    assert first["not_read_whole"] is True
    assert first["warnings"] == [
        {
            "kind": "partly_read",
            "sentence": "9 of 10 pages hold no text; they are probably scans.",
            "count": 9,
            "total": 10,
            "detail": "",
        },
        {
            "kind": "structure_lost",
            "sentence": "The text is complete.",
            "count": None,
            "total": None,
            "detail": "The text is complete.",
        },
    ]
    whole = acme.get(url, state="pending").json()["items"][-1]
    assert (whole["key"], whole["warnings"], whole["not_read_whole"]) == ("d.txt", [], False)
    assert_problem(acme.get(url, warning="all_is_well"), 422)


def test_what_a_later_version_stored_breaks_no_list(acme: Caller, ledger_rows: LedgerRows) -> None:
    created = acme.register()
    ledger_rows.add(created, "a.pdf", warnings=[DocumentWarning(WarningKind.PARTLY_READ, 9, 10)])
    ledger_rows.execute(
        "UPDATE connectors.texts SET facts = jsonb_set(facts, '{warnings}', facts -> 'warnings'"
        """ || '[{"kind": "of_tomorrow", "count": 1}, "a sentence of yesterday"]')"""
    )
    (item,) = acme.get(f"{CONFIGS}/{created['id']}/objects").json()["items"]
    assert [warning["kind"] for warning in item["warnings"]] == ["partly_read"]


def test_dead_letters_name_their_cause(acme: Caller, ledger_rows: LedgerRows) -> None:
    created = acme.register()
    ledger_rows.add(created, "documents/a.txt", state="indexed")
    ledger_rows.add(created, "documents/b.pdf", state="dead", error="corrupt")
    ledger_rows.add(created, "documents/c.pdf", state="dead", error="encrypted")
    url = f"{CONFIGS}/{created['id']}/dead-letters"
    items = acme.get(url).json()["items"]
    assert [(item["key"], item["error_type"], item["attempts"]) for item in items] == [
        ("documents/b.pdf", "corrupt", 5),
        ("documents/c.pdf", "encrypted", 5),
    ]
    assert items[0]["error_message"] == "It ended with corrupt."
    assert [item["key"] for item in acme.get(url, error_type="encrypted").json()["items"]] == [
        "documents/c.pdf"
    ]


@pytest.mark.parametrize(
    ("body", "replayed"),
    [
        ({"keys": ["documents/b.pdf", "documents/a.txt"]}, {"documents/b.pdf"}),
        ({"error_type": "encrypted"}, {"documents/c.pdf"}),
        ({"all": True}, {"documents/b.pdf", "documents/c.pdf"}),
    ],
)
def test_dead_letters_are_replayed_with_fresh_attempts(
    acme: Caller, ledger_rows: LedgerRows, body: dict[str, Any], replayed: set[str]
) -> None:
    created = acme.register()
    ledger_rows.add(created, "documents/a.txt", state="indexed")
    ledger_rows.add(created, "documents/b.pdf", state="dead", error="corrupt")
    ledger_rows.add(created, "documents/c.pdf", state="dead", error="encrypted")
    answer = acme.post(f"{CONFIGS}/{created['id']}/dead-letters/replay", body)
    assert answer.json() == {"replayed": len(replayed)}
    states = ledger_rows.states(created)
    assert {key for key, state in states.items() if state == ("pending", 0)} == replayed
    assert states["documents/a.txt"] == ("indexed", 0)


def test_a_replay_of_nothing_in_particular_is_refused(acme: Caller) -> None:
    created = acme.register()
    cases: list[dict[str, Any]] = [
        {},
        {"all": False},
        {"all": True, "error_type": "corrupt"},
        {"keys": []},
        {"keys": ["a\x00"]},
        {"error_type": "No Such"},
        {"everything": True},
    ]
    for body in cases:
        assert_problem(acme.post(f"{CONFIGS}/{created['id']}/dead-letters/replay", body), 422)
