"""What a run counts.

A new counter is one line of :class:`RunCounts`, and a migration that adds its column to
``connectors.runs``. The statements, the API's schema, the command line's table,
Dagster's metadata and the metrics derive from that line.
"""

from __future__ import annotations

from collections import Counter as Errors
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, fields
from enum import StrEnum
from typing import Final

from activekg_pipelines.errors import Disposition, ObjectError
from activekg_pipelines.ledger.counters import Counter, Increments, latency_increments
from activekg_pipelines.ledger.states import HeldObject, ScanCounts


class Step(StrEnum):
    """The steps of a run. Each has an asset in Dagster, which shows the step's counts."""

    SCAN = "scan"
    EXTRACTION = "extraction"
    INDEXING = "indexing"


class Unit(StrEnum):
    """What a counter counts."""

    OBJECTS = "objects"
    BYTES = "bytes"
    CHUNKS = "chunks"
    VECTORS = "vectors"


@dataclass(frozen=True, slots=True)
class RunCounter:
    """A counter of a run, and where it is shown.

    Attributes:
        name: of the field of :class:`RunCounts`, of the column of ``connectors.runs``,
            and of the field in the API.
        step: whose asset shows it in Dagster.
        unit: what it counts. The API shows objects apart from the rest.
        heading: of its column in the command line's table; None where it has none.
        description: of the field in the API, where the name does not say enough.
        metric: name and label in ``connectors.counters``; None where the run adds
            nothing to a metric.
    """

    name: str
    step: Step
    unit: Unit
    heading: str | None
    description: str | None
    metric: tuple[Counter, str] | None


def _counter(
    step: Step,
    unit: Unit = Unit.OBJECTS,
    *,
    heading: str | None = None,
    description: str | None = None,
    metric: tuple[Counter, str] | None = None,
) -> int:
    """A field of :class:`RunCounts`; the arguments are those of :class:`RunCounter`."""
    return field(
        default=0,
        metadata={
            "step": step,
            "unit": unit,
            "heading": heading,
            "description": description,
            "metric": metric,
        },
    )


_SCAN, _EXTRACTION, _INDEXING = Step.SCAN, Step.EXTRACTION, Step.INDEXING
_ITEMS, _VECTORS = Counter.ITEMS, Counter.EMBEDDINGS
_SAME_BYTES: Final = "A new ETag over the same bytes."
_AGAIN: Final = (
    "Settled by this sync, and found by an earlier one: retries, replays, what was left."
)


@dataclass(frozen=True, slots=True)
class RunCounts:
    """What a run did, or a part of one; ``errors`` are objects by error code.

    Each object that its sync found stands in one of indexed, unchanged, skipped, failed,
    dead and waiting; so does each one taken up again. Archived ones count as skipped.
    ``extracted`` is a step on the way.

    The order is that of the API's fields and of the table's columns.
    """

    listed: int = _counter(_SCAN, heading="LISTED")
    added: int = _counter(_SCAN, heading="NEW")
    changed: int = _counter(_SCAN, heading="CHANGED")
    # Without a metric: the scan adds to it in the transactions that delete.
    deleted: int = _counter(_SCAN, heading="DELETED")
    again: int = _counter(_INDEXING, heading="AGAIN", description=_AGAIN)
    extracted: int = _counter(_EXTRACTION)
    indexed: int = _counter(_INDEXING, heading="INDEXED", metric=(_ITEMS, "success"))
    unchanged: int = _counter(
        _EXTRACTION, heading="SAME", description=_SAME_BYTES, metric=(_ITEMS, "unchanged")
    )
    skipped: int = _counter(_EXTRACTION, heading="SKIPPED", metric=(_ITEMS, "skipped"))
    failed: int = _counter(_EXTRACTION, heading="FAILED", metric=(_ITEMS, "failed"))
    dead: int = _counter(_EXTRACTION, heading="DEAD", metric=(_ITEMS, "dead"))
    bytes_fetched: int = _counter(_EXTRACTION, Unit.BYTES, metric=(Counter.BYTES, ""))
    chunks: int = _counter(_INDEXING, Unit.CHUNKS)
    embeddings_computed: int = _counter(_INDEXING, Unit.VECTORS, metric=(_VECTORS, "computed"))
    embeddings_reused: int = _counter(_INDEXING, Unit.VECTORS, metric=(_VECTORS, "reused"))
    errors: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of_scan(cls, counts: ScanCounts) -> RunCounts:
        """What a scan adds to the run, or to the poll, that made it."""
        names = (counter.name for counter in COUNTERS if counter.step is Step.SCAN)
        return cls(**{name: getattr(counts, name) for name in names}, skipped=counts.skipped)

    @property
    def waiting(self) -> int:
        """Objects that the sync found and did not settle: they wait, or others have them.

        Never less than 0. What was counted before there was `again` does not add up.
        """
        settled = self.indexed + self.unchanged + self.skipped + self.failed + self.dead
        return max(0, self.added + self.changed + self.again - settled)

    def without(self, other: RunCounts) -> RunCounts:
        """These counts less others."""
        errors = Errors(self.errors)
        errors.subtract(other.errors)
        values = {name: value - getattr(other, name) for name, value in self.values().items()}
        return RunCounts(**values, errors=dict(errors))

    def values(self) -> dict[str, int]:
        """Every count but the errors, by name."""
        return {counter.name: getattr(self, counter.name) for counter in COUNTERS}

    def of_step(self, step: Step) -> dict[str, int]:
        """The counts that the step's asset shows, by name."""
        return {
            counter.name: getattr(self, counter.name)
            for counter in COUNTERS
            if counter.step is step
        }


def taken_up(held: Mapping[int, HeldObject], settled: Collection[int]) -> tuple[int, RunCounts]:
    """What objects change in a run's counts beside adding their outcomes.

    Args:
        held: the objects that have an outcome now.
        settled: those of them that ended in a state; the others have a text now.

    Returns:
        How many the sync takes up again, and what it counts no longer: failures of
        theirs. Each object stands in one state then.
    """
    again = sum(
        (id_ in settled) - (one.failed_here is not None)
        for id_, one in held.items()
        if not one.found_here
    )
    failures = [one.failed_here for one in held.values() if one.failed_here is not None]
    return again, RunCounts(failed=len(failures), errors=dict(Errors(failures)))


COUNTERS: Final = tuple(
    RunCounter(name=declared.name, **declared.metadata)
    for declared in fields(RunCounts)
    if declared.metadata
)


def _labels(name: Counter) -> tuple[str, ...]:
    return tuple(
        counter.metric[1] for counter in COUNTERS if counter.metric and counter.metric[0] is name
    )


# A scan counts deletions itself, in the transactions that delete.
ITEM_STATUSES: Final = (*_labels(Counter.ITEMS), "deleted")
EMBEDDING_SOURCES: Final = _labels(Counter.EMBEDDINGS)

_NAMES: Final = [counter.name for counter in COUNTERS]
SQL_PARTS: Final[Mapping[str, str]] = {
    "run_counters": ", ".join(_NAMES),
    "run_counter_values": ", ".join(f"%({name})s" for name in _NAMES),
    "add_run_counters": ", ".join(f"{name} = {name} + %({name})s" for name in _NAMES),
    # To processes of the version before, what was cancelled or not started is a failed run.
    "run_status": "CASE WHEN r.status <> 'failed' THEN r.status"
    " WHEN r.cancelled_by IS NOT NULL THEN 'cancelled'"
    " WHEN r.launch_error IS NOT NULL THEN 'launch_failed' ELSE 'failed' END",
    "settled_by_extraction": " + ".join(
        counter.name
        for counter in COUNTERS
        if counter.step is Step.EXTRACTION and counter.unit is Unit.OBJECTS
    ),
}
"""Parts of statements on ``connectors.runs``, which :func:`load_queries` fills in."""

# An object that is only not indexed (a picture, an empty file, one in an archive) is no
# error for which an operator should be alerted.
_NO_ERRORS: Final = frozenset(
    kind.code
    for kind in ObjectError.__subclasses__()
    if kind.disposition in {Disposition.SKIP, Disposition.ARCHIVED}
)


def increments(counts: RunCounts, latencies: Sequence[float] = ()) -> Increments:
    """What a part of a run adds to the metrics' counters; zeros are left out.

    Args:
        counts: of that part.
        latencies: seconds from detection to searchable of the documents that it indexed
            for the first time.
    """
    added: dict[tuple[Counter, str], float] = {
        counter.metric: getattr(counts, counter.name) for counter in COUNTERS if counter.metric
    }
    added |= {
        (Counter.ERRORS, code): n for code, n in counts.errors.items() if code not in _NO_ERRORS
    }
    added |= latency_increments(latencies)
    return {key: value for key, value in added.items() if value > 0}
