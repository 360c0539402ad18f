"""Reads plain text files, and what text formats have in common."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Final

from activekg_pipelines.errors import EmptyObject
from activekg_pipelines.extraction.decode import decode
from activekg_pipelines.extraction.document import ExtractedDocument, finish
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.embedded_files import without_files

MIME_TYPE: Final = "text/plain"


def extract(path: Path, limits: Limits, charset: str | None = None) -> ExtractedDocument:
    """Read the plain text file at ``path``, in whatever encoding. It has no title.

    Args:
        charset: as the source declares it.

    Raises:
        EmptyObject: there is nothing that shows.
        TextTooLarge: see :func:`~activekg_pipelines.extraction.document.finish`.
    """
    return read_text(path, limits, charset, mime_type=MIME_TYPE)


def read_text(
    path: Path,
    limits: Limits,
    charset: str | None,
    *,
    mime_type: str,
    title_of: Callable[[str], str | None] | None = None,
) -> ExtractedDocument:
    """Read the text file at ``path`` as it stands, but for pictures and files in it.

    Args:
        title_of: finds its title.

    Raises:
        EmptyObject, TextTooLarge: as :func:`extract`.
    """
    decoded = decode(path.read_bytes(), charset)
    kept = without_files(decoded.text)
    document = finish(
        kept.text,
        title=None if title_of is None else title_of(kept.text),
        mime_type=mime_type,
        limits=limits,
        engine="text",
        warnings=[*decoded.warnings, *kept.warnings],
        encoding=decoded.encoding,
        encoding_guessed=decoded.guessed,
    )
    if not document.text.strip():
        if kept.warnings:
            raise EmptyObject("The file holds nothing but pictures or files in base64.")
        if decoded.text.strip():
            raise EmptyObject("The file holds nothing but characters that do not show.")
        raise EmptyObject("The file holds nothing but white space.")
    return document
