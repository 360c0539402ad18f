"""Guesses the legacy encoding of text that is not Unicode.

chardet ranks the encodings; what follows here sorts out what it errs on, which is texts
of a line or two: readings that no language writes, and encodings that hardly exist.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, replace
from typing import Final

_MOST_READINGS: Final = 12
_MOST_CHARACTERS: Final = 8_000
# A reading full of faults keeps a tenth of its confidence, a rare encoding half of it.
_FAULTS_COST: Final = 0.9
_RARE_COUNTS: Final = 0.5
_DECLARED_COUNTS: Final = 3.0
# Few letters of another script in Latin text are more often accents wrongly read.
_FEW_LETTERS: Final = 0.1

# A guess is doubtful below this likelihood, or with a rival this close.
_LEAST_LIKELIHOOD: Final = 0.1
_CLOSE: Final = 0.95
# One or two prove nothing.
_FEW_CHARACTERS: Final = 3
# Beyond so many characters the better one of two close readings was always right.
_ENOUGH_CHARACTERS: Final = 30
# What short texts are in when little speaks for something else.
_USUAL: Final = "cp1252"
_USUAL_CLOSE: Final = 0.9

_OF_SEVERAL_BYTES: Final = ("euc_jp", "gb18030", "big5", "cp949", "cp932")
_DAMAGED_SHARE: Final = 0.01

# Kept for the texts that nothing else explains.
_RARE: Final = frozenset(
    {
        "cp720", "cp856", "cp858", "cp860", "cp861", "cp863", "cp864", "cp865", "cp1006",
        "hp_roman8", "iso8859_3", "iso8859_10", "iso8859_14", "iso8859_16", "johab", "koi8_t",
        "kz1048", "mac_greek", "mac_iceland", "mac_turkish", "ptcp154",
        "cp037", "cp273", "cp424", "cp500", "cp875", "cp1026", "cp1140",
    }
)  # fmt: skip
# What a name stands for where programs write it: the same characters and more.
_READ_AS: Final = {
    "ascii": "cp1252", "iso8859_1": "cp1252", "iso8859_9": "cp1254", "iso8859_11": "cp874",
    "tis_620": "cp874", "shift_jis": "cp932", "shift_jis_2004": "cp932", "euc_kr": "cp949",
    "gb2312": "gb18030", "gbk": "gb18030", "euc_jis_2004": "euc_jp",
}  # fmt: skip
# Python's own, in which no file is written.
_NO_CHARSETS: Final = frozenset(
    {"idna", "mbcs", "oem", "punycode", "raw_unicode_escape", "undefined", "unicode_escape"}
)

# Latin, Greek and Cyrillic beyond ASCII; signs of units and numbers are no small letters.
_BICAMERAL: Final = [chr(code) for code in range(0xC0, 0x530)]
_SMALL: Final = "".join(filter(str.islower, _BICAMERAL))
_CAPITAL: Final = "".join(filter(str.isupper, _BICAMERAL))
_LATIN: Final = "A-Za-z\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u024f\u1e00-\u1eff"
_SCRIPTS: Final = (
    _LATIN, "\u0370-\u03ff", "\u0400-\u052f", "\u05d0-\u05ea", "\u0620-\u06d3",
)  # fmt: skip
_FAULT: Final = re.compile(
    "|".join(
        [
            # A sign where a letter belongs, as "p\u00f3\u00b3ka" has it. Apostrophes,
            # hyphens, dots, accents and vowel signs do stand in words.
            "[^\\W\\d_](?=[^\\w\\s\x00-\x7f\u00ad\u00b4\u00b7\u0300-\u036f\u0590-\u06ff"
            "\u0900-\u0eff\u2010-\u2014\u2018\u2019\u2026/\u200c\u200d][^\\W\\d_])",
            # Halves of Japanese characters.
            "[^\x00-\x7f](?=[{}^|~@`\\\\][^\x00-\x7f])",
            # A capital after a small letter, one of them not ASCII.
            f"[a-z](?=[{_CAPITAL}])|[{_SMALL}](?=[A-Z{_CAPITAL}])",
            # Letters of two scripts side by side.
            *(
                f"[{script}](?=[{''.join(each for each in _SCRIPTS if each is not script)}])"
                for script in _SCRIPTS
            ),
            # Control characters, and what DOS drew boxes with.
            "[\x80-\x9f\u2500-\u259f]",
        ]
    )
)
_NOT_ASCII: Final = re.compile("[^\x00-\x7f]")
# Signs that stand apart from letters, but for degrees and small units.
_SIGN: Final = re.compile(
    "(?<![A-Za-z])(?:\u00b5(?=[mgslAFHVW])|\u00b0(?=[CF]\\b)"
    "|[\u00a3\u00a7\u00a9\u00ae\u00b0\u00b1\u00bc-\u00be\u00d7\u00f7\u2013\u2014\u2022\u20ac\u2122](?![A-Za-z]))"
)
_LATIN_LETTER: Final = re.compile(f"[{_LATIN}]")
_OTHER_LETTER: Final = re.compile(f"[{''.join(_SCRIPTS[1:])}]")


@dataclass(frozen=True, slots=True)
class Guess:
    """The likeliest encoding, by its Python name."""

    encoding: str
    doubtful: bool
    """Another one is about as likely."""
    declared: bool = False
    """It is the one that somebody said."""


def guess_legacy(sample: bytes, declared: str | None = None) -> Guess:
    """Guess the encoding that ``sample`` is most likely in.

    Args:
        sample: not UTF-8. It should start on a line boundary; a character cut at its end
            does no harm.
        declared: the encoding that somebody said it is in, by its Python name. It counts
            for more than others, but what it makes of the sample has to be readable.
    """
    if declared is not None:
        # What is Unicode was read before.
        declared = None if declared.startswith("utf") else _READ_AS.get(declared, declared)
    guess = _guess(sample, declared)
    return (_guess_damaged(sample) if guess.doubtful else None) or guess


def _guess(sample: bytes, declared: str | None) -> Guess:
    ranked = sorted(_readings(sample, declared), key=lambda each: -each.likelihood)
    if not ranked:
        return Guess(_USUAL, doubtful=True)
    best = ranked[0]
    if best.encoding == declared:
        return Guess(best.encoding, doubtful=False, declared=True)
    return Guess(best.encoding, doubtful=_is_doubtful(best, ranked[1:2]))


def _guess_damaged(sample: bytes) -> Guess | None:
    """The encoding of several bytes a character that ``sample`` is in but for a few of them."""
    for encoding in _OF_SEVERAL_BYTES:
        text = sample.decode(encoding, errors="replace")
        if 0 < text.count("\ufffd") <= max(1, _DAMAGED_SHARE * len(text)):
            guess = _guess(text.replace("\ufffd", "").encode(encoding), None)
            if guess == Guess(encoding, doubtful=False):
                return guess
    return None


def python_name(label: str) -> str | None:
    """The Python name of an encoding of text as others call it; None of an unknown one."""
    try:
        found = codecs.lookup(label.strip().strip("\"'"))
    except (LookupError, ValueError):
        return None
    name = found.name.replace("-", "_")
    is_text = getattr(found, "_is_text_encoding", True) and name not in _NO_CHARSETS
    return name if is_text else None


@dataclass(frozen=True, slots=True)
class _Reading:
    encoding: str
    likelihood: float
    faults: float
    """For each character that is not ASCII."""
    characters: int
    """That are not ASCII."""


def _is_doubtful(best: _Reading, rivals: list[_Reading]) -> bool:
    rival = max((each.likelihood for each in rivals), default=0.0)
    closeness = rival / best.likelihood if best.likelihood else 1.0
    if best.encoding == _USUAL and not best.faults and closeness < _USUAL_CLOSE:
        return False
    return (
        best.likelihood < _LEAST_LIKELIHOOD
        or best.characters < _FEW_CHARACTERS
        or (best.characters < _ENOUGH_CHARACTERS and closeness > _CLOSE)
    )


def _readings(sample: bytes, declared: str | None) -> list[_Reading]:
    """The likeliest readings of ``sample`` that differ, each by its likeliest encoding."""
    readings: dict[str, _Reading] = {}
    said: str | None = None
    for name, confidence in (*_ranking(sample, declared), (_USUAL, 0.0)):
        encoding, text = _decoded(sample, name)
        if text is None or (
            text not in readings
            and len(readings) >= _MOST_READINGS
            and encoding not in {declared, _USUAL}
        ):
            continue
        reading = _reading(encoding, text, confidence)
        if text not in readings or reading.likelihood > readings[text].likelihood:
            readings[text] = reading
        if encoding == declared:
            said = text
    if said is not None:
        counts = _DECLARED_COUNTS * readings[said].likelihood
        readings[said] = replace(readings[said], encoding=str(declared), likelihood=counts)
    return list(readings.values())


def _ranking(sample: bytes, declared: str | None) -> list[tuple[str, float]]:
    """Encodings with their confidence, the declared one last."""
    from chardet import detect_all

    # Behind a line end a first word such as "BMP" is no picture's magic number.
    found = detect_all(b"\n" + sample, ignore_threshold=True, compat_names=False)
    ranking = [
        (name, float(each["confidence"]))
        for each in found
        if each["encoding"] and (name := python_name(each["encoding"]))
    ]
    if declared is not None:
        known = {_READ_AS.get(name, name): sure for name, sure in reversed(ranking)}
        unknown = _RARE_COUNTS * max(known.values(), default=1.0)
        ranking.append((declared, known.get(declared, unknown)))
    return ranking


def _reading(encoding: str, text: str, confidence: float) -> _Reading:
    characters = len(_NOT_ASCII.findall(text))
    faults = len(_FAULT.findall(text)) / max(characters, 1)
    likelihood = confidence * (1 - _FAULTS_COST * min(faults, 1.0))
    if 0 < len(_OTHER_LETTER.findall(text)) < _FEW_LETTERS * len(_LATIN_LETTER.findall(text)):
        likelihood *= _RARE_COUNTS
    if encoding in _RARE:
        likelihood *= _RARE_COUNTS
    if encoding == _USUAL and 0 < characters == len(_SIGN.findall(text)):
        likelihood = 1.0
    return _Reading(encoding, likelihood, faults, characters)


def _decoded(sample: bytes, name: str) -> tuple[str, str | None]:
    """The encoding that ``name`` stands for here, and the start of ``sample`` in it.

    That is None where it is in no such encoding.
    """
    for encoding in dict.fromkeys((_READ_AS.get(name, name), name)):
        try:
            text = codecs.getincrementaldecoder(encoding)().decode(sample)
        except UnicodeDecodeError:
            continue
        return encoding, text[:_MOST_CHARACTERS]
    return name, None
