"""Single faults at a known moment, each with what must come of it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.chaos.faults import NoTarget, Target, disk_full
from tests.chaos.oracle import Differences
from tests.chaos.rounds import Chaos
from tests.chaos.system import CODE_SERVER
from tests.fault_proxy import slow

# Far under `max_runtime_seconds`, which is two hours.
_SETTLE_SECONDS = 180.0


@contextmanager
def a_run_in_flight(chaos: Chaos) -> Iterator[tuple[str, str]]:
    """Changes in the bucket, and a run that reads them slowly.

    Gives the ids of the connector and of Dagster's run.
    """
    config_id, source = next(iter(chaos.sources.items()))
    with ExitStack() as stack:
        rule = chaos.system.proxy.inject("GET", None, slow(0.3, piece=1024))
        stack.callback(lambda: chaos.system.proxy.heal(rule))
        source.change(random.Random(time.time_ns()), 40)
        chaos.system.sync(config_id)

        def holding() -> str | None:
            rows = chaos.system.ask(
                "SELECT claimed_by FROM connectors.objects WHERE connector_id = %s AND claimed_by "
                "IS NOT NULL LIMIT 1",
                config_id,
            )
            return rows[0][0] if rows else None

        yield config_id, chaos.system.wait("a run holds objects", holding, 90)


def assert_settles_and_nothing_differs(chaos: Chaos) -> None:
    """Wait, and ask the oracle."""
    unsettled = chaos.settle(time.monotonic() + _SETTLE_SECONDS)
    assert unsettled is None, unsettled
    differences = Differences()
    chaos.judge(differences)
    assert not differences, str(differences)
    assert chaos.reader.take() == []


@pytest.mark.timeout(600)
def test_a_code_server_that_dies_with_its_runs_blocks_nothing(chaos: Chaos) -> None:
    with a_run_in_flight(chaos):
        chaos.system.kill(CODE_SERVER, with_children=True)
    assert_settles_and_nothing_differs(chaos)


@pytest.mark.timeout(600)
def test_a_database_that_restarts_in_the_middle_of_a_run_costs_that_run_at_most(
    chaos: Chaos,
) -> None:
    with a_run_in_flight(chaos):
        chaos.system.postgres.kill()
        time.sleep(2)
        chaos.system.postgres.start()
    assert_settles_and_nothing_differs(chaos)


@pytest.mark.timeout(600)
def test_objects_that_no_disk_was_left_for_are_tried_again_and_say_so(chaos: Chaos) -> None:
    config_id, source = next(iter(chaos.sources.items()))
    with ExitStack() as stack:
        try:
            stack.enter_context(
                disk_full(Target(chaos.system, source, config_id), random.Random(0))
            )
        except NoTarget as reason:
            pytest.skip(str(reason))
        source.change(random.Random(time.time_ns()), 20)
        chaos.system.sync(config_id)
        message = chaos.system.wait(
            "an object shows the error", lambda: _message(chaos, config_id), 90
        )
        assert "space" in message.lower(), message
    assert_settles_and_nothing_differs(chaos)


def _message(chaos: Chaos, config_id: str) -> str | None:
    rows = chaos.system.ask(
        "SELECT error_message FROM connectors.objects WHERE connector_id = %s AND state = "
        "'failed' LIMIT 1",
        config_id,
    )
    return rows[0][0] if rows else None
