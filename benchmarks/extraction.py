"""Extraction against the obvious way, in CPU seconds and in what of the text is right.

    python -m benchmarks.extraction [--limit 20] [--corpus FOLDER]

It reads PDF, Word, HTML and legacy text. The corpus is a folder with ``pdf``, ``docx``
and ``html`` folders in it. Without one, the shipped documents are read. PDF texts are
compared with poppler's pdftotext where that is installed.
"""

from __future__ import annotations

import argparse
import functools
import re
import shutil
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from activekg_pipelines.errors import ObjectError
from activekg_pipelines.extraction import Limits, extract_file
from benchmarks.languages import encoded_texts
from benchmarks.measure import Result, interleave, print_results, ratio
from benchmarks.texts import markdown

_REPOSITORY = Path(__file__).parents[1]
ROUNDS = 2
_WORD = re.compile(r"\w+")
_PEAK = """
import resource, sys
from importlib import import_module
from pathlib import Path
from activekg_pipelines.extraction import FORMATS, Limits, extract_file
for parser in FORMATS.preload:
    import_module(parser)
path = Path(sys.argv[1])
pages = extract_file(path, path.name, None, Limits()).facts["pages"]
assert pages == int(sys.argv[2]), pages
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--limit", type=int, help="read so many files of each format")
    parser.add_argument("--corpus", type=Path, default=_REPOSITORY.parent / "shared" / "corpus")
    arguments = parser.parse_args()
    files = functools.partial(_files, arguments.corpus, limit=arguments.limit)
    with tempfile.TemporaryDirectory() as folder:
        results = [
            *_pdf(files("pdf")),
            _pdf_memory(Path(folder) / "long.pdf"),
            *_docx(files("docx")),
            *_html_speed(files("html")),
            *_legacy(),
        ]
    print_results("Extraction", results)


def _files(corpus: Path, kind: str, limit: int | None) -> list[Path]:
    folder = corpus / kind if (corpus / kind).is_dir() else _REPOSITORY / "examples" / "documents"
    found = sorted(folder.rglob(f"*.{kind}"))
    if limit is None or limit >= len(found):
        return found
    # Evenly spread: neighbours in name come from the same source.
    return [found[index * len(found) // limit] for index in range(limit)]


def _read(path: Path) -> str:
    """What a run would store of the file; "" when it is refused."""
    try:
        return extract_file(path, path.name, None, Limits()).text
    except ObjectError:
        return ""


def _words(text: str) -> Counter[str]:
    return Counter(_WORD.findall(text.lower()))


def _f1(found: Counter[str], truth: Counter[str]) -> float:
    both = (found & truth).total()
    return 2 * both / (found.total() + truth.total()) if both else 0.0


# PDF


@dataclass(slots=True)
class _Pages:
    """CPU seconds of the pages of one kind in one round, by pdfplumber and by us."""

    count: int = 0
    theirs: float = 0.0
    ours: float = 0.0


@dataclass(slots=True)
class _PlumberPages:
    texts: list[str] = field(default_factory=list)
    tables: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)


def _pdf(paths: list[Path]) -> list[Result]:
    theirs = {path: pages for path in paths if (pages := _by_pdfplumber(path)) is not None}
    ours = {path: pages for path in paths if (pages := _our_pages(path)) is not None}
    common = [
        path
        for path in paths
        if path in theirs and path in ours and len(theirs[path].texts) == len(ours[path])
    ]
    pages = sum(len(ours[path]) for path in common)
    samples = interleave(
        {
            "pdfplumber": lambda: [_by_pdfplumber(path) for path in common],
            "ours": lambda: [_read(path) for path in common],
        },
        ROUNDS,
    )
    speed = ratio(samples["pdfplumber"], samples["ours"])
    what = f"PDF, {pages} pages of {len(common)} files that both read"
    return [
        Result(
            f"{what}, pages per CPU second",
            f"{speed:.1f} x pdfplumber's text and tables",
            "25 x",
            speed >= 25,
        ),
        *_pdf_by_kind(common),
        _pdf_tables(common, theirs, ours),
        _pdf_text(paths, theirs),
    ]


def _by_pdfplumber(path: Path) -> _PlumberPages | None:
    import pdfplumber

    found = _PlumberPages()
    try:
        with pdfplumber.open(path) as pdf:
            for page in pdf.pages:
                began = time.process_time()
                found.texts.append(page.extract_text())
                found.tables.append(sum(map(_is_table, page.extract_tables())))
                page.close()
                found.seconds.append(time.process_time() - began)
    except Exception:  # noqa: BLE001 - it raises whatever a damaged file leads it to
        return None
    return found


def _is_table(rows: list[list[str | None]]) -> bool:
    """What we take for a table.

    Two rows and two columns with something in them, and four filled cells.
    """
    filled = [
        (y, x) for y, row in enumerate(rows) for x, cell in enumerate(row) if cell and cell.strip()
    ]
    return (
        len(filled) >= 4 and len({y for y, _ in filled}) >= 2 and len({x for _, x in filled}) >= 2
    )


def _our_pages(path: Path) -> list[tuple[float, int]] | None:
    """CPU seconds and number of tables of each page.

    None for a file that PDFium refuses.
    """
    import pypdfium2

    from activekg_pipelines.extraction.pdf.objects import read_objects
    from activekg_pipelines.extraction.pdf.page import read_page

    found: list[tuple[float, int]] = []
    try:
        pdf = pypdfium2.PdfDocument(path)
        for index in range(len(pdf)):
            began = time.process_time()
            page = pdf[index]
            textpage = page.get_textpage()
            tables = read_page(page, textpage, read_objects(page), []).tables
            textpage.close()
            page.close()
            found.append((time.process_time() - began, tables))
        pdf.close()
    except pypdfium2.PdfiumError:
        return None
    return found


def _pdf_by_kind(paths: list[Path]) -> Iterator[Result]:
    kinds = {"without": _Pages(), "with": _Pages()}
    for path in paths:
        theirs, ours = _by_pdfplumber(path), _our_pages(path)
        if theirs is None or ours is None:
            continue
        for their_seconds, (our_seconds, tables) in zip(theirs.seconds, ours, strict=True):
            kind = kinds["with" if tables else "without"]
            kind.count += 1
            kind.theirs += their_seconds
            kind.ours += our_seconds
    for name, kind in kinds.items():
        if kind.count:
            yield Result(
                f"- the {kind.count} pages {name} tables", f"{kind.theirs / kind.ours:.1f} x"
            )


def _pdf_tables(
    paths: list[Path], theirs: dict[Path, _PlumberPages], ours: dict[Path, list[tuple[float, int]]]
) -> Result:
    pages = [
        (bool(their_tables), bool(our_tables))
        for path in paths
        for their_tables, (_, our_tables) in zip(theirs[path].tables, ours[path], strict=True)
    ]
    found = sum(their_tables for their_tables, _ in pages)
    both = sum(their_tables and our_tables for their_tables, our_tables in pages)
    more = sum(our_tables and not their_tables for their_tables, our_tables in pages)
    return Result(
        "- pages with a table by pdfplumber that have one as Markdown",
        f"{both} of {found}, {more} more",
    )


def _pdf_text(paths: list[Path], theirs: dict[Path, _PlumberPages]) -> Result:
    stage = "- token F1 against pdftotext, mean of files"
    program = shutil.which("pdftotext")
    if program is None:
        return Result(stage, "pdftotext is not installed", "pdfplumber's")
    ours_f1: list[float] = []
    theirs_f1: list[float] = []
    for path in paths:
        output = subprocess.run([program, str(path), "-"], capture_output=True, check=False).stdout
        truth = _words(output.decode("utf-8", errors="replace"))
        if truth:
            ours_f1.append(_f1(_words(_read(path)), truth))
            theirs_f1.append(
                _f1(_words("\n".join(theirs[path].texts)) if path in theirs else Counter(), truth)
            )
    mine, other = (sum(values) / len(values) for values in (ours_f1, theirs_f1))
    value = f"{mine:.3f}, pdfplumber {other:.3f} ({len(ours_f1)} files with text)"
    return Result(stage, value, "pdfplumber's", mine >= other)


def _pdf_memory(path: Path, pages: int = 600) -> Result:
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas

    canvas = Canvas(str(path), pagesize=A4)
    for number in range(pages):
        for line, text in enumerate(markdown(number, words=400).splitlines()[:40]):
            canvas.drawString(72, 780 - 12 * line, text[:90])
        canvas.grid([72, 200, 330, 460], [250 - 20 * row for row in range(9)])
        for row in range(8):
            for column in range(3):
                canvas.drawString(76 + 129 * column, 236 - 20 * row, f"{number}-{row}-{column}")
        canvas.showPage()
    canvas.save()
    command = [sys.executable, "-c", _PEAK, str(path), str(pages)]
    peak = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    megabytes = int(peak) / (1e6 if sys.platform == "darwin" else 1e3) / 1.048576
    value = f"{megabytes:.0f} MiB, every parser loaded"
    return Result(
        f"- peak memory of a worker, {pages} pages with a table each",
        value,
        "< 300 MB",
        megabytes < 286,
    )


# Word


def _docx(paths: list[Path]) -> list[Result]:
    samples = interleave(
        {
            "naive": lambda: [_paragraphs(path) for path in paths],
            "ours": lambda: [_read(path) for path in paths],
        },
        5,
    )
    cost = 1 / ratio(samples["naive"], samples["ours"])
    whole: int = 0
    lost: Counter[str] = Counter()
    for path in paths:
        truth = _all_words(path)
        if truth is not None:
            whole += truth.total()
            lost["ours"] += (truth - _words(_read(path))).total()
            lost["naive"] += (truth - _words(_paragraphs(path))).total()
    share, naive = (lost[name] / whole for name in ("ours", "naive"))
    return [
        Result(
            f"DOCX, {len(paths)} files: tokens lost of a walk over all parts",
            f"{share:.2%}, doc.paragraphs {naive:.1%}",
            "< 1 %",
            share < 0.01,
        ),
        Result("- CPU time as a share of doc.paragraphs", f"{cost:.2f}", "1.2", cost <= 1.2),
    ]


def _paragraphs(path: Path) -> str:
    import docx

    try:
        return "\n".join(paragraph.text for paragraph in docx.Document(str(path)).paragraphs)
    except Exception:  # noqa: BLE001 - it raises whatever a damaged file leads it to
        return ""


def _all_words(path: Path) -> Counter[str] | None:
    """The words of every part of a Word file that has text in it.

    Equal headers and footers count once. None for a file that is no Word file.
    """
    from lxml import etree

    words: Counter[str] = Counter()
    margins: Counter[str] = Counter()
    try:
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                if not re.fullmatch(r"word/[^/]+\.xml", name):
                    continue
                root = etree.fromstring(archive.read(name))
                kind = root.tag.rpartition("}")[2]
                if kind in ("document", "footnotes", "endnotes"):
                    words += _words("".join(_part_text(root)))
                elif kind in ("hdr", "ftr"):
                    margins |= _words("".join(_part_text(root)))
    except (zipfile.BadZipFile, etree.XMLSyntaxError):
        return None
    return words | margins


def _part_text(element: Any) -> Iterator[str]:
    for child in element:
        name = child.tag.rpartition("}")[2] if isinstance(child.tag, str) else ""
        if name in ("", "del", "moveFrom", "Fallback", "rt", "tabs"):
            continue
        if name == "t":
            yield child.text or ""
        elif name in ("tab", "br", "cr", "p", "tc", "txbxContent"):
            yield " "
            yield from _part_text(child)
            yield " "
        elif name == "noBreakHyphen":
            yield "-"
        else:
            yield from _part_text(child)


# HTML


def _html_speed(paths: list[Path]) -> Iterator[Result]:
    samples = interleave(
        {
            "soup": lambda: [_soup(path) for path in paths],
            "ours": lambda: [_read(path) for path in paths],
        },
        5,
    )
    speed = ratio(samples["soup"], samples["ours"])
    yield Result(
        f"HTML, {len(paths)} files", f"{speed:.2f} x BeautifulSoup's html.parser", "1 x", speed >= 1
    )


def _soup(path: Path) -> str:
    from bs4 import BeautifulSoup

    return BeautifulSoup(path.read_bytes(), "html.parser").get_text(" ")


# Text in legacy encodings


def _legacy() -> Iterator[Result]:
    from activekg_pipelines.extraction.decode import decode

    texts = list(encoded_texts())
    ours = _garbled(texts, lambda data: decode(data).text)
    naive = _garbled(texts, lambda data: data.decode("utf-8", errors="replace"))
    yield Result(
        f"Text, {len(texts)} files in {len({text.encoding for text in texts})} legacy "
        "encodings: garbled",
        f'{ours / len(texts):.1%}, errors="replace" {naive / len(texts):.0%}',
        "5 %",
        ours <= 0.05 * len(texts),
    )


def _garbled(texts: Iterable[Any], read: Callable[[bytes], str]) -> int:
    """How many do not come back letter for letter."""
    return sum(read(text.data).removeprefix("\ufeff") != text.text for text in texts)


if __name__ == "__main__":
    main()
