"""Guesses the legacy encoding of text that is not UTF-8.

charset-normalizer decides in the end; two rules go before it because it errs on short and on Western text: it reads
"café" as cp1006 and French as cp1250, and Shift-JIS with few lines as Big5.
"""

from __future__ import annotations

import re
from typing import Final

# What documents are really found in; left alone the guess is drawn from 80, EBCDIC and HP Roman among them.
_CANDIDATES: Final = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874", "cp437", "cp850",
    "cp866", "koi8_r", "iso8859_2", "mac_roman", "cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949",
]  # fmt: skip
_CYRILLIC: Final = ("cp1251", "koi8_r", "cp866")
_WESTERN_ALPHABETS: Final = tuple(
    frozenset(letters)
    for letters in (
        "äöüßéèà",  # German
        "àâæçéèêëîïôœùûüÿñ",  # French
        "áéíóúüñçºª",  # Spanish
        "áâãàçéêíóôõúüºª",  # Portuguese
        "àèéìíîòóùúºª",  # Italian
        "åäöéü",  # Swedish, Finnish
        "æøåéèêóòôäöü",  # Danish, Norwegian
        "áéëïóöüèêû",  # Dutch
        "áðéíóúýþæö",  # Icelandic
        "éèêëïáàâçñöüóíôî",  # loan words in English
    )
)
_KANA: Final = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_CASE_BREAK: Final = re.compile("[\u0430-\u044f\u0451][\u0410-\u042f\u0401]")


def guess_legacy(sample: bytes) -> str:
    """Return the Python name of the encoding that ``sample``, which is not UTF-8, was most likely written in.

    ``sample`` should start on a line boundary; a character cut at its end does no harm.
    """
    if _is_western(sample.decode("cp1252", errors="replace")):
        return "cp1252"
    for encoding in ("cp932", "euc_jp"):
        if _is_japanese(sample.decode(encoding, errors="replace")):
            return encoding
    return _charset_normalizer(sample)


def _is_western(text: str) -> bool:
    letters = [character for character in text.lower() if character.isalpha()]
    accented = [character for character in letters if character > "\x7f"]
    if len(accented) > 0.4 * len(letters) or "\ufffd" in text:
        return False
    return any(
        sum(letter in alphabet for letter in accented) >= 0.97 * len(accented) for alphabet in _WESTERN_ALPHABETS
    )


def _is_japanese(text: str) -> bool:
    """Kana are a third of any Japanese text, and no other text has so many by chance; halfwidth ones prove nothing."""
    others = sum(character > "\x7f" for character in text)
    return text.count("\ufffd") <= 1 and len(_KANA.findall(text)) > 0.2 * others


def _charset_normalizer(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    match = from_bytes(sample, cp_isolation=_CANDIDATES).best()
    if match is None:
        return "cp1252"
    if match.encoding in _CYRILLIC:
        return min(_CYRILLIC, key=lambda encoding: len(_CASE_BREAK.findall(sample.decode(encoding, errors="replace"))))
    return str(match.encoding)
