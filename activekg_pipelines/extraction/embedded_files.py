"""Leaves out of a text the pictures and files that are written into it as letters."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from activekg_pipelines.extraction.warnings import DocumentWarning, WarningKind

# What a guide shows as an example is shorter.
_LEAST_PAYLOAD: Final = 128
_LEAST_PICTURE: Final = 48
_LEAST_RUN: Final = 512
_LETTERS: Final = r"A-Za-z0-9+/_\-"
# Quantifiers are possessive and runs begin where nothing of them stands before, so that
# no text costs more than its length.
_DATA_URI: Final = re.compile(
    r"data:([\w.+-]{1,60}+/[\w.+-]{1,100}+)?((?:;[\w.=+-]{1,80}+){0,5}+),"
    # Base64, also over lines; or escapes, as of SVG.
    rf"((?:[{_LETTERS}=]|%[0-9A-Fa-f]{{2}}"
    rf"|\\?\r?\n[ \t]*+(?=[{_LETTERS}]{{60}}|[{_LETTERS}]{{2,80}}={{1,2}}(?![{_LETTERS}])))++"
    r"|[^\s\"'()<>]++)",
    re.IGNORECASE,
)
_RUN: Final = re.compile(
    rf"(?<![{_LETTERS}])[{_LETTERS}]{{{_LEAST_RUN},}}+={{0,2}}+"
    rf"|^[ \t>]{{0,8}}+((?:[{_LETTERS}]{{40,100}}+\r?\n[ \t>]{{0,8}}+){{8,}}+)"
    rf"([{_LETTERS}]*+={{0,2}}+)",
    re.MULTILINE,
)
_LONG_WORD: Final = re.compile(f"[{_LETTERS}]{{40}}")
_OF_BASE64: Final = tuple(re.compile(part) for part in ("[A-Z]", "[a-z]", "[0-9]", "[+/_-]"))
_OF_ONE_KIND: Final = re.compile("[A-Z]+|[a-z]+|[0-9]+|[+/_-]+")
_REPEATED: Final = re.compile(r"(.)\1+")
# Of the letters of random bytes 64% are of another kind than the one before, of those of
# bytes that are text 55%, of paths and names at most 35%.
_LEAST_CHANGES: Final = 0.45
_LEAST_DIFFERENT: Final = 64
_WORD: Final = re.compile("[A-Z]?[a-z]*|[A-Z]*|[0-9]*")
_PICTURES: Final = (
    b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\x00", b"MM\x00*", b"<svg",
)  # fmt: skip

_GONE: Final = "\x00"
_ALT: Final = r"!\[((?:[^\[\]\n\\]|\\.){0,1000}+)\]"
_IMAGE: Final = re.compile(rf"{_ALT}\([ \t]*+<?{_GONE}>?(?:[ \t]++[^()\n]{{0,500}}+)?\)")
_LINK: Final = re.compile(
    rf"(?<!!)\[([^\[\]\n]{{0,1000}}+)\]\([ \t]*+<?{_GONE}>?(?:[ \t]++[^()\n]{{0,500}}+)?\)"
)
_DEFINITION: Final = re.compile(
    rf"^ {{0,3}}\[([^\[\]\n]{{1,500}}+)\]:[ \t]*+<?{_GONE}>?[^\n]*+\n?", re.MULTILINE
)
_REFERENCE: Final = re.compile(rf"{_ALT}(?:\[([^\[\]\n]{{0,500}}+)\])?(?!\()")


@dataclass(frozen=True, slots=True)
class WithoutFiles:
    """A text without the files in it.

    Attributes:
        pictures, files: how many were left out; a picture is no file here.
    """

    text: str
    pictures: int = 0
    files: int = 0

    @property
    def warnings(self) -> list[DocumentWarning]:
        """What a reader should know about what was left out."""
        found = []
        if self.pictures:
            found.append(DocumentWarning(WarningKind.PICTURES_LEFT_OUT, self.pictures))
        if self.files:
            found.append(
                DocumentWarning(
                    WarningKind.ATTACHMENTS_NOT_READ, self.files, detail="a block of base64"
                )
            )
        return found


def without_files(text: str) -> WithoutFiles:
    """Leave out ``data:`` addresses and blocks of base64.

    Markdown keeps the alternative text of the pictures.
    """
    counts = {True: 0, False: 0}

    def address(found: re.Match[str]) -> str:
        kind, parameters, payload = found[1] or "", found[2] or "", found[3]
        is_base64 = parameters.lower().endswith(";base64")
        shows = is_base64 and _is_picture(payload)
        if len(payload) < (_LEAST_PICTURE if shows else _LEAST_PAYLOAD) or not (is_base64 or kind):
            return found[0]
        counts[shows or kind.lower().startswith("image/")] += 1
        return _GONE

    def run(found: re.Match[str]) -> str:
        rest = _behind(found)
        payload = found[0][: len(found[0]) - len(rest)]
        if not _is_base64(payload) or (found[1] and not _is_wrapped(found[1])):
            return found[0]
        counts[_is_picture(payload)] += 1
        return _GONE + rest

    left = _DATA_URI.sub(address, text.replace(_GONE, ""))
    # Hardly any text has such a word, which is found in half the time.
    if _LONG_WORD.search(left):
        left = _RUN.sub(run, left)
    if not any(counts.values()):
        return WithoutFiles(text)
    return WithoutFiles(_without_frames(left), pictures=counts[True], files=counts[False])


def _is_base64(payload: str) -> bool:
    """Whether it is no list of paths, slugs or names, which have the same letters."""
    letters = _REPEATED.sub(r"\1", re.sub(r"[\s>=]+", "", payload))
    if len(letters) < _LEAST_DIFFERENT:
        return False
    if not all(part.search(letters) for part in _OF_BASE64):
        return False
    return len(_OF_ONE_KIND.findall(letters)) >= _LEAST_CHANGES * len(letters)


def _is_wrapped(lines: str) -> bool:
    """Whether a program broke the lines: all are as long, of whole groups of letters."""
    *full, last = (len(line.strip(" \t>")) for line in lines.splitlines() if line.strip(" \t>"))
    return full[0] % 4 == 0 and len(set(full)) == 1 and last <= full[0]


def _behind(found: re.Match[str]) -> str:
    """What stands on the line below a block and is no part of it."""
    if not found[1]:
        return ""
    lines = [line.strip(" \t>") for line in found[1].splitlines()]
    full = [len(line) for line in lines if line]
    ends_line = found.string[found.end() : found.end() + 1] in ("", "\r", "\n")
    is_part = ends_line and full[-1] == full[0] and len(found[2]) % 4 == 0
    return "" if is_part and not _WORD.fullmatch(found[2]) else found[2]


def _is_picture(payload: str) -> bool:
    start = re.sub(r"[\s>\\]", "", payload[:64])[:24].replace("-", "+").replace("_", "/")
    try:
        return base64.b64decode(start + "=" * (-len(start) % 4)).startswith(_PICTURES)
    except (binascii.Error, ValueError):
        return False


def _without_frames(text: str) -> str:
    """Take away the Markdown around what is gone, but for what people read of it."""
    labels: set[str] = set()

    def definition(found: re.Match[str]) -> str:
        labels.add(found[1].casefold())
        return ""

    def reference(found: re.Match[str]) -> str:
        label = found[2] or found[1]
        return found[1] if label.casefold() in labels else found[0]

    text = _LINK.sub(r"\1", _IMAGE.sub(r"\1", text))
    text = _DEFINITION.sub(definition, text)
    if labels:
        text = _REFERENCE.sub(reference, text)
    return text.replace(_GONE, "")
