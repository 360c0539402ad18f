"""Until when requests are waited for, where one wait lies inside another."""

from __future__ import annotations

import time

import pytest

from activekg_pipelines.deadline import (
    Caller,
    give_up_at,
    has_deadline,
    interruptible,
    seconds_left,
    working_for,
)


def test_the_earlier_of_two_deadlines_holds() -> None:
    now = time.monotonic()
    assert seconds_left(30) == 30
    with give_up_at(now + 5):
        assert seconds_left(30) <= 5
        for inner in (None, now + 100):
            with give_up_at(inner):
                assert seconds_left(30) <= 5
        with give_up_at(now + 1):
            assert seconds_left(30) <= 1
    assert seconds_left(30) == 30


def test_no_time_is_left_once_the_caller_is_gone() -> None:
    caller = Caller()
    with working_for(caller, time.monotonic() + 100):
        assert 90 < seconds_left(1000) <= 100
        caller.leave()
        assert seconds_left(1000) == 0
    assert seconds_left(1000) == 1000


def test_what_is_under_way_is_interrupted_and_what_has_ended_is_not() -> None:
    caller = Caller()
    interrupted: list[str] = []
    with working_for(caller, time.monotonic() + 100):
        with interruptible(lambda: interrupted.append("ended")):
            pass
        with interruptible(lambda: interrupted.append("under way")):
            caller.leave()
        assert interrupted == ["under way"]
        # Work that begins afterwards ends at once.
        with interruptible(lambda: interrupted.append("late")):
            assert interrupted == ["under way", "late"]


def test_without_a_caller_nothing_is_interrupted() -> None:
    with interruptible(lambda: pytest.fail("Nobody is gone.")):
        assert not has_deadline()
