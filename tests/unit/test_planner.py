"""The planner's decisions, without a database or an orchestrator in sight."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from activekg_pipelines.errors import (
    AccessDenied,
    Archived,
    Corrupt,
    EmptyObject,
    FetchFailed,
    ObjectError,
    ObjectGone,
    ParserCrashed,
    ParserDeadline,
    ParserMemory,
    RunsDied,
)
from activekg_pipelines.ledger.planner import (
    backoff_seconds,
    backoff_table,
    deletions_held_back,
    is_changed,
    removes_document,
    retry_delay,
    runs_wanted,
    settle,
)
from activekg_pipelines.ledger.states import FailedObject, KnownVersion, ObjectState

LISTED = datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("due", "live", "wanted"),
    [
        (0, 0, 0),
        (1, 0, 1),
        (1000, 0, 1),
        (1001, 0, 2),
        (1_000_000, 0, 2),
        (1_000_000, 1, 1),
        (5, 1, 0),
        (0, 2, 0),
    ],
)
def test_runs_follow_the_due_objects_up_to_the_cap(due: int, live: int, wanted: int) -> None:
    assert runs_wanted(due, live, max_objects=1000, cap=2) == wanted


def test_retries_back_off_exponentially_within_jitter_and_cap() -> None:
    for attempts, full in [(1, 30), (2, 60), (3, 120), (8, 3600), (5000, 3600)]:
        assert retry_delay(attempts, base=30, cap=3600, chance=0.0) == full / 2
        assert full / 2 < retry_delay(attempts, base=30, cap=3600, chance=0.999) < full


def test_backoff_doubles_up_to_the_cap_and_stays_there() -> None:
    """Of runs that fail: half a minute after the first failure, an hour at most."""
    assert backoff_table(base=30, cap=3600) == [30, 60, 120, 240, 480, 960, 1920, 3600]
    for failures, seconds in [(1, 30), (2, 60), (7, 1920), (8, 3600), (5000, 3600)]:
        assert backoff_seconds(failures, base=30, cap=3600) == seconds


def test_chance_takes_up_to_a_quarter_off_a_pause() -> None:
    assert backoff_seconds(1, base=60, cap=3600, chance=0.0) == 60
    assert 45 < backoff_seconds(1, base=60, cap=3600, chance=0.999) < 46
    assert 2700 < backoff_seconds(5000, base=60, cap=3600, chance=0.999) < 2701


def _settle(error: ObjectError, attempts: int) -> FailedObject:
    return settle(1, error, attempts, max_attempts=3, base=10, cap=60, chance=0.5)


@pytest.mark.parametrize(
    ("known", "etag", "size", "later", "distrusted", "changed"),
    [
        (KnownVersion("a", 5, LISTED, None, True), "a", 5, 0, False, False),
        (KnownVersion("a", 5, LISTED, None, True), "b", 5, 0, False, True),
        # Listing and answers with different tokens.
        (KnownVersion("a", 5, LISTED, "b", False), "a", 5, 0, False, False),
        (KnownVersion("a", 5, LISTED, "b", False), "b", 5, 0, False, False),
        (KnownVersion("a", 5, LISTED, "b", False), "c", 5, 0, False, True),
        # The same token with another size.
        (KnownVersion("a", 5, LISTED, None, True), "a", 6, 0, False, True),
        # With another time: a copy onto itself, where the token is known to be the digest.
        (KnownVersion("a", 5, LISTED, None, True), "a", 5, 60, False, False),
        (KnownVersion("a", 5, LISTED, None, True), "a", 5, 60, True, True),
        (KnownVersion("a", 5, LISTED, None, False), "a", 5, 60, False, True),
        (KnownVersion("a", 5, LISTED, "b", True), "a", 5, 60, False, True),
        # As it was read by the version before, and as AWS and Google have it.
        (KnownVersion("a", 5, LISTED), "a", 5, 60, False, False),
        (KnownVersion("a", 5, LISTED), "a", 5, 60, True, True),
        # A GET says no fractions of a second.
        (KnownVersion("a", 5, LISTED), "a", 5, 0.5, True, False),
    ],
)
def test_what_counts_as_a_change(
    known: KnownVersion, etag: str, size: int, later: float, distrusted: bool, changed: bool
) -> None:
    now = LISTED + timedelta(seconds=later)
    assert is_changed(known, etag, size, now, distrusted=distrusted) is changed


def test_an_archived_object_loses_no_attempt_and_no_document() -> None:
    settled = [_settle(Archived(), attempts) for attempts in (1, 2, 3, 50)]
    assert {(one.state, one.retry_in) for one in settled} == {(ObjectState.ARCHIVED, None)}
    assert not removes_document(settled[0])


def test_permanent_errors_are_dead_letters_at_the_first_attempt() -> None:
    assert _settle(Corrupt(), 1).state is ObjectState.DEAD


def test_transient_errors_are_retried_until_the_attempts_are_used_up() -> None:
    assert [_settle(FetchFailed(), attempts).state for attempts in (1, 2, 3)] == [
        ObjectState.FAILED,
        ObjectState.FAILED,
        ObjectState.DEAD,
    ]
    assert _settle(FetchFailed(), 1).retry_in == 7.5
    assert _settle(FetchFailed(), 3).retry_in is None


@pytest.mark.parametrize("error", [ParserCrashed(), ParserDeadline(), ParserMemory()])
def test_a_document_that_its_parser_does_not_survive_twice_is_a_dead_letter(
    error: ObjectError,
) -> None:
    def ends(other: ObjectError, attempts: int, before: int) -> ObjectState:
        return settle(
            1,
            other,
            attempts,
            parser_failures=before,
            max_attempts=5,
            base=10,
            cap=60,
            chance=0.5,
        ).state

    assert ends(error, 1, 0) is ObjectState.FAILED
    assert ends(error, 2, 1) is ObjectState.DEAD
    assert ends(error, 4, 0) is ObjectState.FAILED, "the others were downloads that failed"
    assert ends(error, 4, 1) is ObjectState.DEAD
    assert ends(FetchFailed(), 2, 1) is ObjectState.FAILED, "it may still be read"


def test_objects_without_text_are_skipped_not_failed() -> None:
    assert _settle(EmptyObject(), 1).state is ObjectState.SKIPPED


def test_only_permanent_outcomes_remove_the_version_that_is_indexed() -> None:
    assert removes_document(_settle(Corrupt(), 1))
    assert removes_document(_settle(EmptyObject(), 1))
    assert not removes_document(_settle(AccessDenied(), 1)), (
        "a refusal says nothing about the content"
    )
    assert not removes_document(_settle(RunsDied(), 1))
    assert not removes_document(_settle(FetchFailed(), 1))
    assert not removes_document(_settle(FetchFailed(), 3))
    assert not removes_document(_settle(ObjectGone(), 3))


@pytest.mark.parametrize(
    ("missing", "known", "held_back"),
    [
        (1, 1, False),
        (10, 10, False),
        (11, 11, True),
        (20, 100, False),
        (21, 100, True),
        (0, 0, False),
    ],
)
def test_a_storm_of_deletions_is_held_back(missing: int, known: int, held_back: bool) -> None:
    assert deletions_held_back(missing, known, share=0.2, min_objects=10, confirmed=0) is held_back
    assert not deletions_held_back(missing, known, share=0.2, min_objects=10, confirmed=missing)


@pytest.mark.parametrize("percent", range(1, 100))
def test_exactly_the_share_passes_and_one_object_more_does_not(percent: int) -> None:
    def held_back(missing: int) -> bool:
        return deletions_held_back(missing, 10_000, share=percent / 100, min_objects=0, confirmed=0)

    assert not held_back(100 * percent)
    assert held_back(100 * percent + 1)


def test_a_confirmation_covers_the_deletions_it_was_given_for_and_no_more() -> None:
    assert not deletions_held_back(25, 40, share=0.5, min_objects=10, confirmed=25)
    assert deletions_held_back(26, 40, share=0.5, min_objects=10, confirmed=25)
