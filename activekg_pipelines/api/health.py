"""Routes ``/healthz`` and ``/readyz``: open to everybody, so they name what fails and
quote nothing.
"""

from __future__ import annotations

from typing import Literal

import psycopg
from fastapi import APIRouter, Response
from pydantic import BaseModel

from activekg_pipelines.administration import reads
from activekg_pipelines.api.requests import ServicesOfApp
from activekg_pipelines.database.migrate import current_revision, newest_revision
from activekg_pipelines.errors import EncryptionError
from activekg_pipelines.orchestrator.health import Check
from activekg_pipelines.services import Services

router = APIRouter(tags=["health"])

OPEN_PATHS = frozenset({"/healthz", "/readyz"})

# Probes come every few seconds and must not pile up behind a database that does not
# answer.
_CONNECT_TIMEOUT_SECONDS = 3


class Alive(BaseModel):
    """The process answers."""

    status: Literal["ok"] = "ok"


class CheckView(BaseModel):
    """One part and whether it works."""

    name: str
    ok: bool
    detail: str


class Readiness(BaseModel):
    """Whether every part works."""

    status: Literal["ready", "not_ready"]
    checks: list[CheckView]


@router.get("/healthz")
def healthz() -> Alive:
    """Whether this process answers; looks at nothing else."""
    return Alive()


@router.get(
    "/readyz", responses={503: {"model": Readiness, "description": "A part does not work."}}
)
def readyz(response: Response, services: ServicesOfApp) -> Readiness:
    """Whether everything that syncs and searches need works, part by part."""
    checks = [*_database_checks(services), *services.orchestrator.health()]
    ready = all(check.ok for check in checks)
    response.status_code = 200 if ready else 503
    return Readiness(
        status="ready" if ready else "not_ready",
        checks=[CheckView(name=check.name, ok=check.ok, detail=check.detail) for check in checks],
    )


def _database_checks(services: Services) -> list[Check]:
    dsn = services.settings.require_dsn()
    try:
        # A connection of its own: the pool would wait for half a minute.
        with psycopg.connect(dsn, connect_timeout=_CONNECT_TIMEOUT_SECONDS):
            pass
        current = current_revision(dsn)
        newest = newest_revision()
        if current != newest:
            behind = f"the database is at {current or 'no revision'}, this version wants {newest}"
            return [
                Check("database", True, "answers"),
                Check("migrations", False, f"{behind}: run the migration"),
                Check("encryption_key", False, "unknown until the migration has run"),
            ]
        return [
            Check("database", True, "answers"),
            Check("migrations", True, f"at {newest}"),
            _encryption_check(services),
        ]
    except psycopg.Error as error:
        detail = f"does not answer ({type(error).__name__})"
        return [
            Check("database", False, detail),
            Check("migrations", False, "unknown, because the database does not answer"),
            Check("encryption_key", False, "unknown, because the database does not answer"),
        ]


def _encryption_check(services: Services) -> Check:
    try:
        with services.database.transaction() as conn:
            reads.check_credentials(conn, services.keyring)
    except EncryptionError:
        return Check(
            "encryption_key", False, "stored credentials cannot be read with the keys that are set"
        )
    return Check("encryption_key", True, "reads the stored credentials")
