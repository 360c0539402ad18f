"""A document's title: what it calls itself, else what its file is called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

from activekg_pipelines.extraction import FORMATS, clean_title

_MAX_FOLDERS: Final = 10
_MAX_FOLDER_CHARS: Final = 100

_EXTENSION: Final = re.compile(r"\.([A-Za-z][A-Za-z0-9]{0,9})$")
_BLANK: Final = re.compile(r"[\s_]+")
# Dates and versions keep what joins their digits: 2026-03-01, 1.2.
_JOINT: Final = re.compile(r"(?<!\d)[-.+,]+|[-.+,]+(?!\d)")
# Latin, Greek and Cyrillic.
_CAPITAL: Final = "A-Z\u00c0-\u00d6\u00d8-\u00de\u0391-\u03a9\u0400-\u042f"
_SMALL: Final = rf"[^\W\d_{_CAPITAL}]"
_BETWEEN_WORDS: Final = re.compile(
    rf"(?<={_SMALL})(?=[{_CAPITAL}])|(?<=[{_CAPITAL}])(?=[{_CAPITAL}]{_SMALL})"
    rf"|(?<=[^\W\d_]{{3}})(?=\d{{4}})"
)


class TitleFrom(StrEnum):
    """Where a title comes from; its value is stored."""

    DOCUMENT = "document"
    NAME = "name"
    """The document gives itself none."""


@dataclass(frozen=True, slots=True)
class Title:
    """A document's title.

    Attributes:
        folders: those that the object lies in, each taken apart into words, outermost
            first; only with the title of a name, which may need them to be understood.
    """

    text: str
    source: TitleFrom
    folders: tuple[str, ...] = ()


def title_of(own: str | None, key: str) -> Title:
    """The title of the document under ``key``.

    Args:
        own: what the document calls itself.
    """
    if own:
        return Title(own, TitleFrom.DOCUMENT)
    *folders, name = key.rstrip("/").split("/")
    title = clean_title(_words(_without_extension(_decoded(name)))) or clean_title(name) or name
    taken_apart = [clean_title(_words(_decoded(each)), _MAX_FOLDER_CHARS) for each in folders]
    return Title(title, TitleFrom.NAME, tuple(each for each in taken_apart if each)[-_MAX_FOLDERS:])


def _decoded(name: str) -> str:
    """``name`` without the escapes of a web address, where it has some."""
    try:
        return unquote(name, errors="strict")
    except UnicodeDecodeError:
        return name


def _without_extension(name: str) -> str:
    while (found := _EXTENSION.search(name)) and found.start():
        extension = found.group(1).lower()
        if extension not in FORMATS.by_extension | FORMATS.unsupported_extensions:
            break
        name = name[: found.start()]
    return name


def _words(name: str) -> str:
    """``name`` with blanks between its words.

    In a name that has blanks, hyphens and dots are the words' own.
    """
    spaced = _BLANK.sub(" ", name)
    if " " in name.strip():
        return spaced.strip()
    if spaced == name and not _JOINT.search(name):
        spaced = _BETWEEN_WORDS.sub(" ", spaced)
    return _BLANK.sub(" ", _JOINT.sub(" ", spaced)).strip()
