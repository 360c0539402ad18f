"""A sensor that an operator has stopped stays stopped under its new name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import dagster as dg
import pytest
from dagster._core.remote_origin import (
    GrpcServerCodeLocationOrigin,
    ManagedGrpcPythonEnvCodeLocationOrigin,
    RegisteredCodeLocationOrigin,
    RemoteInstigatorOrigin,
    RemoteRepositoryOrigin,
)
from dagster._core.remote_representation.code_location import CodeLocation
from dagster._core.remote_representation.external import RemoteSensor
from dagster._core.scheduler.instigation import (
    InstigatorState,
    InstigatorStatus,
    InstigatorType,
    SensorInstigatorData,
)
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._grpc.server import GrpcServerProcess
from sqlalchemy import event
from sqlalchemy.engine import Engine

from activekg_pipelines.orchestrator.sensors import (
    WORK_QUEUE_SENSOR,
    carry_over_stops,
    former_sensor_name,
    sensor_name,
)
from activekg_pipelines.services import Services
from tests.s3_bucket import Bucket

LOCATION = "activekg_pipelines.definitions"
STOPPED, RUNNING, DECLARED = (
    InstigatorStatus.STOPPED,
    InstigatorStatus.RUNNING,
    InstigatorStatus.DECLARED_IN_CODE,
)


def store(
    instance: dg.DagsterInstance, name: str, status: InstigatorStatus, location: str = LOCATION
) -> InstigatorState:
    """A sensor's state as Dagster stores it."""
    repository = RemoteRepositoryOrigin(RegisteredCodeLocationOrigin(location), "__repository__")
    data = SensorInstigatorData(min_interval=900)
    return instance.add_instigator_state(
        InstigatorState(
            RemoteInstigatorOrigin(repository, name), InstigatorType.SENSOR, status, data
        )
    )


def stored(instance: dg.DagsterInstance) -> dict[tuple[str, str], InstigatorStatus]:
    """Statuses by code location and sensor."""
    return {
        (state.selector.location_name, state.name): state.status
        for state in instance.all_instigator_state()
    }


@contextmanager
def loaded(
    instance: dg.DagsterInstance, *, named: bool = True
) -> Iterator[dict[str, RemoteSensor]]:
    """The sensors of this package's definitions, loaded by a code server of Dagster's.

    Args:
        named: the server knows the code location's name, as those do that ``dagster dev``
            starts. Otherwise only the workspace has the name, as in production.
    """
    target = LoadableTargetOrigin(module_name="activekg_pipelines.definitions")
    with ExitStack() as stack:
        if named:
            managed = ManagedGrpcPythonEnvCodeLocationOrigin(target, LOCATION)
            location: CodeLocation = stack.enter_context(managed.create_single_location(instance))
        else:
            server = stack.enter_context(
                GrpcServerProcess(
                    instance_ref=instance.get_ref(),
                    loadable_target_origin=target,
                    wait_on_exit=True,
                    startup_timeout=300,
                )
            )
            origin = GrpcServerCodeLocationOrigin(
                "localhost", port=server.port, socket=server.socket, location_name=LOCATION
            )
            location = stack.enter_context(origin.create_location(instance))
        (repository,) = location.get_repositories().values()
        yield {sensor.name: sensor for sensor in repository.get_sensors()}


def is_running(instance: dg.DagsterInstance, sensor: RemoteSensor) -> bool:
    """Whether the daemon ticks it: as the daemon finds out."""
    states = {state.selector_id: state for state in instance.all_instigator_state()}
    return sensor.get_current_instigator_state(states.get(sensor.selector_id)).is_running


def test_the_names() -> None:
    assert (former_sensor_name("acme"), sensor_name("acme")) == ("s3_acme", "poll_acme")
    assert former_sensor_name("acme.corp")[3:] == sensor_name("acme.corp")[5:]


def test_a_load_of_the_definitions_keeps_stopped_what_an_operator_has_stopped(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket
) -> None:
    for tenant in ("stopped", "started", "fresh", "with.dots"):
        bucket.register(services, tenant, name=f"{tenant}-documents")
    store(instance, former_sensor_name("stopped"), STOPPED)
    store(instance, former_sensor_name("with.dots"), STOPPED)
    store(instance, former_sensor_name("started"), RUNNING)

    with loaded(instance) as sensors:
        assert not is_running(instance, sensors[sensor_name("stopped")])
        assert not is_running(instance, sensors[sensor_name("with.dots")])
        assert is_running(instance, sensors[sensor_name("started")])
        assert is_running(instance, sensors[sensor_name("fresh")])
        assert is_running(instance, sensors[WORK_QUEUE_SENSOR])
        instance.start_sensor(sensors[sensor_name("stopped")])
        assert is_running(instance, sensors[sensor_name("stopped")])
        instance.reset_sensor(sensors[sensor_name("with.dots")])

    with loaded(instance) as sensors:
        assert is_running(instance, sensors[sensor_name("stopped")])
        assert is_running(instance, sensors[sensor_name("with.dots")])
        instance.stop_sensor(
            sensors[sensor_name("fresh")].get_remote_origin_id(),
            sensors[sensor_name("fresh")].selector_id,
            sensors[sensor_name("fresh")],
        )

    with loaded(instance) as sensors:
        assert not is_running(instance, sensors[sensor_name("fresh")])
        assert is_running(instance, sensors[sensor_name("started")])


def test_a_code_server_that_does_not_know_its_locations_name_does_so_too(
    services: Services, instance: dg.DagsterInstance, bucket: Bucket
) -> None:
    bucket.register(services, "stopped", name="documents")
    store(instance, WORK_QUEUE_SENSOR, DECLARED)
    store(instance, former_sensor_name("stopped"), STOPPED)
    with loaded(instance, named=False) as sensors:
        assert not is_running(instance, sensors[sensor_name("stopped")])
        instance.start_sensor(sensors[sensor_name("stopped")])
    with loaded(instance, named=False) as sensors:
        assert is_running(instance, sensors[sensor_name("stopped")])


@pytest.mark.parametrize("location", [LOCATION, None])
def test_the_former_state_stays_for_a_downgrade(
    instance: dg.DagsterInstance, location: str | None
) -> None:
    store(instance, WORK_QUEUE_SENSOR, DECLARED)
    store(instance, former_sensor_name("acme"), STOPPED)
    carry_over_stops(instance, ["acme"], location=location)
    assert stored(instance) == {
        (LOCATION, WORK_QUEUE_SENSOR): DECLARED,
        (LOCATION, "s3_acme"): STOPPED,
        (LOCATION, "poll_acme"): STOPPED,
    }


@pytest.mark.parametrize("status", [RUNNING, DECLARED, STOPPED])
def test_what_was_said_of_the_new_name_counts(
    instance: dg.DagsterInstance, status: InstigatorStatus
) -> None:
    store(instance, former_sensor_name("acme"), STOPPED)
    store(instance, sensor_name("acme"), status)
    before = stored(instance)
    carry_over_stops(instance, ["acme"], location=LOCATION)
    assert stored(instance) == before


def test_other_code_locations_are_left_alone(instance: dg.DagsterInstance) -> None:
    for location in (LOCATION, "staging"):
        store(instance, WORK_QUEUE_SENSOR, DECLARED, location)
    store(instance, former_sensor_name("acme"), STOPPED, LOCATION)
    store(instance, former_sensor_name("globex"), STOPPED, "staging")
    store(instance, former_sensor_name("acme"), STOPPED, "billing")
    store(instance, former_sensor_name("nobody"), STOPPED, LOCATION)
    before = stored(instance)

    carry_over_stops(instance, ["acme", "globex"], location=LOCATION)
    assert stored(instance) == before | {(LOCATION, "poll_acme"): STOPPED}

    # A code server that does not know its location's name finds this package's.
    carry_over_stops(instance, ["acme", "globex"], location=None)
    assert stored(instance) == before | {
        (LOCATION, "poll_acme"): STOPPED,
        ("staging", "poll_globex"): STOPPED,
    }


def test_a_load_asks_once_and_writes_what_it_carries_over_once(
    instance: dg.DagsterInstance, request: pytest.FixtureRequest
) -> None:
    tenants = [f"tenant_{number}" for number in range(50)]
    store(instance, WORK_QUEUE_SENSOR, DECLARED)
    for number, tenant in enumerate(tenants):
        store(instance, former_sensor_name(tenant), STOPPED if number % 2 else DECLARED)
    carry_over_stops(instance, tenants, location=None)
    statements: list[str] = []

    def note(conn: object, cursor: object, statement: str, *_: object) -> None:
        statements.append(statement)

    event.listen(Engine, "before_cursor_execute", note)
    request.addfinalizer(lambda: event.remove(Engine, "before_cursor_execute", note))
    carry_over_stops(instance, tenants, location=None)
    (statement,) = statements
    assert statement.startswith("SELECT")
