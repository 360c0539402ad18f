"""Reads Word documents: all text once, in document order, as Markdown."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from activekg_pipelines.errors import EmptyObject, NoTextLayer
from activekg_pipelines.extraction.document import ExtractedDocument, finish
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.docx.package import Package, open_package
from activekg_pipelines.extraction.docx.word_xml import Walk, attribute, local, read_styles

MIME_TYPE: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


def extract(path: Path, limits: Limits) -> ExtractedDocument:
    """Read the Word document at ``path``: headers, body, text boxes, notes, footers.

    Raises:
        Encrypted, Corrupt, TextTooLarge: see
            :func:`~activekg_pipelines.extraction.docx.package.open_package`.
        NoTextLayer: it holds pictures and no text.
        EmptyObject: it holds no text.
    """
    package = open_package(path, limits)
    walk = Walk(read_styles(package.styles))
    headers = _once(walk, package.headers)
    body = walk.blocks(package.body)
    seen = frozenset(headers)
    footers = [block for block in _once(walk, package.footers) if block not in seen]
    document = finish(
        join_blocks([*headers, *body, *_notes(walk, package), *footers]),
        title=package.title or walk.title or _first_heading(body),
        mime_type=MIME_TYPE,
        limits=limits,
        engine=package.engine,
        warnings=package.warnings,
        tables=walk.tables,
    )
    if not document.text.strip():
        if package.has_media:
            raise NoTextLayer("The Word document holds pictures but no text.")
        raise EmptyObject("The Word document holds no text.")
    return document


def join_blocks(blocks: list[str]) -> str:
    """Join blocks by blank lines, list items by line ends."""
    parts: list[str] = []
    for index, block in enumerate(blocks):
        if index:
            together = _is_item(block) and _is_item(blocks[index - 1])
            parts.append("\n" if together else "\n\n")
        parts.append(block)
    return "".join(parts)


def _is_item(block: str) -> bool:
    return block.lstrip(" ").startswith("- ")


def _once(walk: Walk, roots: list[Any]) -> list[str]:
    """The blocks of header or footer parts, equal ones once.

    The first page, even pages and every section have their own part, often with the
    same text.
    """
    return list(dict.fromkeys(block for root in roots for block in walk.blocks(root)))


def _notes(walk: Walk, package: Package) -> list[str]:
    """The notes in the order in which the text refers to them.

    A note may refer to another, which then follows.
    """
    texts = {
        (kind, attribute(note, "id") or ""): note
        for kind, root in (("footnote", package.footnotes), ("endnote", package.endnotes))
        if root is not None
        for note in root
        if local(note) == kind and attribute(note, "type") in (None, "normal")
    }
    written: list[str] = []
    # walk.notes grows while notes that refer to notes are read.
    for number, key in enumerate(walk.notes, start=1):
        if key in texts and (blocks := walk.blocks(texts.pop(key))):
            written.append(f"[^{number}]: " + "\n".join(blocks))
    return written


def _first_heading(blocks: list[str]) -> str | None:
    return next((block.lstrip("# ") for block in blocks if block.startswith("#")), None)
