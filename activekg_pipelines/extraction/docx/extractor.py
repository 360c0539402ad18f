"""Reads Word documents: all text once, in document order, as Markdown."""

from __future__ import annotations

import re
from pathlib import Path
from typing import IO, Any, Final

from activekg_pipelines.errors import EmptyObject, NoTextLayer
from activekg_pipelines.extraction.document import ExtractedDocument, finish
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.docx.inserted import Inserted
from activekg_pipelines.extraction.docx.numbering import Numbering
from activekg_pipelines.extraction.docx.package import Package, Source, open_package
from activekg_pipelines.extraction.docx.styles import Styles
from activekg_pipelines.extraction.docx.walk import Block, Walk
from activekg_pipelines.extraction.docx.word_xml import attribute, local
from activekg_pipelines.extraction.warnings import DocumentWarning, WarningKind

MIME_TYPE: Final = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"


# What programs and templates write where nobody gave a title.
_NO_TITLE: Final = re.compile(
    r"\W*(?:(?:microsoft )?(?:office )?word(?: document)?|(?:new |neues )?"
    r"(?:microsoft )?(?:word[- ])?(?:document|dokument|documento)|untitled|unbenannt|"
    r"sans titre|normal|template|vorlage|title|titel|\[.*\])[\s\d_()-]*(?:\.do[ct][xm]?)?\W*",
    re.IGNORECASE,
)
_PRINTED_BY: Final = re.compile(r"microsoft (?:office )?word - ", re.IGNORECASE)


def extract(path: Path, limits: Limits) -> ExtractedDocument:
    """Read the Word document at ``path``: headers, body, text boxes, notes, footers.

    Raises:
        Encrypted, Corrupt, TextTooLarge: see
            :func:`~activekg_pipelines.extraction.docx.package.open_package`.
        NoTextLayer: it holds pictures and no text.
        EmptyObject: it shows nothing.
    """
    return read(path, limits)


def read(file: Path | IO[bytes], limits: Limits, *, depth: int = 0) -> ExtractedDocument:
    """Read a Word document, which may be inserted into another.

    Args:
        file: its path, or its bytes.
        limits: bounds of this extraction.
        depth: how many documents are around it.

    Raises:
        ObjectError: as :func:`extract`.
    """
    package = open_package(file, limits)
    styles = Styles(package.styles)
    inserted = Inserted(limits, depth)
    walk = Walk(
        styles=styles,
        numbering=Numbering(package.numbering, styles.list_id),
        comments=_comments(package.comments),
        inserted=inserted.text,
    )
    for source in (package.footnotes, package.endnotes, package.comments):
        if source is not None:
            walk.learn(source)
    body = walk.read(package.body)
    title = walk.title or walk.first_heading
    headers = _once(walk, package.headers)
    seen = frozenset(headers)
    footers = [block for block in _once(walk, package.footers) if block not in seen]
    notes = _notes(walk, package)
    comments = [block for key in list(walk.comments) for block in walk.comment(key)]
    document = finish(
        join_blocks([*headers, *body, *notes, *comments, *footers]),
        title=_own_title(package.title) or title,
        mime_type=MIME_TYPE,
        limits=limits,
        engine=package.engine,
        warnings=[
            *package.warnings,
            *_signs(walk, [*package.attachments, *inserted.unread]),
            *inserted.warnings,
        ],
        tables=walk.tables,
    )
    if not document.text.strip():
        if package.has_media:
            raise NoTextLayer("The Word document holds pictures but no text.")
        if walk.left.hidden:
            raise EmptyObject("All text of the Word document is hidden.")
        raise EmptyObject("The Word document is blank.")
    return document


def join_blocks(blocks: list[Block]) -> str:
    """Join blocks by blank lines, list items by line ends.

    An item is indented where it stands below another one.
    """
    parts: list[str] = []
    depth = -1
    for index, block in enumerate(blocks):
        is_item = block.kind == "item"
        if index:
            parts.append("\n" if is_item and depth >= 0 else "\n\n")
        depth = min(block.depth, depth + 1) if is_item else -1
        parts.append("    " * depth + block.text)
    return "".join(parts)


def _once(walk: Walk, sources: list[Source]) -> list[Block]:
    """The blocks of header or footer parts, equal ones once.

    The first page, even pages and every section have their own part, often with the
    same text.
    """
    return list(dict.fromkeys(block for source in sources for block in walk.read(source)))


def _notes(walk: Walk, package: Package) -> list[Block]:
    """The notes in the order in which the text refers to them.

    A note may refer to another, which then follows.
    """
    texts = {
        (kind, attribute(note, "id") or ""): note
        for kind, source in (("footnote", package.footnotes), ("endnote", package.endnotes))
        if source is not None
        for note in source.root
        if local(note) == kind and attribute(note, "type") in (None, "normal")
    }
    written: list[Block] = []
    # walk.notes grows while notes that refer to notes are read.
    for number, key in enumerate(walk.notes, start=1):
        if key in texts and (blocks := walk.blocks(texts.pop(key))):
            written.append(Block(f"[^{number}]: " + "\n".join(block.text for block in blocks)))
    return written


def _comments(source: Source | None) -> dict[str, Any]:
    return {
        attribute(element, "id") or "": element
        for element in (() if source is None else source.root)
        if local(element) == "comment"
    }


def _signs(walk: Walk, unread: list[str]) -> list[DocumentWarning]:
    """What a reader of the text should know that it lacks."""
    left = walk.left
    found = (
        (left.hidden, WarningKind.HIDDEN_TEXT_LEFT_OUT, "formatted as hidden"),
        (left.charts, WarningKind.CHARTS_LEFT_OUT, ""),
        (left.signs, WarningKind.CHARACTERS_UNREADABLE, ""),
        (len(unread), WarningKind.ATTACHMENTS_NOT_READ, unread[0] if unread else ""),
    )
    return [DocumentWarning(kind, count, detail=detail) for count, kind, detail in found if count]


def _own_title(title: str | None) -> str | None:
    """The title of the properties, if somebody gave it."""
    named = _PRINTED_BY.sub("", title or "").strip()
    return None if _NO_TITLE.fullmatch(named) else named or None
