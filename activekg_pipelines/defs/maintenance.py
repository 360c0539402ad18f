"""Once a day: forget what nobody reads any more, in this package's tables and in
Dagster's, and look for leftovers.
"""

# No `from __future__ import annotations` here: Dagster reads the context's annotation
# at run time.
from dataclasses import asdict

import dagster as dg

from activekg_pipelines.dagster_history import Territory, purge_history
from activekg_pipelines.defs.assets import extract_and_index, source_objects
from activekg_pipelines.defs.checks import audit_connectors
from activekg_pipelines.defs.jobs import sync_connector
from activekg_pipelines.orchestration import OWN_SENSOR, PARTITIONS
from activekg_pipelines.pipeline.retention import purge
from activekg_pipelines.services import services

_JOB = "activekg_maintenance"

TERRITORY = Territory(
    jobs=(sync_connector.name, audit_connectors.name, _JOB),
    assets=frozenset(source_objects.keys | extract_and_index.keys),
    partitions=PARTITIONS,
    sensor=OWN_SENSOR,
)
"""What of a Dagster instance is this package's. A job that is left out here keeps its
runs for ever.
"""

# Of a run that takes one of the queue's places: some 80,000 Dagster runs. What is left
# over is for the next day.
_BUDGET_SECONDS = 1800.0


@dg.op
def forget_old_rows(context: dg.OpExecutionContext) -> None:
    """Scans, syncs, objects deleted long ago, and vectors kept for reuse whose time is
    over.
    """
    context.add_output_metadata(asdict(purge(services())))


@dg.op
def requeue_leftovers(context: dg.OpExecutionContext) -> None:
    """Objects of older versions that no scan looks for any more: what a run wrote that
    was killed during an upgrade.
    """
    opened = services()
    requeued = 0
    for connector in opened.connectors.every():
        with opened.database.transaction() as conn:
            requeued += opened.ledger.requeue_outdated(
                conn, connector.id, opened.versions, thorough=True
            )
    context.add_output_metadata({"requeued": requeued})


@dg.op
def forget_dagster_history(context: dg.OpExecutionContext) -> None:
    """Old runs with their events and logs, and old ticks; the last word about each
    partition stays.
    """
    forgotten = purge_history(
        context.instance,
        TERRITORY,
        days=services().settings.activekg_dagster_retention_days,
        budget_seconds=_BUDGET_SECONDS,
    )
    context.add_output_metadata(asdict(forgotten))


@dg.job(
    name=_JOB,
    executor_def=dg.in_process_executor,
    # Syncs come first.
    tags={"dagster/priority": "-100"},
    description="Forgets old history, and looks for objects that an upgrade left behind.",
)
def maintenance() -> None:
    """Independent steps: one that fails keeps no other from its work."""
    forget_old_rows()
    requeue_leftovers()
    forget_dagster_history()


daily_maintenance = dg.ScheduleDefinition(
    name="daily_maintenance",
    job=maintenance,
    cron_schedule="20 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night; what it missed while nothing ran, the next one does.",
)
