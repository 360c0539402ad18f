"""Forgets what Dagster remembers of a tenant that goes.

It may be cut short and repeated.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg
from dagster_postgres import PostgresEventLogStorage

from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.orchestrator.history import UnknownStorage
from activekg_pipelines.orchestrator.partitions import PARTITIONS_DEF
from activekg_pipelines.orchestrator.sensors import (
    WORK_QUEUE_SENSOR,
    former_sensor_name,
    sensor_name,
)

if TYPE_CHECKING:
    from dagster._core.scheduler.instigation import InstigatorState

_SQL = load_queries(Path(__file__).with_name("tenant_history.sql"))
# Runs that are looked for at once, and rows that one statement deletes.
_RUNS = 200
_ROWS = 10_000


@dataclass(frozen=True, slots=True)
class TenantHistory:
    """What Dagster holds of a tenant.

    Attributes:
        partitions: one for each connector.
        runs: of these partitions, with their events and logs.
        events: of these partitions that belong to no run.
        check_evaluations: of these partitions.
        sensors: states of the tenant's sensor, with their ticks.
    """

    partitions: int
    runs: int
    events: int
    check_evaluations: int
    sensors: int


def count_tenant(instance: dg.DagsterInstance, tenant_id: str) -> TenantHistory:
    """What Dagster holds of a tenant now.

    Raises:
        UnknownStorage: the instance's storage is not PostgreSQL.
    """
    with _storage(instance).index_connection() as conn:
        row = conn.exec_driver_sql(_SQL["count"], _parameters(tenant_id)).one()
    partitions, runs, events, check_evaluations = row
    sensors = len(list(_sensors(instance, tenant_id)))
    return TenantHistory(partitions, runs, events, check_evaluations, sensors)


def forget_tenant(instance: dg.DagsterInstance, tenant_id: str) -> None:
    """Delete what Dagster holds of a tenant, but the runs that are not finished.

    Raises:
        UnknownStorage: the instance's storage is not PostgreSQL.
    """
    storage = _storage(instance)
    parameters = _parameters(tenant_id)
    with storage.index_connection() as conn:
        partitions = conn.exec_driver_sql(_SQL["partitions"], parameters).scalars().all()
    for partition in partitions:
        instance.delete_dynamic_partition(PARTITIONS_DEF, partition)
    for state in _sensors(instance, tenant_id):
        instance.purge_ticks(state.instigator_origin_id, state.selector_id, before=time.time() + 60)
        instance.delete_instigator_state(state.instigator_origin_id, state.selector_id)
    while True:
        with storage.index_connection() as conn:
            runs = conn.exec_driver_sql(_SQL["finished_runs"], parameters).scalars().all()
        for run in runs:
            # Before the run: afterwards nobody would know of them.
            instance.compute_log_manager.delete_logs(prefix=[run])
            instance.delete_run(run)
        if not runs:
            break
    for query in ("forget_events", "forget_check_evaluations"):
        deleted = _ROWS
        while deleted == _ROWS:
            with storage.index_connection() as conn:
                deleted = conn.exec_driver_sql(_SQL[query], parameters | {"limit": _ROWS}).rowcount


def _sensors(instance: dg.DagsterInstance, tenant_id: str) -> Iterator[InstigatorState]:
    """The states of the tenant's sensor, under its names, of this package alone."""
    states = instance.all_instigator_state()
    own = {
        state.repository_selector_id
        for state in states
        if state.instigator_name == WORK_QUEUE_SENSOR
    }
    names = {sensor_name(tenant_id), former_sensor_name(tenant_id)}
    for state in states:
        if state.instigator_name in names and state.repository_selector_id in own:
            yield state


def _storage(instance: dg.DagsterInstance) -> PostgresEventLogStorage:
    storage = instance.event_log_storage
    if not isinstance(storage, PostgresEventLogStorage):
        raise UnknownStorage
    return storage


def _parameters(tenant_id: str) -> dict[str, Any]:
    return {"prefix": f"{tenant_id}/", "partitions_def": PARTITIONS_DEF, "limit": _RUNS}
