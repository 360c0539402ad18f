"""Until when requests are waited for, where one wait lies inside another."""

from __future__ import annotations

import time

from activekg_pipelines.deadline import give_up_at, seconds_left


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
