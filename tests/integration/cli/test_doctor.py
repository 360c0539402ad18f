"""The doctor names each broken part and what to do about it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet

from activekg_pipelines.administration import checks
from activekg_pipelines.administration.checks import CHECKS, Installation
from activekg_pipelines.services import Services
from tests.integration.cli.conftest import CommandLine
from tests.integration.syncing import query
from tests.s3_bucket import Bucket

PARTS = ["settings", *(check.name for check in CHECKS)]


class _Webserver(BaseHTTPRequestHandler):
    """Answers as Dagster's webserver does when everything runs."""

    daemons_healthy = True

    def do_POST(self) -> None:
        question = self.rfile.read(int(self.headers["Content-Length"])).decode()
        location = {
            "name": "activekg",
            "loadStatus": "LOADED",
            "locationOrLoadError": {
                "__typename": "RepositoryLocation",
                "repositories": [{"sensors": [{"name": "work_queue"}]}],
            },
        }
        daemon = {"daemonType": "SENSOR", "required": True, "healthy": self.daemons_healthy}
        data: dict[str, Any] = (
            {"instance": {"daemonHealth": {"allDaemonStatuses": [daemon]}}}
            if "daemonHealth" in question
            else {"workspaceOrError": {"__typename": "Workspace", "locationEntries": [location]}}
        )
        body = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def webserver() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Webserver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def findings(
    cli: CommandLine, *arguments: str, code: int = 4, **environment: str | None
) -> dict[str, dict[str, Any]]:
    answer = cli.json("doctor", *arguments, code=code, **environment)
    assert answer["healthy"] is (code == 0)
    return {check["name"]: check for check in answer["checks"]}


def broken(found: dict[str, dict[str, Any]]) -> set[str]:
    """Parts that are broken; each says what to do."""
    names = {name for name, check in found.items() if check["ok"] is False}
    assert all(found[name]["fix"] for name in names)
    return names


SLOW = ("--skip", "sandbox", "--skip", "model")


def test_a_healthy_installation(cli: CommandLine, bucket: Bucket, webserver: str) -> None:
    cli.add(bucket)
    found = findings(cli, code=0, ACTIVEKG_WEBSERVER_URL=webserver)
    assert list(found) == PARTS
    assert all(check["ok"] for check in found.values())
    assert found["dagster_storage"]["detail"] == "answers; 1 partitions"


def test_without_dagster_the_rest_is_checked(cli: CommandLine) -> None:
    found = findings(cli, *SLOW)
    assert broken(found) == {"dagster_webserver"}
    assert found["dagster_daemon"]["ok"] is None
    dagster = (
        "--skip",
        "dagster_webserver",
        "--skip",
        "dagster_code_location",
        "--skip",
        "dagster_daemon",
    )
    assert "Everything works" in cli("doctor", *SLOW, *dagster).stdout
    shown = cli("doctor", *SLOW, code=4).stdout
    assert "BROKEN" in shown
    assert "ACTIVEKG_WEBSERVER_URL" in shown


def test_a_daemon_without_heartbeat(
    cli: CommandLine, webserver: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_Webserver, "daemons_healthy", False)
    assert broken(findings(cli, *SLOW, ACTIVEKG_WEBSERVER_URL=webserver)) == {"dagster_daemon"}


def test_settings_that_cannot_be_read(cli: CommandLine) -> None:
    found = findings(cli, ACTIVEKG_POOL_SIZE="many")
    assert broken(found) == {"settings"}
    assert "ACTIVEKG_POOL_SIZE" in found["settings"]["detail"]
    assert [check["ok"] for name, check in found.items() if name != "settings"] == [None] * (
        len(PARTS) - 1
    )


def test_a_database_that_is_away(cli: CommandLine, webserver: str) -> None:
    away = "postgresql://user:topsecret@127.0.0.1:1/nowhere"
    for dagster in (None, away):
        found = findings(
            cli,
            *SLOW,
            ACTIVEKG_DSN=away,
            ACTIVEKG_DAGSTER_DSN=dagster,
            ACTIVEKG_WEBSERVER_URL=webserver,
        )
        assert broken(found) == {"database"}
        assert "topsecret" not in str(found)
        assert found["migrations"]["ok"] is None


def test_a_database_that_was_never_migrated(
    cli: CommandLine, empty_dsn: str, webserver: str
) -> None:
    found = findings(cli, *SLOW, ACTIVEKG_DSN=empty_dsn, ACTIVEKG_WEBSERVER_URL=webserver)
    assert broken(found) == {"migrations"}
    assert "activekg-pipelines migrate" in found["migrations"]["fix"]


def test_keys_that_stored_credentials_need(
    cli: CommandLine, bucket: Bucket, webserver: str
) -> None:
    cli.add(bucket)
    new = Fernet.generate_key().decode()
    both = {
        "CONNECTOR_KEK_V2": new,
        "CONNECTOR_KEK_ACTIVE_VERSION": "2",
        "ACTIVEKG_WEBSERVER_URL": webserver,
    }
    assert "rotate-keys" in findings(cli, *SLOW, code=0, **both)["encryption_keys"]["detail"]
    found = findings(cli, *SLOW, CONNECTOR_KEK_V1=None, **both)
    assert broken(found) == {"encryption_keys"}
    assert "CONNECTOR_KEK_V1" in found["encryption_keys"]["detail"]
    assert broken(findings(cli, *SLOW, CONNECTOR_KEK_V1=new, ACTIVEKG_WEBSERVER_URL=webserver)) == {
        "encryption_keys"
    }
    assert broken(
        findings(
            cli,
            *SLOW,
            CONNECTOR_KEK_V1=None,
            ACTIVEKG_WEBSERVER_URL=webserver,
            CONNECTOR_KEK_ACTIVE_VERSION=None,
            ACTIVEKG_HOME=None,
        )
    ) == {"encryption_keys"}


def test_endpoints_tokens_model_and_space(cli: CommandLine, bucket: Bucket, webserver: str) -> None:
    cli.add(bucket)
    found = findings(
        cli,
        "--skip",
        "sandbox",
        ACTIVEKG_WEBSERVER_URL=webserver,
        ACTIVEKG_ENDPOINT_ALLOWLIST="elsewhere.example",
        JWT_SECRET_KEY="short",
        ACTIVEKG_EMBEDDING_MODEL="/no/such folder",
        ACTIVEKG_MAX_FILE_BYTES=str(10**15),
    )
    assert broken(found) == {"s3_endpoints", "token_key", "model", "temporary_space"}
    assert "acme_corp/documents" in found["s3_endpoints"]["detail"]


@pytest.mark.parametrize("page", [b"<p>The page is gone.</p>", b"%PDF-1.7 damaged"])
def test_a_sandbox_that_does_not_read_what_is_written(services: Services, page: bytes) -> None:
    with Installation(services, page=page) as installation:
        (found,) = checks.findings(installation, {"sandbox"})
    assert found.ok is False
    assert found.fix


def test_a_parser_that_cannot_be_loaded(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "docx.py").write_text("raise ImportError('half installed')")
    monkeypatch.syspath_prepend(tmp_path)
    with Installation(services) as installation:
        (found,) = checks.findings(installation, {"sandbox"})
    assert found.ok is False
    assert "docx: ImportError: half installed" in found.detail
    assert found.fix.startswith("Install the package again")


def test_a_part_that_does_not_exist_is_wrong_usage(cli: CommandLine) -> None:
    assert "Known are: settings" in cli("doctor", "--skip", "heart", code=2).stderr


TROUBLES = {
    "connector_errors": "last_error_code = 'no_such_bucket', last_error_message = 'It is gone.',"
    " last_error_at = now()",
    "held_deletions": "deletions_held_back = 30",
    "late_listings": "last_scan_completed_at = now() - interval '1 day',"
    " created_at = now() - interval '2 days', updated_at = now() - interval '1 day'",
}


@pytest.mark.parametrize(
    ("part", "shown"),
    [
        ("connector_errors", "1 connectors cannot be synced: acme_corp/documents: no_such_bucket"),
        ("held_deletions", "acme_corp/documents: 30"),
        ("late_listings", "acme_corp/documents: 20"),
        ("dead_letters", "acme_corp/documents: 1"),
    ],
)
def test_connectors_that_need_somebody(
    cli: CommandLine, bucket: Bucket, webserver: str, services: Services, part: str, shown: str
) -> None:
    cli.add(bucket)
    query(
        services,
        f"UPDATE connectors.connectors SET {TROUBLES[part]}"
        if part in TROUBLES
        else "INSERT INTO connectors.objects (connector_id, tenant_id, key, etag, size,"
        " modified_at, state, error_code) SELECT id, tenant_id, key, 'e', 1, now(), 'dead', code"
        " FROM connectors.connectors,"
        " (VALUES ('a.pdf', 'corrupt'), ('b.pdf', 'archived')) o (key, code)",
    )
    found = findings(cli, *SLOW, code=5, ACTIVEKG_WEBSERVER_URL=webserver)
    assert broken(found) == {part}
    assert shown in found[part]["detail"]
    # Who does not want to hear of it leaves it out, and a broken part says more.
    findings(cli, *SLOW, "--skip", part, code=0, ACTIVEKG_WEBSERVER_URL=webserver)
    assert findings(cli, *SLOW)[part]["ok"] is False
    # Paused on purpose.
    query(services, "UPDATE connectors.connectors SET enabled = false")
    findings(cli, *SLOW, code=0, ACTIVEKG_WEBSERVER_URL=webserver)
