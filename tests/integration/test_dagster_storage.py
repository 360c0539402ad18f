"""Dagster's storage over connections that stay open: as good as Dagster's own, and
cheaper.
"""

from __future__ import annotations

import time
from contextlib import ExitStack

import dagster as dg
import psycopg
import pytest
from dagster._core.remote_origin import (
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    ScheduleInstigatorData,
    SensorInstigatorData,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from sqlalchemy import event, text
from sqlalchemy.engine import Engine

from activekg_pipelines.dagster_storage import PooledPostgresStorage


def state_of(name: str, kind: InstigatorType = InstigatorType.SENSOR) -> InstigatorState:
    location = ManagedGrpcPythonEnvCodeLocationOrigin(
        LoadableTargetOrigin(module_name="somewhere"), "somewhere"
    )
    origin = RemoteInstigatorOrigin(RemoteRepositoryOrigin(location, "repository"), name)
    data = (
        SensorInstigatorData(min_interval=900)
        if kind is InstigatorType.SENSOR
        else ScheduleInstigatorData("@daily")
    )
    return InstigatorState(origin, kind, InstigatorStatus.RUNNING, data)


def backends(instance: dg.DagsterInstance) -> set[int]:
    """Connections to Dagster's database but for the one that asks."""
    with psycopg.connect(instance.event_log_storage.postgres_url, autocommit=True) as conn:  # type: ignore[attr-defined]
        rows = conn.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> "
            "pg_backend_pid()"
        )
        return {row[0] for row in rows}


def _wait_until_none_is_left(instance: dg.DagsterInstance) -> None:
    """The server's process outlives the connection by a moment."""
    deadline = time.monotonic() + 10
    while backends(instance):
        assert time.monotonic() < deadline, "a connection was not closed"
        time.sleep(0.05)


@pytest.fixture
def states(instance: dg.DagsterInstance) -> list[InstigatorState]:
    """Those of three sensors, stored."""
    return [instance.add_instigator_state(state_of(f"tenant_{number}")) for number in range(3)]


def test_reading_and_writing_a_sensors_state_opens_no_connection(
    instance: dg.DagsterInstance, states: list[InstigatorState]
) -> None:
    def tick() -> set[int]:
        instance.update_instigator_state(states[0])
        instance.all_instigator_state()
        instance.get_run_records(limit=1)
        return backends(instance)

    first = tick()
    assert len(first) == 1
    assert tick() == first


def test_whether_the_tables_are_there_is_asked_once(
    instance: dg.DagsterInstance, states: list[InstigatorState], request: pytest.FixtureRequest
) -> None:
    asked: list[str] = []

    def note(conn: object, cursor: object, statement: str, *_: object) -> None:
        asked.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    request.addfinalizer(lambda: event.remove(Engine, "before_cursor_execute", note))
    for _ in range(2):
        asked.clear()
        instance.update_instigator_state(states[0])
    assert asked
    assert not any("pg_catalog" in statement for statement in asked)


def test_connections_that_the_server_ended_are_made_anew(
    instance: dg.DagsterInstance, states: list[InstigatorState]
) -> None:
    open_before = backends(instance)
    with psycopg.connect(instance.event_log_storage.postgres_url, autocommit=True) as conn:  # type: ignore[attr-defined]
        for pid in open_before:
            conn.execute("SELECT pg_terminate_backend(%s, 5000)", (pid,))
    assert len(instance.all_instigator_state()) == len(states)
    assert instance.get_run_records(limit=1) == []
    assert not backends(instance) & open_before


def test_states_are_those_that_are_stored_now(
    instance: dg.DagsterInstance, states: list[InstigatorState]
) -> None:
    def stored() -> dict[str, InstigatorState]:
        return {
            state.instigator_name: state
            for state in instance.all_instigator_state(instigator_type=None)
        }

    assert stored() == {state.instigator_name: state for state in states}
    stopped = states[1].with_status(InstigatorStatus.STOPPED)
    instance.update_instigator_state(stopped)
    assert stored() == {"tenant_0": states[0], "tenant_1": stopped, "tenant_2": states[2]}
    instance.delete_instigator_state(states[2].instigator_origin_id, states[2].selector_id)
    assert stored() == {"tenant_0": states[0], "tenant_1": stopped}


def test_states_of_other_instigators_are_kept_apart(
    instance: dg.DagsterInstance, states: list[InstigatorState]
) -> None:
    schedules = [state_of(f"schedule_{number}", InstigatorType.SCHEDULE) for number in range(2)]
    for state in schedules:
        instance.add_instigator_state(state)
    for _ in range(2):
        assert list(instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)) == states
        assert (
            list(instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE))
            == schedules
        )
        assert len(instance.all_instigator_state()) == 5
    for state in states[1:]:
        instance.delete_instigator_state(state.instigator_origin_id, state.selector_id)
    assert list(instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)) == states[:1]


def test_the_webservers_connections_have_its_bounds(instance: dg.DagsterInstance) -> None:
    storage = PooledPostgresStorage(instance.event_log_storage.postgres_url)  # type: ignore[attr-defined]
    for part in (storage.run_storage, storage.schedule_storage):
        part.optimize_for_webserver(statement_timeout=4000, pool_recycle=60, max_overflow=1)
    with ExitStack() as stack:
        for part in (
            storage.run_storage,
            storage.schedule_storage,
            storage.run_storage,
            storage.schedule_storage,
        ):
            conn = stack.enter_context(part.connect())
            assert conn.execute(text("SHOW statement_timeout")).scalar() == "4s"
        assert len(backends(instance)) == 4
    storage.run_storage.dispose()
    _wait_until_none_is_left(instance)


def test_an_instance_that_ends_leaves_no_connection(instance: dg.DagsterInstance) -> None:
    with dg.DagsterInstance.from_ref(instance.get_ref()) as another:
        another.all_instigator_state()
        another.get_run_records(limit=1)
        assert len(backends(instance)) == 1
    _wait_until_none_is_left(instance)


def test_more_statements_at_once_than_connections_are_kept_do_not_wait(
    instance: dg.DagsterInstance,
) -> None:
    with ExitStack() as stack:
        connections = [stack.enter_context(instance.schedule_storage.connect()) for _ in range(6)]  # type: ignore[attr-defined]
        pids = {conn.execute(text("SELECT pg_backend_pid()")).scalar() for conn in connections}
    assert len(pids) == 6
    assert len(backends(instance)) >= 3
