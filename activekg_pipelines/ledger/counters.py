"""What is counted for ``/metrics``, and how a run's counts and observations become rows
of ``connectors.counters``.

Counters are written by the last statement of the transaction that does the work, in the
order of their keys: the rows are shared by all runs of a tenant, so nobody may hold one
while waiting for anything else.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from activekg_pipelines.errors import Disposition, ObjectError
from activekg_pipelines.ledger.states import RunCounts


class Counter(StrEnum):
    """Names in ``connectors.counters``."""

    ITEMS = "items"
    """Objects by outcome; the label is the status."""
    ERRORS = "errors"
    """Failed attempts at objects; the label is the error code."""
    BYTES = "bytes_fetched"
    EMBEDDINGS = "embeddings"
    """Vectors of indexed chunks; the label says whether they were computed or reused."""
    RUNS = "runs_finished"
    """The label is the run's last status."""
    RUN_SECONDS = "run_seconds"
    """Durations of runs; the labels are :data:`SUM` and the upper bounds of
    :data:`RUN_BUCKETS`.
    """
    LATENCY = "latency"
    """Seconds from detection to searchable; the labels are :data:`SUM` and those of
    :data:`LATENCY_BUCKETS`.
    """


SUM: Final = "sum"
ITEM_STATUSES: Final = ("success", "unchanged", "skipped", "failed", "dead", "deleted")
EMBEDDING_SOURCES: Final = ("computed", "reused")
RUN_STATUSES: Final = ("succeeded", "failed")

# Upper bounds in seconds. A run of three small objects takes 3 s, one that was given
# its whole budget an hour.
RUN_BUCKETS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, math.inf)
# From a sync that somebody waits for to a first sync of a million objects that takes
# days.
LATENCY_BUCKETS: Final = (
    5.0,
    15.0,
    30.0,
    60.0,
    120.0,
    300.0,
    900.0,
    3600.0,
    21_600.0,
    86_400.0,
    math.inf,
)

# What is merely not indexed (a picture, an empty file) is no error that anybody is
# woken for.
_NO_ERRORS: Final = frozenset(
    kind.code for kind in ObjectError.__subclasses__() if kind.disposition is Disposition.SKIP
)

Increments = Mapping[tuple[Counter, str], float]
"""What to add, by name and label."""


def histogram_label(bound: float) -> str:
    """The label of a histogram's bucket: its upper bound in seconds, as Prometheus
    writes it.
    """
    return "+Inf" if math.isinf(bound) else f"{bound:g}"


def increments(counts: RunCounts, latencies: Sequence[float] = ()) -> Increments:
    """What a part of a run adds to the counters; zeros are left out.

    Args:
        counts: of that part. Deletions are not among what is counted here: the scan
            counts them as it deletes.
        latencies: seconds from detection to searchable of the documents that it indexed
            for the first time.
    """
    added: dict[tuple[Counter, str], float] = {
        (Counter.ITEMS, "success"): counts.indexed,
        (Counter.ITEMS, "unchanged"): counts.unchanged,
        (Counter.ITEMS, "skipped"): counts.skipped,
        (Counter.ITEMS, "failed"): counts.failed,
        (Counter.ITEMS, "dead"): counts.dead,
        (Counter.BYTES, ""): counts.bytes_fetched,
        (Counter.EMBEDDINGS, "computed"): counts.embeddings_computed,
        (Counter.EMBEDDINGS, "reused"): counts.embeddings_reused,
    }
    added |= {
        (Counter.ERRORS, code): n for code, n in counts.errors.items() if code not in _NO_ERRORS
    }
    for seconds in latencies:
        label = histogram_label(LATENCY_BUCKETS[bisect_left(LATENCY_BUCKETS, seconds)])
        added[Counter.LATENCY, label] = added.get((Counter.LATENCY, label), 0) + 1
    added[Counter.LATENCY, SUM] = sum(latencies)
    return {key: value for key, value in added.items() if value > 0}
