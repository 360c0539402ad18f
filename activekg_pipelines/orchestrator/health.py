"""Whether Dagster works, part by part: webserver, code location and daemon."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from activekg_pipelines.orchestrator.sensors import WORK_QUEUE_SENSOR
from activekg_pipelines.orchestrator.webserver import (
    CodeLocation,
    CredentialRefused,
    DaemonStatus,
    Webserver,
    WebserverError,
)

# Readiness probes come every few seconds and must not pile up.
_TIMEOUT_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Check:
    """One named answer to "does this part work?".

    Attributes:
        detail: for people; holds no secret.
    """

    name: str
    ok: bool
    detail: str


def check_dagster(webserver: Webserver) -> list[Check]:
    """A check each for webserver, code location and daemon; never raises."""
    try:
        locations = webserver.code_locations(timeout=_TIMEOUT_SECONDS)
        daemons = webserver.daemons(timeout=_TIMEOUT_SECONDS)
    except WebserverError as error:
        unreachable = "unknown, because the webserver does not answer"
        refused = isinstance(error, CredentialRefused)
        detail = error.message if refused else "does not answer at ACTIVEKG_WEBSERVER_URL"
        return [
            Check("dagster_webserver", False, detail),
            Check("dagster_code_location", False, unreachable),
            Check("dagster_daemon", False, unreachable),
        ]
    return [
        Check("dagster_webserver", True, "answers"),
        check_location(locations),
        check_daemons(daemons),
    ]


def check_location(locations: Sequence[CodeLocation]) -> Check:
    """Whether this package's definitions are loaded."""
    name = "dagster_code_location"
    if any(WORK_QUEUE_SENSOR in location.sensors and not location.failed for location in locations):
        return Check(name, True, "loaded")
    if broken := [location.name for location in locations if location.failed]:
        return Check(name, False, f"failed to load: {', '.join(broken)}")
    return Check(name, False, "not loaded")


def check_daemons(statuses: Sequence[DaemonStatus]) -> Check:
    """Whether every required daemon has sent its heartbeat."""
    missing = sorted(status.kind for status in statuses if status.required and not status.healthy)
    if missing:
        return Check("dagster_daemon", False, f"no heartbeat from: {', '.join(missing)}")
    return Check("dagster_daemon", True, "heartbeats are current")
