"""Dagster's real web application, bare and behind the guard, over HTTP and WebSockets."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import dagster as dg
import httpx
import pytest
import uvicorn
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster_webserver.app import create_app_from_workspace_process_context
from starlette.types import ASGIApp

from activekg_pipelines.settings import Settings
from activekg_pipelines.webserver.server import Listening, guarded, known_origins, wanted_login
from activekg_pipelines.webserver.workspace import Workspace
from tests.e2e.conftest import free_port

LIMIT = 'mutation { setConcurrencyLimit(concurrencyKey: "attack", limit: 1) }'
"""A mutation whose effect everybody sees."""


@dataclass(frozen=True)
class Served:
    """A web application that listens.

    Attributes:
        listening: where and how it was started.
    """

    listening: Listening
    instance: dg.DagsterInstance

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.listening.port}"

    @property
    def was_changed(self) -> bool:
        """Whether the mutation had its effect."""
        return "attack" in self.instance.event_log_storage.get_concurrency_keys()

    def undo(self) -> None:
        """Take the effect back."""
        self.instance.event_log_storage.delete_concurrency_limit("attack")

    def client(self, **headers: str) -> httpx.Client:
        """Sends what curl would; a browser's headers come on top."""
        return httpx.Client(base_url=self.url, headers=headers, trust_env=False, timeout=30)


Serve = Callable[..., Served]


@pytest.fixture
def serve(instance: dg.DagsterInstance, app_settings: Settings) -> Iterator[Serve]:
    """Serves the UI of an instance without code locations.

    Takes fields of ``Listening`` and settings by their names; ``bare=True`` leaves the
    guard out.
    """
    with ExitStack() as stack:

        def start(*, bare: bool = False, **given: object) -> Served:
            options = {
                name: given.pop(name) for name in ("host", "prefix", "read_only") & given.keys()
            }
            listening = Listening(**{"host": "127.0.0.1", "port": free_port()} | options)
            settings = app_settings.model_copy(update=given)
            workspace = stack.enter_context(
                Workspace(
                    instance, EmptyWorkspaceTarget(), version="test", read_only=listening.read_only
                )
            )
            app: ASGIApp = create_app_from_workspace_process_context(workspace, listening.prefix)
            if not bare:
                origins = known_origins(settings, listening)
                login = wanted_login(settings, listening, origins)
                app = guarded(app, settings, listening, origins, login)
            stack.enter_context(_running(app, listening.port))
            return Served(listening, instance)

        yield start


@contextmanager
def _running(app: ASGIApp, port: int) -> Iterator[None]:
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            port=port,
            log_level="warning",
            proxy_headers=False,
            timeout_graceful_shutdown=2,
        )
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
        assert thread.is_alive(), "The web application did not start."
    yield
    server.should_exit = True
    thread.join()
