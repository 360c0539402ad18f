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
from tests.s3_bucket import Bucket

GUIDE = Path(__file__).parents[2] / "docs" / "S3_CONNECTOR.md"

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


def commands() -> list[str]:
    return re.findall(r"```bash\n(curl .*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)


def curl(system: System, command: str, token: str, config_id: str = "") -> tuple[int, dict]:
    """Run a printed command as printed, with host, token and id replaced."""
    command = command.replace("http://localhost:8000", system.api_url).replace(
        "{config_id}", config_id
    )
    result = subprocess.run(
        ["bash", "-c", command.strip() + " -s -w '\\n%{http_code}'"],
        env=os.environ | {"ADMIN_JWT": token},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    body, _, status = result.stdout.rpartition("\n")
    return int(status), json.loads(body)


def test_the_guide_works_from_top_to_bottom(system: System, token: str, s3_endpoint: str) -> None:
    bucket = Bucket.create(s3_endpoint, "my-documents-bucket")
    for number in range(42):
        bucket.put(
            f"documents/{number}.txt", f"Document {number} of the guide is about topic {number}."
        )
    bucket.put("elsewhere/not-synced.txt", "Outside of the prefix.")
    register, test, sync, runs, update = commands()

    status, created = curl(system, register, token)
    assert status == 201, created
    config_id = created["id"]
    assert created["config"]["poll_interval_seconds"] == 900
    assert "wJalrXUtnFEMI" not in json.dumps(created)

    expected = re.search(
        r"```json\n(\{\n  \"status\".*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL
    )
    assert expected is not None
    status, answer = curl(system, test, token, config_id)
    assert (status, answer) == (200, json.loads(expected[1]))

    system.wait(
        "the first sync has ended", lambda: system.states(config_id).get("indexed") == 42, 90
    )
    status, accepted = curl(system, sync, token, config_id)
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
    status, history = curl(system, runs, token, config_id)
    assert status == 200
    assert accepted["sync_id"] in {run["id"] for run in history["items"]}
    assert sum(run["objects"]["indexed"] for run in history["items"]) == 42

    status, updated = curl(system, update, token, config_id)
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
