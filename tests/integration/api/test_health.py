"""Health without a token, and what happens when parts fail.

Each part has its name. The OpenAPI document is tested here, too.
"""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

import psycopg
import pytest
from cryptography.fernet import Fernet
from fastapi.testclient import TestClient
from pydantic import SecretStr

from activekg_pipelines.administration.tokens import mint_token
from activekg_pipelines.api.app import OPENAPI_PATH, create_app
from activekg_pipelines.connectors.encryption import KeyRing
from activekg_pipelines.errors import ModelError
from activekg_pipelines.orchestrator.health import Check
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from tests.integration.api.conftest import (
    CONFIGS,
    Caller,
    RecordingOrchestrator,
    assert_problem,
    registration,
)
from tests.parts import with_parts
from tests.s3_bucket import SECRET_ACCESS_KEY


def checks_of(answer: Any) -> dict[str, bool]:
    return {check["name"]: check["ok"] for check in answer.json()["checks"]}


def test_a_process_that_answers_is_healthy(anonymous: Caller) -> None:
    assert anonymous.get("/healthz").json() == {"status": "ok"}


def test_ready_when_every_part_is(reader: Caller) -> None:
    answer = reader.get("/readyz")
    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"
    assert checks_of(answer) == {
        "database": True,
        "migrations": True,
        "encryption_key": True,
        "dagster_webserver": True,
        "dagster_code_location": True,
        "dagster_daemon": True,
    }


def test_without_a_token_nothing_but_ready_or_not_is_told(
    anonymous: Caller, orchestrator: RecordingOrchestrator
) -> None:
    assert anonymous.get("/readyz").json() == {"status": "ready"}
    orchestrator.checks[-1] = Check("dagster_daemon", False, "no heartbeat from: SENSOR")
    answer = anonymous.get("/readyz")
    assert (answer.status_code, answer.json()) == (503, {"status": "not_ready"})


def test_a_wrong_token_is_refused_there_too_and_counts_as_one(
    client: TestClient, acme: Caller, app_settings: Settings
) -> None:
    for token in ("garbage", f"{acme.token}x", mint_token(app_settings, "a", "t", [], 600)[:-2]):
        assert_problem(Caller(client, token).get("/readyz"), 401, "unauthenticated")
        assert Caller(client, token).get("/healthz").status_code == 200


def test_a_daemon_without_heartbeat_is_named(
    acme: Caller, orchestrator: RecordingOrchestrator
) -> None:
    orchestrator.checks[-1] = Check("dagster_daemon", False, "no heartbeat from: SENSOR")
    answer = acme.get("/readyz")
    assert answer.status_code == 503
    assert [name for name, ok in checks_of(answer).items() if not ok] == ["dagster_daemon"]


def with_services(caller: Caller, admin: Services, **changes: Any) -> Caller:
    app = create_app(with_parts(admin, **changes))
    return Caller(TestClient(app, raise_server_exceptions=False), caller.token)


def test_a_missing_key_is_named_once_something_needs_it(acme: Caller, admin: Services) -> None:
    acme.register()
    ring = KeyRing({2: SecretStr(Fernet.generate_key().decode())}, 2)
    answer = with_services(acme, admin, keyring=ring).get("/readyz")
    assert answer.status_code == 503
    assert [name for name, ok in checks_of(answer).items() if not ok] == ["encryption_key"]


def test_a_database_that_was_never_migrated_is_named(
    acme: Caller, admin: Services, empty_dsn: str
) -> None:
    settings = admin.settings.model_copy(update={"activekg_dsn": SecretStr(empty_dsn)})
    answer = with_services(acme, admin, settings=settings).get("/readyz")
    assert answer.status_code == 503
    assert checks_of(answer)["database"]
    assert not checks_of(answer)["migrations"]


def test_a_database_that_is_away_is_named_without_its_address(
    acme: Caller, admin: Services
) -> None:
    dsn = "postgresql://user:topsecret@127.0.0.1:1/nowhere"
    settings = admin.settings.model_copy(update={"activekg_dsn": SecretStr(dsn)})
    answer = with_services(acme, admin, settings=settings).get("/readyz")
    assert answer.status_code == 503
    assert [name for name, ok in checks_of(answer).items() if not ok] == [
        "database",
        "migrations",
        "encryption_key",
    ]
    assert "topsecret" not in answer.text


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (psycopg.OperationalError(f"connection with {SECRET_ACCESS_KEY} failed"), 503),
        (ModelError("The model is not there."), 503),
        (RuntimeError(f"a bug that quotes {SECRET_ACCESS_KEY}"), 500),
    ],
)
def test_failures_inside_are_problems_that_quote_nothing(
    acme: Caller, admin: Services, error: Exception, status: int
) -> None:
    with patch.object(type(admin.connectors), "page", side_effect=error):
        assert_problem(acme.get(CONFIGS), status)


def test_every_answer_says_that_nobody_keeps_it_or_guesses_its_type(
    acme: Caller, root: Caller, anonymous: Caller, admin: Services, subtests: pytest.Subtests
) -> None:
    calls = {
        "answer": (lambda: acme.get(CONFIGS), 200),
        "created": (lambda: acme.post(CONFIGS, registration()), 201),
        "health": (lambda: anonymous.get("/healthz"), 200),
        "readiness": (lambda: anonymous.get("/readyz"), 200),
        "metrics": (lambda: root.get("/metrics"), 200),
        "document": (lambda: acme.get(OPENAPI_PATH), 200),
        "no token": (lambda: anonymous.get(CONFIGS), 401),
        "forbidden": (lambda: acme.get("/search", q="roof"), 403),
        "unknown": (lambda: acme.get("/no/such/address"), 404),
        "wrong method": (lambda: acme.request("PATCH", CONFIGS), 405),
        "too large": (lambda: acme.request("POST", CONFIGS, content=b"x" * 1_000_001), 413),
        "invalid": (lambda: acme.post(CONFIGS, {}), 422),
        "bug": (lambda: bug(acme, admin), 500),
    }
    for name, (call, status) in calls.items():
        with subtests.test(answer=name):
            answer = call()
            assert answer.status_code == status
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["x-content-type-options"] == "nosniff"


def bug(caller: Caller, admin: Services) -> Any:
    with patch.object(type(admin.connectors), "page", side_effect=RuntimeError):
        return caller.get(CONFIGS)


def test_the_openapi_document_names_every_error_as_a_problem(acme: Caller) -> None:
    document = acme.get(OPENAPI_PATH).json()
    assert document["components"]["schemas"]["Problem"]["properties"].keys() >= {
        "type",
        "title",
        "status",
        "detail",
    }
    for path, methods in document["paths"].items():
        if path in {"/healthz", "/readyz"}:
            continue
        for method, operation in methods.items():
            responses = operation["responses"]
            assert {"401", "403", "422", "503"} <= responses.keys(), (method, path)
            assert operation["security"], (method, path)
            for status, response in responses.items():
                if status.startswith(("4", "5")):
                    assert list(response["content"]) == ["application/problem+json"], (
                        method,
                        path,
                        status,
                    )
            if "{config_id}" in path:
                assert "404" in responses, (method, path)
