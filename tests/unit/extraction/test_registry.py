"""What a format has to say of itself so that the rest knows it: its record."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest

from activekg_pipelines.errors import UnsupportedType
from activekg_pipelines.extraction import (
    EXTRACTOR_VERSION,
    FORMATS,
    UNSUPPORTED_EXTENSIONS,
    ExtractedDocument,
    Format,
    Formats,
    Limits,
    Sandbox,
    detect,
    extract_file,
    html,
    pdf,
    text,
    unsupported_by_name,
)
from tests.unit.extraction import documents
from tests.unit.extraction.misbehaving import misbehave
from tests.unit.extraction.test_sandbox import run_script

MAGIC = b"{\\rtf1"


def extract(path: Path, limits: Limits) -> ExtractedDocument:
    del limits
    return ExtractedDocument(
        path.read_text().removeprefix(MAGIC.decode()), None, "application/rtf", {}
    )


# Without its record its extension and its magic mean that a file holds no document.
RTF = Format(
    name="rich text",
    mime_type="application/rtf",
    extensions=("rtf",),
    content_types=("application/rtf",),
    is_binary=True,
    has_magic=lambda head, is_named: head.startswith(MAGIC),
    extract=extract,
    preload=("colorsys", "docx"),
    version=1,
)
WITH_RTF = Formats(*FORMATS, RTF, fallback=FORMATS.fallback)


@pytest.mark.parametrize(
    ("key", "head", "content_type"),
    [
        ("a.rtf", b"whatever", None),
        ("a.txt", MAGIC, "text/plain"),
        ("no-extension", b"whatever", "application/rtf"),
    ],
)
def test_a_new_format_is_detected_by_name_magic_and_declared_type(
    key: str, head: bytes, content_type: str | None
) -> None:
    assert detect(key, head, content_type, WITH_RTF) is RTF


def test_a_new_format_takes_its_extension_from_the_unsupported_ones() -> None:
    assert unsupported_by_name("a.rtf")
    assert unsupported_by_name("a.rtf", WITH_RTF) is None
    assert WITH_RTF.unsupported_extensions.keys() == UNSUPPORTED_EXTENSIONS.keys() - {"rtf"}


def test_a_new_format_reads_its_files_and_the_others_theirs(tmp_path: Path) -> None:
    path = tmp_path / "object"
    path.write_bytes(MAGIC + b"A rich text")
    with pytest.raises(UnsupportedType, match="rich text"):
        extract_file(path, "object", None, Limits())
    assert extract_file(path, "object", None, Limits(), WITH_RTF).text == "A rich text"
    path.write_text("A plain text")
    assert extract_file(path, "a.txt", None, Limits(), WITH_RTF).text == "A plain text"


def test_a_new_format_is_named_where_a_file_is_refused() -> None:
    with pytest.raises(UnsupportedType, match=r"Markdown, text or rich text document\.$"):
        detect("a.unknown", b"Some text", None, WITH_RTF)


def test_workers_are_to_hold_what_a_new_format_asks_for() -> None:
    assert WITH_RTF.preload == (*FORMATS.preload, "colorsys")


def test_workers_hold_the_parsers_of_every_format_before_their_first_document(
    tmp_path: Path,
) -> None:
    note = tmp_path / "note"
    note.touch()
    with Sandbox(workers=1, extractor=misbehave) as sandbox:
        loaded = sandbox.submit(note, "modules", None).result(timeout=60).text.split()
    assert {"pypdfium2", "docx", "trafilatura"} <= set(FORMATS.preload) <= set(loaded)


def test_what_workers_hold_is_all_that_reading_needs_of_other_packages(tmp_path: Path) -> None:
    """So a parser that cannot be loaded is known before the first document."""
    folder = tmp_path / "documents"
    folder.mkdir()
    documents.pdf(folder / "a.pdf", documents.lines("A page"))
    documents.word(folder / "a.docx", documents.paragraph("A paragraph"))
    (folder / "a.html").write_text("<!doctype html><p>A page")
    (folder / "a.md").write_text("# A text")
    (folder / "a.txt").write_bytes("A text, gr\u00fc\u00dfe".encode("cp1252"))
    script = textwrap.dedent(f"""
        import sys
        from importlib import import_module
        from pathlib import Path
        from activekg_pipelines.extraction import FORMATS, Limits, extract_file
        for name in FORMATS.preload:
            import_module(name)
        held = set(sys.modules)
        for path in Path({str(folder)!r}).iterdir():
            for engine in ("pdfium", "pdfplumber"):
                assert extract_file(path, path.name, None, Limits(pdf_engine=engine)).text
        print(*sorted({{name.partition(".")[0] for name in set(sys.modules) - held}}))
    """)
    assert run_script(tmp_path, script).stdout.split() == ["activekg_pipelines", "encodings"]


def test_importing_the_formats_loads_none_of_their_parsers() -> None:
    script = (
        "import sys\n"
        "from activekg_pipelines.extraction import FORMATS\n"
        "print(sorted(sys.modules.keys() & set(FORMATS.preload)))"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert loaded.stdout.strip() == "[]"


def test_the_version_of_a_format_joins_into_the_one_that_is_stored() -> None:
    assert FORMATS.version == EXTRACTOR_VERSION
    first = replace(text.FORMAT, version=0)
    assert Formats(first, fallback=first).version == "2"
    changed = Formats(replace(pdf.FORMAT, version=1), RTF, first, fallback=first)
    assert changed.version == "2+pdf1+rtf1"


@pytest.mark.parametrize(
    "other",
    [
        replace(RTF, extensions=("rtf", "htm")),
        replace(RTF, content_types=("text/html",)),
    ],
)
def test_no_two_formats_share_an_extension_or_a_declared_type(other: Format) -> None:
    with pytest.raises(ValueError, match="HTML and rich text both claim"):
        Formats(html.FORMAT, other, fallback=html.FORMAT)
