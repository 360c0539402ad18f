"""The API over HTTP on a real database.

Only Dagster and the embedding model are replaced.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import numpy as np
import pytest
from fastapi.testclient import TestClient
from psycopg.types.json import Jsonb

from activekg_pipelines.administration.tokens import mint_token
from activekg_pipelines.api.app import create_app
from activekg_pipelines.extraction.warnings import DocumentWarning, kinds_of
from activekg_pipelines.graph.nodes import Document
from activekg_pipelines.graph.search import SearchHit
from activekg_pipelines.orchestrator.health import Check
from activekg_pipelines.orchestrator.partitions import OrchestratorError
from activekg_pipelines.orchestrator.tenant_history import TenantHistory
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.source import Location
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY

CONFIGS = "/_admin/connectors/configs"
RUNS = "/_admin/connectors/runs"


@dataclass
class RecordingOrchestrator:
    """Dagster, as far as the API sees it."""

    partitions: set[str] = field(default_factory=set)
    reloads: int = 0
    available: bool = True
    checks: list[Check] = field(
        default_factory=lambda: [
            Check("dagster_webserver", True, "answers"),
            Check("dagster_code_location", True, "loaded"),
            Check("dagster_daemon", True, "heartbeats are current"),
        ]
    )

    def add_partition(self, key: str) -> None:
        self._require()
        self.partitions.add(key)

    def remove_partition(self, key: str) -> None:
        self._require()
        self.partitions.discard(key)

    def count_tenant(self, tenant_id: str) -> TenantHistory:
        partitions = sum(key.startswith(f"{tenant_id}/") for key in self.partitions)
        return TenantHistory(partitions, runs=0, events=0, check_evaluations=0, sensors=0)

    def forget_tenant(self, tenant_id: str) -> None:
        self._require()
        self.partitions = {key for key in self.partitions if not key.startswith(f"{tenant_id}/")}

    def reload(self) -> None:
        self.reloads += 1

    def run_url(self, run_id: str) -> str:
        return f"http://dagster.test/runs/{run_id}"

    def health(self) -> list[Check]:
        return self.checks

    def close(self) -> None:
        pass

    def _require(self) -> None:
        if not self.available:
            raise OrchestratorError


@dataclass
class Searches:
    """Stands in for the search and its embedding model; remembers what was asked."""

    asked: list[tuple[str, str, int]] = field(default_factory=list)

    def __call__(self, tenant_id: str, query: str, limit: int) -> list[SearchHit]:
        self.asked.append((tenant_id, query, limit))
        return [
            SearchHit("s3://b/house.md", "House", "The roof is red.", 0.5, 3, UUID(int=7), 10, 26)
        ]


@dataclass(frozen=True)
class Caller:
    """Somebody with a token (or without one)."""

    client: TestClient
    token: str | None

    def request(self, method: str, url: str, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return self.client.request(
            method, url, headers=headers | options.pop("headers", {}), **options
        )

    def get(self, url: str, **params: Any) -> Any:
        return self.request("GET", url, params=params)

    def post(self, url: str, body: object = None, **params: Any) -> Any:
        return self.request("POST", url, params=params, **({} if body is None else {"json": body}))

    def put(self, url: str, body: object, **params: Any) -> Any:
        return self.request("PUT", url, params=params, json=body)

    def delete(self, url: str, **params: Any) -> Any:
        return self.request("DELETE", url, params=params)

    def register(self, tenant_id: str = "acme_corp", **changes: Any) -> dict[str, Any]:
        """Register a connector; returns the answer."""
        answer = self.post(CONFIGS, registration(tenant_id, **changes))
        assert answer.status_code == 201, answer.text
        return answer.json()


@pytest.fixture
def orchestrator() -> RecordingOrchestrator:
    return RecordingOrchestrator()


@pytest.fixture
def searches() -> Searches:
    return Searches()


@pytest.fixture
def admin(services: Services, orchestrator: RecordingOrchestrator, searches: Searches) -> Services:
    services.orchestrator = orchestrator
    services.search = searches
    return services


@pytest.fixture
def client(admin: Services) -> Iterator[TestClient]:
    with TestClient(create_app(admin), raise_server_exceptions=False) as opened:
        yield opened


@pytest.fixture
def acme(client: TestClient, app_settings: Settings) -> Caller:
    """The administrator of tenant acme_corp."""
    return Caller(client, mint_token(app_settings, "alice", "acme_corp", ["connectors:admin"], 600))


@pytest.fixture
def globex(client: TestClient, app_settings: Settings) -> Caller:
    """The administrator of tenant globex."""
    return Caller(
        client, mint_token(app_settings, "hank", "globex", ["connectors:admin", "search:read"], 600)
    )


@pytest.fixture
def root(client: TestClient, app_settings: Settings) -> Caller:
    """A super admin without a tenant."""
    return Caller(client, mint_token(app_settings, "root", None, ["super_admin"], 600))


@pytest.fixture
def reader(client: TestClient, app_settings: Settings) -> Caller:
    """A user of acme_corp who may search."""
    return Caller(client, mint_token(app_settings, "bob", "acme_corp", ["search:read"], 600))


@pytest.fixture
def anonymous(client: TestClient) -> Caller:
    return Caller(client, None)


@pytest.fixture
def ledger_rows(admin: Services) -> LedgerRows:
    return LedgerRows(admin)


@pytest.fixture(autouse=True)
def nothing_logged_holds_the_secret(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Every test of the API is also a test that its log holds no key."""
    caplog.set_level(logging.DEBUG, logger="activekg_pipelines")
    yield
    assert SECRET_ACCESS_KEY not in caplog.text


@dataclass(frozen=True)
class LedgerRows:
    """Puts rows into ledger and graph as syncs leave them."""

    admin: Services

    def add(
        self,
        config: Mapping[str, Any],
        key: str,
        *,
        state: str = "pending",
        error: str | None = None,
        warnings: Sequence[DocumentWarning] = (),
    ) -> None:
        """One object of a connector; an indexed one with its document in the graph.

        With warnings, its text is stored, too.
        """
        document = self._index(config, key) if state == "indexed" else None
        with self.admin.database.transaction() as conn:
            (object_id,) = conn.execute(
                "INSERT INTO connectors.objects (connector_id, tenant_id, key, etag, size, "
                "modified_at, state,"
                " attempts, error_code, error_message, document_id, warnings)"
                " VALUES (%s, %s, %s, 'e1', 5, now(), %s, %s, %s, %s, %s, %s) RETURNING id",
                (
                    config["id"],
                    config["tenant_id"],
                    key,
                    state,
                    5 if error else 0,
                    error,
                    error and f"It ended with {error}.",
                    document,
                    kinds_of(warnings),
                ),
            ).fetchall()[0]
            if warnings:
                conn.execute(
                    "INSERT INTO connectors.texts (object_id, tenant_id, text, mime_type, facts,"
                    " characters, content_hash, text_hash, extractor_version)"
                    " VALUES (%s, %s, 'text', 'text/plain', %s, 4, '', '', 'test')",
                    (
                        object_id,
                        config["tenant_id"],
                        Jsonb({"warnings": [warning.as_json() for warning in warnings]}),
                    ),
                )

    def run(self, config: Mapping[str, Any], **values: Any) -> UUID:
        """One finished run of a connector."""
        row = {
            "id": uuid4(),
            "connector_id": config["id"],
            "tenant_id": config["tenant_id"],
            "trigger": "poll",
            "with_scan": False,
            "status": "succeeded",
        } | values
        if "errors" in row:
            row["errors"] = json.dumps(row["errors"])
        names = ", ".join(row)
        places = ", ".join(f"%({name})s" for name in row)
        with self.admin.database.transaction() as conn:
            conn.execute(f"INSERT INTO connectors.runs ({names}) VALUES ({places})", row)
        return row["id"]

    def states(self, config: Mapping[str, Any]) -> dict[str, tuple[str, int]]:
        """State and attempts by key."""
        rows = self._rows(
            "SELECT key, state::text, attempts FROM connectors.objects WHERE connector_id = %s",
            config,
        )
        return {key: (state, attempts) for key, state, attempts in rows}

    def documents(self, tenant_id: str = "acme_corp") -> set[str]:
        """URIs of the documents in the graph."""
        with self.admin.database.transaction() as conn:
            rows = conn.execute(
                "SELECT props ->> 'uri' FROM nodes WHERE tenant_id = %s", (tenant_id,)
            ).fetchall()
        return {row[0] for row in rows}

    def waiting_runs(self, config: Mapping[str, Any]) -> list[tuple[str, str]]:
        """Trigger and mode of what waits to be run."""
        return list(
            self._rows(
                "SELECT trigger, mode FROM connectors.runs WHERE connector_id = %s AND status = "
                "'waiting'"
                " ORDER BY requested_at",
                config,
            )
        )

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> None:
        """Any statement."""
        with self.admin.database.transaction() as conn:
            conn.execute(sql, parameters)

    def _rows(self, sql: str, config: Mapping[str, Any]) -> list[Any]:
        with self.admin.database.transaction() as conn:
            return conn.execute(sql, (config["id"],)).fetchall()

    def _index(self, config: Mapping[str, Any], key: str) -> UUID:
        location = Location.parse(config["location"])
        document = Document(
            tenant_id=config["tenant_id"],
            external_id=location.external_id(config["tenant_id"], key),
            uri=location.uri(key),
            etag="e1",
            size=5,
            modified_at=datetime.now(UTC),
            title=key,
            mime_type="text/plain",
            content_hash=b"1",
            text_hash=b"2",
            facts={},
            chunks=(),
            vectors=np.zeros((0, 384), np.float32),
        )
        with self.admin.database.transaction(tenant_id=document.tenant_id) as conn:
            self.admin.graph.swap(conn, document.tenant_id, [document], "test")
        return document.id


def registration(tenant_id: str = "acme_corp", **changes: Any) -> dict[str, Any]:
    """The body of the connector document's registration example."""
    config = {
        "bucket": "my-documents-bucket",
        "prefix": "documents/",
        "region": "us-east-1",
        "access_key_id": ACCESS_KEY_ID,
        "secret_access_key": SECRET_ACCESS_KEY,
        "poll_interval_seconds": 900,
        "enabled": True,
    }
    return {"tenant_id": tenant_id, "provider": "s3", "config": config | changes}


def assert_problem(answer: Any, status: int, code: str | None = None) -> dict[str, Any]:
    """The answer is an RFC 9457 problem; returns it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert {"type", "title", "detail", "code"} <= problem.keys()
    assert SECRET_ACCESS_KEY not in answer.text
    if code is not None:
        assert problem["code"] == code
        assert problem["type"] == f"urn:activekg:problem:{code}"
    return problem
