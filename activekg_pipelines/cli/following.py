"""Follows a sync until its end and shows how far it is."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from uuid import UUID

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from activekg_pipelines.cli.console import CommandFailed, err

if TYPE_CHECKING:
    from activekg_pipelines.administration.reads import RunRow
    from activekg_pipelines.connectors.models import Connector
    from activekg_pipelines.services import Services

_POLL_SECONDS = 0.5
# Dagster is asked that seldom why the sync does not begin.
_LOOK_SECONDS = 5.0
# The work queue looks every three seconds, and a run's process starts in a few more.
_SLOW_START_SECONDS = 30.0
_OPEN = frozenset({"waiting", "running"})


def follow_sync(
    services: Services, connector: Connector, sync_id: UUID, *, seconds: float
) -> RunRow:
    """The sync as it ended.

    Args:
        connector: whose sync.
        seconds: to wait at most.

    Raises:
        CommandFailed: it did not end in time (and goes on), or is gone with its
            connector.
    """
    from activekg_pipelines.administration import reads
    from activekg_pipelines.administration.launches import look_at_dagster

    started = time.monotonic()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=err, transient=True) as progress:
        bar = progress.add_task("waits", total=None)
        look_at = _LOOK_SECONDS
        while True:
            with services.database.transaction() as conn:
                row = reads.run(conn, sync_id)
                states = services.ledger.progress(conn, connector.id)
            if row is None:
                raise CommandFailed("The sync is gone; its connector may have been removed.")
            if row.status not in _OPEN:
                return row
            waited = time.monotonic() - started
            if row.status == "waiting" and waited >= look_at:
                look_at_dagster(services)
                look_at = waited + _LOOK_SECONDS
            if waited >= seconds:
                raise CommandFailed(
                    f"The sync {sync_id} did not end within {seconds:.0f} seconds. It goes on; "
                    f"see: activekg-pipelines runs {connector.partition_key}"
                )
            known = sum(count for state, count in states.items() if state != "deleted")
            open_ = states.get("pending", 0) + states.get("extracted", 0)
            progress.update(
                bar,
                description=_description(row, waited),
                completed=known - open_,
                total=known or None,
            )
            time.sleep(_POLL_SECONDS)


def _description(row: RunRow, waited: float) -> str:
    if row.status == "waiting" and waited > _SLOW_START_SECONDS:
        return f"waits for {row.waits_for}; does Dagster run? activekg-pipelines doctor"
    return (
        f"waits for {row.waits_for}"
        if row.status == "waiting"
        else f"runs: {row.counts.extracted} extracted, {row.counts.indexed} indexed"
    )
