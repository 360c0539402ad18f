"""Commands on tenants as a whole.

They work on the database: no token can do what they do.
"""

from __future__ import annotations

from typing import Annotated

import typer

from activekg_pipelines.cli.arguments import AsJson
from activekg_pipelines.cli.console import (
    FAILED,
    add_row,
    administration,
    err,
    out,
    print_json,
    print_table,
    table,
)

app = typer.Typer(
    help="Remove a tenant with everything that is here of it.",
    no_args_is_help=True,
    rich_markup_mode=None,
)


# Otherwise the group would be this one command.
@app.callback()
def tenants() -> None:
    """Remove a tenant with everything that is here of it."""


@app.command()
def remove(
    tenant: Annotated[
        str, typer.Argument(metavar="TENANT", help="The tenant's id.", show_default=False)
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove everything of a tenant for good, and count what is left.

    Connectors with their credentials, ledger, texts, all of the tenant's nodes and edges
    of the graph, history, limits, its record of actions, and what Dagster holds of it.

    First see to it that nobody has a token of the tenant any more. What is cut short is
    finished by the same command. Exits with 1 where something is left: runs that still
    end, say.

    \b
    Example:
      activekg-pipelines tenants remove acme_corp
    """
    from activekg_pipelines.administration.schemas import TenantRemovalView
    from activekg_pipelines.administration.tenants import count_tenant, remove_tenant

    with administration() as services:
        if not yes:
            own, _ = count_tenant(services, tenant)
            rows = ", ".join(f"{count} in {place}" for place, count in own.items() if count)
            typer.confirm(
                f"Of {tenant} there are {rows or 'no rows'}. Remove all of that for good?",
                abort=True,
                err=True,
            )
        removal = remove_tenant(services, tenant)
    if as_json:
        print_json(TenantRemovalView.of(removal))
    else:
        made = table("WHERE", "REMOVED#", "LEFT#")
        for count in removal.counts:
            add_row(made, count.place, count.removed, count.left)
        print_table(made)
        for place, rows_left in removal.others.items():
            err.print(
                f"{place} is not of this package: its {rows_left} rows of {tenant} stay.",
                soft_wrap=True,
                markup=False,
            )
        if removal.is_complete:
            out.print(f"Nothing of {tenant} is left.", soft_wrap=True, markup=False)
    if not removal.is_complete:
        err.print(
            f"Something of {tenant} is left. Once its runs have ended: activekg-pipelines tenants "
            f"remove {tenant}",
            soft_wrap=True,
            markup=False,
        )
        raise typer.Exit(FAILED)
