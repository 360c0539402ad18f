"""The audit as a check of each connector, and a schedule that an operator may start."""

# No `from __future__ import annotations` here: Dagster reads annotations at run time.
from dataclasses import dataclass, field
from typing import Any

import dagster as dg
from pydantic import Field

from activekg_pipelines.audit.audit import audit_connector
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.defs.partitions import connector_partitions
from activekg_pipelines.defs.run_scope import DOCUMENT_EMBEDDINGS
from activekg_pipelines.errors import ActiveKGError
from activekg_pipelines.orchestrator.checks import checked_materialization
from activekg_pipelines.services import Services, services

_CHECK = "no_drift"
# Rows of a table in Dagster's event log. The command line shows all of them.
_MOST_ROWS = 500


class AuditConfig(dg.Config):
    """What to audit; the default is everything."""

    connectors: list[str] = Field(
        default=[], description="Partition keys, tenant/name; all connectors when empty."
    )
    vectors: int = Field(
        default=0, ge=0, description="How many vectors of each connector to compute again."
    )


@dataclass(frozen=True, slots=True)
class _Found:
    """What the audit of a connector found; ``error`` says why it could not look."""

    rows: list[dict[str, str | int]] = field(default_factory=list)
    in_flight: int = 0
    error: str | None = None

    @property
    def passed(self) -> bool:
        return not self.rows and self.error is None

    @property
    def description(self) -> str:
        if self.error is not None:
            return f"Could not look: {self.error}"
        return f"{len(self.rows)} kinds of differences." if self.rows else "All agree."

    @property
    def metadata(self) -> dict[str, Any]:
        records = [dg.TableRecord(row) for row in self.rows[:_MOST_ROWS]]
        differences = {"differences": dg.MetadataValue.table(records=records)} if records else {}
        return {"in_flight": self.in_flight} | differences


@dg.asset_check(
    asset=DOCUMENT_EMBEDDINGS,
    name=_CHECK,
    partitions_def=connector_partitions,
    description="Source, ledger, texts, documents, chunks, edges and vectors agree, apart from "
    "work under way. Reads all of them: no sync evaluates this, the job audit_connectors does. "
    "To repair what it finds: activekg-pipelines audit --repair.",
)
def no_drift(context: dg.AssetCheckExecutionContext) -> dg.AssetCheckResult:
    """The connector's result, where its partition is materialized from the asset's page.

    Dagster then evaluates every check of the asset. Alone it starts no run for a
    partition of a check.
    """
    if not context.has_partition_key:
        raise dg.Failure(
            description="Start the job audit_connectors: it evaluates this check for every "
            "connector, or for those that its configuration names.",
            allow_retries=False,
        )
    opened = services()
    found = _look(opened, opened.connector_of_partition(context.partition_key), vectors=0)
    return dg.AssetCheckResult(
        passed=found.passed,
        severity=dg.AssetCheckSeverity.WARN,
        description=found.description,
        metadata=found.metadata,
    )


@dg.op
def audit(context: dg.OpExecutionContext, config: AuditConfig) -> None:
    """Audit connectors, and evaluate the check no_drift of each."""
    opened = services()
    connectors = (
        [opened.connector_of_partition(key) for key in config.connectors]
        if config.connectors
        else opened.every_connector()
    )
    audited = drifting = unreadable = 0
    for connector in connectors:
        found = _look(opened, connector, vectors=config.vectors)
        audited += 1
        drifting += bool(found.rows)
        unreadable += found.error is not None
        # It takes evaluations, too; only its annotation does not say so.
        context.log_event(
            dg.AssetCheckEvaluation(  # type: ignore[arg-type]
                asset_key=DOCUMENT_EMBEDDINGS,
                check_name=_CHECK,
                partition=connector.partition_key,
                passed=found.passed,
                severity=dg.AssetCheckSeverity.WARN,
                description=found.description,
                metadata=found.metadata,
                target_materialization_data=checked_materialization(
                    context.instance, DOCUMENT_EMBEDDINGS, connector.partition_key
                ),
            )
        )
    context.add_output_metadata(
        {"connectors": audited, "drifting": drifting, "unreadable": unreadable}
    )


@dg.job(
    executor_def=dg.in_process_executor,
    # Syncs come first.
    tags={"dagster/priority": "-100"},
    description="Compare source, ledger and graph of all connectors; changes nothing.",
)
def audit_connectors() -> None:
    """One step: a connector that cannot be looked at keeps no other from it."""
    audit()


weekly_audit = dg.ScheduleDefinition(
    name="weekly_audit",
    job=audit_connectors,
    cron_schedule="40 4 * * 0",
    execution_timezone="UTC",
    default_status=dg.DefaultScheduleStatus.STOPPED,
    description="Audits every connector on Sundays. Off by default: it reads everything, and "
    "lists every source.",
)


def _look(services: Services, connector: Connector, *, vectors: int) -> _Found:
    try:
        report = audit_connector(services, connector, vectors=vectors)
    except ActiveKGError as error:
        return _Found(error=error.message)
    rows: list[dict[str, str | int]] = [
        {
            "difference": str(kind),
            "count": tally.count,
            "example": tally.examples[0],
            "meaning": kind.sentence,
        }
        for kind, tally in report.differences.items()
    ]
    return _Found(rows, report.in_flight)
