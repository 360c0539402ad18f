"""From a downloaded file to its document: detect its format and let that read it."""

from __future__ import annotations

from pathlib import Path

from activekg_pipelines.errors import EmptyObject
from activekg_pipelines.extraction.detect import HEAD_BYTES, declared_charset, detect
from activekg_pipelines.extraction.document import ExtractedDocument
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.registry import FORMATS, Formats


def extract_file(
    path: Path,
    key: str,
    content_type: str | None,
    limits: Limits,
    formats: Formats = FORMATS,
) -> ExtractedDocument:
    """Return the document in the file at ``path``.

    Hostile files crash and hang parsers. Only a worker of
    :class:`~activekg_pipelines.extraction.sandbox.Sandbox` should call this.

    Args:
        path: of the downloaded file.
        key: of the object that the file holds.
        content_type: as the source declares it.
        limits: bounds of this extraction.
        formats: that are known.

    Raises:
        ObjectError: any of its skipped and dead kinds; parsers' own exceptions for what
            they do not foresee.
    """
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        raise EmptyObject("The object is empty (0 bytes).")
    found = detect(key, head, content_type, formats)
    charset = declared_charset(content_type)
    if charset and found.extract_as is not None:
        return found.extract_as(path, limits, charset)
    return found.extract(path, limits)
