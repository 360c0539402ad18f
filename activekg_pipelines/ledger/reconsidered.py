"""Which refused objects a new version of the extractor looks at again."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from activekg_pipelines.errors import (
    Corrupt,
    EmptyObject,
    Encrypted,
    FolderMarker,
    NoTextLayer,
    ObjectError,
    ParserCrashed,
    ParserDeadline,
    ParserMemory,
    TextTooLarge,
    UnsupportedType,
)

_RECONSIDERED: Final[tuple[type[ObjectError], ...]] = (
    Corrupt,
    EmptyObject,
    Encrypted,
    # Of those that hold bytes, which earlier versions passed over.
    FolderMarker,
    NoTextLayer,
    ParserCrashed,
    ParserDeadline,
    ParserMemory,
    TextTooLarge,
    UnsupportedType,
)
EXTRACTOR_CODES: Final = [error.code for error in _RECONSIDERED]
"""Codes of errors that say something about the extractor as much as about the object."""


def refused_by_name(extensions: Iterable[str]) -> str:
    """A pattern of keys that are refused for their extension alone.

    Args:
        extensions: in lower case, without the dot.

    Returns:
        A regular expression as Postgres reads it. It matches keys in lower case.
    """
    return rf"\.({'|'.join(map(re.escape, extensions))})$"
