"""Guesses the legacy encoding of text that is not UTF-8.

charset-normalizer decides in the end; rules go before it because it errs on short and
on European text: it reads "café" as cp1006, French as cp1250, Polish in ISO 8859-2 as
cp1250, and Shift-JIS with few lines as Big5.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

# What documents are really found in. Left alone charset-normalizer guesses among 80,
# EBCDIC and HP Roman among them.
_CANDIDATES: Final = [
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258",
    "cp874", "cp437", "cp850", "cp866", "koi8_r", "iso8859_2", "mac_roman", "cp932", "euc_jp",
    "iso2022_jp", "gb18030", "big5", "cp949",
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
_CENTRAL_ALPHABETS: Final = tuple(
    frozenset(letters)
    for letters in (
        "ąćęłńóśźż",  # Polish
        "áčďéěíňóřšťúůýž",  # Czech
        "áäčďéíĺľňóôŕšťúýž",  # Slovak
        "áéíóöőúüű",  # Hungarian
        "ăâîşţșț",  # Romanian
        "čćđšž",  # Croatian, Slovenian
    )
)
# A sign where a letter belongs, as "pó³ka" has it: wrongly read. Apostrophes, hyphens
# and dots do stand in words.
_SIGN_IN_WORD: Final = re.compile(
    "[^\\W\\d_][^\\w\\s\x00-\x7f\u2018\u2019\u00b4\u00b7\u00ad\u2010-\u2014\u2026/][^\\W\\d_]"
)
# Portuguese has this letter before "e" only; elsewhere it is Hungarian's "ő" wrongly
# read.
_LONE_TILDE: Final = re.compile("õ(?!e)")
_KANA: Final = re.compile("[\u3041-\u3096\u30a1-\u30fa]")
_NOT_ASCII: Final = re.compile("[^\x00-\x7f]")
_NOT_CYRILLIC: Final = re.compile(
    "[^\x00-\x7f\u00a0\u00ab\u00bb\u0400-\u045f\u0490\u0491\u2010-\u201f\u2026\u2116]"
)
_CASE_BREAK: Final = re.compile("[\u0430-\u044f\u0451][\u0410-\u042f\u0401]")


def guess_legacy(sample: bytes) -> str:
    """Return the Python name of the encoding that ``sample`` is most likely in.

    ``sample`` is not UTF-8 and should start on a line boundary. A character cut at its
    end does no harm.
    """
    for encoding, alphabets in (
        ("cp1252", _WESTERN_ALPHABETS),
        ("cp1250", _CENTRAL_ALPHABETS),
        ("iso8859_2", _CENTRAL_ALPHABETS),
    ):
        if _is_written_in(alphabets, sample.decode(encoding, errors="replace")):
            return encoding
    for encoding in ("cp932", "euc_jp"):
        if _is_japanese(sample.decode(encoding, errors="replace")):
            return encoding
    return _charset_normalizer(sample)


def _is_written_in(alphabets: tuple[frozenset[str], ...], text: str) -> bool:
    if "\ufffd" in text:
        return False
    letters = {
        character: count
        for character, count in Counter(text.lower()).items()
        if character.isalpha()
    }
    accented = {character: count for character, count in letters.items() if character > "\x7f"}
    total = sum(accented.values())
    wrong = len(_SIGN_IN_WORD.findall(text)) + len(_LONE_TILDE.findall(text))
    if total > 0.4 * sum(letters.values()) or wrong > 0.03 * total:
        return False
    return any(
        sum(count for letter, count in accented.items() if letter in alphabet) >= 0.97 * total
        for alphabet in alphabets
    )


def _is_japanese(text: str) -> bool:
    """Tell Japanese by its kana, which are a third of any such text.

    No other text has so many by chance. Halfwidth kana prove nothing.
    """
    others = len(_NOT_ASCII.findall(text))
    return text.count("\ufffd") <= 1 and len(_KANA.findall(text)) > 0.2 * others


def _charset_normalizer(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    match = from_bytes(sample, cp_isolation=_CANDIDATES).best()
    if match is None:
        return "cp1252"
    if match.encoding in _CYRILLIC:
        return min(
            _CYRILLIC, key=lambda encoding: _faults(sample.decode(encoding, errors="replace"))
        )
    return str(match.encoding)


def _faults(cyrillic: str) -> int:
    """Count what makes Cyrillic text look wrongly read.

    That is signs that it does not use, and capitals after small letters.
    """
    return len(_NOT_CYRILLIC.findall(cyrillic)) + len(_CASE_BREAK.findall(cyrillic))
