"""Runs Dagster's web application in this process, behind the guard."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from activekg_pipelines.administration.sessions import Sessions
from activekg_pipelines.administration.tokens import TokenVerifier
from activekg_pipelines.errors import SettingsError
from activekg_pipelines.orchestrator.credential import ServiceCredential, webserver_key
from activekg_pipelines.settings import Settings
from activekg_pipelines.webserver.origins import Origins, is_loopback

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from activekg_pipelines.webserver.guard import Guard
    from activekg_pipelines.webserver.login import Login

# As Dagster's own command has them.
_STATEMENT_TIMEOUT_MS: Final = 15_000
_POOL_RECYCLE_SECONDS: Final = 3_600
_POOL_OVERFLOW: Final = 20
_LIVE_DATA_POLL_MS: Final = 2_000
# Subscriptions stay open for as long as somebody looks at a run.
_STOP_SECONDS: Final = 5


@dataclass(frozen=True, slots=True)
class Listening:
    """Where and how the web application is served.

    Attributes:
        host: address to listen on.
        prefix: of all paths, such as ``/dagster``; empty for none.
        read_only: nobody changes anything in the UI. The API still reloads.
    """

    host: str
    port: int
    prefix: str = ""
    read_only: bool = False


def serve(settings: Settings, workspace: Path, listening: Listening) -> None:
    """Serve Dagster's UI until the process is told to stop.

    Args:
        settings: names, login and keys.
        workspace: the ``workspace.yaml``.
        listening: where and how.

    Raises:
        SettingsError: people would have to log in, and nothing can check or sign that.
    """
    # Before the definitions are loaded, which takes seconds.
    origins = known_origins(settings, listening)
    login = wanted_login(settings, listening, origins)

    import uvicorn
    from dagster import DagsterInstance
    from dagster._core.workspace.load_target import WorkspaceFileTarget
    from dagster_webserver.app import create_app_from_workspace_process_context

    from activekg_pipelines.webserver.workspace import Workspace

    with DagsterInstance.get() as instance:
        instance.optimize_for_webserver(
            _STATEMENT_TIMEOUT_MS, _POOL_RECYCLE_SECONDS, _POOL_OVERFLOW
        )
        with Workspace(
            instance,
            WorkspaceFileTarget([str(workspace)]),
            version=version("dagster-webserver"),
            read_only=listening.read_only,
            code_server_log_level="warning",
        ) as context:
            app = create_app_from_workspace_process_context(
                context, listening.prefix, _LIVE_DATA_POLL_MS
            )
            uvicorn.run(
                guarded(app, settings, listening, origins, login),
                host=listening.host,
                port=listening.port,
                log_level="warning",
                server_header=False,
                # What a client says about its own address counts for nothing here.
                proxy_headers=False,
                timeout_graceful_shutdown=_STOP_SECONDS,
            )


def known_origins(settings: Settings, listening: Listening) -> Origins:
    """The names that requests may come under."""
    names = [*settings.activekg_webserver_hosts]
    if own := urlsplit(settings.activekg_webserver_url).hostname:
        names.append(own)
    if not is_loopback(listening.host):
        names.append(listening.host)
    return Origins(names)


def wanted_login(settings: Settings, listening: Listening, origins: Origins) -> Login | None:
    """The login, where this server has to ask for one.

    Raises:
        SettingsError: nothing can check tokens, or sign sessions.
    """
    from activekg_pipelines.webserver.login import Login

    asks = settings.activekg_webserver_login
    only_this_machine = is_loopback(listening.host) and origins.only_loopback
    if asks == "proxy" or (asks == "auto" and only_this_machine):
        return None
    verifier = TokenVerifier(settings)
    key = webserver_key(settings, "session")
    if key is None:
        raise SettingsError(
            "People have to log in to Dagster's UI, and nothing can sign their sessions. Set "
            "ACTIVEKG_WEBSERVER_SECRET to the same 32 bytes or more for webserver, API and "
            "command line."
        )
    name = f"activekg_dagster_{listening.port}"
    return Login(verifier, Sessions(key, name), cookie=name, prefix=listening.prefix)


def guarded(
    app: ASGIApp,
    settings: Settings,
    listening: Listening,
    origins: Origins,
    login: Login | None,
) -> Guard:
    """Dagster's web application behind the guard."""
    from activekg_pipelines.webserver.guard import Guard

    return Guard(
        app,
        origins=origins,
        login=login,
        credential=ServiceCredential(settings),
        prefix=listening.prefix,
    )
