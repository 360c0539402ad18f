"""Settles what an object is: by first bytes and name, then by the declared type.

Uploads through boto3 are ``binary/octet-stream`` whatever they hold, so a declared type
only breaks ties.
"""

from __future__ import annotations

import re
from email.message import Message
from typing import Final

from activekg_pipelines.errors import UnsupportedType
from activekg_pipelines.extraction.decode import looks_like_text
from activekg_pipelines.extraction.format import Format
from activekg_pipelines.extraction.registry import FORMATS, Formats
from activekg_pipelines.extraction.unsupported import kind_by_head

HEAD_BYTES: Final = 8192
"""How much of an object's start :func:`detect` wants to see."""

# ".2024" or ".2 draft" end a title, not a file name.
_EXTENSION: Final = re.compile(r"\.([a-z][a-z0-9]{0,9})$")


def unsupported_by_name(key: str, formats: Formats = FORMATS) -> str | None:
    """Return why the object under ``key`` cannot be read, as far as its extension says.

    None when the extension alone does not settle it. An object with a reason need not
    be downloaded.
    """
    kind = formats.unsupported_extensions.get(_extension(key))
    return None if kind is None else _reason(kind)


def detect(key: str, head: bytes, content_type: str | None, formats: Formats = FORMATS) -> Format:
    """Return the format of the object named ``key``.

    Args:
        key: of the object.
        head: its first bytes, :data:`HEAD_BYTES` of them or all.
        content_type: as the source declares it.
        formats: that are known.

    Raises:
        UnsupportedType: it is something else; the message names what.
        Encrypted: it is a Word document inside an encrypted container.
    """
    extension = _extension(key)
    if extension in formats.unsupported_extensions:
        raise UnsupportedType(_reason(formats.unsupported_extensions[extension]))
    named = formats.by_extension.get(extension)
    declared = (content_type or "").partition(";")[0].strip().lower()
    return _by_magic(head, named, formats) or _by_name(extension, named, declared, head, formats)


def declared_charset(content_type: str | None) -> str | None:
    """The charset of a declared type such as ``text/plain; charset=koi8-r``."""
    message = Message()
    message["Content-Type"] = " ".join((content_type or "").split())
    charset = message.get_param("charset")
    return charset.strip() or None if isinstance(charset, str) else None


def _by_magic(head: bytes, named: Format | None, formats: Formats) -> Format | None:
    for candidate in formats:
        if candidate.is_binary and candidate.has_magic(head, candidate is named):
            return candidate
    if kind := kind_by_head(head):
        raise UnsupportedType(_reason(kind))
    if named is not None and named.name_decides:
        return None
    for candidate in formats:
        if not candidate.is_binary and candidate.has_magic(head, candidate is named):
            return candidate
    return None


def _by_name(
    extension: str, named: Format | None, declared: str, head: bytes, formats: Formats
) -> Format:
    if named is not None and named.is_binary:
        return named
    told = formats.by_content_type.get(declared)
    if told is not None and told.is_binary:
        return told
    if not looks_like_text(head):
        raise UnsupportedType(_reason("A binary file of unknown type"))
    if named is not None:
        return named
    if not extension or declared.startswith("text/") or told is not None:
        return told or formats.fallback
    *names, last = (each.name for each in formats)
    raise UnsupportedType(f"A .{extension} file is not a {', '.join(names)} or {last} document.")


def _extension(key: str) -> str:
    match = _EXTENSION.search(key.rstrip("/").rpartition("/")[2].lower())
    return match.group(1) if match else ""


def _reason(kind: str) -> str:
    return f"{kind} holds no text this system reads."
