"""Which refusals were the extractor's own judgement, and get another chance from a new
version of it.
"""

from __future__ import annotations

import re
from typing import Final

from activekg_pipelines.errors import (
    Corrupt,
    EmptyObject,
    Encrypted,
    NoTextLayer,
    ObjectError,
    ParserCrashed,
    ParserDeadline,
    ParserMemory,
    TextTooLarge,
    UnsupportedType,
)
from activekg_pipelines.extraction import UNSUPPORTED_EXTENSIONS

_JUDGED: Final[tuple[type[ObjectError], ...]] = (
    Corrupt,
    EmptyObject,
    Encrypted,
    NoTextLayer,
    ParserCrashed,
    ParserDeadline,
    ParserMemory,
    TextTooLarge,
    UnsupportedType,
)
EXTRACTOR_CODES: Final = [error.code for error in _JUDGED]
"""Codes of errors that say something about the extractor as much as about the object."""

SETTLED_BY_NAME: Final = rf"\.({'|'.join(map(re.escape, UNSUPPORTED_EXTENSIONS))})$"
"""Matches, as Postgres reads it, lower-case keys that this version's extractor refuses
for their extension alone.
"""
