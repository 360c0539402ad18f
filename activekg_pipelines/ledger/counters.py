"""What is counted for ``/metrics``: the names and labels in ``connectors.counters``.

Counters are written by the last statement of the transaction that does the work, in the
order of their keys. All runs of a tenant share the rows, so no transaction may lock one
and then wait for anything else.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final


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
    """Durations of runs.

    The labels are :data:`SUM` and the upper bounds of :data:`RUN_BUCKETS`.
    """
    LATENCY = "latency"
    """Seconds from detection to searchable.

    The labels are :data:`SUM` and the upper bounds of :data:`LATENCY_BUCKETS`.
    """


SUM: Final = "sum"
RUN_STATUSES: Final = ("succeeded", "failed", "cancelled")

# Upper bounds in seconds. A run of three small objects takes 3 s, one that uses its
# complete budget an hour.
RUN_BUCKETS: Final = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 1800.0, 3600.0, 7200.0, math.inf)
# From a sync that a person waits for to a first sync of a million objects, which takes
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

Increments = Mapping[tuple[Counter, str], float]
"""What to add, by name and label."""


def histogram_label(bound: float) -> str:
    """A bucket's label in a histogram: its upper bound as Prometheus writes it."""
    return "+Inf" if math.isinf(bound) else f"{bound:g}"


def latency_increments(latencies: Sequence[float]) -> Increments:
    """What documents that became searchable add to the histogram of latencies.

    Args:
        latencies: seconds from detection to searchable.
    """
    added: dict[tuple[Counter, str], float] = {(Counter.LATENCY, SUM): sum(latencies)}
    for seconds in latencies:
        label = histogram_label(LATENCY_BUCKETS[bisect_left(LATENCY_BUCKETS, seconds)])
        added[Counter.LATENCY, label] = added.get((Counter.LATENCY, label), 0) + 1
    return added
