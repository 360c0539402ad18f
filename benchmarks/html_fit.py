"""Fits the decision trees that tell a page's content from navigation.

    python -m benchmarks.html_fit --pages FOLDER [--half {0,1}]

The folder has the form that ``benchmarks.html`` reads. The trees are written to
``activekg_pipelines/extraction/html/forest.json``, which the extractor reads; its
version goes up with them. With ``--half 0``, ``python -m benchmarks.html --half 1``
measures pages that the trees have never seen.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from activekg_pipelines.errors import ObjectError
from activekg_pipelines.extraction.html import forest, signs
from activekg_pipelines.extraction.html.extractor import read_page
from benchmarks.html import TruePage, true_pages
from benchmarks.words import words_in_order

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# How often pages of a kind come among a thousand of the web, as the data set has them.
_FREQUENCIES: Final = {
    "article": 530,
    "service": 110,
    "product": 80,
    "collection": 80,
    "forum": 76,
    "listing": 66,
    "documentation": 60,
}
_SAMPLES: Final = 40_000
_CONTENT: Final = 0.5
_SHORT_WORDS: Final = 4
# A short block is content where so many of the words around it are.
_LEAST_NEAR: Final = 0.15
_NEAR_BLOCKS: Final = 5


class _Labelled(NamedTuple):
    kind: str
    measured: NDArray[np.float32]
    is_content: NDArray[np.bool_]
    words: NDArray[np.float64]


def main() -> None:
    """Fit and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pages", type=Path, required=True, help="the folder of pages")
    parser.add_argument("--half", type=int, choices=(0, 1), help="fit to these pages only")
    arguments = parser.parse_args()
    pages = [
        labelled
        for page in true_pages(arguments.pages, arguments.half)
        if (labelled := _labelled(page)) is not None
    ]
    if not pages:
        parser.error(f"{arguments.pages} holds no pages with their main text.")
    forest.FILE.write_text(
        json.dumps(_fitted(pages), separators=(",", ":")) + "\n", encoding="utf-8"
    )
    print(f"{forest.FILE} is fitted to {len(pages)} pages.")


def _labelled(page: TruePage) -> _Labelled | None:
    import numpy as np

    if page.main is None:
        return None
    try:
        root, read = read_page(page.data)
    except ObjectError:
        return None
    if not read.blocks:
        return None
    said = [words_in_order(block.mark + block.text) for block in read.blocks]
    return _Labelled(
        page.kind,
        signs.measure(read, root),
        _shares(said, page.main) >= _CONTENT,
        np.array([len(each) for each in said], np.float64),
    )


def _shares(said: list[list[str]], main: str) -> NDArray[np.float64]:
    """How much of each block's words stand in ``main``, in the block's order."""
    import numpy as np

    expected = words_in_order(main)
    threes = Counter(zip(expected, expected[1:], expected[2:], strict=False))
    twos = Counter(pairwise(expected))
    lines = Counter(tuple(words_in_order(line)) for line in main.splitlines())
    shares = np.zeros(len(said))
    for index, block in enumerate(said):
        if len(block) >= _SHORT_WORDS:
            runs = list(zip(block, block[1:], block[2:], strict=False))
            shares[index] = sum(run in threes for run in runs) / len(runs)
        elif block and tuple(block) in lines:
            shares[index] = 1.0
        elif block and all(run in twos for run in pairwise(block)):
            before = next((each for each in said[max(0, index - 1) : index] if each), None)
            after = next((each for each in said[index + 1 : index + 2] if each), None)
            joins = (before and (before[-1], block[0]) in twos) or (
                after and (block[-1], after[0]) in twos
            )
            shares[index] = 0.6 if joins else 0.0
    counts = np.array([len(block) for block in said], np.float64)
    window = np.ones(2 * _NEAR_BLOCKS + 1)
    inner = slice(_NEAR_BLOCKS, _NEAR_BLOCKS + len(said))
    near = np.convolve(shares * counts, window)[inner] / np.maximum(
        np.convolve(counts, window)[inner], 1
    )
    shares[(counts < _SHORT_WORDS) & (near < _LEAST_NEAR)] *= 0.4
    return shares


def _fitted(pages: list[_Labelled]) -> dict[str, Any]:
    """The trees as :mod:`activekg_pipelines.extraction.html.forest` reads them.

    A page counts as often as its kind comes in the web, whatever its length; in a page,
    a block counts by the root of its words.
    """
    import numpy as np
    from sklearn.ensemble import HistGradientBoostingClassifier

    kinds = Counter(page.kind for page in pages)
    weights = np.hstack(
        [
            np.sqrt(page.words)
            / max(1e-9, np.sqrt(page.words).sum())
            * _FREQUENCIES.get(page.kind, 70)
            / kinds[page.kind]
            for page in pages
        ]
    )
    measured = np.vstack([page.measured for page in pages])
    is_content = np.hstack([page.is_content for page in pages])
    chosen = np.random.default_rng(0).choice(len(measured), _SAMPLES, p=weights / weights.sum())
    model = HistGradientBoostingClassifier(
        max_iter=120,
        learning_rate=0.08,
        max_leaf_nodes=12,
        min_samples_leaf=30,
        l2_regularization=1.0,
        max_bins=32,
        max_features=0.2,
        random_state=0,
    ).fit(measured[chosen], is_content[chosen])
    trees = [[_node(node) for node in tree.nodes] for (tree,) in model._predictors]
    depth = max(int(tree.nodes["depth"].max()) for (tree,) in model._predictors)
    return {"base": float(model._baseline_prediction.ravel()[0]), "depth": depth, "trees": trees}


def _node(node: Any) -> list[float]:
    import numpy as np

    if node["is_leaf"]:
        return [round(float(node["value"]), 4)]
    threshold = float(f"{np.float32(node['num_threshold']):.9g}")
    return [int(node["feature_idx"]), threshold, int(node["left"]), int(node["right"])]


if __name__ == "__main__":
    main()
