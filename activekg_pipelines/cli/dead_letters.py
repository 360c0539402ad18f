"""Commands on dead letters: objects that are not tried again by themselves."""

from __future__ import annotations

from typing import Annotated

import typer

from activekg_pipelines.cli.arguments import AsJson, ConnectorName, Cursor, Limit
from activekg_pipelines.cli.console import administration, out, print_json, resolve
from activekg_pipelines.cli.history import print_objects
from activekg_pipelines.ledger.states import ObjectState

app = typer.Typer(
    help="List objects that failed for good; try them again.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


@app.command("list")
def list_dead_letters(
    connector: ConnectorName,
    error_type: Annotated[
        str | None, typer.Option(help="Only those that ended with this error.")
    ] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """List a connector's dead letters by key, each with its cause.

    \b
    Example:
      activekg-pipelines dead-letters list acme_corp/my-documents --error-type encrypted
    """
    from activekg_pipelines.administration.reads import ObjectFilter

    listed = ObjectFilter(ObjectState.DEAD, error_type)
    print_objects(connector, listed, limit, cursor, as_json)


@app.command()
def replay(
    connector: ConnectorName,
    key: Annotated[list[str] | None, typer.Option(help="Repeatable: this object.")] = None,
    error_type: Annotated[str | None, typer.Option(help="All that ended with this error.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All of the connector's.")] = False,
    as_json: AsJson = False,
) -> None:
    """Try dead letters again with fresh attempts; a run takes them up within seconds.

    \b
    Examples:
      activekg-pipelines dead-letters replay acme_corp/my-documents --key documents/scan.pdf
      activekg-pipelines dead-letters replay acme_corp/my-documents --error-type fetch_failed
    """
    if sum([bool(key), error_type is not None, everything]) != 1:
        raise typer.BadParameter("Give exactly one of --key, --error-type and --all.")
    from activekg_pipelines.administration.operations import replay_dead_letters
    from activekg_pipelines.administration.schemas import Replayed

    with administration() as services:
        found = resolve(services, connector)
        count = replay_dead_letters(services, found.id, keys=key or None, error_type=error_type)
    if as_json:
        print_json(Replayed(replayed=count))
    else:
        out.print(f"{count} dead letters are tried again." if count else "No dead letter fits.")
