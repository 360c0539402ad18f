"""The names of this package's sensors, and the carry-over from their former names.

Dagster keeps by a sensor's name that an operator has stopped it. While S3 was the only
provider, a tenant's sensor was called ``s3_<tenant>``.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from activekg_pipelines.names import slug

if TYPE_CHECKING:
    from dagster import DagsterInstance
    from dagster._core.scheduler.instigation import InstigatorState

_log = logging.getLogger(__name__)

WORK_QUEUE_SENSOR: Final = "work_queue"
"""Tells this package's code location from others in the same workspace."""


def sensor_name(tenant_id: str) -> str:
    """A tenant's sensor name: ``poll_<tenant>`` where Dagster accepts that.

    Where it does not, a hash tells the name apart. Two equal names would keep every
    tenant's sensors from loading, so the hash is too long for anybody to find two ids that
    share one.
    """
    return f"poll_{_suffix(tenant_id)}"


def former_sensor_name(tenant_id: str) -> str:
    """The sensor's name while S3 was the only provider: ``s3_<tenant>``."""
    return f"s3_{_suffix(tenant_id)}"


def _suffix(tenant_id: str) -> str:
    return slug(tenant_id, 80, allowed="A-Za-z0-9_", digits=32)


def keep_stopped_sensors_stopped(tenants: Iterable[str]) -> None:
    """Stop the sensors that an operator has stopped under their former names.

    To be called when definitions are loaded, before anybody sees the new names. Reads
    Dagster's storage once, and writes only what is not carried over yet. Does nothing
    where definitions are loaded for a run, or without a Dagster instance.

    Args:
        tenants: ids of those that have a sensor.

    Raises:
        dagster.DagsterError, sqlalchemy.exc.SQLAlchemyError: the storage cannot be read or
            written. Sensors that should stand still would run, so the load has to fail.
    """
    from dagster import DagsterInstance
    from dagster._core.definitions.definitions_load_context import (
        DefinitionsLoadContext,
        DefinitionsLoadType,
    )
    from dagster._core.errors import DagsterHomeNotSetError

    context = DefinitionsLoadContext.get()
    if context.load_type is not DefinitionsLoadType.INITIALIZATION:
        return
    try:
        opened = DagsterInstance.get()
    except DagsterHomeNotSetError:
        _log.warning(
            "DAGSTER_HOME is not set: a sensor that was stopped as s3_<tenant> runs as "
            "poll_<tenant>."
        )
        return
    with opened as instance:
        carry_over_stops(instance, tenants, location=context.code_location_name)


def carry_over_stops(
    instance: DagsterInstance, tenants: Iterable[str], *, location: str | None
) -> None:
    """:func:`keep_stopped_sensors_stopped` for one instance.

    Args:
        instance: whose sensors.
        tenants: ids of those that have a sensor.
        location: the code location that is loaded; None where its server does not know
            the name. Then each code location that has a ``work_queue`` is looked at.
    """
    from dagster import DagsterInvariantViolationError
    from dagster._core.scheduler.instigation import InstigatorType

    states = instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
    for state in stops_to_carry_over(states, tenants, location=location):
        try:
            instance.add_instigator_state(state)
        except DagsterInvariantViolationError:
            # Another server of this code location was faster.
            _log.info("The sensor %s has been stopped by another process.", state.name)
        else:
            _log.info("The sensor %s stays stopped under its new name.", state.name)


def stops_to_carry_over(
    states: Collection[InstigatorState], tenants: Iterable[str], *, location: str | None
) -> list[InstigatorState]:
    """States to store for sensors that are stopped under their former names.

    A sensor that has a state under its new name is left out: that state is the operator's
    newer word. The former state stays where it is, so that the sensor is stopped after a
    downgrade too.

    Args:
        states: of all sensors of the instance.
        tenants: ids of those that have a sensor.
        location: the code location that is loaded; None for any with a ``work_queue``.
    """
    from dagster._core.remote_origin import RemoteInstigatorOrigin
    from dagster._core.scheduler.instigation import (
        InstigatorState,
        InstigatorStatus,
        SensorInstigatorData,
    )

    renamed = {former_sensor_name(tenant): sensor_name(tenant) for tenant in tenants}
    known = {(_repository(state), state.name) for state in states}
    found = []
    for state in states:
        if state.status is not InstigatorStatus.STOPPED or state.name not in renamed:
            continue
        repository, name = _repository(state), renamed[state.name]
        is_own = location == repository[0] or (
            location is None and (repository, WORK_QUEUE_SENSOR) in known
        )
        if is_own and (repository, name) not in known:
            former = state.sensor_instigator_data or SensorInstigatorData()
            # What Dagster stores for a sensor that is stopped before its first tick.
            # These sensors have no cursor that would have to be kept.
            data = SensorInstigatorData(
                min_interval=former.min_interval, sensor_type=former.sensor_type
            )
            origin = RemoteInstigatorOrigin(state.origin.repository_origin, name)
            found.append(InstigatorState(origin, state.instigator_type, state.status, data))
    return found


def _repository(state: InstigatorState) -> tuple[str, str]:
    """Names of the code location and of the repository in it."""
    selector = state.repository_selector
    return selector.location_name, selector.repository_name
