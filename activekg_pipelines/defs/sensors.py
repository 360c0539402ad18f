"""The sensors: one for each tenant polls, and ``work_queue`` starts what is due.

An idle tick touches neither ``context.log`` nor ``context.instance`` nor a Dagster
resource: each opens connections.
"""

from __future__ import annotations

import logging
import time
import zlib
from collections.abc import Sequence
from uuid import UUID, uuid4

import dagster as dg

from activekg_pipelines.administration.launches import DAGSTER, record_launches
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.defs.assets import extract_and_index, scan_metadata, source_objects
from activekg_pipelines.defs.jobs import sync_connector
from activekg_pipelines.defs.partitions import connector_partitions
from activekg_pipelines.defs.run_scope import (
    DOCUMENT_EMBEDDINGS,
    EXTRACTED_TEXT,
    SOURCE_OBJECTS,
)
from activekg_pipelines.errors import ActiveKGError, first_line
from activekg_pipelines.ledger import planner
from activekg_pipelines.ledger.states import Mode, RunRequest, Trigger, Work
from activekg_pipelines.orchestrator.launches import SYNC_ID_TAG, launches_of
from activekg_pipelines.orchestrator.sensors import (
    WORK_QUEUE_SENSOR,
    keep_stopped_sensors_stopped,
    sensor_name,
)
from activekg_pipelines.pipeline.failures import POLL_FAILED, record_failure
from activekg_pipelines.pipeline.scan import ScanResult, scan_connector
from activekg_pipelines.services import Services, services

logger = logging.getLogger(__name__)

# "Sync now" and a first sync should feel immediate, and one idle statement in three
# seconds costs nothing.
_WORK_QUEUE_SECONDS = 3
_LOST_RUNS_SECONDS = 15
# A run that notices its end stores what is finished, and closes its row, within that.
_SILENT_SECONDS = 20.0
# A scan without progress for this long belongs to no tick any more, because a tick's
# budget is shorter. A run finishes it.
_SCAN_IDLE_SECONDS = 30.0


def tenant_sensor(tenant_id: str, poll_interval_seconds: int) -> dg.SensorDefinition:
    """The sensor that polls one tenant's sources, whatever their providers.

    Args:
        poll_interval_seconds: the smallest of the tenant's connectors.
    """

    @dg.sensor(
        name=sensor_name(tenant_id),
        job=sync_connector,
        minimum_interval_seconds=_spread(tenant_id, poll_interval_seconds),
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Polls the sources of tenant {tenant_id} for new, changed and deleted "
        "objects.",
        tags={"activekg/tenant": tenant_id[:63]},
    )
    def poll() -> dg.SensorResult:
        return poll_tenant(services(), tenant_id)

    return poll


def poll_tenant(services: Services, tenant_id: str) -> dg.SensorResult:
    """One tick: scan the connectors that are due, and ask for runs over the changes."""
    requests: list[RunRequest] = []
    events: list[dg.AssetMaterialization] = []
    notes: list[str] = []
    with services.database.transaction(tenant_id=tenant_id) as conn:
        connectors = services.connectors.due_for_poll(conn, tenant_id)
    deadline = time.monotonic() + services.settings.activekg_tick_budget_seconds
    for number, connector in enumerate(connectors):
        # An equal share of what the connectors before have left of the tick. An
        # endpoint that hangs may use up more than its share.
        budget = max(0.0, deadline - time.monotonic()) / (len(connectors) - number)
        if number and time.monotonic() >= deadline:
            notes.append(f"{len(connectors) - number} connectors wait for the next tick.")
            break
        sync_id = uuid4()
        try:
            if connector.runs_held:
                with services.database.transaction(tenant_id=tenant_id) as conn:
                    services.ledger.release_hold(conn, connector.id)
            result = scan_connector(services, connector, budget_seconds=budget, found_by=sync_id)
            if result.counts.added or result.counts.changed or result.counts.deleted:
                requests += _request_runs(services, connector, result, sync_id)
                events.append(_materialization(connector, result))
        except Exception as error:
            # The error is kept with the connector. A connector that cannot be read must
            # not keep the tenant's others from being polled.
            if not record_failure(services, connector, error, unexpected=POLL_FAILED):
                raise
            if not isinstance(error, ActiveKGError):
                logger.exception("The poll of connector %s failed.", connector.partition_key)
            said = error.message if isinstance(error, ActiveKGError) else f"{first_line(error)}."
            notes.append(f"{connector.name}: {said}")
            continue
        notes.append(f"{connector.name}: {_found(result)}")
    return _result(requests, events, "; ".join(notes) or "No connector is due.")


@dg.sensor(
    name=WORK_QUEUE_SENSOR,
    job=sync_connector,
    minimum_interval_seconds=_WORK_QUEUE_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Starts manual and first syncs, retries that are due, and work that no live run "
    "covers.",
)
def work_queue() -> dg.SensorResult:
    """One statement when nothing is to be done."""
    return start_due_work(services())


def start_due_work(services: Services) -> dg.SensorResult:
    """One tick of ``work_queue``."""
    settings = services.settings
    with services.database.transaction() as conn:
        works = services.ledger.work(
            conn,
            max_objects=settings.activekg_max_objects_per_run,
            cap=settings.activekg_runs_per_connector,
            scan_idle_seconds=_SCAN_IDLE_SECONDS,
            lost_after_seconds=settings.activekg_lost_run_seconds,
        )
    for work in works:
        if work.scan is not None and work.live_runs == 0:
            _request_run(services, work, work.scan, with_scan=True)
            continue
        wanted = planner.runs_wanted(
            work.due,
            work.live_runs,
            max_objects=settings.activekg_max_objects_per_run,
            cap=settings.activekg_runs_per_connector,
        )
        for _ in range(wanted):
            _request_run(services, work, work.reason, with_scan=False)
    return _result(_runs_to_emit(services) if works else [], [], "Nothing is due.")


def _request_run(services: Services, work: Work, trigger: Trigger, *, with_scan: bool) -> None:
    with services.database.transaction() as conn:
        services.ledger.request_run(
            conn, work.connector_id, work.tenant_id, trigger, with_scan=with_scan
        )


def _runs_to_emit(services: Services, connector_id: UUID | None = None) -> list[RunRequest]:
    with services.database.transaction() as conn:
        return services.ledger.runs_to_emit(conn, connector_id)


@dg.sensor(
    name="lost_runs",
    # A sensor has to have a target. This one asks for no run.
    job=sync_connector,
    minimum_interval_seconds=_LOST_RUNS_SECONDS,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Tells Dagster of runs whose process died with the code server, so that they "
    "free their slots in the queue; and the ledger of runs that Dagster could not start.",
)
def lost_runs(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    """Three statements when no run is lost, and none waits."""
    opened = services()
    close_cancelled_runs(opened, context.instance)
    with opened.database.transaction() as conn:
        lost = opened.ledger.lost_runs(conn)
        asked = opened.ledger.syncs_at_dagster(conn)
    if asked:
        record_launches(opened, launches_of(context.instance, asked))
    if not lost:
        return dg.SkipReason("No run is lost.")
    report_lost_runs(opened, context.instance, lost)
    return dg.SkipReason(f"{len(lost)} runs showed no sign of life and count as failed.")


def close_cancelled_runs(services: Services, instance: dg.DagsterInstance) -> None:
    """Close the runs that somebody ended at Dagster while no step of theirs looked for it.

    Two steps leave a moment between them. Without this such a run would count as failed
    once its heartbeat is old, and what it left be taken up again.
    """
    with services.database.transaction() as conn:
        silent = services.ledger.silent_runs(conn, seconds=_SILENT_SECONDS)
    if not silent:
        return
    ended = dg.RunsFilter(
        run_ids=[run_id for _, run_id in silent], statuses=[dg.DagsterRunStatus.CANCELED]
    )
    cancelled = {run.run_id for run in instance.get_runs(ended)}
    for connector_id, run_id in silent:
        if run_id in cancelled:
            with services.database.transaction() as conn:
                services.ledger.cancel_runs(conn, connector_id, by=DAGSTER, run=run_id)
                services.ledger.finish_run(conn, run_id, succeeded=False)


def report_lost_runs(
    services: Services, instance: dg.DagsterInstance, lost: Sequence[tuple[str, bool]]
) -> None:
    """Have Dagster count runs as failed. It starts those again that have retries left.

    One whose end somebody had asked for counts as cancelled, and is not started again.

    Dagster's default launcher watches its processes from the code server alone. Where
    both die together, the run would keep its slot in the queue for the longest time that
    a run may take.
    """
    reason = "The run's process showed no sign of life; its objects are free for others."
    for run_id, cancelled in lost:
        run = instance.get_run_by_id(run_id)
        if run is not None and not run.is_finished:
            report = instance.report_run_canceled if cancelled else instance.report_run_failed
            report(run, reason)
    with services.database.transaction() as conn:
        services.ledger.acknowledge_lost(conn, [run_id for run_id, _ in lost])


def build_sensors() -> Sequence[dg.SensorDefinition]:
    """All sensors, from the connectors that are registered now.

    Raises:
        psycopg.Error, psycopg_pool.PoolTimeout: the registry cannot be read. Never an
            empty list instead: Dagster would take every tenant's sensor away.
        dagster.DagsterError, sqlalchemy.exc.SQLAlchemyError: Dagster's storage cannot be
            read. Sensors that an operator has stopped would run.
    """
    opened = services()
    with opened.database.transaction() as conn:
        tenants = opened.connectors.tenants(conn)
    keep_stopped_sensors_stopped([tenant for tenant, _ in tenants])
    return [
        work_queue,
        lost_runs,
        *(tenant_sensor(tenant, interval) for tenant, interval in tenants),
    ]


def _request_runs(
    services: Services, connector: Connector, result: ScanResult, sync_id: UUID
) -> list[RunRequest]:
    due = result.counts.due
    # One run. Where more are wanted, `work_queue` asks for them seconds later: it knows
    # what runs already.
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        services.ledger.record_poll(
            conn,
            connector.id,
            connector.tenant_id,
            result.counts,
            sync_id=sync_id,
            needs_run=due > 0,
            lists=connector.last_scan_completed_at is None and not result.completed,
        )
    return _runs_to_emit(services, connector.id) if due else []


def _result(
    requests: Sequence[RunRequest], events: Sequence[dg.AssetMaterialization], idle: str
) -> dg.SensorResult:
    if not requests and not events:
        return dg.SensorResult(skip_reason=idle)
    keys = sorted({request.partition_key for request in requests})
    return dg.SensorResult(
        run_requests=[_run_request(request) for request in requests],
        # Registration adds the key too. This completes one that was cut short.
        dynamic_partitions_requests=[connector_partitions.build_add_request(keys)] if keys else [],
        asset_events=events,
        skip_reason=None if requests else idle,
    )


def _run_request(request: RunRequest) -> dg.RunRequest:
    assets = [SOURCE_OBJECTS] * request.with_scan + [EXTRACTED_TEXT, DOCUMENT_EMBEDDINGS]
    tags = {
        SYNC_ID_TAG: str(request.id),
        "activekg/tenant": request.tenant_id,
        "activekg/trigger": request.trigger.value,
        "dagster/priority": str(planner.queue_priority(request.trigger, request.ahead)),
    }
    return dg.RunRequest(
        run_key=request.run_key,
        partition_key=request.partition_key,
        asset_selection=assets,
        # Without this Dagster evaluates every check of these assets, the audit too,
        # whatever the job selects.
        asset_check_keys=list(extract_and_index.check_keys),
        run_config=_run_config(request.mode),
        tags=tags,
    )


def _run_config(mode: Mode) -> dict[str, object]:
    if mode is Mode.CHANGED:
        return {}
    return {"ops": {extract_and_index.op.name: {"config": {"mode": mode.value}}}}


def _materialization(connector: Connector, result: ScanResult) -> dg.AssetMaterialization:
    return dg.AssetMaterialization(
        source_objects.key, partition=connector.partition_key, metadata=scan_metadata(result)
    )


def _found(result: ScanResult) -> str:
    if result.left_to_run:
        return "the source does not list in order; a run reads the whole listing and sorts it."
    if not result.completed:
        return f"{result.counts.listed} objects listed so far; the scan goes on with the next tick."
    counts = result.counts
    held = f", {result.held_back} deletions wait for confirmation" if result.held_back else ""
    over = f", {counts.over_limit} over the limit of objects" if counts.over_limit else ""
    return (
        f"{counts.listed} objects, {counts.added} new, {counts.changed} changed, "
        f"{counts.deleted} deleted{over}{held}."
    )


def _spread(tenant_id: str, interval: int) -> int:
    """The interval less up to 5 %.

    A thousand tenants with one interval do not tick together then.
    """
    return interval - zlib.crc32(tenant_id.encode()) % (interval // 20 + 1)
