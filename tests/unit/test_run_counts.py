"""The counters of a run: each is declared once, and what is shown of it derives from that."""

from __future__ import annotations

import math
from dataclasses import fields, replace

from activekg_pipelines.administration.schemas import RunObjects, RunView
from activekg_pipelines.ledger.counters import SUM, Counter
from activekg_pipelines.ledger.run_counts import (
    COUNTERS,
    EMBEDDING_SOURCES,
    ITEM_STATUSES,
    SQL_PARTS,
    RunCounts,
    Step,
    Unit,
    increments,
    taken_up,
)
from activekg_pipelines.ledger.states import HeldObject, ScanCounts

NAMES = [counter.name for counter in COUNTERS]


def test_every_field_but_the_errors_is_a_counter() -> None:
    assert [*NAMES, "errors"] == [declared.name for declared in fields(RunCounts)]


def test_statements_name_every_counter() -> None:
    assert SQL_PARTS["run_counters"].split(", ") == NAMES
    assert SQL_PARTS["run_counter_values"].split(", ") == [f"%({name})s" for name in NAMES]
    assert SQL_PARTS["add_run_counters"].split(", ") == [
        f"{name} = {name} + %({name})s" for name in NAMES
    ]
    assert set(SQL_PARTS["settled_by_extraction"].split(" + ")) == {
        "extracted",
        "unchanged",
        "skipped",
        "failed",
        "dead",
    }


def test_the_api_shows_objects_apart_from_what_is_none() -> None:
    objects = [counter.name for counter in COUNTERS if counter.unit is Unit.OBJECTS]
    assert list(RunObjects.model_fields) == [*objects, "waiting"]
    assert [name for name in RunView.model_fields if name in NAMES] == [
        name for name in NAMES if name not in objects
    ]


def test_each_step_shows_its_own_counts() -> None:
    counts = RunCounts(**{name: number for number, name in enumerate(NAMES, 1)})
    shown = [counts.of_step(step) for step in Step]
    assert {name: value for step in shown for name, value in step.items()} == counts.values()
    assert sum(len(step) for step in shown) == len(NAMES)


def test_a_scan_counts_what_it_found_and_deleted() -> None:
    found = ScanCounts(listed=9, added=3, changed=2, missing=1, deleted=1, due=4, over_limit=4)
    assert RunCounts.of_scan(found) == RunCounts(listed=9, added=3, changed=2, deleted=1, skipped=1)


def test_what_a_sync_found_and_did_not_settle_waits() -> None:
    counts = RunCounts(added=9, changed=2, again=3, extracted=8, indexed=5, unchanged=1, skipped=1)
    assert counts.waiting == 7
    assert replace(counts, failed=3, dead=4).waiting == 0
    # As versions counted that did not know `again`.
    assert RunCounts(indexed=3).waiting == 0


def test_an_object_that_fails_and_is_tried_again_stands_in_one_state() -> None:
    new, retried, old, old_retried = (
        HeldObject(1, True, None),
        HeldObject(2, True, "fetch_failed"),
        HeldObject(3, False, None),
        HeldObject(4, False, "fetch_failed"),
    )
    held = {one.id: one for one in (new, retried, old, old_retried)}
    taken_back = RunCounts(failed=2, errors={"fetch_failed": 2})
    assert taken_up(held, held) == (1, taken_back)
    # A text is no state to end in: what failed waits again.
    assert taken_up(held, set()) == (-1, taken_back)
    assert RunCounts(failed=3, errors={"corrupt": 1}).without(taken_back) == RunCounts(
        failed=1, errors={"corrupt": 1, "fetch_failed": -2}
    )


def test_a_part_of_a_run_adds_to_the_metrics_and_leaves_zeros_out() -> None:
    counts = RunCounts(
        listed=5,
        deleted=2,
        extracted=4,
        indexed=3,
        skipped=1,
        bytes_fetched=10,
        embeddings_reused=7,
        errors={"corrupt": 2, "unsupported_type": 1},
    )
    assert increments(counts, latencies=[4.0, 5.0, 1e9]) == {
        (Counter.ITEMS, "success"): 3,
        (Counter.ITEMS, "skipped"): 1,
        (Counter.BYTES, ""): 10,
        (Counter.EMBEDDINGS, "reused"): 7,
        (Counter.ERRORS, "corrupt"): 2,
        (Counter.LATENCY, "5"): 2,
        (Counter.LATENCY, "+Inf"): 1,
        (Counter.LATENCY, SUM): math.fsum([4.0, 5.0, 1e9]),
    }
    assert increments(RunCounts()) == {}


def test_the_metrics_know_every_label_before_it_is_counted() -> None:
    assert ITEM_STATUSES == ("success", "unchanged", "skipped", "failed", "dead", "deleted")
    assert EMBEDDING_SOURCES == ("computed", "reused")
