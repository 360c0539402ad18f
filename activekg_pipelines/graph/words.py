"""Texts as their words are looked up: what is shown keeps its forms."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

# Characters that stand for letters and digits: ligatures, forms of width, place and
# style. Signs stay: no word is found by them.
_FORMS: Final = re.compile(
    "["
    "\u0132\u0133\u013f\u0140\u01c4-\u01cc\u01f1-\u01f3"  # ij, l with a dot, dz
    "\u2100-\u214f\u2160-\u217f"  # letters as signs, Roman numbers
    "\u2e80-\u2fd5\u3300-\u33ff"  # radicals, words in a square
    "\uf900-\ufaff\ufb00-\ufdff\ufe70-\ufefc"  # ligatures, Hebrew and Arabic forms
    "\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\uff66-\uffdc"  # full and half width
    "\U0001d400-\U0001d7ff"  # mathematical styles
    "]+"
)
# They show nothing; a word with one of them in it would be two.
_ZERO_WIDTH: Final = re.compile("[\u00ad\u200b-\u200d\u2060\ufeff]")


def folded(text: str) -> str:
    """``text`` composed (NFC), with plain letters in place of their other forms (NFKC)."""
    composed = unicodedata.normalize("NFC", _ZERO_WIDTH.sub("", text))
    return _FORMS.sub(lambda found: unicodedata.normalize("NFKC", found[0]), composed)
