"""The daily maintenance.

It deletes what nobody reads any more, in this package's tables and in Dagster's, and
looks for objects that an upgrade left behind.
"""

# No `from __future__ import annotations` here: Dagster reads the context's annotation
# at run time.
from dataclasses import asdict

import dagster as dg

from activekg_pipelines.defs.assets import extract_and_index, source_objects
from activekg_pipelines.defs.checks import audit_connectors
from activekg_pipelines.defs.jobs import sync_connector
from activekg_pipelines.defs.run_scope import SOURCE
from activekg_pipelines.orchestrator.history import OwnDefinitions, purge_history
from activekg_pipelines.orchestrator.partitions import PARTITIONS_DEF
from activekg_pipelines.orchestrator.sensors import WORK_QUEUE_SENSOR
from activekg_pipelines.pipeline.retention import purge
from activekg_pipelines.services import services

_JOB = "activekg_maintenance"

OWN_DEFINITIONS = OwnDefinitions(
    jobs=(sync_connector.name, audit_connectors.name, _JOB),
    assets=frozenset({SOURCE} | source_objects.keys | extract_and_index.keys),
    partitions_def=PARTITIONS_DEF,
    sensor=WORK_QUEUE_SENSOR,
)
"""Whose history is deleted. A job that is left out here keeps its runs for ever."""

# The maintenance run takes one of the queue's slots meanwhile. This is enough to delete
# some 80,000 runs; what is left over is for the next day.
_BUDGET_SECONDS = 1800.0


@dg.op
def forget_old_rows(context: dg.OpExecutionContext) -> None:
    """Delete old scans, syncs, deleted objects, and vectors kept for reuse."""
    context.add_output_metadata(asdict(purge(services())))


@dg.op
def requeue_leftovers(context: dg.OpExecutionContext) -> None:
    """Requeue objects of older versions that no scan looks for any more.

    A run that was killed during an upgrade has written them.
    """
    opened = services()
    requeued = 0
    for connector in opened.every_connector():
        with opened.database.transaction() as conn:
            requeued += opened.ledger.requeue_outdated(
                conn, connector.id, opened.versions, thorough=True
            )
    context.add_output_metadata({"requeued": requeued})


@dg.op
def forget_dagster_history(context: dg.OpExecutionContext) -> None:
    """Delete old runs with their events and logs, and old ticks.

    What says how each partition stands is kept.
    """
    forgotten = purge_history(
        context.instance,
        OWN_DEFINITIONS,
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
    """Three independent steps: one that fails keeps no other from its work."""
    forget_old_rows()
    requeue_leftovers()
    forget_dagster_history()


daily_maintenance = dg.ScheduleDefinition(
    name="daily_maintenance",
    job=maintenance,
    cron_schedule="20 3 * * *",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.RUNNING,
    description="Every night. What was not done while nothing ran, the next night does.",
)
