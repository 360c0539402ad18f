"""Extraction against the expected text of other people's documents.

    python -m benchmarks.truth --files FOLDER [--each]

The folder holds documents, in folders of any depth, and beside each ``NAME`` its
expected text as Markdown, ``NAME.truth.md``. Of each kind of document (html, docx, pdf)
the means over its files are printed, and the last line is over all of them. A document
that is refused has an empty text.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from activekg_pipelines.errors import ObjectError
from activekg_pipelines.extraction import Limits, extract_file
from benchmarks.words import Score, markdown_score, mean

_TRUTH: Final = ".truth.md"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--files", type=Path, required=True, help="the folder of documents")
    parser.add_argument("--each", action="store_true", help="print a line for each file, too")
    arguments = parser.parse_args()
    scores = dict(measured(arguments.files))
    if not scores:
        parser.error(f"{arguments.files} holds no documents with a *{_TRUTH} beside them.")
    if arguments.each:
        print_scores(
            (str(path.relative_to(arguments.files)), [scores[path]])
            for path in sorted(scores, key=lambda path: scores[path].recall)
        )
    kinds: dict[str, list[Score]] = defaultdict(list)
    for path, score in scores.items():
        kinds[path.suffix.removeprefix(".").lower()].append(score)
    print_scores([*sorted(kinds.items()), ("all", list(scores.values()))])


def measured(folder: Path) -> Iterator[tuple[Path, Score]]:
    """Each document in ``folder`` that has an expected text, and its score."""
    for truth in sorted(folder.rglob(f"*{_TRUTH}")):
        path = truth.with_name(truth.name.removesuffix(_TRUTH))
        yield path, markdown_score(extracted_text(path), truth.read_text(encoding="utf-8"))


def print_scores(groups: Iterable[tuple[str, list[Score]]]) -> None:
    """Print a table of means, one line a group of scores."""
    print("\n| kind | files | recall | noise | precision | F1 |\n|---|---|---|---|---|---|")
    for name, scores in groups:
        one = mean(scores)
        print(
            f"| {name} | {one.files} | {one.recall:.3f} | {one.noise:.3f} | "
            f"{one.precision:.3f} | {one.f1:.3f} |"
        )


def extracted_text(path: Path) -> str:
    """What a run would store of the file; "" when it is refused."""
    try:
        return extract_file(path, path.name, None, Limits()).text
    except ObjectError:
        return ""


if __name__ == "__main__":
    main()
