"""The console script: ``activekg-pipelines``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from activekg_pipelines.errors import ActiveKGError

if TYPE_CHECKING:
    from activekg_pipelines.graph.search import SearchHit

app = typer.Typer(
    name="activekg-pipelines",
    help="Makes the documents in your S3 buckets searchable in your own Postgres.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
out = Console()
err = Console(stderr=True)


@app.command()
def up() -> None:
    """Start everything on this machine: database, migrations, Dagster, admin API.

    Uses ACTIVEKG_DSN when it is set, an embedded Postgres under .activekg/ when it is not.
    """
    from activekg_pipelines.cli.stack import local_stack

    with local_stack(out) as stack:
        out.print(f"Dagster UI   {stack.webserver_url}")
        out.print(f"Admin API    {stack.api_url}")
        out.print("Admin token  activekg-pipelines token --tenant <tenant>")
        out.print("Ctrl-C stops everything.")
        stack.run_forever()


@app.command()
def demo(
    once: Annotated[bool, typer.Option("--once", help="Stop everything and exit after the answers.")] = False,
) -> None:
    """Show the whole way on real documents, with a local stand-in for AWS S3."""
    from activekg_pipelines.cli.demo import run_demo

    run_demo(out, once=once)


@app.command()
def migrate() -> None:
    """Bring the database to the newest schema. Safe to run twice, and twice at once."""
    from activekg_pipelines.cli.environment import prepare_environment
    from activekg_pipelines.database.migrate import migrate as migrate_database

    values = prepare_environment(generate_keys=False)
    out.print(f"The database is at revision {migrate_database(values['ACTIVEKG_DSN'])}.")


@app.command()
def search(
    question: Annotated[str, typer.Argument(help="A question or words.")],
    tenant: Annotated[str, typer.Option(help="Whose documents.")],
    limit: Annotated[int, typer.Option(min=1, max=100, help="Answers at most.")] = 5,
) -> None:
    """Answer a question with a tenant's documents."""
    from activekg_pipelines.cli.environment import prepare_environment
    from activekg_pipelines.graph.search import search as search_graph
    from activekg_pipelines.services import services

    prepare_environment(generate_keys=False)
    opened = services()
    hits = search_graph(opened.database, opened.encoder, tenant_id=tenant, query=question, limit=limit)
    if not hits:
        out.print(f"Tenant {tenant} has no searchable document.")
        return
    print_hits(hits)


@app.command()
def token(
    tenant: Annotated[str | None, typer.Option(help="The token's tenant.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="Repeatable: connectors:admin, search:read, super_admin.")
    ] = None,
    hours: Annotated[float, typer.Option(min=0.01, max=24 * 30, help="How long it is valid.")] = 12.0,
) -> None:
    """Print a token for the admin API, signed with JWT_SECRET_KEY. For development."""
    from activekg_pipelines.api.auth import mint_token
    from activekg_pipelines.cli.environment import prepare_environment
    from activekg_pipelines.settings import settings

    prepare_environment(generate_keys=True)
    scopes = scope or ["connectors:admin", "search:read"]
    typer.echo(mint_token(settings(), "developer", tenant, scopes, int(hours * 3600)))


@app.command()
def env() -> None:
    """Print the environment that Dagster's own commands need: eval "$(activekg-pipelines env)"."""
    from activekg_pipelines.cli.environment import exports, prepare_environment

    typer.echo(exports(prepare_environment(generate_keys=True)))


def print_hits(hits: list[SearchHit]) -> None:
    """Answers as a table, best first."""
    table = Table(show_lines=True)
    table.add_column("#", justify="right")
    table.add_column("Document", overflow="fold")
    table.add_column("Passage")
    for rank, hit in enumerate(hits, 1):
        table.add_row(str(rank), f"{hit.title}\n{hit.uri}", hit.snippet)
    out.print(table)


def main() -> None:
    """Run the command line; a known error is one sentence and exit code 1, Ctrl-C is exit code 130."""
    try:
        app()
    except ActiveKGError as error:
        err.print(f"[bold red]Error:[/] {escape(error.message)}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


if __name__ == "__main__":
    main()
