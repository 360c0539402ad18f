"""Decodes a page as browsers do: what it says of itself, read as the WHATWG reads it."""

from __future__ import annotations

import codecs
import re
from typing import Final

from activekg_pipelines.extraction.decode import Decoded, decode

# A browser looks at 1,024 bytes; pages with long scripts first say it later.
_LOOKED_AT_BYTES: Final = 8_192
# A label is wrong when more than one in so many of the characters is none.
_LEAST_SOUND: Final = 10
_LABEL: Final = re.compile(rb"charset\s*=\s*[\"']?[\w.:+-]+", re.IGNORECASE)
_COMMENT: Final = re.compile(rb"<!--.*?-->", re.DOTALL)
# Python's codecs of these names know fewer characters than pages with these labels use.
_WIDER: Final = {
    "shift_jis": "cp932",
    "gbk": "gb18030",
    "euc-kr": "cp949",
    "big5": "big5hkscs",
    "iso-8859-8-i": "iso8859-8",
    "x-user-defined": "cp1252",
    "macintosh": "mac-roman",
    "x-mac-cyrillic": "mac-cyrillic",
    "windows-874": "cp874",
}
# A page whose label can be read is not in UTF-16.
_UTF_16: Final = frozenset({"utf-16le", "utf-16be"})


def decode_page(data: bytes) -> Decoded:
    """Decode ``data`` by its mark, as UTF-8, by the label it carries, or by a guess.

    A byte order mark or valid UTF-8 is stronger evidence than what a page says of
    itself. Never fails.
    """
    decoded = decode(data)
    if not decoded.guessed:
        return decoded
    encoding = declared(data)
    if encoding is None:
        return decoded
    # Bytes that are not UTF-8 contradict that label.
    read = None if encoding == "utf-8" else read_as(data, encoding)
    # The guess reads labels, too, and must not believe this one either.
    return read or decode(_LABEL.sub(b"charset", data))


def read_as(data: bytes, encoding: str) -> Decoded | None:
    """``data`` in ``encoding``; None where too few of its bytes are of that."""
    text = data.decode(encoding, "replace")
    damaged = text.count("\ufffd")
    foreign = sum(character > "\x7f" for character in text)
    if damaged * _LEAST_SOUND > foreign:
        return None
    return Decoded(text, encoding, guessed=False, damaged=damaged > 0)


def declared(data: bytes) -> str | None:
    """Python's name of the encoding that the page says it has, if that can be."""
    from bs4.dammit import EncodingDetector

    head = _COMMENT.sub(b"", data[:_LOOKED_AT_BYTES])
    label = EncodingDetector.find_declared_encoding(head, is_html=True, search_entire_document=True)
    return None if label is None else codec_of(label)


def codec_of(label: str) -> str | None:
    """Python's codec for a label of the WHATWG's encoding standard."""
    import webencodings

    known = webencodings.lookup(label)
    if known is None or known.name in _UTF_16:
        return None
    name = _WIDER.get(known.name, known.codec_info.name)
    return codecs.lookup(name).name
