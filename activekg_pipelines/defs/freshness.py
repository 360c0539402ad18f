"""Whether each connector is listed as often as it should be, as a check of its source.

The ledger knows. Dagster is told when that turns, so that thousands of idle connectors
write nothing.
"""

# No `from __future__ import annotations` here: Dagster reads annotations at run time.
import time
from datetime import datetime

import dagster as dg

from activekg_pipelines.connectors.models import Listing
from activekg_pipelines.defs.jobs import sync_connector
from activekg_pipelines.defs.partitions import connector_partitions
from activekg_pipelines.defs.run_scope import SOURCE
from activekg_pipelines.orchestrator.checks import report_checks
from activekg_pipelines.services import services

_CHECK = "listed_in_time"
_SENSOR_SECONDS = 60
# Connectors that are read at once. When a whole installation stood still, all turn.
_BATCH = 200


@dg.asset_check(
    asset=SOURCE,
    name=_CHECK,
    partitions_def=connector_partitions,
    description="The source was listed to its end within the last three poll intervals and five "
    "minutes. Written when that turns, from the ledger.",
)
def listed_in_time() -> dg.AssetCheckResult:
    """Dagster offers to execute the check, but starts no run for a partition of it."""
    raise dg.Failure(
        description="The sensor listings_in_time evaluates this check, for every connector.",
        allow_retries=False,
    )


@dg.sensor(
    name="listings_in_time",
    # A sensor has to have a target. This one asks for no run.
    job=sync_connector,
    minimum_interval_seconds=_SENSOR_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Writes the check listed_in_time of each connector for which it turned.",
)
def listings_in_time(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """One statement when no check turned."""
    opened = services()
    deadline = time.monotonic() + opened.settings.activekg_tick_budget_seconds
    written = 0
    while time.monotonic() < deadline:
        with opened.database.transaction() as conn:
            turned = opened.connectors.turned_listings(conn, limit=_BATCH)
        if not turned:
            break
        report_checks(context.instance, [_evaluation(listing) for listing in turned])
        # Afterwards: what Dagster is told twice does no harm.
        with opened.database.transaction() as conn:
            opened.connectors.note_listings(conn, turned)
        written += len(turned)
    return dg.SkipReason(f"{written} checks turned." if written else "No check turned.")


def _evaluation(listing: Listing) -> dg.AssetCheckEvaluation:
    since = (
        "never" if listing.completed_at is None else f"{listing.completed_at:%Y-%m-%d %H:%M} UTC"
    )
    return dg.AssetCheckEvaluation(
        asset_key=SOURCE,
        check_name=_CHECK,
        partition=listing.partition_key,
        passed=listing.in_time,
        severity=dg.AssetCheckSeverity.ERROR,
        description=f"Listed to its end: {since}.",
        metadata={
            "poll_interval_seconds": listing.poll_interval_seconds,
            **_listed_at(listing.completed_at),
            **({"last_error": listing.last_error} if listing.last_error else {}),
        },
    )


def _listed_at(moment: datetime | None) -> dict[str, dg.MetadataValue]:
    return {"listed_at": dg.MetadataValue.timestamp(moment)} if moment else {}
