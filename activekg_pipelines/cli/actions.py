"""The command ``actions``: who did what."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from activekg_pipelines.cli.arguments import AsJson, Cursor, Limit
from activekg_pipelines.cli.console import (
    add_row,
    administration,
    err,
    moment,
    print_json,
    print_more,
    print_table,
    table,
)


def actions(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    action: Annotated[str | None, typer.Option(help="Only these: connector_removed, say.")] = None,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """Show who did what, newest first.

    Registrations, changes, removals, confirmations, replays, rotations of keys,
    cancellations and limits are recorded. Nobody can change the record.

    \b
    Example:
      activekg-pipelines actions --tenant acme_corp --action connector_removed
    """
    from activekg_pipelines.administration.paging import by_number, page_of
    from activekg_pipelines.administration.schemas import ActionView
    from activekg_pipelines.connectors import actions as record
    from activekg_pipelines.connectors.actions import ActionKind

    if action is not None and action not in set(ActionKind):
        raise typer.BadParameter(f"Unknown action. Known are: {', '.join(ActionKind)}.")
    with administration() as services:
        with services.database.transaction(tenant_id=tenant) as conn:
            rows = record.page(
                conn,
                tenant,
                action=ActionKind(action) if action else None,
                after=by_number.decode(cursor),
                limit=limit + 1,
            )
        page = page_of(rows, limit, ActionView.of, lambda row: by_number.encode(row.id))
    if as_json:
        print_json(page)
        return
    made = table("WHEN", "TENANT", "WHO", "BY", "ACTION", "CONNECTOR", "DETAILS")
    for item in page.items:
        add_row(
            made,
            moment(item.at),
            item.tenant_id or "-",
            item.actor,
            item.via.value,
            item.action.value,
            item.partition_key,
            json.dumps(item.details, ensure_ascii=False),
        )
    if page.items:
        print_table(made)
    else:
        err.print("Nothing is recorded.")
    print_more(page.next_cursor)
