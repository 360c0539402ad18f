"""Dagster's webserver, over GraphQL: code locations, their reload, daemons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import httpx

from activekg_pipelines.errors import ActiveKGError

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
          ... on PythonError { message }
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


SERVICE_MUTATIONS: Final = frozenset({"reloadRepositoryLocation"})
"""What the credential of API and command line may change at the webserver."""


class WebserverError(ActiveKGError):
    """Dagster's webserver does not answer as expected.

    The message is the kind of the cause. The cause itself may quote the address, which may
    hold a password.
    """


class CredentialRefused(WebserverError):
    """The webserver asks for a login: set ACTIVEKG_WEBSERVER_SECRET alike on both sides."""


@dataclass(frozen=True, slots=True)
class CodeLocation:
    """An entry of the webserver's workspace.

    Attributes:
        error: why its definitions could not be loaded; None when they were.
        sensors: names of what it defines; empty while it loads or when it failed.
    """

    name: str
    loading: bool
    error: str | None
    sensors: frozenset[str]

    @property
    def failed(self) -> bool:
        """Whether its definitions could not be loaded."""
        return self.error is not None


@dataclass(frozen=True, slots=True)
class DaemonStatus:
    """What the webserver knows of one of the daemon's threads.

    Attributes:
        kind: such as ``SENSOR``.
        required: whether this instance needs it.
        healthy: whether its heartbeat is current.
    """

    kind: str
    required: bool
    healthy: bool


class Webserver:
    """A client of Dagster's webserver. Safe to use from several threads.

    Args:
        url: where GraphQL is asked and where links lead.
        credential: makes the token of a request; None, or a function that gives None,
            where the webserver asks nobody to log in.
        transport: carries the HTTP requests; by default the network.
    """

    def __init__(
        self,
        url: str,
        *,
        credential: Callable[[], str | None] | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._url = url.rstrip("/")
        self._credential = credential
        # The address is the operator's own: no proxy from the environment belongs in
        # between.
        self._http = httpx.Client(base_url=self._url, transport=transport, trust_env=False)

    def code_locations(self, *, timeout: float) -> list[CodeLocation]:
        """All code locations of the workspace, this package's and others.

        Raises:
            WebserverError: it does not answer within ``timeout`` seconds.
        """
        data = self._ask(LOCATIONS_QUERY, {}, timeout)
        try:
            return [_location(entry) for entry in data["workspaceOrError"]["locationEntries"]]
        except (LookupError, TypeError) as error:
            raise WebserverError(type(error).__name__) from error

    def daemons(self, *, timeout: float) -> list[DaemonStatus]:
        """The status of every daemon.

        Raises:
            WebserverError: it does not answer within ``timeout`` seconds.
        """
        data = self._ask(DAEMONS_QUERY, {}, timeout)
        try:
            return [
                DaemonStatus(status["daemonType"], status["required"], bool(status["healthy"]))
                for status in data["instance"]["daemonHealth"]["allDaemonStatuses"]
            ]
        except (LookupError, TypeError) as error:
            raise WebserverError(type(error).__name__) from error

    def reload(self, location: str, *, timeout: float) -> str | None:
        """Load a code location's definitions again, and wait until that is done.

        Returns:
            None, or GraphQL's name for what came instead of a loaded location.

        Raises:
            WebserverError: it does not answer within ``timeout`` seconds.
        """
        data = self._ask(RELOAD_MUTATION, {"location": location}, timeout)
        try:
            outcome = data["reloadRepositoryLocation"]
            loaded = outcome.get("locationOrLoadError") or {}
            failed = (
                outcome["__typename"] != "WorkspaceLocationEntry"
                or loaded.get("__typename") == "PythonError"
            )
            return str(outcome["__typename"]) if failed else None
        except (LookupError, TypeError, AttributeError) as error:
            raise WebserverError(type(error).__name__) from error

    def run_url(self, run_id: str) -> str:
        """Where people look at a run."""
        return f"{self._url}/runs/{run_id}"

    def close(self) -> None:
        """Close connections."""
        self._http.close()

    def _ask(self, document: str, variables: dict[str, str], timeout: float) -> dict[str, Any]:
        token = self._credential() if self._credential else None
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        try:
            answer = self._http.post(
                "/graphql",
                json={"query": document, "variables": variables},
                headers=headers,
                timeout=timeout,
            )
            if answer.status_code == httpx.codes.UNAUTHORIZED:
                raise CredentialRefused
            answer.raise_for_status()
            data = answer.json()["data"]
        except (httpx.HTTPError, ValueError, LookupError, TypeError) as error:
            raise WebserverError(type(error).__name__) from error
        if not isinstance(data, dict):
            raise WebserverError("no data")
        return data


def _location(entry: dict[str, Any]) -> CodeLocation:
    loaded = entry["locationOrLoadError"] or {"__typename": None}
    return CodeLocation(
        entry["name"],
        loading=entry["loadStatus"] == "LOADING",
        error=loaded["message"] if loaded["__typename"] == "PythonError" else None,
        sensors=frozenset(
            sensor["name"]
            for repository in loaded.get("repositories", ())
            for sensor in repository["sensors"]
        ),
    )
