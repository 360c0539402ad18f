"""What a document format is to this system: one record, its folder's ``FORMAT``.

Detection, dispatch and the workers' preload follow from the records.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from activekg_pipelines.extraction.document import ExtractedDocument
from activekg_pipelines.extraction.document_limits import Limits


def no_magic(head: bytes, is_named: bool) -> bool:
    """The magic of a format whose files start with anything."""
    del head, is_named
    return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A document format.

    Importing the module that makes the record must stay cheap: every process of this
    system does it. Parsers are imported inside ``extract``.
    """

    name: str
    """As it stands in a sentence: "a PDF, HTML or text document"."""
    mime_type: str
    """The canonical one, stored with each document."""
    extensions: tuple[str, ...]
    """In lower case, without the dot. No other format has them."""
    content_types: tuple[str, ...] = ()
    """Declared types that are believed where neither name nor magic settles it."""
    is_binary: bool = False
    """Whether its files are something else than text.

    A text format gets files by name or declared type only when they look like text.
    """
    has_magic: Callable[[bytes, bool], bool] = no_magic
    """Whether a file that starts with these bytes is of this format.

    The second argument tells whether the file's extension names the format. May raise
    an :class:`~activekg_pipelines.errors.ObjectError` when the bytes already show that
    the file cannot be read.
    """
    name_decides: bool = False
    """Whether its extension counts for more than the magic of another text format."""
    extract: Callable[[Path, Limits], ExtractedDocument]
    """Reads a file."""
    extract_as: Callable[[Path, Limits, str], ExtractedDocument] | None = None
    """Reads a file whose charset the source declares; None where that is no evidence."""
    preload: tuple[str, ...] = ()
    """Modules that a worker holds before its first document, parsers above all."""
    version: int
    """1 for a new format, and one more whenever it takes or reads files differently.

    It joins into the version that is stored with every document, so a change makes all
    documents pending again. The first five formats started at 0, when that was "2".
    """
