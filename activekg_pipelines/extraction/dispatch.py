"""From a downloaded file to its document: detect what it is, hand it to the module that
reads it.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from activekg_pipelines.errors import EmptyObject
from activekg_pipelines.extraction import docx, html, pdf, text
from activekg_pipelines.extraction.detect import HEAD_BYTES, Format, detect
from activekg_pipelines.extraction.document import ExtractedDocument
from activekg_pipelines.extraction.limits import Limits

_EXTRACTORS: Final[dict[Format, Callable[[Path, Limits], ExtractedDocument]]] = {
    Format.PDF: pdf.extract,
    Format.DOCX: docx.extract,
    Format.HTML: html.extract,
    Format.MARKDOWN: text.extract_markdown,
    Format.TEXT: text.extract,
}


def extract_file(
    path: Path, key: str, content_type: str | None, limits: Limits
) -> ExtractedDocument:
    """Return the document in the file at ``path``, which holds the object ``key``
    declared as ``content_type``.

    Hostile files crash and hang parsers: only a worker of
    :class:`~activekg_pipelines.extraction.sandbox.Sandbox` should call this.

    Raises:
        ObjectError: any of its skipped and dead kinds; parsers' own exceptions for what
            they do not foresee.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise EmptyObject
    return _EXTRACTORS[detect(key, head, content_type)](path, limits)
