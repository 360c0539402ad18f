"""The API answers as its OpenAPI document says, whatever it is asked: schemathesis makes the requests up."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from schemathesis.schemas import BaseSchema

from activekg_pipelines.administration.services import AdminServices
from activekg_pipelines.api.app import OPENAPI_PATH, create_app
from tests.integration.api.conftest import Caller, LedgerRows
from tests.s3_bucket import Bucket

# The same requests in every run, and 25 seconds for both callers together.
_CONFIGURATION = {
    "seed": 20250101,
    "generation": {"deterministic": True, "database": "none", "max-examples": 15, "no-shrink": True},
    "phases": {"examples": {"enabled": True}, "coverage": {"enabled": True}, "fuzzing": {"enabled": True}},
    "analysis": {"constants": {"enabled": False}},
}

made_up = schemathesis.pytest.from_fixture("document")


@dataclass
class Asking:
    """Somebody who asks for things that exist as well as for made-up ones."""

    token: str
    admin: AdminServices
    rows: LedgerRows
    source: Bucket
    tenant_id: str | None
    answers: Counter[tuple[str, int]] = field(default_factory=Counter)

    def ask(self, case: schemathesis.Case) -> None:
        self._aim(case)
        answer = case.call_and_validate(headers={"Authorization": f"Bearer {self.token}"})
        self.answers[case.operation.label, answer.status_code] += 1

    def _aim(self, case: schemathesis.Case) -> None:
        pass


@pytest.fixture(params=["connectors:admin", "super_admin"])
def asking(request: pytest.FixtureRequest, admin: AdminServices, acme: Caller, root: Caller, ledger_rows: LedgerRows, bucket: Bucket) -> Asking:
    caller = acme if request.param == "connectors:admin" else root
    return Asking(caller.token, admin, ledger_rows, bucket, "acme_corp")


@pytest.fixture
def document(admin: AdminServices, asking: Asking, s3_endpoint: str) -> BaseSchema:
    settings = admin.settings.model_copy(
        update={"activekg_api_rate_limit": "off", "activekg_s3_endpoint_url": s3_endpoint}
    )
    asking.admin.shared.settings = settings
    app = create_app(replace(admin, settings=settings))
    return schemathesis.openapi.from_asgi(
        OPENAPI_PATH,
        app,
        config=schemathesis.Config.from_dict(_CONFIGURATION),
        headers={"Authorization": f"Bearer {asking.token}"},
    )


@made_up.parametrize()
def test_every_answer_is_a_declared_one(case: schemathesis.Case, asking: Asking) -> None:
    asking.ask(case)
