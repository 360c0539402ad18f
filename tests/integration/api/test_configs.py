"""Registering, showing, changing, syncing and removing connectors.

The requests are those of the connector's document.
"""

from __future__ import annotations

from typing import Any

import pytest

from activekg_pipelines.services import Services
from tests.integration.api.conftest import (
    CONFIGS,
    Caller,
    LedgerRows,
    RecordingOrchestrator,
    assert_problem,
    registration,
)
from tests.integration.syncing import in_transaction
from tests.registry import record_error, secrets_of
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY


def test_the_documents_registration_answers_with_id_and_masked_secrets(
    acme: Caller, orchestrator: RecordingOrchestrator
) -> None:
    answer = acme.post(CONFIGS, registration())
    assert answer.status_code == 201
    assert SECRET_ACCESS_KEY not in answer.text
    assert ACCESS_KEY_ID not in answer.text
    created = answer.json()
    assert answer.headers["location"] == f"{CONFIGS}/{created['id']}"
    assert created["tenant_id"] == "acme_corp"
    assert created["provider"] == "s3"
    assert created["config"] == {
        "name": created["config"]["name"],
        "bucket": "my-documents-bucket",
        "prefix": "documents/",
        "region": "us-east-1",
        "access_key_id": "AKIA…MPLE",
        "secret_access_key": "********",
        "poll_interval_seconds": 900,
        "enabled": True,
        "delete_guard_percent": None,
        "endpoint_url": None,
        "addressing_style": "auto",
        "requester_pays": False,
        "anonymous": False,
    }
    assert created["status"] == "waiting"
    assert orchestrator.partitions == {created["partition_key"]}
    assert orchestrator.reloads == 1


def test_defaults_are_the_documents(acme: Caller) -> None:
    body = registration()
    for name in ("prefix", "region", "poll_interval_seconds", "enabled"):
        del body["config"][name]
    config = acme.post(CONFIGS, body).json()["config"]
    assert (
        config["prefix"],
        config["region"],
        config["poll_interval_seconds"],
        config["enabled"],
    ) == (
        "",
        "us-east-1",
        900,
        True,
    )


def test_a_refused_configuration_names_field_and_rule(
    acme: Caller, subtests: pytest.Subtests
) -> None:
    cases: list[tuple[dict[str, Any], str]] = [
        ({"bucket": "No Such Name"}, "config.bucket"),
        ({"access_key_id": "short"}, "config.access_key_id"),
        ({"secret_access_key": "x" * 31}, "config.secret_access_key"),
        ({"access_key_id": f"{ACCESS_KEY_ID}\n"}, "config.access_key_id"),
        ({"secret_access_key": f" {SECRET_ACCESS_KEY}"}, "config.secret_access_key"),
        ({"secret_access_key": f"{SECRET_ACCESS_KEY}\u200b"}, "config.secret_access_key"),
        ({"poll_interval_seconds": 59}, "config.poll_interval_seconds"),
        ({"poll_interval_seconds": 3601}, "config.poll_interval_seconds"),
        ({"prefix": "a\x00b"}, "config.prefix"),
        ({"prefix": "x" * 1025}, "config.prefix"),
        ({"secret_acess_key": SECRET_ACCESS_KEY}, "config.secret_acess_key"),
        ({"enabled": "perhaps"}, "config.enabled"),
        ({"endpoint_url": "ftp://example.com"}, "config.endpoint_url"),
    ]
    for changes, field in cases:
        with subtests.test(field=field):
            problem = assert_problem(
                acme.post(CONFIGS, registration(**changes)), 422, "invalid_request"
            )
            assert [error["field"] for error in problem["errors"]] == [field]
            assert problem["errors"][0]["location"] == "body"
            assert problem["errors"][0]["rule"]


def test_unknown_fields_are_refused_at_every_level(acme: Caller) -> None:
    for body, field in (
        (registration() | {"colour": "red"}, "colour"),
        (registration(colour="red"), "config.colour"),
    ):
        problem = assert_problem(acme.post(CONFIGS, body), 422)
        assert problem["errors"] == [
            {"location": "body", "field": field, "rule": "is not a known field"}
        ]
    assert_problem(acme.get(CONFIGS, colour="red"), 422)


def test_changes_that_are_no_object_get_one_sentence(acme: Caller) -> None:
    created = acme.post(CONFIGS, registration()).json()
    for config in ([], "x", 7, None):
        problem = assert_problem(acme.put(f"{CONFIGS}/{created['id']}", {"config": config}), 422)
        assert problem["errors"] == [
            {
                "location": "body",
                "field": "config",
                "rule": "must be an object with the fields to change",
            }
        ]


def test_broken_bodies_are_the_callers_fault(acme: Caller, subtests: pytest.Subtests) -> None:
    cases = [
        b'{"tenant_id": "acme_corp", "provider": "s3", "config": {"bucket": "abc", "prefix": '
        b'"\\ud800"}}',
        b'{"\\ud800": 1}',
        b"{not json",
        b"[]",
        b"null",
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
    ]
    for body in cases:
        with subtests.test(body=body[:80]):
            answer = acme.request(
                "POST", CONFIGS, content=body, headers={"Content-Type": "application/json"}
            )
            assert answer.status_code in {400, 422}
            assert_problem(answer, answer.status_code)


def test_an_endpoint_that_the_operator_did_not_allow_is_refused(acme: Caller) -> None:
    problem = assert_problem(
        acme.post(CONFIGS, registration(endpoint_url="http://169.254.169.254")), 422
    )
    assert "ACTIVEKG_ENDPOINT_ALLOWLIST" in problem["detail"]


def test_connectors_that_share_objects_conflict(acme: Caller) -> None:
    acme.register()
    assert_problem(acme.post(CONFIGS, registration(prefix="documents/contracts/")), 409, "conflict")
    acme.register(prefix="images/")


def test_nothing_is_registered_while_dagster_is_away(
    acme: Caller, orchestrator: RecordingOrchestrator
) -> None:
    orchestrator.available = False
    assert_problem(acme.post(CONFIGS, registration()), 503, "unavailable")
    assert acme.get(CONFIGS).json()["items"] == []
    orchestrator.available = True
    acme.register()


def test_connectors_are_listed_page_by_page(acme: Caller) -> None:
    ids = [acme.register(prefix=f"p{number}/")["id"] for number in range(5)]
    first = acme.get(CONFIGS, limit=2).json()
    second = acme.get(CONFIGS, limit=2, cursor=first["next_cursor"]).json()
    third = acme.get(CONFIGS, limit=2, cursor=second["next_cursor"], provider="s3").json()
    assert [item["id"] for page in (first, second, third) for item in page["items"]] == ids
    assert third["next_cursor"] is None


def test_a_made_up_cursor_is_refused(acme: Caller) -> None:
    for cursor in ["nonsense", "W10", "!!", "é", "bnVsbA"]:
        assert_problem(acme.get(CONFIGS, cursor=cursor), 422, "invalid_cursor")


def test_one_connector_shows_its_progress(acme: Caller, ledger_rows: LedgerRows) -> None:
    created = acme.register()
    ledger_rows.add(created, "documents/a.txt")
    ledger_rows.add(created, "documents/b.txt", state="dead", error="corrupt")
    shown = acme.get(f"{CONFIGS}/{created['id']}").json()
    assert shown["objects"] == {"pending": 1, "dead": 1}
    assert shown["config"]["secret_access_key"] == "********"


def test_status_says_what_needs_somebody(
    acme: Caller, ledger_rows: LedgerRows, admin: Services
) -> None:
    created = acme.register()
    url = f"{CONFIGS}/{created['id']}"
    ledger_rows.execute("UPDATE connectors.connectors SET last_scan_completed_at = now()")
    assert acme.get(url).json()["status"] == "active"
    ledger_rows.execute("UPDATE connectors.connectors SET deletions_held_back = 12")
    assert acme.get(url).json()["status"] == "needs_confirmation"
    record_error(admin, next(admin.every_connector()).id, "access_denied", "S3 denies it.")
    shown = acme.get(url).json()
    assert (shown["status"], shown["last_error"]["error_type"]) == ("error", "access_denied")
    assert acme.put(url, {"config": {"enabled": False}}).json()["status"] == "disabled"


def test_the_documents_update_changes_the_given_fields_only(
    acme: Caller, orchestrator: RecordingOrchestrator, admin: Services
) -> None:
    created = acme.register()
    answer = acme.put(
        f"{CONFIGS}/{created['id']}", {"config": {"poll_interval_seconds": 600, "enabled": True}}
    )
    assert answer.status_code == 200
    assert answer.json()["config"] == created["config"] | {"poll_interval_seconds": 600}
    # The tenant's sensor ticks at the smallest interval.
    assert orchestrator.reloads == 2
    assert (
        secrets_of(admin, next(admin.every_connector()).id)["secret_access_key"]
        == SECRET_ACCESS_KEY
    )


def test_new_keys_replace_the_old_ones(acme: Caller, admin: Services) -> None:
    created = acme.register()
    url = f"{CONFIGS}/{created['id']}"
    keys = {"access_key_id": "AKIA0000000000000NEW", "secret_access_key": "n" * 40}
    assert acme.put(url, {"config": keys}).json()["config"]["access_key_id"] == "AKIA…0NEW"
    assert secrets_of(admin, next(admin.every_connector()).id)["secret_access_key"] == "n" * 40
    assert_problem(acme.put(url, {"config": {"access_key_id": "AKIA0000000000000NEW"}}), 422)


def test_what_cannot_be_changed_is_refused(acme: Caller, subtests: pytest.Subtests) -> None:
    created = acme.register()
    cases: list[dict[str, Any]] = [
        {"bucket": None},
        {"enabled": None},
        {"access_key_id": None, "secret_access_key": None},
        {"secret_access_key": "********", "access_key_id": "AKIA…MPLE"},
        {"name": "other"},
        {"tenant_id": "globex"},
    ]
    for changes in cases:
        with subtests.test(changes=changes):
            assert_problem(acme.put(f"{CONFIGS}/{created['id']}", {"config": changes}), 422)
    assert acme.get(f"{CONFIGS}/{created['id']}").json()["config"] == created["config"]


def test_a_new_prefix_asks_what_becomes_of_documents_outside_it(
    acme: Caller, ledger_rows: LedgerRows
) -> None:
    created = acme.register()
    url = f"{CONFIGS}/{created['id']}"
    for key in ("documents/hr/a.txt", "documents/hr/b.txt", "documents/it/c.txt"):
        ledger_rows.add(created, key, state="indexed")
    ledger_rows.execute(
        "UPDATE connectors.connectors SET last_scan_started_at = now(), last_scan_completed_at = "
        "now()"
    )

    problem = assert_problem(
        acme.put(url, {"config": {"prefix": "documents/hr/"}}), 409, "documents_affected"
    )
    assert problem["documents_affected"] == 1
    assert acme.get(url).json()["config"]["prefix"] == "documents/"
    assert len(ledger_rows.documents()) == 3

    answer = acme.put(url, {"config": {"prefix": "documents/hr/"}}, documents="remove").json()
    assert (answer["documents_removed"], answer["documents_kept"]) == (1, 0)
    assert answer["config"]["prefix"] == "documents/hr/"
    # The new source is listed at once, from its first key.
    assert answer["status"] == "waiting"
    assert ledger_rows.documents() == {
        "s3://my-documents-bucket/documents/hr/a.txt",
        "s3://my-documents-bucket/documents/hr/b.txt",
    }
    assert ledger_rows.states(created) == {
        "documents/hr/a.txt": ("indexed", 0),
        "documents/hr/b.txt": ("indexed", 0),
    }


def test_a_new_bucket_forgets_equal_keys_and_keeps_documents_when_told_so(
    acme: Caller, ledger_rows: LedgerRows
) -> None:
    created = acme.register()
    ledger_rows.add(created, "documents/a.txt", state="indexed")
    answer = acme.put(
        f"{CONFIGS}/{created['id']}", {"config": {"bucket": "other-bucket"}}, documents="keep"
    ).json()
    assert (answer["documents_removed"], answer["documents_kept"]) == (0, 1)
    assert ledger_rows.documents() == {"s3://my-documents-bucket/documents/a.txt"}
    assert ledger_rows.states(created) == {}


def test_a_wider_prefix_leaves_nothing_out(acme: Caller, ledger_rows: LedgerRows) -> None:
    created = acme.register()
    ledger_rows.add(created, "documents/a.txt", state="indexed")
    answer = acme.put(f"{CONFIGS}/{created['id']}", {"config": {"prefix": ""}})
    assert answer.status_code == 200
    assert ledger_rows.states(created) == {"documents/a.txt": ("indexed", 0)}


def test_a_change_that_conflicts_changes_nothing(acme: Caller, ledger_rows: LedgerRows) -> None:
    acme.register(prefix="images/")
    created = acme.register()
    ledger_rows.add(created, "documents/a.txt", state="indexed")
    url = f"{CONFIGS}/{created['id']}"
    assert_problem(
        acme.put(url, {"config": {"prefix": "images/large/"}}, documents="remove"), 409, "conflict"
    )
    assert acme.get(url).json()["config"] == created["config"]
    assert ledger_rows.states(created) == {"documents/a.txt": ("indexed", 0)}
    assert len(ledger_rows.documents()) == 1


def test_a_listing_under_way_ends_with_its_source(acme: Caller, admin: Services) -> None:
    created = acme.register()
    connector = next(admin.every_connector())
    scan = in_transaction(
        admin, admin.ledger.open_scan, connector.id, connector.tenant_id, generation=0
    )
    acme.put(f"{CONFIGS}/{created['id']}", {"config": {"prefix": "images/"}})
    assert (
        in_transaction(
            admin, admin.ledger.open_scan, connector.id, connector.tenant_id, generation=1
        ).id
        != scan.id
    )


@pytest.mark.parametrize(("documents", "left"), [("remove", 0), ("keep", 1)])
def test_removing_a_connector_does_with_documents_what_the_caller_says(
    acme: Caller,
    ledger_rows: LedgerRows,
    orchestrator: RecordingOrchestrator,
    documents: str,
    left: int,
) -> None:
    created = acme.register()
    ledger_rows.add(created, "documents/a.txt", state="indexed")
    ledger_rows.add(created, "documents/b.txt", state="dead", error="corrupt")
    url = f"{CONFIGS}/{created['id']}"
    assert_problem(acme.delete(url), 422)
    assert acme.delete(url, documents=documents).json() == {
        "id": created["id"],
        "documents_removed": 1 - left,
        "documents_kept": left,
    }
    assert len(ledger_rows.documents()) == left
    assert orchestrator.partitions == set()
    assert orchestrator.reloads == 2
    assert_problem(acme.get(url), 404)
    assert_problem(acme.delete(url, documents=documents), 404)


def test_nothing_is_removed_while_dagster_is_away(
    acme: Caller, ledger_rows: LedgerRows, orchestrator: RecordingOrchestrator
) -> None:
    created = acme.register()
    ledger_rows.add(created, "documents/a.txt", state="indexed")
    orchestrator.available = False
    assert_problem(acme.delete(f"{CONFIGS}/{created['id']}", documents="remove"), 503)
    assert ledger_rows.states(created) == {"documents/a.txt": ("indexed", 0)}
    assert len(ledger_rows.documents()) == 1


def test_a_sync_waits_for_its_run_and_a_second_one_joins_it(
    acme: Caller, ledger_rows: LedgerRows
) -> None:
    created = acme.register()
    url = f"{CONFIGS}/{created['id']}/sync"
    first = acme.post(url)
    assert first.status_code == 202
    assert first.json() == {"sync_id": first.json()["sync_id"], "status": "waiting"}
    assert acme.post(url).json() == acme.post(url, {}).json() == first.json()
    assert acme.post(url, {"mode": "all"}).json()["sync_id"] != first.json()["sync_id"]
    assert ledger_rows.waiting_runs(created) == [("manual", "changed"), ("manual", "all")]


def test_single_objects_are_processed_again(acme: Caller, ledger_rows: LedgerRows) -> None:
    created = acme.register()
    ledger_rows.add(created, "documents/a.txt", state="indexed")
    ledger_rows.add(created, "documents/b.txt", state="dead", error="corrupt")
    ledger_rows.add(created, "documents/c.txt", state="dead", error="corrupt")
    answer = acme.post(
        f"{CONFIGS}/{created['id']}/sync",
        {"keys": ["documents/a.txt", "documents/b.txt", "documents/new.txt"]},
    )
    assert answer.json()["objects_queued"] == 2
    assert ledger_rows.states(created) == {
        "documents/a.txt": ("pending", 0),
        "documents/b.txt": ("pending", 0),
        "documents/c.txt": ("dead", 5),
    }


def test_a_disabled_connector_does_not_sync(acme: Caller, ledger_rows: LedgerRows) -> None:
    created = acme.register(enabled=False)
    assert_problem(acme.post(f"{CONFIGS}/{created['id']}/sync"), 409)
    assert ledger_rows.waiting_runs(created) == []


def test_a_sync_that_asks_for_nonsense_is_refused(acme: Caller) -> None:
    created = acme.register()
    for body in [{"mode": "everything"}, {"keys": [""]}, {"keys": ["a\x00b"]}, {"colour": "red"}]:
        assert_problem(acme.post(f"{CONFIGS}/{created['id']}/sync", body), 422)


def test_held_back_deletions_go_on_after_one_confirmation(
    acme: Caller, ledger_rows: LedgerRows
) -> None:
    created = acme.register()
    url = f"{CONFIGS}/{created['id']}/confirm-deletes"
    assert acme.post(url).json() == {"deletions_confirmed": 0, "sync_id": None}
    ledger_rows.execute("UPDATE connectors.connectors SET deletions_held_back = 12")
    confirmed = acme.post(url).json()
    assert confirmed["deletions_confirmed"] == 12
    assert confirmed["sync_id"]
    assert ledger_rows.waiting_runs(created) == [("manual", "changed")]


def test_a_connector_sets_its_own_delete_guard(acme: Caller, admin: Services) -> None:
    body = registration()
    body["config"]["delete_guard_percent"] = 35
    created = acme.post(CONFIGS, body).json()
    assert created["config"]["delete_guard_percent"] == 35
    url = f"{CONFIGS}/{created['id']}"
    for wrong in (0, 101, "35", 1.5):
        assert_problem(acme.put(url, {"config": {"delete_guard_percent": wrong}}), 422)
    changed = acme.put(url, {"config": {"delete_guard_percent": None}}).json()
    assert changed["config"]["delete_guard_percent"] is None
    assert admin.delete_guard_share(admin.connector(created["id"])) == 0.2
