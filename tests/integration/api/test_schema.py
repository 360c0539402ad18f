"""The API answers as its OpenAPI document says, whatever it is asked.

Schemathesis makes the requests up.
"""

from __future__ import annotations

from dataclasses import dataclass

import hypothesis
import pytest
import schemathesis
from starlette.types import ASGIApp, Receive, Scope, Send

from activekg_pipelines.administration.tokens import mint_token
from activekg_pipelines.api.app import OPENAPI_PATH, create_app, published_document
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from tests.integration.api.conftest import Caller, LedgerRows
from tests.s3_bucket import Bucket

TENANT = "acme_corp"


class Door:
    """The application of the test that runs.

    Schemathesis wants one before any test does.
    """

    behind: ASGIApp

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        # Not the lifespan: fixtures open and close the services.
        if scope["type"] == "http":
            await self.behind(scope, receive, send)


door = Door()
document = schemathesis.openapi.from_dict(
    published_document(),
    config=schemathesis.Config.from_dict(
        {
            "seed": 20260101,
            "base-url": "http://testserver",
            # What it would find in the code is in the document already.
            "analysis": {"constants": {"enabled": False}},
            "checks": {
                # A schema cannot say which cursors a page gave or which prefixes
                # overlap; 422 is a declared answer.
                "positive_data_acceptance": {"enabled": False},
                # Sends everything twice more; test_access.py has every route without a
                # token.
                "ignored_auth": {"enabled": False},
            },
            "operations": [
                {
                    "include-name": "POST /_admin/connectors/configs/test",
                    # An S3 client for each request takes its time, and the body is that
                    # of a registration.
                    "phases": {"coverage": {"enabled": False}},
                    # The address is that of a connector called "test" as well, for the
                    # methods of connectors.
                    "checks": {
                        "unsupported_method": {"enabled": False},
                        "allow_header_conformance": {"enabled": False},
                    },
                }
            ],
        }
    ),
)
document.app = door


@dataclass(frozen=True)
class Existing:
    """A connector of acme_corp with objects, dead letters and a history."""

    admin: Services
    rows: LedgerRows
    source: Bucket

    def connector_id(self) -> str:
        """Its id; it is registered again when somebody removed it."""
        known = next(self.admin.every_connector(TENANT), None)
        return str(known.id) if known else self._register()

    def _register(self) -> str:
        connector = self.source.register(self.admin, TENANT, prefix="documents/", endpoint_url=None)
        config = {"id": connector.id, "tenant_id": TENANT, "location": str(connector.location)}
        self.rows.add(config, "documents/house.md", state="indexed")
        self.rows.add(config, "documents/broken.pdf", state="dead", error="corrupt")
        self.rows.run(config, errors={"corrupt": 1})
        return str(connector.id)


@pytest.fixture
def application(admin: Services, s3_endpoint: str) -> None:
    """Opens the door to the API, without a rate limit.

    The only store that it may reach is the S3 server of the tests.
    """
    settings = admin.settings.model_copy(
        update={"activekg_api_rate_limit": "off", "activekg_s3_endpoint_url": s3_endpoint}
    )
    admin.settings = settings
    door.behind = create_app(admin)


@pytest.fixture
def existing(admin: Services, ledger_rows: LedgerRows, bucket: Bucket) -> Existing:
    bucket.put("documents/house.md", "The roof is red.")
    return Existing(admin, ledger_rows, bucket)


@pytest.fixture
def tokens(app_settings: Settings) -> list[str]:
    """Of an administrator of acme_corp who may search, and of a super admin."""
    return [
        mint_token(app_settings, "alice", TENANT, scopes, 600)
        for scopes in (["connectors:admin", "search:read"], ["super_admin"])
    ]


@pytest.mark.usefixtures("application")
@document.parametrize()
@hypothesis.settings(
    derandomize=True,
    database=None,
    deadline=None,
    max_examples=6,
    phases=[hypothesis.Phase.explicit, hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)
def test_every_answer_is_a_declared_one(
    case: schemathesis.Case, tokens: list[str], existing: Existing
) -> None:
    valid = case.meta is not None and case.meta.generation.mode.is_positive
    about_existing = valid and aim_at_what_exists(case)
    # What breaks a rule is refused before anybody asks whose it is.
    for token in tokens if valid else tokens[:1]:
        if about_existing:
            case.path_parameters["config_id"] = existing.connector_id()
        case.call_and_validate(headers={"Authorization": f"Bearer {token}"})


def test_the_document_of_an_installation_is_the_published_one(acme: Caller) -> None:
    assert acme.get(OPENAPI_PATH).json() == published_document()


def aim_at_what_exists(case: schemathesis.Case) -> bool:
    """Says whether to name a connector that exists.

    Valid requests would mostly end at a made-up tenant or store.
    """
    for named in (case.body, case.query):
        if isinstance(named, dict) and "tenant_id" in named:
            named["tenant_id"] = TENANT
    if isinstance(case.body, dict) and isinstance(case.body.get("config"), dict):
        case.body["config"].pop("endpoint_url", None)
    # Some still name one that is not there.
    return str(case.path_parameters.get("config_id", "0"))[-1] not in "0123"
