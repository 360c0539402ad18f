"""Reads chances off decision trees that were fitted to pages with a known main text.

``benchmarks/html_fit.py`` fits them and writes ``forest.json``. The pages are of WCXB
(Murrough Foley, CC BY 4.0), to which ``NOTICE`` gives credit.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

FILE: Final = Path(__file__).with_name("forest.json")
# Blocks times trees that are held at once.
_CHUNK_BLOCKS: Final = 4_096


@dataclass(frozen=True, slots=True)
class _Forest:
    """All trees' nodes in one row of arrays; a leaf leads to itself."""

    base: float
    roots: NDArray[np.int64]
    column: NDArray[np.int64]
    threshold: NDArray[np.float32]
    low: NDArray[np.int64]
    high: NDArray[np.int64]
    value: NDArray[np.float64]
    depth: int


def _load() -> _Forest:
    stored = json.loads(FILE.read_text(encoding="utf-8"))
    columns: list[list[float]] = [[], [], [], [], []]
    roots: list[int] = []
    for tree in stored["trees"]:
        first = len(columns[0])
        roots.append(first)
        for number, node in enumerate(tree):
            is_leaf = len(node) == 1
            column, threshold, low, high = (0, 0, number, number) if is_leaf else node
            values = (column, threshold, first + low, first + high, node[0] if is_leaf else 0)
            for each, value in zip(columns, values, strict=True):
                each.append(value)
    return _Forest(
        stored["base"],
        np.array(roots),
        np.array(columns[0], np.int64),
        np.array(columns[1], np.float32),
        np.array(columns[2], np.int64),
        np.array(columns[3], np.int64),
        np.array(columns[4]),
        stored["depth"],
    )


# Read with the module: a confined process opens no files.
_FOREST: Final = _load()


def chances(measured: NDArray[np.float32]) -> NDArray[np.float64]:
    """The chance, 0 to 1, that each row of :func:`signs.measure` is content."""
    return np.concatenate(
        [
            _chances(measured[start : start + _CHUNK_BLOCKS])
            for start in range(0, len(measured), _CHUNK_BLOCKS)
        ]
    )


def _chances(measured: NDArray[np.float32]) -> NDArray[np.float64]:
    forest = _FOREST
    nodes = np.tile(forest.roots, (len(measured), 1))
    rows = np.arange(len(measured))[:, None]
    for _ in range(forest.depth):
        is_low = measured[rows, forest.column[nodes]] <= forest.threshold[nodes]
        nodes = np.where(is_low, forest.low[nodes], forest.high[nodes])
    odds = forest.base + forest.value[nodes].sum(axis=1)
    chance: NDArray[np.float64] = 1 / (1 + np.exp(-odds))
    return chance
