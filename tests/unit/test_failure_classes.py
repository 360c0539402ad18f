"""Each class of failure has a name of its own, a sentence, and a test.

Operators can look up what becomes of it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from activekg_pipelines import errors
from activekg_pipelines.errors import Disposition, ObjectError, ParserUnavailable, SourceError

OUTCOMES = "integration/test_outcomes.py"
SCANS = "integration/test_scans.py"
LEASES = "integration/test_leases.py"
ENDPOINTS = "integration/test_endpoints.py"
TABLE = (
    f"{OUTCOMES}::test_every_unreadable_object_gets_its_own_state_and_sentence_and_the_run_goes_on"
)
PARSER = f"{OUTCOMES}::test_a_document_that_kills_hangs_or_bloats_its_parser_costs_only_itself"
LISTING = f"{SCANS}::test_a_listing_that_fails_deletes_nothing_and_the_next_good_one_goes_on"

REFUSED = (
    "integration/sources/test_what_s3_says.py::"
    "test_permanent_refusals_are_dead_at_once_and_others_are_tried_again"
)
REFUSED_LISTING = "integration/sources/test_what_s3_says.py::test_a_refused_listing_says_why"

PROVEN_BY: dict[type[errors.ActiveKGError], str] = {
    errors.UnsupportedType: TABLE,
    errors.TooLarge: TABLE,
    errors.EmptyObject: TABLE,
    errors.FolderMarker: TABLE,
    errors.AccessDenied: TABLE,
    errors.ExplicitlyDenied: REFUSED,
    errors.KeyDenied: REFUSED,
    errors.KeyUnusable: REFUSED,
    errors.CustomerKey: REFUSED,
    errors.Encrypted: TABLE,
    errors.Corrupt: TABLE,
    errors.NoTextLayer: TABLE,
    errors.TextTooLarge: TABLE,
    errors.RunsDied: (
        f"{LEASES}::test_an_object_that_run_after_run_dies_with_is_set_aside_until_it_is_replayed"
    ),
    errors.NotStorable: (
        "integration/test_refused_rows.py::"
        "test_an_object_whose_row_is_refused_is_dead_and_the_others_are_indexed"
    ),
    errors.FetchFailed: f"{OUTCOMES}::test_a_download_that_fails_is_tried_again_when_it_is_due",
    errors.ParserCrashed: PARSER,
    errors.ParserDeadline: PARSER,
    errors.ParserMemory: PARSER,
    errors.EncoderFailed: (
        f"{OUTCOMES}::"
        "test_a_text_that_cannot_be_embedded_costs_only_its_own_document_and_no_second_download"
    ),
    errors.ObjectGone: (
        f"{OUTCOMES}::test_an_object_deleted_after_it_was_listed_waits_for_the_next_scan"
    ),
    errors.Archived: (
        "integration/test_archived.py::"
        "test_an_archived_object_is_refused_once_and_taken_up_when_it_is_restored"
    ),
    errors.CredentialsRefused: (
        f"{LEASES}::"
        "test_refused_credentials_end_the_run_give_its_objects_back_and_are_kept_with_the_connector"
    ),
    errors.CredentialsExpired: LISTING,
    errors.ListingForbidden: REFUSED_LISTING,
    errors.RequesterPays: REFUSED_LISTING,
    errors.RegionNotEnabled: REFUSED_LISTING,
    errors.SourceMissing: (
        f"{SCANS}::"
        "test_a_bucket_that_vanished_or_became_unreachable_leaves_every_document_in_search"
    ),
    errors.ListingDenied: f"{SCANS}::test_a_permanent_failure_makes_the_next_scan_start_anew",
    errors.WrongRegion: LISTING,
    errors.ClockSkewed: LISTING,
    errors.ListingOutOfOrder: (
        f"{SCANS}::test_a_store_that_lists_out_of_order_is_left_to_a_run_that_sorts_its_listing"
    ),
    errors.ConnectorChanged: (
        "integration/test_moved_sources.py::test_whoever_read_the_old_bucket_gets_nothing_to_do"
    ),
    errors.EndpointForbidden: (
        f"{ENDPOINTS}::"
        "test_an_endpoint_that_may_not_be_reached_is_the_connectors_error_and_no_objects"
    ),
    errors.EndpointUnreachable: (
        f"{OUTCOMES}::"
        "test_an_unreachable_endpoint_is_the_runs_failure_and_costs_no_object_an_attempt"
    ),
    errors.SourceUnavailable: (
        f"{SCANS}::test_a_passing_failure_lets_the_next_scan_go_on_from_where_it_stopped"
    ),
    errors.ModelError: (
        f"{LEASES}::test_a_model_that_cannot_be_used_ends_the_run_and_gives_its_objects_back"
    ),
    errors.ParserUnavailable: (
        f"{OUTCOMES}::test_a_parser_that_cannot_be_loaded_ends_the_run_and_costs_no_object_an_attempt"
    ),
}
"""The behavioural test of each failure that a run can meet."""

ALSO_PROVEN = {
    "changed since the listing": (
        f"{OUTCOMES}::"
        "test_an_object_overwritten_after_it_was_listed_is_taken_as_it_is_with_its_own_etag"
    ),
    "the same ETag over other bytes": (
        "integration/test_changes.py::test_a_constant_etag_hides_no_change"
    ),
    "database unavailable": (
        "integration/test_database_away.py::"
        "test_a_database_that_goes_away_in_the_middle_costs_no_object_an_attempt"
    ),
    "backoff with jitter": (
        "unit/test_planner.py::test_retries_back_off_exponentially_within_jitter_and_cap"
    ),
    "permanent at once": (
        "unit/test_planner.py::test_permanent_errors_are_dead_letters_at_the_first_attempt"
    ),
    "dead after two attempts that its parser did not survive": (
        f"{OUTCOMES}::test_a_document_that_its_parser_does_not_survive_twice_is_dead_until_replayed"
    ),
    "dead after its attempts, then changed, deleted or replayed": (
        f"{OUTCOMES}::"
        "test_a_download_that_fails_for_ever_becomes_a_dead_letter_and_leaves_it_by_itself_or_by_replay"
    ),
    "replay gives fresh attempts": (
        f"{OUTCOMES}::test_a_dead_letter_that_is_replayed_and_fails_again_has_fresh_attempts"
    ),
    "replay by the API": (
        "integration/api/test_runs_and_objects.py::"
        "test_dead_letters_are_replayed_with_fresh_attempts"
    ),
}
"""Failures and rules that are no class of their own."""

ACTIONS = {
    Disposition.RETRY: "retried with backoff",
    Disposition.GONE: "retried with backoff",
    Disposition.DEAD: "dead at once",
    Disposition.SKIP: "skipped",
    Disposition.ARCHIVED: "archived",
}


def family(base: type[errors.ActiveKGError]) -> list[type[errors.ActiveKGError]]:
    """Every class under ``base``, however deep."""
    return [kind for child in base.__subclasses__() for kind in (child, *family(child))]


OF_CONNECTORS = [*family(SourceError), ParserUnavailable]


def documented(project_root: Path, heading: str) -> dict[str, str]:
    """A table of two columns below a heading of the operator's guide.

    Gives what stands in the second for each code in the first.
    """
    guide = (project_root / "docs" / "operations" / "connectors.md").read_text()
    section = guide.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \| (.+?) \|$", section, re.MULTILINE)
    return {code: action for codes, action in rows[1:] for code in re.findall(r"`(\w+)`", codes)}


def test_names_are_distinct_within_each_family() -> None:
    for base in (ObjectError, SourceError):
        codes = [kind.code for kind in (base, *family(base))]  # type: ignore[attr-defined]
        assert len(codes) == len(set(codes))


@pytest.mark.parametrize("kind", [*family(ObjectError), *OF_CONNECTORS])
def test_its_docstring_is_a_sentence_for_people(kind: type[errors.ActiveKGError]) -> None:
    assert kind.__doc__ is not None
    sentence = " ".join(kind.__doc__.split())
    assert re.fullmatch(r"[A-Z].*[^.]\.", sentence)
    assert str(kind()) == sentence


@pytest.mark.parametrize("kind", family(ObjectError))
def test_the_guide_names_what_becomes_of_the_object(
    kind: type[ObjectError], project_root: Path
) -> None:
    assert documented(project_root, "Errors of objects")[kind.code].startswith(
        ACTIONS[kind.disposition]
    )


@pytest.mark.parametrize("kind", OF_CONNECTORS)
def test_the_guide_names_what_becomes_of_the_connector(
    kind: type[SourceError | ParserUnavailable], project_root: Path
) -> None:
    action = documented(project_root, "Errors of connectors")[kind.code]
    is_retried = issubclass(kind, SourceError) and kind.retryable
    assert action.startswith("retried" if is_retried else "ends the run")


@pytest.mark.parametrize(
    ("kind", "heading"),
    [
        *((kind, "What to do about errors of objects") for kind in family(ObjectError)),
        *((kind, "What to do about errors of connectors") for kind in OF_CONNECTORS),
    ],
)
def test_each_says_itself_and_in_the_guide_what_to_do(
    kind: type[ObjectError | SourceError | ParserUnavailable], heading: str, project_root: Path
) -> None:
    assert "fix" in vars(kind), "not only the advice of all errors"
    assert documented(project_root, heading)[kind.code] == kind.fix


def test_the_advice_is_found_by_the_code_that_is_stored() -> None:
    assert all(errors.object_fix(kind.code) == kind.fix for kind in family(ObjectError))
    assert all(
        errors.connector_fix(kind.code) == kind.fix  # type: ignore[attr-defined]
        for kind in (*OF_CONNECTORS, errors.ModelError)
    )
    for fix_of in (errors.object_fix, errors.connector_fix):
        assert fix_of("unheard_of") == errors.ActiveKGError.fix


def test_the_guide_names_no_error_that_there_is_none() -> None:
    root = Path(__file__).parents[2]
    for kinds, heading in (
        (family(ObjectError), "Errors of objects"),
        (OF_CONNECTORS, "Errors of connectors"),
    ):
        assert documented(root, heading).keys() == {kind.code for kind in kinds}  # type: ignore[attr-defined]


def test_each_failure_has_a_test() -> None:
    assert set(PROVEN_BY) == {
        *family(ObjectError),
        *family(SourceError),
        errors.ModelError,
        errors.ParserUnavailable,
    }


@pytest.mark.parametrize("test", sorted({*PROVEN_BY.values(), *ALSO_PROVEN.values()}))
def test_that_test_is_there(test: str) -> None:
    file, _, name = test.partition("::")
    assert f"\ndef {name}(" in (Path(__file__).parents[1] / file).read_text()
