"""Commands that show what was done: the syncs, and the objects of a connector."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from activekg_pipelines.cli.arguments import AsJson, ConnectorName, Cursor, Limit
from activekg_pipelines.cli.console import (
    add_row,
    administration,
    err,
    moment,
    print_json,
    print_more,
    print_table,
    resolve,
    sentences,
    table,
)
from activekg_pipelines.extraction.warnings import WarningKind
from activekg_pipelines.ledger.states import ObjectState

if TYPE_CHECKING:
    from activekg_pipelines.administration.reads import ObjectFilter


def runs(
    connector: Annotated[
        str | None,
        typer.Argument(metavar="[CONNECTOR]", help="Only this one's: its id, or tenant/name."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    status: Annotated[
        Literal[
            "waiting", "running", "succeeded", "failed", "expired", "cancelled", "launch_failed"
        ]
        | None,
        typer.Option(help="Only these."),
    ] = None,
    since: Annotated[
        datetime | None,
        typer.Option(help="Only those asked for at or after this time (UTC).", show_default=False),
    ] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """Show the history of syncs, newest first.

    \b
    Examples:
      activekg-pipelines runs acme_corp/my-documents
      activekg-pipelines runs --status failed --since 2026-01-31
    """
    from activekg_pipelines.administration import reads
    from activekg_pipelines.administration.launches import look_at_dagster
    from activekg_pipelines.administration.paging import by_time, page_of
    from activekg_pipelines.administration.schemas import RunView
    from activekg_pipelines.ledger.run_counts import COUNTERS

    with administration() as services:
        look_at_dagster(services)
        connector_id = resolve(services, connector).id if connector else None
        with services.database.transaction() as conn:
            rows = reads.runs(
                conn,
                tenant,
                connector_id=connector_id,
                status=status,
                since=since.replace(tzinfo=UTC) if since and since.tzinfo is None else since,
                after=by_time.decode(cursor),
                limit=limit + 1,
            )
        page = page_of(
            rows,
            limit,
            lambda row: RunView.of(row, dagster_run_url=reads.run_url(services, row)),
            lambda row: by_time.encode((row.requested_at, row.id)),
        )
        names = {
            id_: services.connector(id_).partition_key
            for id_ in {run.config_id for run in page.items}
        }
    if as_json:
        print_json(page)
        return
    shown = {counter.name: counter.heading for counter in COUNTERS if counter.heading}
    shown["waiting"] = "WAITING"
    made = table(
        "REQUESTED",
        "CONNECTOR",
        "TRIGGER",
        "STATUS",
        "SECONDS#",
        *(f"{heading}#" for heading in shown.values()),
        "RUN",
    )
    for run in page.items:
        counts = run.model_dump() | run.objects.model_dump()
        duration = "" if run.duration_seconds is None else f"{run.duration_seconds:.0f}"
        add_row(
            made,
            moment(run.requested_at),
            names[run.config_id],
            run.trigger.value,
            run.status,
            duration,
            *(counts[name] for name in shown),
            run.dagster_run_url or "",
        )
    if page.items:
        print_table(made)
    else:
        err.print("There is no such sync.")
    print_more(page.next_cursor)


def objects(
    connector: ConnectorName,
    state: Annotated[ObjectState | None, typer.Option(help="Only objects in this state.")] = None,
    error_type: Annotated[
        str | None, typer.Option(help="Only objects whose last error was this.")
    ] = None,
    warning: Annotated[
        WarningKind | None, typer.Option(help="Only objects whose text has this warning.")
    ] = None,
    not_read_whole: Annotated[
        bool,
        typer.Option(
            "--not-read-whole", help="Only objects whose warnings say that text is missing."
        ),
    ] = False,
    limit: Limit = 100,
    cursor: Cursor = None,
    as_json: AsJson = False,
) -> None:
    """Show a connector's objects and where they stand.

    \b
    Examples:
      activekg-pipelines objects acme_corp/my-documents --state failed
      activekg-pipelines objects acme_corp/my-documents --not-read-whole
    """
    from activekg_pipelines.administration.reads import ObjectFilter

    listed = ObjectFilter(state, error_type, warning, not_read_whole)
    print_objects(connector, listed, limit, cursor, as_json)


def print_objects(
    connector: str, listed: ObjectFilter, limit: int, cursor: str | None, as_json: bool
) -> None:
    """One page of a connector's objects, as a table or JSON."""
    from activekg_pipelines.administration import reads
    from activekg_pipelines.administration.paging import by_key, page_of
    from activekg_pipelines.administration.schemas import ObjectView

    with administration() as services:
        found = resolve(services, connector)
        with services.database.transaction() as conn:
            rows = reads.objects(
                conn, found.id, listed, after=by_key.decode(cursor), limit=limit + 1
            )
        page = page_of(
            rows,
            limit,
            lambda row: ObjectView.of(row, uri=found.uri(row.key)),
            lambda row: by_key.encode(row.key),
        )
    if as_json:
        print_json(page)
        return
    made = sentences(
        table("URI", "STATE", "BYTES#", "CHUNKS#", "TRIES#", "NEXT TRY", "ERROR", "WARNINGS"),
        "WHY",
    )
    for item in page.items:
        again = moment(item.next_attempt_at) if item.state is ObjectState.FAILED else ""
        add_row(
            made,
            item.uri,
            item.state.value,
            item.size,
            item.chunks,
            item.attempts,
            again,
            item.error_type,
            ", ".join(warning.kind for warning in item.warnings),
            "\n".join(filter(None, [item.error_message, *(w.sentence for w in item.warnings)])),
        )
    if page.items:
        print_table(made)
    else:
        err.print("There is no such object.")
    print_more(page.next_cursor)
