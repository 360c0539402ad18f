"""The API answers as its OpenAPI document says, whatever it is asked: schemathesis makes the requests up."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import hypothesis
import pytest
import schemathesis
from fastapi import FastAPI

from activekg_pipelines.administration.services import AdminServices
from activekg_pipelines.administration.tokens import mint_token
from activekg_pipelines.api.app import OPENAPI_PATH, create_app, published_document
from activekg_pipelines.settings import Settings
from tests.integration.api.conftest import Caller, LedgerRows
from tests.s3_bucket import Bucket

document = schemathesis.openapi.from_dict(
    published_document(),
    config=schemathesis.Config.from_dict(
        {"seed": 20260101, "base-url": "http://testserver", "analysis": {"constants": {"enabled": False}}}
    ),
)


@dataclass
class Existing:
    """A connector of acme_corp with objects, dead letters and a history; registered again when it was removed."""

    admin: AdminServices
    rows: LedgerRows
    source: Bucket

    def connector_id(self) -> str:
        known = self.admin.connectors.page("acme_corp", after=None, limit=1)
        if known:
            return str(known[0].id)
        connector = self.source.register(self.admin.shared, prefix="documents/", endpoint_url=None)
        config = {"id": connector.id, "tenant_id": "acme_corp", "config": {"bucket": self.source.name}}
        self.rows.add(config, "documents/house.md", state="indexed")
        self.rows.add(config, "documents/broken.pdf", state="dead", error="corrupt")
        self.rows.run(config, errors={"corrupt": 1})
        return str(connector.id)


@pytest.fixture
def app(admin: AdminServices, s3_endpoint: str) -> FastAPI:
    """The API without a rate limit, whose connectors reach nothing but the S3 server of the tests."""
    settings = admin.settings.model_copy(
        update={"activekg_api_rate_limit": "off", "activekg_s3_endpoint_url": s3_endpoint}
    )
    admin.shared.settings = settings
    return create_app(replace(admin, settings=settings))


@pytest.fixture
def existing(admin: AdminServices, ledger_rows: LedgerRows, bucket: Bucket) -> Existing:
    bucket.put("documents/house.md", "The roof is red.")
    return Existing(admin, ledger_rows, bucket)


@pytest.fixture
def tokens(app_settings: Settings) -> list[str]:
    """Of an administrator of acme_corp, and of a super admin."""
    return [
        mint_token(app_settings, "alice", "acme_corp", scopes, 600)
        for scopes in (["connectors:admin", "search:read"], ["super_admin"])
    ]


@document.parametrize()
@hypothesis.settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=15,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_every_answer_is_a_declared_one(
    case: schemathesis.Case, app: FastAPI, tokens: list[str], existing: Existing
) -> None:
    for n, token in enumerate(tokens):
        if "config_id" in case.path_parameters and case.meta.generation.mode.is_positive and str(case.path_parameters["config_id"])[-1] in "02468ace":
            case.path_parameters["config_id"] = existing.connector_id()
        r = case.call_and_validate(app=app, headers={"Authorization": f"Bearer {token}"})
        if log := os.environ.get("ST_LOG"):
            with open(log, "a") as f:
                f.write(f"{case.operation.label} {r.status_code} {n} {case.meta.phase.name.value} {case.meta.generation.mode}\n")


def test_the_document_of_an_installation_is_the_published_one(acme: Caller) -> None:
    assert acme.get(OPENAPI_PATH).json() == published_document()
