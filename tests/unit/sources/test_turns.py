"""How pages take turns, in a process that has others to answer."""

from __future__ import annotations

import time
from collections.abc import Generator

import pytest

from activekg_pipelines.deadline import Caller, working_for
from activekg_pipelines.sources.source import Page
from activekg_pipelines.sources.turns import Turns, in_turns, taking

LAST = [Page([], is_last=True)]
FAR = time.monotonic() + 1_000_000


def _compute(seconds: float) -> None:
    until = time.thread_time() + seconds
    while time.thread_time() < until:
        pass


def _computing(pages: int, seconds: float) -> Generator[Page]:
    for number in range(1, pages + 1):
        _compute(seconds)
        yield Page([], is_last=number == pages)


def test_pages_take_their_share_of_a_core_and_no_more() -> None:
    began = time.monotonic()
    with taking(Turns(0.25)):
        assert len(list(in_turns(_computing(4, 0.1), FAR))) == 4
    # The last page is waited for, and nothing after it.
    assert time.monotonic() - began >= 3 * 0.1 / 0.25


def test_what_is_done_with_a_page_counts_too() -> None:
    turns = Turns(0.5)
    with taking(turns):
        began = time.monotonic()
        for _ in in_turns(_computing(1, 0.0), FAR):
            _compute(0.3)
    assert turns.take() - began >= 0.3 / 0.5


def test_all_of_a_process_stand_in_one_line() -> None:
    turns = Turns(0.5)
    moments = [turns.take() for _ in range(3)]
    assert moments[1] - moments[0] == pytest.approx(0.1)
    assert moments[2] - moments[1] == pytest.approx(0.1)


def test_one_page_keeps_the_next_waiting_for_seconds_at_most() -> None:
    turns = Turns(0.25)
    turns.take()
    turns.took(3600)
    assert turns.take() - time.monotonic() <= 4.001


def test_nobody_waits_beyond_a_deadline_or_for_a_caller_that_is_gone() -> None:
    def after_a_long_page() -> Turns:
        turns = Turns(1e-6)
        turns.take()
        return turns

    with taking(after_a_long_page()):
        assert list(in_turns(_computing(1, 0.0), time.monotonic())) == LAST
    caller = Caller()
    caller.leave()
    with taking(after_a_long_page()), working_for(caller, FAR):
        assert list(in_turns(_computing(1, 0.0), FAR)) == LAST


def test_a_process_without_turns_reads_pages_as_they_come() -> None:
    assert len(list(in_turns(_computing(3, 0.0), FAR))) == 3
