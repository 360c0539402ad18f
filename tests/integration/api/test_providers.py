"""The API does the same for every provider; the provider's own fields are its own."""

from __future__ import annotations

from typing import Any

import pytest

from activekg_pipelines.administration.tokens import mint_token
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.memory import MemoryConfig, MemoryStore, memory_provider
from activekg_pipelines.sources.registry import registered
from tests.integration.api.conftest import (
    CONFIGS,
    Caller,
    RecordingOrchestrator,
    assert_problem,
)
from tests.integration.syncing import sync
from tests.places import SERVICE_ACCOUNT, GcsPlace, Place, key_file, private_key
from tests.registry import in_clear, secrets_of

over_http = pytest.mark.parametrize("place", ["s3", "gcs"], indirect=True)
google_only = pytest.mark.parametrize("place", ["gcs"], indirect=True)


def registration(place: Place, **changes: Any) -> dict[str, Any]:
    """What a customer sends."""
    config = place.config(**changes)
    values = config.own() | in_clear(config.secrets())
    return {"tenant_id": "acme_corp", "provider": place.provider.name, "config": values}


def register(caller: Caller, place: Place, **changes: Any) -> dict[str, Any]:
    answer = caller.post(CONFIGS, registration(place, **changes))
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


@over_http
def test_a_connector_is_registered_shown_tested_listed_and_removed(
    acme: Caller, place: Place, orchestrator: RecordingOrchestrator
) -> None:
    for number in range(42):
        place.put(f"documents/{number}.txt", "text")
    created = register(acme, place, prefix="documents/")
    assert created["provider"] == place.provider.name
    assert created["location"] == place.uri("documents/")
    assert created["config"]["bucket"] == place.name
    for secret in in_clear(place.config().secrets()).values():
        assert secret not in str(created)

    assert acme.post(f"{CONFIGS}/{created['id']}/test").json() == {
        "status": "success",
        "message": f"Successfully connected to {place.provider.place}",
        "objects_found": 42,
    }
    (listed,) = acme.get(CONFIGS, provider=place.provider.name).json()["items"]
    assert listed["id"] == created["id"]
    others = {"s3": "gcs", "gcs": "s3"}[place.provider.name]
    assert acme.get(CONFIGS, provider=others).json()["items"] == []

    assert acme.post(f"{CONFIGS}/{created['id']}/sync").status_code == 202
    removed = acme.delete(f"{CONFIGS}/{created['id']}", documents="remove")
    assert removed.status_code == 200, removed.text
    assert orchestrator.partitions == set()


@over_http
def test_a_configuration_is_tried_before_it_is_registered(acme: Caller, place: Place) -> None:
    place.put("a.txt", "text")
    answer = acme.post(f"{CONFIGS}/test", registration(place)).json()
    assert (answer["status"], answer["objects_found"]) == ("success", 1)
    missing = acme.post(f"{CONFIGS}/test", registration(place, bucket="no-such-bucket")).json()
    assert (missing["status"], missing["error_type"]) == ("error", "no_such_bucket")
    assert "no-such-bucket" in missing["message"]
    assert missing["fix"]
    warned = acme.post(f"{CONFIGS}/test", registration(place, prefix="/a")).json()
    assert f"Keys of {place.provider.title} rarely begin with a slash" in warned["warning"]


@over_http
def test_connectors_that_share_objects_conflict(acme: Caller, place: Place) -> None:
    register(acme, place, prefix="documents/")
    refused = acme.post(CONFIGS, registration(place, prefix="documents/2024/"))
    assert_problem(refused, 409)
    register(acme, place, prefix="other/")


@over_http
def test_a_preview_counts_what_the_next_sync_does(acme: Caller, place: Place) -> None:
    place.put("new.txt", "A new document.")
    place.put("photo.jpg", "jpeg")
    created = register(acme, place)
    shown = acme.post(f"{CONFIGS}/{created['id']}/preview")
    assert shown.status_code == 200, shown.text
    changes = shown.json()["changes"]
    assert changes["add"]["sample"] == ["new.txt"]
    assert changes["skip"]["sample"] == ["photo.jpg"]


@over_http
def test_metrics_carry_the_provider(
    client: Any, app_settings: Settings, services: Services, place: Place
) -> None:
    place.put("a.txt", "Penguins live in Antarctica.")
    sync(services, place.register(services))
    scraper = Caller(client, mint_token(app_settings, "prometheus", None, ["metrics:read"], 600))
    labels = f'{{provider="{place.provider.name}",status="success",tenant="acme_corp"}}'
    assert f"connector_run_items_total{labels} 1.0" in scraper.get("/metrics").text


@google_only
def test_the_key_file_is_kept_encrypted_and_shown_by_its_address(
    acme: Caller, admin: Services, place: GcsPlace
) -> None:
    created = register(acme, place, project="example-project-2")
    assert created["config"] == {
        "name": place.name,
        "bucket": place.name,
        "prefix": "",
        "project": "example-project-2",
        "service_account_json": SERVICE_ACCOUNT,
        "endpoint_url": place.endpoint_url,
        "poll_interval_seconds": 900,
        "enabled": True,
        "delete_guard_percent": None,
    }
    assert secrets_of(admin, created["id"]) == in_clear(place.config().secrets())
    with admin.database.transaction() as conn:
        stored = conn.execute("SELECT c::text FROM connectors.connectors c").fetchall()
    assert not any(line in str(stored) for line in private_key().splitlines()[1:-1])

    other = "writer@example-project.iam.gserviceaccount.com"
    changes = {"service_account_json": key_file(client_email=other)}
    changed = acme.put(f"{CONFIGS}/{created['id']}", {"config": changes})
    assert changed.status_code == 200, changed.text
    assert changed.json()["config"]["service_account_json"] == other
    assert acme.put(
        f"{CONFIGS}/{created['id']}", {"config": {"poll_interval_seconds": 600}}
    ).json()["config"] == created["config"] | {
        "poll_interval_seconds": 600,
        "service_account_json": other,
    }


@google_only
@pytest.mark.parametrize("part", ["type", "private_key", "token_uri"])
def test_a_refused_key_file_is_not_repeated(acme: Caller, place: GcsPlace, part: str) -> None:
    body = registration(place)
    body["config"]["service_account_json"] = key_file(**{part: "a-part-of-the-key"})
    for answer in (acme.post(CONFIGS, body), acme.post(f"{CONFIGS}/test", body)):
        problem = assert_problem(answer, 422)
        (error,) = problem["errors"]
        assert "service_account_json" in error["field"]
        assert part in error["rule"] or "service account" in error["rule"]
        assert "a-part-of-the-key" not in answer.text
        assert "PRIVATE KEY" not in answer.text


@google_only
def test_hosts_that_the_operator_does_not_allow_are_refused(acme: Caller, place: GcsPlace) -> None:
    body = registration(place)
    body["config"]["endpoint_url"] = "https://storage.example.com"
    assert_problem(acme.post(CONFIGS, body), 422)
    body = registration(place)
    token_uri = "https://tokens.example.com/token"
    body["config"]["service_account_json"] = key_file(token_uri=token_uri)
    problem = assert_problem(acme.post(CONFIGS, body), 422)
    assert "tokens.example.com" in problem["detail"]


@google_only
def test_fields_of_another_provider_are_refused(acme: Caller, place: GcsPlace) -> None:
    body = registration(place)
    body["config"]["region"] = "us-east-1"
    assert_problem(acme.post(CONFIGS, body), 422)
    created = register(acme, place)
    change = {"config": {"region": "us-east-1"}}
    assert_problem(acme.put(f"{CONFIGS}/{created['id']}", change), 422)


def test_a_connector_whose_provider_is_not_installed_hides_no_other_one(
    acme: Caller, admin: Services
) -> None:
    with registered(memory_provider(MemoryStore())), admin.database.transaction() as conn:
        config = MemoryConfig(store="elsewhere", poll_interval_seconds=60)
        orphan = admin.connectors.create(conn, "acme_corp", "memory", config)
    other = acme.register()
    shown = {item["id"]: item for item in acme.get(CONFIGS).json()["items"]}
    assert shown.keys() == {str(orphan.id), other["id"]}
    assert shown[str(orphan.id)]["location"] == "memory://elsewhere/"
    assert shown[str(orphan.id)]["config"] == {
        "name": "elsewhere",
        "poll_interval_seconds": 60,
        "enabled": True,
        "delete_guard_percent": None,
        "store": "elsewhere",
        "prefix": "",
    }
    assert acme.get(f"{CONFIGS}/{orphan.id}").json()["provider"] == "memory"
