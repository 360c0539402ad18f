"""The command ``audit``: whether source, ledger and graph agree, and their repair."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from activekg_pipelines.cli.console import (
    add_row,
    administration,
    err,
    fail,
    out,
    print_json,
    print_table,
    resolve,
    sentences,
    table,
)
from activekg_pipelines.errors import ActiveKGError

if TYPE_CHECKING:
    from activekg_pipelines.audit.differences import Report
    from activekg_pipelines.audit.repair import Repaired
    from activekg_pipelines.connectors.models import Connector
    from activekg_pipelines.services import Services

DRIFT: Final = 1
COULD_NOT_LOOK: Final = 2


def audit(
    connectors: Annotated[
        list[str] | None,
        typer.Argument(metavar="CONNECTOR...", help="By id, or tenant/name; all by default."),
    ] = None,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's connectors.")] = None,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Repair what was found: clear what nothing stands behind, queue the rest.",
        ),
    ] = False,
    remove_orphans: Annotated[
        int,
        typer.Option(
            min=0, help="Up to so many documents outside the ledger may go, suspicious or not."
        ),
    ] = 0,
    vectors: Annotated[
        int, typer.Option(min=0, help="Compute so many vectors of each connector again.")
    ] = 0,
    as_json: Annotated[
        bool, typer.Option("--json", help="JSON, for scripts, instead of text.")
    ] = False,
) -> None:
    """Compare source, ledger, texts, documents, chunks, edges, vectors.

    Reads everything and lists the source; changes nothing without --repair. What a scan
    or run is about to settle by itself is no difference. Exits with 1 where something
    differs, with 2 where it could not look.

    \b
    Examples:
      activekg-pipelines audit acme_corp/my-documents
      activekg-pipelines audit acme_corp/my-documents --repair
      activekg-pipelines audit --vectors 200 --json
    """
    answers: list[dict[str, Any]] = []
    try:
        with administration() as services:
            chosen = (
                [resolve(services, name) for name in connectors]
                if connectors
                else list(services.every_connector(tenant))
            )
            for connector in chosen:
                answer = _audit(
                    services, connector, vectors, remove_orphans if repair else None, quiet=as_json
                )
                answers.append(answer)
    except ActiveKGError as error:
        fail(error.message, COULD_NOT_LOOK)
    if as_json:
        print_json({"connectors": answers})
    elif not answers:
        err.print("No connector is registered.")
    if any(answer["error"] for answer in answers):
        raise typer.Exit(COULD_NOT_LOOK)
    if any(answer["differences"] for answer in answers):
        raise typer.Exit(DRIFT)


def _audit(
    services: Services,
    connector: Connector,
    vectors: int,
    remove_orphans: int | None,
    *,
    quiet: bool,
) -> dict[str, Any]:
    """One connector's answer; it is repaired where ``remove_orphans`` is a number."""
    from activekg_pipelines.audit.repair import repair_connector

    repaired = None
    try:
        report = _look(services, connector, vectors)
        if remove_orphans is not None and not report.clean:
            with err.status(f"Repairing {connector.partition_key} …"):
                repaired = repair_connector(
                    services, connector, report, remove_orphans=remove_orphans
                )
    except ActiveKGError as error:
        if not quiet:
            err.print(
                f"{connector.partition_key} could not be audited: {error.message}",
                soft_wrap=True,
                markup=False,
            )
        return {"connector": connector.partition_key, "error": error.message, "differences": []}
    if not quiet:
        _print(connector, report)
        if repaired is not None:
            _print_repaired(connector, repaired)
        elif not report.clean:
            out.print(
                f"Repair it: activekg-pipelines audit {connector.partition_key} --repair",
                soft_wrap=True,
            )
    return _shape(connector, report, repaired)


def _look(services: Services, connector: Connector, vectors: int) -> Report:
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        SpinnerColumn,
        TextColumn,
        TimeElapsedColumn,
    )

    from activekg_pipelines.audit.audit import audit_connector, known_objects

    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        with services.database.transaction(tenant_id=connector.tenant_id) as conn:
            known = known_objects(conn, connector)
        bar = progress.add_task(connector.partition_key, total=known or None)

        def show(report: Report) -> None:
            nodes = f", {report.nodes:,} nodes" if report.nodes else ""
            checked = f", {report.vectors_checked:,} vectors" if report.vectors_checked else ""
            progress.update(
                bar,
                description=f"{connector.partition_key}{nodes}{checked}",
                completed=report.objects,
            )

        return audit_connector(services, connector, vectors=vectors, progress=show)


def _print(connector: Connector, report: Report) -> None:
    vectors = (
        f" {report.vectors_checked:,} vectors were computed again."
        if report.vectors_checked
        else ""
    )
    waiting = f" {report.in_flight:,} objects are under way." if report.in_flight else ""
    verdict = "Everything agrees." if report.clean else "Not everything agrees:"
    out.print(
        f"{connector.partition_key}: {report.listed:,} objects in the bucket, "
        f"{report.objects:,} in the ledger, {report.nodes:,} documents and chunks in the graph."
        f"{vectors}{waiting} {verdict}",
        soft_wrap=True,
        markup=False,
    )
    if report.clean:
        return
    made = sentences(table("COUNT#", "DIFFERENCE", "EXAMPLE"), "WHICH ARE")
    for kind, tally in report.differences.items():
        for number, example in enumerate(tally.examples):
            first = number == 0
            add_row(
                made,
                f"{tally.count:,}" if first else "",
                kind if first else "",
                example,
                kind.sentence if first else "",
            )
    print_table(made)


def _print_repaired(connector: Connector, repaired: Repaired) -> None:
    lines = []
    if repaired.fetch or repaired.index:
        lines.append(
            f"{repaired.fetch:,} objects are fetched again, {repaired.index:,} indexed again from "
            "their text."
        )
    removed = {
        "documents": repaired.documents,
        "chunks": repaired.chunks,
        "edges": repaired.edges,
        "texts": repaired.texts,
    }
    if any(removed.values()):
        lines.append(
            "Removed: "
            + ", ".join(f"{count:,} {name}" for name, count in removed.items() if count)
            + "."
        )
    if repaired.left_to_scan:
        lines.append(
            f"{repaired.left_to_scan:,} differences are for the next scan of the bucket to settle."
        )
    if repaired.left_to_runs:
        lines.append(
            f"{repaired.left_to_runs:,} objects are held by a run or missing from the bucket, and "
            "were left alone."
        )
    if repaired.orphans_held_back:
        lines.append(
            f"{repaired.orphans_held_back:,} documents outside the ledger stay, because there are "
            "suspiciously many. Those whose object is in the bucket are taken up by the scan. "
            "To remove the others, if that is meant: "
            f"activekg-pipelines audit {connector.partition_key} --repair --remove-orphans "
            f"{repaired.orphans_held_back}"
        )
    if repaired.sync_id is not None:
        lines.append(
            f"Sync {repaired.sync_id} does the rest; it starts within seconds while Dagster runs. "
            f"Then look again: activekg-pipelines audit {connector.partition_key}"
        )
    elif not connector.enabled:
        lines.append(
            "The connector is paused: activekg-pipelines connectors resume "
            f"{connector.partition_key}"
        )
    for line in lines:
        out.print(line, soft_wrap=True, markup=False)


def _shape(connector: Connector, report: Report, repaired: Repaired | None) -> dict[str, Any]:
    return {
        "connector": connector.partition_key,
        "error": None,
        "listed": report.listed,
        "objects": report.objects,
        "nodes": report.nodes,
        "in_flight": report.in_flight,
        "vectors_checked": report.vectors_checked,
        "differences": [
            {
                "kind": kind.value,
                "description": kind.sentence,
                "count": tally.count,
                "examples": tally.examples,
            }
            for kind, tally in report.differences.items()
        ],
        "mended": None
        if repaired is None
        else asdict(repaired)
        | {"sync_id": None if repaired.sync_id is None else str(repaired.sync_id)},
    }
