"""Seeded rounds of faults under changing buckets.

Whatever happens, it ends equal to what the buckets hold.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest

from tests.chaos.rounds import Chaos, Round

ROUNDS = int(os.environ.get("CHAOS_ROUNDS", "1"))
SEED = int(os.environ.get("CHAOS_SEED", "1"))


@pytest.mark.timeout(900)
@pytest.mark.parametrize("seed", range(SEED, SEED + ROUNDS))
def test_after_every_fault_the_graph_equals_the_bucket(
    chaos: Chaos, record: Callable[[Round], None], seed: int
) -> None:
    result = chaos.play(seed)
    record(result)
    assert not result.differences, "\n".join(
        [
            f"{result}",
            *result.journal,
            f"{result.differences}",
            f"Again: make chaos N=1 SEED={seed}    Logs: {chaos.system.home}",
        ]
    )
