"""Documents as companies keep them, in every format, up to any number.

The shipped and given ones come first, and then made-up ones.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import cycle, islice
from pathlib import Path

from benchmarks.texts import markdown
from examples.make_documents import (
    MARKDOWN,
    Source,
    read_blocks,
    render_docx,
    render_html,
    render_pdf,
)

_ROOT = Path(__file__).parents[1]
_FOLDERS = (_ROOT / "examples" / "documents", _ROOT.parent / "shared" / "corpus")
_SUFFIXES = {".pdf", ".docx", ".html", ".htm", ".md", ".txt"}
# Two PDFs and two pages of HTML for each Word and each text file: about what public
# repositories have.
_MADE_UP = ("pdf", "html", "docx", "pdf", "html", "md")
_WORDS = 600


def mixed_documents(number: int) -> Iterator[tuple[str, bytes]]:
    """``number`` keys and bodies.

    Real documents come first, in an order that a fixed seed gives: by path, a small
    number would be of one source.
    """
    found = sorted(
        path
        for folder in _FOLDERS
        for path in folder.rglob("*")
        if path.suffix.lower() in _SUFFIXES
    )
    random.Random(1).shuffle(found)
    real = [(path.name, path) for path in found[:number]]
    for index, (name, path) in enumerate(real):
        yield f"{index:04}-{name}", path.read_bytes()
    for index, kind in islice(enumerate(cycle(_MADE_UP), len(real)), number - len(real)):
        yield f"{index:04}-handbook.{kind}", made_up(index, kind)


def made_up(index: int, kind: str) -> bytes:
    """A document of a page or two on average, one in three with a table of figures.

    Args:
        index: the same number and kind give the same document.
        kind: pdf, docx, html or md.
    """
    text = markdown(index, words=_WORDS)
    chance = random.Random(index)
    if chance.random() < 1 / 3:
        text += "\n" + _table(chance)
    # The PDF's built-in fonts have no other letters.
    text = text.encode("cp1252", "replace").decode("cp1252")
    source = Source(
        ref=f"HB-{index}",
        owner="Operations",
        date="2025-01-01",
        title=f"Handbook {index}",
        body=text,
        blocks=tuple(read_blocks(MARKDOWN.parse(text))),
    )
    match kind:
        case "pdf":
            return render_pdf(source)
        case "docx":
            return render_docx(source)
        case "html":
            return render_html(source, "operations")
        case "md":
            return text.encode()
    raise ValueError(f"No document of kind {kind!r} is made up here.")


def _table(chance: random.Random) -> str:
    rows = [
        f"| P-{chance.randint(100, 999)} | {chance.randint(1, 40)} | {chance.random():.3f} |"
        for _ in range(20)
    ]
    return (
        "\n".join(["## Figures", "", "| Pump | Pressure | Wear |", "|---|---|---|", *rows]) + "\n"
    )
