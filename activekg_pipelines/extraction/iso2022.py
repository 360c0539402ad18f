"""Encodings that are ASCII to look at: their characters stand between escapes."""

from __future__ import annotations

import contextlib
import re
from typing import Final

_ESCAPES: Final = (
    (re.compile(rb"\x1b\$\)C"), ("iso2022_kr",)),
    (
        re.compile(rb"\x1b(?:\$[@B]|\([IJ]|\$\([@BCDOPQ]|\.[AF])"),
        ("iso2022_jp_2", "iso2022_jp_ext", "iso2022_jp_2004", "iso2022_jp_3"),
    ),
)
_CHINESE: Final = re.compile(rb"\x1b\$\)A")
_SHIFTED: Final = re.compile(rb"\x1b\$\)A|\x0e([^\x0e\x0f\n]*)(?:\x0f|(?=\n)|\Z)")
_HIGH_BIT: Final = bytes(byte | 0x80 for byte in range(256))
# A template or a format string may hold "~{", but seldom pairs of such letters up to "~}".
_HZ: Final = re.compile(rb"~\{((?:[\x21-\x77][\x21-\x7e])+)~\}")
_HZ_OPENS: Final = re.compile(rb"(?<!~)~\{")


def has_escapes(data: bytes) -> bool:
    """Whether ``data`` may be ISO 2022, in which shifts are no signs of a binary file."""
    escapes = (_CHINESE, *(escape for escape, _ in _ESCAPES))
    return b"\x1b" in data and any(escape.search(data) for escape in escapes)


def decode_escaped(data: bytes) -> tuple[str, str] | None:
    """The text that ``data`` holds between escapes, and its encoding, else None.

    It is one of ISO 2022 for Japanese, Korean or Chinese (GB 2312), or HZ.
    """
    if b"\x1b" in data:
        for escape, encodings in _ESCAPES:
            if escape.search(data):
                for encoding in encodings:
                    with contextlib.suppress(UnicodeDecodeError):
                        return data.decode(encoding), encoding
        if _CHINESE.search(data):
            with contextlib.suppress(UnicodeDecodeError):
                return _decode_chinese(data), "iso2022_cn"
    opened = len(_HZ_OPENS.findall(data)) if b"~{" in data else 0
    if opened and len(_HZ.findall(data)) == opened:
        with contextlib.suppress(UnicodeDecodeError):
            return data.decode("hz"), "hz"
    return None


def _decode_chinese(data: bytes) -> str:
    """ISO 2022-CN with GB 2312, which Python has no codec for: RFC 1922."""
    return _SHIFTED.sub(lambda found: (found[1] or b"").translate(_HIGH_BIT), data).decode("gb2312")
