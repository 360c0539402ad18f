"""``webserver``: Dagster's UI, guarded."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer


def webserver(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = 3000,
    workspace: Annotated[
        Path | None,
        typer.Option(
            "--workspace", "-w", help="The workspace.yaml; by default that of this folder."
        ),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Show everything and change nothing.")
    ] = False,
    path_prefix: Annotated[
        str, typer.Option(help="What all paths begin with behind a proxy, such as /dagster.")
    ] = "",
) -> None:
    """Serve Dagster's UI behind a guard: known hosts, own origins, a login.

    The login is asked for wherever others than this machine can reach it; see
    ACTIVEKG_WEBSERVER_LOGIN and ACTIVEKG_WEBSERVER_HOSTS.

    \b
    Example:
      activekg-pipelines webserver --host 0.0.0.0 -w deploy/workspace.yaml
    """
    from activekg_pipelines.cli.environment import prepare_environment, project_file
    from activekg_pipelines.errors import SettingsError
    from activekg_pipelines.logs import configure_logging
    from activekg_pipelines.settings import settings
    from activekg_pipelines.webserver.server import Listening, serve

    if path_prefix and (not path_prefix.startswith("/") or path_prefix.endswith("/")):
        raise SettingsError("--path-prefix begins with a slash and does not end with one.")
    # As a part of a system it has all that it needs. By itself it looks for a local one.
    if "DAGSTER_HOME" not in os.environ:
        prepare_environment(generate_keys=False)
    configure_logging(settings().activekg_log_level, settings().activekg_log_style)
    serve(
        settings(),
        workspace or project_file("workspace.yaml"),
        Listening(host, port, path_prefix, read_only),
    )
