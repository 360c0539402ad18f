"""The command line does the same for a bucket on Google Cloud Storage as for one on S3."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from activekg_pipelines.services import Services
from tests.integration.cli.conftest import NAME, CommandLine, runs_worked_off
from tests.places import SERVICE_ACCOUNT, GcsPlace, key_file, private_key
from tests.registry import secrets_of

pytestmark = pytest.mark.parametrize("place", ["gcs"], indirect=True)

VARIABLE = "GOOGLE_APPLICATION_CREDENTIALS"


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """The service account's key file."""
    path = tmp_path / "key.json"
    path.write_text(key_file())
    return path


def added(place: GcsPlace, *more: str) -> list[str]:
    """The command that registers the place."""
    values = ["--provider", "gcs", "--tenant", "acme_corp", "--name", "documents"]
    where = ["--bucket", place.name, "--endpoint-url", place.endpoint_url]
    return ["connectors", "add", *values, *where, *more]


def test_a_bucket_is_registered_tested_listed_and_shown(
    cli: CommandLine,
    place: GcsPlace,
    key: Path,
    services: Services,
    instance: dg.DagsterInstance,
) -> None:
    place.put("documents/a.txt", "Penguins live in Antarctica.")
    created = cli.json(*added(place, "--prefix", "documents/"), **{VARIABLE: str(key)})
    assert created["provider"] == "gcs"
    assert created["partition_key"] == NAME
    assert created["config"]["service_account_json"] == SERVICE_ACCOUNT
    assert secrets_of(services, created["id"]) == {"service_account_json": key.read_text()}
    assert instance.get_dynamic_partitions("connector") == [NAME]

    tested = cli.json("connectors", "test", NAME)
    assert tested["message"] == "Successfully connected to Google Cloud Storage bucket"
    assert tested["objects_found"] == 1
    assert f"gs://{place.name}/documents/" in cli("connectors", "list").stdout
    shown = cli("connectors", "show", NAME).stdout
    assert f"gs://{place.name}/documents/" in shown
    assert private_key().splitlines()[1] not in shown


def test_the_key_file_is_asked_for_where_no_variable_names_it(
    cli: CommandLine, place: GcsPlace, key: Path, services: Services
) -> None:
    without = {VARIABLE: None}
    cli(*added(place), answer=f"{key}\n", **without)
    (connector,) = list(services.every_connector())
    assert secrets_of(services, connector.id) == {"service_account_json": key.read_text()}
    assert VARIABLE in cli(*added(place), code=2, answer="", **without).stderr
    refused = cli(*added(place), code=2, **{VARIABLE: str(key.parent / "none.json")}).stderr
    assert "cannot be read" in refused


def test_a_file_that_is_no_key_is_refused_in_one_sentence(
    cli: CommandLine, place: GcsPlace, tmp_path: Path
) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"type": "authorized_user", "refresh_token": "a-part-of-the-key"}')
    result = cli(*added(place), code=2, **{VARIABLE: str(other)})
    assert "must be the key of a service account" in " ".join(result.stderr.split())
    assert "a-part-of-the-key" not in result.output


def test_a_key_is_replaced_by_the_file_that_the_variable_names(
    cli: CommandLine, place: GcsPlace, key: Path, services: Services, tmp_path: Path
) -> None:
    created = cli.json(*added(place), **{VARIABLE: str(key)})
    other = tmp_path / "other.json"
    other.write_text(key_file(client_email="other@example-project.iam.gserviceaccount.com"))
    cli("connectors", "update", NAME, "--credentials", **{VARIABLE: str(other)})
    assert secrets_of(services, created["id"]) == {"service_account_json": other.read_text()}
    changed = cli.json("connectors", "update", NAME, "--project", "another-project")
    assert changed["config"]["project"] == "another-project"
    assert cli.json("connectors", "update", NAME, "--project", "")["config"]["project"] is None
    assert secrets_of(services, created["id"]) == {"service_account_json": other.read_text()}


def test_a_sync_is_previewed_followed_searched_and_audited(
    cli: CommandLine, place: GcsPlace, key: Path, services: Services
) -> None:
    place.put("penguins.txt", "Penguins live in Antarctica.")
    place.put("corrupt.pdf", b"%PDF-1.7\nNothing of a PDF follows.")
    cli.json(*added(place), **{VARIABLE: str(key)})
    preview = cli.json("preview", NAME)
    assert preview["changes"]["add"]["sample"] == ["corrupt.pdf", "penguins.txt"]
    with runs_worked_off(services):
        synced = cli("connectors", "sync", NAME, "--wait", "--timeout", "60").stdout
    assert "1 indexed" in synced
    (hit,) = cli.json("search", "Where do penguins live?", "--tenant", "acme_corp")["hits"]
    assert hit["uri"] == place.uri("penguins.txt")
    assert "corrupt.pdf" in cli("dead-letters", "list", NAME).stdout
    assert "Everything agrees" in cli("audit", NAME).stdout
