"""Commands on the limits of tenants.

They work on the database: no token of a tenant can set what it may use.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from activekg_pipelines.cli.arguments import AsJson, Cursor, Limit
from activekg_pipelines.cli.console import (
    add_row,
    administration,
    err,
    moment,
    out,
    print_json,
    print_more,
    print_table,
    table,
)

if TYPE_CHECKING:
    from rich.table import Table

    from activekg_pipelines.connectors.tenant_limits import TenantUsage

app = typer.Typer(
    help="Show and set what tenants may use.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

# What the database can hold.
_MOST = 2**63 - 1
Tenant = Annotated[
    str, typer.Argument(metavar="TENANT", help="The tenant's id.", show_default=False)
]


@app.command()
def show(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """Show limits, and what was used of them.

    \b
    Example:
      activekg-pipelines limits show --tenant acme_corp
    """
    from activekg_pipelines.administration.paging import by_key, page_of
    from activekg_pipelines.administration.schemas import TenantLimitsView

    with administration() as services:
        store = services.tenant_limits
        after = by_key.decode(cursor)
        with services.database.transaction() as conn:
            rows = (
                [store.usage(conn, tenant)]
                if tenant is not None
                else store.page(conn, after=after, limit=limit + 1)
            )
        page = page_of(
            rows, limit, TenantLimitsView.of, lambda usage: by_key.encode(usage.tenant_id)
        )
    if as_json:
        print_json(page)
        return
    made = table(
        "TENANT",
        "CONNECTORS#",
        "OBJECTS A CONNECTOR#",
        "OVER#",
        "BYTES TODAY#",
        "WAITS UNTIL",
        "SET BY",
    )
    for row in rows[:limit]:
        _add(made, row)
    print_table(made)
    print_more(page.next_cursor)


@app.command("set")
def set_limits(
    tenant: Tenant,
    connectors: Annotated[
        int | None, typer.Option(min=0, max=_MOST, help="Connectors at once; 0 for no limit.")
    ] = None,
    objects: Annotated[
        int | None, typer.Option(min=0, max=_MOST, help="Objects of a connector; 0 for no limit.")
    ] = None,
    bytes_per_day: Annotated[
        int | None,
        typer.Option(min=0, max=_MOST, help="Bytes downloaded on a day in UTC; 0 for no limit."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set limits of a tenant in place of the installation's.

    What is not given stays as it is.

    Bytes hold at once, objects from the next scan on. Nothing that is indexed is
    removed.

    \b
    Example:
      activekg-pipelines limits set acme_corp --objects 500000 --bytes-per-day 10000000000
    """
    from activekg_pipelines.administration.schemas import TenantLimitsView
    from activekg_pipelines.connectors.actions import ActionKind, record
    from activekg_pipelines.connectors.tenant_limits import TenantLimits

    if connectors is None and objects is None and bytes_per_day is None:
        raise typer.BadParameter(
            "Give at least one of --connectors, --objects and --bytes-per-day."
        )
    with administration() as services:
        store = services.tenant_limits
        with services.database.transaction() as conn:
            given = TenantLimits(connectors, objects, bytes_per_day)
            store.set(conn, tenant, given)
            record(conn, ActionKind.LIMITS_CHANGED, tenant, **asdict(given))
            usage = store.usage(conn, tenant)
    if as_json:
        print_json(TenantLimitsView.of(usage))
    else:
        out.print(f"{tenant} may have {_said(usage)}.", soft_wrap=True, markup=False)
    if usage.connectors == 0:
        err.print(f"No connector is registered for {tenant} so far.", soft_wrap=True, markup=False)


@app.command()
def clear(tenant: Tenant, as_json: AsJson = False) -> None:
    """Let the installation's limits hold for a tenant again.

    \b
    Example:
      activekg-pipelines limits clear acme_corp
    """
    from activekg_pipelines.administration.schemas import TenantLimitsView
    from activekg_pipelines.connectors.actions import ActionKind, record

    with administration() as services:
        store = services.tenant_limits
        with services.database.transaction() as conn:
            cleared = store.clear(conn, tenant)
            if cleared:
                record(conn, ActionKind.LIMITS_CHANGED, tenant, cleared=True)
            usage = store.usage(conn, tenant)
    if as_json:
        print_json(TenantLimitsView.of(usage))
    elif cleared:
        out.print(
            f"{tenant} may have what every tenant may: {_said(usage)}.",
            soft_wrap=True,
            markup=False,
        )
    else:
        out.print(f"{tenant} has no limits of its own.", soft_wrap=True, markup=False)


def _said(usage: TenantUsage) -> str:
    def most(limit: int | None, what: str) -> str:
        return f"any number of {what}" if limit is None else f"{limit} {what}"

    return ", ".join(
        [
            most(usage.max_connectors, "connectors"),
            most(usage.max_objects, "objects in each"),
            most(usage.max_bytes_per_day, "bytes a day"),
        ]
    )


def _add(made: Table, usage: TenantUsage) -> None:
    def of(used: int, limit: int | None) -> str:
        return f"{used} of {'any' if limit is None else limit}"

    add_row(
        made,
        usage.tenant_id,
        of(usage.connectors, usage.max_connectors),
        "any" if usage.max_objects is None else usage.max_objects,
        usage.objects_over_limit,
        of(usage.bytes_today, usage.max_bytes_per_day),
        moment(usage.waits_until),
        "operator" if usage.is_own else "default",
    )
