"""The audit as Dagster shows it: a check of all connectors, and a schedule for it that
an operator may switch on.
"""

# No `from __future__ import annotations` here: Dagster reads annotations at run time.
import dagster as dg
from pydantic import Field

from activekg_pipelines.audit.audit import audit_connector
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.defs.run_scope import DOCUMENT_EMBEDDINGS
from activekg_pipelines.errors import ActiveKGError
from activekg_pipelines.services import services

# A table in Dagster's event log; whoever has more needs the command line.
_MOST_ROWS = 500


class AuditConfig(dg.Config):
    """What to audit; the default is everything."""

    connectors: list[str] = Field(
        default=[], description="Partition keys, tenant/name; all connectors when empty."
    )
    vectors: int = Field(
        default=0, ge=0, description="How many vectors of each connector to compute again."
    )


# Not partitioned: Dagster 1.13 starts no run that holds only a check of a partition.
@dg.asset_check(
    asset=DOCUMENT_EMBEDDINGS,
    description="Bucket, ledger, texts, documents, chunks, edges and vectors agree, apart from "
    "work under way. Reads "
    "all of them: no sync evaluates this. To repair what it finds: activekg-pipelines audit "
    "--repair.",
)
def no_drift(context: dg.AssetCheckExecutionContext, config: AuditConfig) -> dg.AssetCheckResult:
    """One result for all connectors, or for that of the partition where one is
    materialized by hand.
    """
    opened = services()
    # Materialized from the asset's page, where Dagster evaluates every check along.
    keys = [context.partition_key] if context.has_partition_key else config.connectors
    chosen = (
        [opened.connectors.get_by_partition(key) for key in keys]
        if keys
        else list(opened.connectors.every())
    )
    rows: list[dict[str, str | int]] = []
    unreadable = 0
    drifting = 0
    in_flight = 0
    for connector in chosen:
        try:
            report = audit_connector(opened, connector, vectors=config.vectors)
        except ActiveKGError as error:
            # One bucket that cannot be listed keeps no other from being looked at.
            unreadable += 1
            rows.append(_row(connector, "could_not_look", 1, "", error.message))
            continue
        drifting += not report.clean
        in_flight += report.in_flight
        rows += [
            _row(connector, kind, tally.count, tally.examples[0], kind.sentence)
            for kind, tally in report.differences.items()
        ]
    records = [dg.TableRecord(row) for row in rows[:_MOST_ROWS]]
    return dg.AssetCheckResult(
        passed=not rows,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{len(chosen)} connectors: {drifting} drift, {unreadable} could not be "
        "looked at.",
        metadata={
            "connectors": len(chosen),
            "drifting": drifting,
            "unreadable": unreadable,
            "in_flight": in_flight,
        }
        | ({"differences": dg.MetadataValue.table(records=records)} if records else {}),
    )


audit_connectors = dg.define_asset_job(
    "audit_connectors",
    selection=dg.AssetSelection.checks(no_drift),
    executor_def=dg.in_process_executor,
    # Syncs come first.
    tags={"dagster/priority": "-100"},
    description="Compare buckets, ledger and graph of all connectors; changes nothing.",
)

weekly_audit = dg.ScheduleDefinition(
    name="weekly_audit",
    job=audit_connectors,
    cron_schedule="40 4 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Audits every connector on Sundays. Off by default: it reads everything, and "
    "lists every bucket.",
)


def _row(
    connector: Connector, difference: str, count: int, example: str, meaning: str
) -> dict[str, str | int]:
    return {
        "connector": connector.partition_key,
        "difference": str(difference),
        "count": count,
        "example": example,
        "meaning": meaning,
    }
