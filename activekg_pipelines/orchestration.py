"""What the API and the command line ask of Dagster: partitions, a reload of the
definitions, links, health.

Speaks to Dagster's storage for partitions and to the webserver's GraphQL for all else.
Imports Dagster only when a partition is touched: it costs a second, and most commands
never need it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

import httpx

from activekg_pipelines.errors import ActiveKGError

if TYPE_CHECKING:
    from dagster import DagsterInstance

_log = logging.getLogger(__name__)

PARTITIONS: Final = "connector"
"""Name of the dynamic partitions definition; one key a connector."""
OWN_SENSOR: Final = "work_queue"
"""The sensor that tells this package's code location from others in the same workspace."""

LOCATIONS_QUERY: Final = """
query ActiveKGLocations {
  workspaceOrError {
    __typename
    ... on Workspace {
      locationEntries {
        name
        loadStatus
        locationOrLoadError {
          __typename
          ... on RepositoryLocation { repositories { sensors { name } } }
        }
      }
    }
  }
}
"""
RELOAD_MUTATION: Final = """
mutation ActiveKGReload($location: String!) {
  reloadRepositoryLocation(repositoryLocationName: $location) {
    __typename
    ... on WorkspaceLocationEntry { locationOrLoadError { __typename } }
  }
}
"""
DAEMONS_QUERY: Final = """
query ActiveKGDaemons {
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } }
}
"""

# A reload of a small location took 3.5 s; one with a thousand sensors takes longer, and
# nobody waits for it.
_RELOAD_TIMEOUT_SECONDS = 60.0
# Readiness probes come every few seconds and must not pile up.
_HEALTH_TIMEOUT_SECONDS = 3.0


class OrchestratorError(ActiveKGError):
    """Dagster's storage cannot be reached."""


@dataclass(frozen=True, slots=True)
class Check:
    """One named answer to "does this part work?"; ``detail`` is for people and holds no
    secret.
    """

    name: str
    ok: bool
    detail: str


@dataclass(frozen=True, slots=True)
class CodeLocation:
    """An entry of the webserver's workspace.

    Attributes:
        failed: its definitions could not be loaded.
        sensors: names of what it defines; empty while it loads or when it failed.
    """

    name: str
    loading: bool
    failed: bool
    sensors: frozenset[str]


class Orchestrator:
    """Dagster as the API and the command line need it. Safe to use from several
    threads.

    Args:
        webserver_url: where GraphQL is asked and where links lead.
        instance: opens Dagster's instance; by default the one that ``DAGSTER_HOME``
            names.
        transport: carries the HTTP requests; by default the network.
        reload_interval_seconds: reloads start at least this far apart.
    """

    def __init__(
        self,
        webserver_url: str,
        *,
        instance: Callable[[], DagsterInstance] | None = None,
        transport: httpx.BaseTransport | None = None,
        reload_interval_seconds: float = 5.0,
    ) -> None:
        self._url = webserver_url.rstrip("/")
        # The address is the operator's own: no proxy from the environment belongs in
        # between.
        self._http = httpx.Client(base_url=self._url, transport=transport, trust_env=False)
        self._open_instance = instance or _default_instance
        self._instance: DagsterInstance | None = None
        self._instance_lock = threading.Lock()
        self._reload_interval = reload_interval_seconds
        self._schedule_lock = threading.Lock()
        self._reload_lock = threading.Lock()
        self._scheduled: threading.Timer | None = None
        self._running: threading.Timer | None = None
        self._last_reload = float("-inf")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def add_partition(self, key: str) -> None:
        """Make a connector's partition known, so that every way of starting runs
        accepts it; twice is no error.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
        """
        self._with_instance(lambda instance: instance.add_dynamic_partitions(PARTITIONS, [key]))

    def remove_partition(self, key: str) -> None:
        """Forget a connector's partition; an unknown one is no error.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
        """
        self._with_instance(lambda instance: instance.delete_dynamic_partition(PARTITIONS, key))

    def count_partitions(self) -> int:
        """How many connectors' partitions Dagster's storage knows.

        Raises:
            OrchestratorError: Dagster's storage cannot be reached.
        """
        found: list[str] = []
        self._with_instance(
            lambda instance: found.extend(instance.get_dynamic_partitions(PARTITIONS))
        )
        return len(found)

    def reload(self) -> None:
        """Have the webserver load the definitions again, soon and in the background:
        sensors follow the registry.

        A request while one is scheduled joins it. An unreachable webserver is logged
        and not an error: it loads the definitions when it starts, and the
        ``work_queue`` sensor starts first syncs without any reload.
        """
        with self._schedule_lock:
            if self._scheduled is not None:
                return
            delay = max(0.0, self._last_reload + self._reload_interval - time.monotonic())
            self._scheduled = threading.Timer(delay, self._reload_now)
            self._scheduled.daemon = True
            self._scheduled.start()

    def run_url(self, run_id: str) -> str:
        """Where people look at a Dagster run."""
        return f"{self._url}/runs/{run_id}"

    def health(self) -> list[Check]:
        """Webserver, code location and daemon, each with a name; never raises."""
        try:
            locations = self._locations(_HEALTH_TIMEOUT_SECONDS)
            daemons = self._graphql(DAEMONS_QUERY, {}, _HEALTH_TIMEOUT_SECONDS)["instance"][
                "daemonHealth"
            ]
        except (httpx.HTTPError, ValueError, LookupError, TypeError):
            unreachable = "unknown, because the webserver does not answer"
            return [
                Check("dagster_webserver", False, "does not answer at ACTIVEKG_WEBSERVER_URL"),
                Check("dagster_code_location", False, unreachable),
                Check("dagster_daemon", False, unreachable),
            ]
        return [
            Check("dagster_webserver", True, "answers"),
            check_location(locations),
            check_daemons(daemons["allDaemonStatuses"]),
        ]

    def close(self) -> None:
        """Wait for the reload that is due, then close connections."""
        with self._schedule_lock:
            waiting = [timer for timer in (self._running, self._scheduled) if timer is not None]
        for timer in waiting:
            timer.join()
        self._http.close()
        with self._instance_lock:
            if self._instance is not None:
                self._instance.dispose()
                self._instance = None

    def _with_instance(self, action: Callable[[DagsterInstance], None]) -> None:
        from dagster import DagsterError
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._instance_lock:
                if self._instance is None:
                    self._instance = self._open_instance()
                action(self._instance)
        except (DagsterError, SQLAlchemyError, OSError) as error:
            # The cause may quote the storage's connection string: only its kind is
            # told.
            raise OrchestratorError(
                f"Dagster's storage cannot be used ({type(error).__name__}): check DAGSTER_HOME "
                "and its dagster.yaml."
            ) from error

    def _reload_now(self) -> None:
        with self._reload_lock:
            with self._schedule_lock:
                # From here on a new request needs a reload of its own: this one may
                # already have read the registry.
                self._running, self._scheduled = self._scheduled, None
                self._last_reload = time.monotonic()
            try:
                for name in locations_to_reload(self._locations(_RELOAD_TIMEOUT_SECONDS)):
                    answer = self._graphql(
                        RELOAD_MUTATION, {"location": name}, _RELOAD_TIMEOUT_SECONDS
                    )
                    outcome = answer["reloadRepositoryLocation"]
                    if _reload_failed(outcome):
                        _log.warning(
                            "The code location %s could not be reloaded: %s",
                            name,
                            outcome["__typename"],
                        )
            except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
                # Without the address, which may hold a password.
                _log.warning(
                    "The webserver could not be asked to reload (%s): check "
                    "ACTIVEKG_WEBSERVER_URL; "
                    "new sensors appear with its next start",
                    type(error).__name__,
                )

    def _locations(self, timeout: float) -> list[CodeLocation]:
        workspace = self._graphql(LOCATIONS_QUERY, {}, timeout)["workspaceOrError"]
        return [_location(entry) for entry in workspace["locationEntries"]]

    def _graphql(self, document: str, variables: dict[str, str], timeout: float) -> dict[str, Any]:
        answer = self._http.post(
            "/graphql", json={"query": document, "variables": variables}, timeout=timeout
        )
        answer.raise_for_status()
        data = answer.json()["data"]
        if not isinstance(data, dict):
            raise ValueError("The GraphQL answer holds no data.")
        return data


def locations_to_reload(locations: Sequence[CodeLocation]) -> list[str]:
    """The names of this package's code locations among all of a workspace.

    One that failed cannot be told from another that failed, so where none of ours is
    loaded, all broken ones are tried.
    """
    own = [location.name for location in locations if OWN_SENSOR in location.sensors]
    return own or [location.name for location in locations if location.failed or location.loading]


def check_location(locations: Sequence[CodeLocation]) -> Check:
    """Whether this package's definitions are loaded."""
    name = "dagster_code_location"
    if any(OWN_SENSOR in location.sensors and not location.failed for location in locations):
        return Check(name, True, "loaded")
    if broken := [location.name for location in locations if location.failed]:
        return Check(name, False, f"failed to load: {', '.join(broken)}")
    return Check(name, False, "not loaded")


def check_daemons(statuses: Sequence[dict[str, Any]]) -> Check:
    """Whether every required daemon has sent its heartbeat.

    Args:
        statuses: ``daemonType``, ``required`` and ``healthy`` of each.
    """
    missing = sorted(
        status["daemonType"] for status in statuses if status["required"] and not status["healthy"]
    )
    if missing:
        return Check("dagster_daemon", False, f"no heartbeat from: {', '.join(missing)}")
    return Check("dagster_daemon", True, "heartbeats are current")


def _location(entry: dict[str, Any]) -> CodeLocation:
    loaded = entry["locationOrLoadError"] or {"__typename": None}
    return CodeLocation(
        entry["name"],
        loading=entry["loadStatus"] == "LOADING",
        failed=loaded["__typename"] == "PythonError",
        sensors=frozenset(
            sensor["name"]
            for repository in loaded.get("repositories", ())
            for sensor in repository["sensors"]
        ),
    )


def _reload_failed(outcome: dict[str, Any]) -> bool:
    loaded = outcome.get("locationOrLoadError") or {}
    return (
        outcome["__typename"] != "WorkspaceLocationEntry"
        or loaded.get("__typename") == "PythonError"
    )


def _default_instance() -> DagsterInstance:
    from dagster import DagsterInstance

    return DagsterInstance.get()
