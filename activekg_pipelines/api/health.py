"""Routes ``/healthz`` and ``/readyz``.

They are open to everybody, so they name what fails and quote nothing.
"""

from __future__ import annotations

from functools import partial
from typing import Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from activekg_pipelines.administration.checks import CHECKS, Finding, Installation, findings
from activekg_pipelines.api.monitoring import SharedAnswers
from activekg_pipelines.api.requests import ServicesOfApp
from activekg_pipelines.services import Services

router = APIRouter(tags=["health"])

OPEN_PATHS = frozenset({"/healthz", "/readyz"})

# Probes come every few seconds and must not pile up behind a database that does not
# answer.
_TIMEOUT_SECONDS = 3
_READINESS = frozenset(check.name for check in CHECKS if check.for_readiness)
# Names that whoever watches the route knows.
_NAMES = {"encryption_keys": "encryption_key"}


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
async def healthz() -> Alive:
    """Whether this process answers; looks at nothing else."""
    return Alive()


@router.get(
    "/readyz", responses={503: {"model": Readiness, "description": "A part does not work."}}
)
async def readyz(request: Request, response: Response, services: ServicesOfApp) -> Readiness:
    """Whether everything that syncs and searches need works, part by part."""
    shared: SharedAnswers = request.app.state.probes
    found = await shared.get("readiness", partial(_look, services))
    ready = all(finding.ok for finding in found)
    response.status_code = 200 if ready else 503
    return Readiness(
        status="ready" if ready else "not_ready",
        checks=[
            CheckView(
                name=_NAMES.get(finding.name, finding.name),
                ok=bool(finding.ok),
                detail=finding.detail,
            )
            for finding in found
        ],
    )


def _look(services: Services) -> list[Finding]:
    with Installation(
        services, connect_seconds=_TIMEOUT_SECONDS, answer_seconds=_TIMEOUT_SECONDS
    ) as installation:
        return list(findings(installation, _READINESS))
