"""Tells UTF-16 and UTF-32 that bear no byte order mark, by the characters they make.

A text keeps to one script and to what all scripts share; bytes that are something else,
or are read in the wrong order, make characters from everywhere.
"""

from __future__ import annotations

import re
from typing import Final

_SAMPLE_BYTES: Final = 8 * 1024
_LEAST_SHARE: Final = 0.95

_SHARED: Final = (
    "\t\n\r\x0c -~\u00a0-\u00bf\u00d7\u00f7\u2010-\u2027\u2030-\u205e\u20a0-\u20bf\u2100-\u214f"
    "\u2150-\u22ff\u2460-\u25ff\u200b-\u200f\ufeff"
)
# Latin text is mostly ASCII. Read as wide characters, small numbers make its others.
_LATIN: Final = re.compile(f"[{_SHARED}\u00c0-\u024f\u0300-\u036f\u1e00-\u1eff]")
_ASCII: Final = re.compile("[\t\n\r -~]")
_LEAST_ASCII: Final = 0.5
_LEAST_DIFFERENT: Final = 3
_EAST_ASIAN: Final = "\u3000-\u312f\u3200-\u33ff\u4e00-\u9fff\uff00-\uffef"
_SCRIPTS: Final = tuple(
    re.compile(f"[{_SHARED}{letters}]")
    for letters in (
        "\u0300-\u03ff\u1f00-\u1fff",  # Greek
        "\u0300-\u036f\u0400-\u052f",  # Cyrillic
        "\u0530-\u058f",  # Armenian
        "\u0590-\u05ff\ufb1d-\ufb4f",  # Hebrew
        "\u0600-\u06ff\u0750-\u077f\ufb50-\ufdff\ufe70-\ufefc",  # Arabic
        *(f"{chr(first)}-{chr(first + 0x7F)}" for first in range(0x900, 0x1000, 0x80)),  # Indic
        "\u1000-\u109f",  # Burmese
        "\u10a0-\u10ff\u1c90-\u1cbf",  # Georgian
        "\u1200-\u139f",  # Ethiopic
        "\u1780-\u17ff",  # Khmer
        _EAST_ASIAN,
        _EAST_ASIAN + "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3",  # Korean
    )
)


def unicode_without_mark(data: bytes) -> str | None:
    """The encoding of four or two bytes a unit that ``data`` is text in, else None.

    It is "utf-32-le", "utf-32-be", "utf-16-le" or "utf-16-be".
    """
    for width, encodings in ((4, ("utf-32-le", "utf-32-be")), (2, ("utf-16-le", "utf-16-be"))):
        if len(data) < 2 * width:
            continue
        sample = data[: min(len(data), _SAMPLE_BYTES) // width * width]
        shares = {encoding: _share_of_one_script(sample, encoding) for encoding in encodings}
        best = max(shares, key=shares.__getitem__)
        if shares[best] >= _LEAST_SHARE:
            return best
    return None


def _share_of_one_script(sample: bytes, encoding: str) -> float:
    text = sample.decode(encoding, errors="replace")
    if len(set(text)) < _LEAST_DIFFERENT:
        return 0.0
    scripts = (
        (_LATIN, *_SCRIPTS) if len(_ASCII.findall(text)) > _LEAST_ASCII * len(text) else _SCRIPTS
    )
    return max(len(script.findall(text)) for script in scripts) / len(text)
