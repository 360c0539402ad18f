"""Who did what, over HTTP: every action is recorded with the token's subject."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography.fernet import Fernet
from fastapi.testclient import TestClient
from pydantic import SecretStr

from activekg_pipelines.administration.tokens import mint_token
from activekg_pipelines.api.app import create_app
from activekg_pipelines.connectors.encryption import KeyRing
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings, connector_keks
from tests.integration.api.conftest import (
    CONFIGS,
    Caller,
    LedgerRows,
    RecordingOrchestrator,
    assert_problem,
    registration,
)
from tests.parts import with_parts
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY

ACTIONS = "/_admin/connectors/actions"


def recorded(caller: Caller, **filters: Any) -> list[dict[str, Any]]:
    """The record, oldest first."""
    answer = caller.get(ACTIONS, **filters)
    assert answer.status_code == 200, answer.text
    return list(reversed(answer.json()["items"]))


def test_every_action_is_recorded_with_who_did_it(
    acme: Caller, ledger_rows: LedgerRows, admin: Services
) -> None:
    created = acme.register()
    url = f"{CONFIGS}/{created['id']}"
    acme.put(url, {"config": {"enabled": False, "poll_interval_seconds": 60}})
    new_key = "AKIA0000000000000NEW"
    acme.put(
        url, {"config": {"access_key_id": new_key, "secret_access_key": SECRET_ACCESS_KEY[::-1]}}
    )
    ledger_rows.add(created, "documents/a.txt", state="indexed")
    ledger_rows.add(created, "documents/b.txt", state="dead", error="corrupt")
    acme.post(f"{url}/dead-letters/replay", {"error_type": "corrupt"})
    ledger_rows.execute("UPDATE connectors.connectors SET deletions_held_back = 12")
    acme.post(f"{url}/confirm-deletes")
    ring = KeyRing(connector_keks() | {2: SecretStr(Fernet.generate_key().decode())}, 2)
    rotating = TestClient(create_app(with_parts(admin, keyring=ring)))
    Caller(rotating, acme.token).post("/_admin/connectors/rotate_keys")
    acme.delete(url, documents="remove")
    rows = recorded(acme)
    assert [(row["action"], row["details"]) for row in rows] == [
        ("connector_registered",
         {"provider": "s3", "location": "s3://my-documents-bucket/documents/"}),
        ("connector_changed",
         {"changed": {"enabled": {"from": True, "to": False},
                      "poll_interval_seconds": {"from": 900, "to": 60}}}),
        ("connector_changed",
         {"changed": {}, "secrets": ["access_key_id", "secret_access_key"]}),
        ("dead_letters_replayed", {"objects": 1, "error_type": "corrupt"}),
        ("deletions_confirmed", {"deletions": 12}),
        ("keys_rotated", {"connectors": 1, "key_version": 2}),
        ("connector_removal_begun", {"fate": "remove"}),
        ("connector_removed", {"documents": 1, "fate": "remove"}),
    ]  # fmt: skip
    assert {(row["actor"], row["via"], row["by_operator"]) for row in rows} == {
        ("alice", "api", False)
    }
    assert {row["config_id"] for row in rows} == {created["id"], None}
    text = json.dumps(rows)
    for secret in (ACCESS_KEY_ID, SECRET_ACCESS_KEY, new_key, SECRET_ACCESS_KEY[::-1]):
        assert secret not in text


@pytest.mark.parametrize(
    ("field", "before", "after"),
    [
        ("poll_interval_seconds", 900, 60),
        ("enabled", True, False),
        ("delete_guard_percent", None, 100),
    ],
)
def test_a_change_of_any_field_that_all_providers_share_is_recorded(
    acme: Caller, field: str, before: object, after: object
) -> None:
    url = f"{CONFIGS}/{acme.register()['id']}"
    assert acme.put(url, {"config": {field: after}}).status_code == 200
    assert [(row["action"], row["details"]) for row in recorded(acme)[1:]] == [
        ("connector_changed", {"changed": {field: {"from": before, "to": after}}})
    ]


def test_cancelled_syncs_are_recorded_also_where_a_pause_cancels_them(acme: Caller) -> None:
    url = f"{CONFIGS}/{acme.register()['id']}"
    runs = "/_admin/connectors/runs"

    def syncs_after_asking() -> list[str]:
        assert acme.post(f"{url}/sync").is_success
        return [run["id"] for run in acme.get(runs).json()["items"] if run["status"] == "waiting"]

    (first,) = syncs_after_asking()
    for _ in range(2):
        assert acme.post(f"{runs}/{first}/cancel").status_code == 202
    (second,) = syncs_after_asking()
    acme.put(url, {"config": {"enabled": False}})
    assert [(row["action"], row["actor"], row["details"].get("syncs")) for row in recorded(acme)][
        1:
    ] == [
        ("sync_cancelled", "alice", [first]),
        ("connector_changed", "alice", None),
        ("sync_cancelled", "alice", [second]),
    ]


def test_what_changes_nothing_is_not_recorded(acme: Caller, ledger_rows: LedgerRows) -> None:
    created = acme.register()
    url = f"{CONFIGS}/{created['id']}"
    acme.put(url, {"config": {"enabled": True}})
    acme.post(f"{url}/dead-letters/replay", {"all": True})
    acme.post(f"{url}/confirm-deletes")
    acme.post("/_admin/connectors/rotate_keys", {"dry_run": True})
    acme.post("/_admin/connectors/rotate_keys")
    assert [row["action"] for row in recorded(acme)] == ["connector_registered"]


def test_what_fails_is_not_recorded(
    acme: Caller, orchestrator: RecordingOrchestrator, root: Caller
) -> None:
    orchestrator.available = False
    assert_problem(acme.post(CONFIGS, registration()), 503)
    orchestrator.available = True
    acme.register()
    assert_problem(acme.post(CONFIGS, registration()), 409)
    assert [row["action"] for row in recorded(root)] == ["connector_registered"]


def test_a_tenant_sees_its_own_and_a_super_admin_all(
    acme: Caller, globex: Caller, root: Caller
) -> None:
    ours, theirs = acme.register(), root.register("globex")
    assert [row["config_id"] for row in recorded(acme)] == [ours["id"]]
    (seen,) = recorded(globex)
    assert (seen["config_id"], seen["actor"], seen["by_operator"]) == (theirs["id"], "root", True)
    assert [row["tenant_id"] for row in recorded(root)] == ["acme_corp", "globex"]
    assert recorded(root, tenant_id="globex") == [seen]
    assert recorded(acme, config_id=theirs["id"]) == []
    assert_problem(acme.get(ACTIONS, tenant_id="globex"), 403)


def test_the_record_of_a_removed_connector_stays(acme: Caller) -> None:
    created = acme.register()
    acme.delete(f"{CONFIGS}/{created['id']}", documents="keep")
    rows = recorded(acme, config_id=created["id"])
    assert [row["action"] for row in rows][-1] == "connector_removed"
    assert {row["partition_key"] for row in rows} == {created["partition_key"]}


def test_the_record_comes_in_pages(acme: Caller) -> None:
    for number in range(5):
        acme.register(prefix=f"{number}/")
    first = acme.get(ACTIONS, limit=2).json()
    second = acme.get(ACTIONS, limit=3, cursor=first["next_cursor"]).json()
    assert second["next_cursor"] is None
    numbers = [row["id"] for row in first["items"] + second["items"]]
    assert numbers == sorted(numbers, reverse=True)
    assert len(set(numbers)) == 5
    assert recorded(acme, action="connector_removed") == []
    assert_problem(acme.get(ACTIONS, action="everything"), 422)


@pytest.mark.parametrize(
    "cursor", ["x", "LTE", "MWUzMA", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "InRleHQi"]
)
def test_a_cursor_that_no_page_gave_is_refused(acme: Caller, cursor: str) -> None:
    assert_problem(acme.get(ACTIONS, cursor=cursor), 422, "invalid_cursor")


def test_two_who_act_at_once_are_told_apart(
    acme: Caller, client: Any, app_settings: Settings
) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def register(number: int) -> None:
        token = mint_token(app_settings, f"user {number}", "acme_corp", ["connectors:admin"], 600)
        Caller(client, token).register(prefix=f"{number}/", name=f"of-{number}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(register, range(12)))
    assert {(row["actor"], row["partition_key"]) for row in recorded(acme)} == {
        (f"user {number}", f"acme_corp/of-{number}") for number in range(12)
    }
