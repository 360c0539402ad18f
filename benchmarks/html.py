"""Extraction of web pages against their main text.

    python -m benchmarks.html --pages FOLDER [--half {0,1}] [--each]

The folder has a folder for each kind of page (article, forum, product …), and in it
pages, ``NAME.html`` or ``NAME.html.gz``, with ``NAME.json`` beside them: an object with
``main_content`` (text), ``with`` and ``without`` (snippets that must and must not
appear). That is the form of the WCXB data set. The means over the pages of a kind are
printed, and the last line is over all pages. A page that is refused has an empty text.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.truth import extracted_text, print_scores
from benchmarks.words import Score, score, words


@dataclass(frozen=True, slots=True)
class TruePage:
    """A page and what is known of it."""

    kind: str
    name: str
    data: bytes
    main: str | None
    must_have: list[str]
    must_lack: list[str]

    @property
    def half(self) -> int:
        """0 or 1: pages of half 1 are kept from what is fitted with ``--half 0``."""
        return hashlib.md5(self.name.encode(), usedforsecurity=False).digest()[0] % 2


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--pages", type=Path, required=True, help="the folder of pages")
    parser.add_argument("--half", type=int, choices=(0, 1), help="only these pages")
    parser.add_argument("--each", action="store_true", help="print a line for each page, too")
    arguments = parser.parse_args()
    kinds: dict[str, list[Score]] = defaultdict(list)
    each: list[tuple[str, list[Score]]] = []
    snippets = {"must": [0, 0], "must not": [0, 0]}
    for page in true_pages(arguments.pages, arguments.half):
        text = _extracted(page)
        if page.main is not None:
            kinds[page.kind].append(score(words(text), words(page.main)))
            each.append((f"{page.kind}/{page.name}", kinds[page.kind][-1:]))
        flat = _flat(text)
        for name, said in (("must", page.must_have), ("must not", page.must_lack)):
            snippets[name][0] += sum(_flat(snippet) in flat for snippet in said)
            snippets[name][1] += len(said)
    if not kinds:
        parser.error(f"{arguments.pages} holds no pages with their main text.")
    if arguments.each:
        print_scores(sorted(each, key=lambda item: item[1][0].f1))
    for name, (found, total) in snippets.items():
        print(f"Of {total:,} snippets that {name} appear, {found / max(1, total):.1%} do.")
    print_scores(
        [*sorted(kinds.items()), ("all", [one for scores in kinds.values() for one in scores])]
    )


def true_pages(folder: Path, half: int | None = None) -> Iterator[TruePage]:
    """The pages below ``folder`` that have a file beside them that tells their text."""
    for told in sorted(folder.rglob("*.json")):
        packed, plain = told.with_suffix(".html.gz"), told.with_suffix(".html")
        if packed.exists():
            data = gzip.decompress(packed.read_bytes())
        elif plain.exists():
            data = plain.read_bytes()
        else:
            continue
        value = json.loads(told.read_text(encoding="utf-8"))
        page = TruePage(
            told.parent.name,
            told.stem,
            data,
            value.get("main_content"),
            value.get("with") or [],
            value.get("without") or [],
        )
        if half is None or page.half == half:
            yield page


def _extracted(page: TruePage) -> str:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "page.html"
        path.write_bytes(page.data)
        return extracted_text(path)


def _flat(text: str) -> str:
    return " ".join(text.casefold().split())


if __name__ == "__main__":
    main()
