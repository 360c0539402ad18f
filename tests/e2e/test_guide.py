"""The connector's guide, from top to bottom.

Every command on the page is run against the running system.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e.conftest import System
from tests.places import GcsPlace, Place, S3Place, key_file

DOCS = Path(__file__).parents[2] / "docs"

# The connector's document as it was asked for had this client; it lacks only its import
# of os.
PYTHON_CLIENT = """
import requests

ADMIN_API = "http://localhost:8000"
ADMIN_JWT = "your-admin-token"

# Register S3 connector
response = requests.post(
    f"{ADMIN_API}/_admin/connectors/configs",
    headers={"Authorization": f"Bearer {ADMIN_JWT}"},
    json={
        "tenant_id": "acme_corp",
        "provider": "s3",
        "config": {
            "bucket": "my-bucket",
            "prefix": "docs/",
            "region": "us-west-2",
            "access_key_id": os.getenv("AWS_ACCESS_KEY_ID"),
            "secret_access_key": os.getenv("AWS_SECRET_ACCESS_KEY"),
            "poll_interval_seconds": 600,
            "enabled": True
        }
    }
)

config_id = response.json()["id"]
print(f"Connector created: {config_id}")
"""


@pytest.fixture(scope="module")
def token(system: System) -> str:
    return system.run(*system.cli, "token", "--tenant", "acme_corp").stdout.strip()


def commands(guide: str) -> list[str]:
    return re.findall(r"```bash\n((?:curl|jq) .*?)```", guide, re.DOTALL)


def curl(
    system: System, command: str, token: str, folder: Path, config_id: str = ""
) -> tuple[int, dict]:
    """Run a printed command as printed, with host, token and id replaced."""
    command = command.replace("http://localhost:8000", system.api_url).replace(
        "{config_id}", config_id
    )
    result = subprocess.run(
        ["bash", "-c", command.strip() + " -s -w '\\n%{http_code}'"],
        env=os.environ | {"ADMIN_JWT": token},
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    body, _, status = result.stdout.rpartition("\n")
    return int(status), json.loads(body)


@pytest.mark.parametrize(
    ("page", "make", "server", "bucket"),
    [
        ("S3_CONNECTOR.md", S3Place, "s3_endpoint", "my-documents-bucket"),
        ("GCS_CONNECTOR.md", GcsPlace, "gcs_endpoint", "my-company-documents"),
    ],
)
def test_the_guide_works_from_top_to_bottom(
    system: System,
    token: str,
    page: str,
    make: type[S3Place | GcsPlace],
    server: str,
    bucket: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
) -> None:
    place: Place = make(request.getfixturevalue(server), bucket)
    for number in range(42):
        place.put(
            f"documents/{number}.txt", f"Document {number} of the guide is about topic {number}."
        )
    place.put("elsewhere/not-synced.txt", "Outside of the prefix.")
    (tmp_path / "key.json").write_text(key_file())
    guide = (DOCS / page).read_text(encoding="utf-8")
    register, test, sync, runs, update = commands(guide)
    if make is GcsPlace:
        # For S3 the system's settings name the tests' server in the place of AWS.
        prefix = '"prefix": "documents/",'
        register = register.replace(prefix, f'{prefix} "endpoint_url": "{place.endpoint_url}",')

    status, created = curl(system, register, token, tmp_path)
    assert status == 201, created
    config_id = created["id"]
    assert created["config"]["poll_interval_seconds"] == 900
    assert not [secret for secret in ("wJalrXUtnFEMI", "PRIVATE KEY") if secret in str(created)]

    expected = re.search(r"```json\n(\{\n  \"status\".*?)```", guide, re.DOTALL)
    assert expected is not None
    status, answer = curl(system, test, token, tmp_path, config_id)
    assert (status, answer) == (200, json.loads(expected[1]))

    system.wait(
        "the first sync has ended", lambda: system.states(config_id).get("indexed") == 42, 90
    )
    status, accepted = curl(system, sync, token, tmp_path, config_id)
    assert (status, accepted["status"]) == (202, "waiting")
    system.wait(
        "the sync that was asked for has ended",
        lambda: (
            next(run for run in system.runs(config_id) if run["id"] == accepted["sync_id"])[
                "status"
            ]
            == "succeeded"
        ),
        60,
    )
    status, history = curl(system, runs, token, tmp_path, config_id)
    assert status == 200
    assert accepted["sync_id"] in {run["id"] for run in history["items"]}
    assert sum(run["objects"]["indexed"] for run in history["items"]) == 42

    status, updated = curl(system, update, token, tmp_path, config_id)
    assert status == 200
    assert updated["config"]["poll_interval_seconds"] == 600
    assert updated["config"]["prefix"] == "documents/"


def test_the_python_client_of_the_document_runs(
    system: System, token: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAIOSFODNN7EXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")
    client = PYTHON_CLIENT.replace("your-admin-token", token)
    client = client.replace(
        "http://localhost:8000",
        system.api_url.replace(urlsplit(system.api_url).hostname, "localhost"),
    )
    exec(client, {"os": os})
    assert capsys.readouterr().out.startswith("Connector created: ")
