"""Commands about this machine: ``up``, ``demo``, ``migrate``, ``token`` and ``env``."""

from __future__ import annotations

from typing import Annotated

import typer

from activekg_pipelines.cli.console import fail, out


def add_to(app: typer.Typer) -> None:
    """Add the commands to the command line's first level."""
    for command in (up, demo, migrate, token, env):
        app.command()(command)


def up() -> None:
    """Start everything on this machine.

    Database, migrations, Dagster and admin API.

    Uses ACTIVEKG_DSN when it is set, an embedded Postgres under .activekg/ when it is
    not.

    \b
    Example:
      activekg-pipelines up
    """
    from activekg_pipelines.cli.stack import local_stack

    with local_stack(out) as stack:
        out.print(f"Dagster UI   {stack.webserver_url}")
        out.print(f"Admin API    {stack.api_url}")
        out.print(f"Logs         {stack.logs}", soft_wrap=True)
        out.print("Admin token  activekg-pipelines token --tenant <tenant>")
        out.print("Ctrl-C stops everything.")
        stack.run_forever()


def demo(
    once: Annotated[
        bool, typer.Option("--once", help="Stop everything and exit after the answers.")
    ] = False,
) -> None:
    """Show the whole way on real documents.

    A local stand-in for AWS S3 serves them.

    \b
    Example:
      activekg-pipelines demo --once
    """
    from activekg_pipelines.cli.demo import run_demo

    run_demo(out, once=once)


def migrate(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; say what stands in the way.")
    ] = False,
    as_sql: Annotated[
        bool,
        typer.Option("--sql", help="Change nothing; print what an administrator may run."),
    ] = False,
) -> None:
    """Bring the database to the newest schema. Safe to run twice, and twice at once.

    It looks first whether database and role allow it, and changes nothing where they do
    not. `--sql` prints the migration for a database administrator, with all that the
    role of ACTIVEKG_DSN lacks.

    \b
    Examples:
      ACTIVEKG_DSN=postgresql://activekg@db/activekg activekg-pipelines migrate
      activekg-pipelines migrate --check
      activekg-pipelines migrate --sql > migration.sql
    """
    from activekg_pipelines.cli.environment import prepare_environment
    from activekg_pipelines.database import migrate as database

    if check and as_sql:
        raise typer.BadParameter("--check and --sql do different things: give one of them.")
    values = prepare_environment(generate_keys=False, create=True, dagster=False)
    dsn = values["ACTIVEKG_DSN"]
    if as_sql:
        typer.echo(database.migration_script(dsn), nl=False)
    elif check:
        if found := database.find_obstacles(dsn):
            fail("\n- ".join(["The database is not ready.", *map(str, found)]))
        current, newest = database.current_revision(dsn), database.newest_revision()
        out.print(
            f"The database is at revision {newest}, the newest one, and the role may use it."
            if current == newest
            else f"Nothing stands in the way from {current or 'nothing'} to revision {newest}."
        )
    else:
        out.print(f"The database is at revision {database.migrate(dsn)}.")


def token(
    tenant: Annotated[str | None, typer.Option(help="The token's tenant.")] = None,
    scope: Annotated[
        list[str] | None,
        typer.Option(
            help="Repeatable: connectors:admin, search:read, metrics:read, super_admin, dagster:ui."
        ),
    ] = None,
    hours: Annotated[
        float, typer.Option(min=0.01, max=24 * 30, help="How long it is valid.")
    ] = 12.0,
) -> None:
    """Print a token for the admin API, signed with JWT_SECRET_KEY. For development.

    \b
    Example:
      export ADMIN_JWT=$(activekg-pipelines token --tenant acme_corp)
    """
    from activekg_pipelines.administration.tokens import mint_token
    from activekg_pipelines.cli.environment import prepare_environment
    from activekg_pipelines.settings import settings

    prepare_environment(generate_keys=True, dagster=False)
    scopes = scope or ["connectors:admin", "search:read"]
    typer.echo(mint_token(settings(), "developer", tenant, scopes, int(hours * 3600)))


def env() -> None:
    """Print the environment that Dagster's own commands need. It holds secrets.

    \b
    Example:
      eval "$(activekg-pipelines env)"; dagster job list
    """
    from activekg_pipelines.cli.environment import exports, prepare_environment

    typer.echo(exports(prepare_environment(generate_keys=True)))
