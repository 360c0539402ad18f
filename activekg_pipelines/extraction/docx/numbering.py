"""Counts what Word numbers by itself: headings, clauses and steps.

A file holds no such number. It holds definitions of lists, and each paragraph names one
and its level in it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, NamedTuple

from activekg_pipelines.extraction.docx.word_xml import (
    attribute,
    child,
    is_on,
    local,
    number,
    value,
)

LEVELS: Final = 9
# Longer ones are no numbers of a document.
_MOST: Final = 32_767
_MAX_LINKS: Final = 8
_PLACE: Final = re.compile("%([1-9])")
_BULLET: Final = "bullet"


class Label(NamedTuple):
    """What stands before a paragraph of a list."""

    text: str
    """With the space after it; "" for a bullet."""
    is_bullet: bool
    level: int
    """From 0."""


@dataclass(frozen=True, slots=True)
class _Level:
    start: int = 1
    format: str = "decimal"
    text: str = ""
    is_legal: bool = False
    """Whether the numbers of the levels above are decimal, whatever they are there."""
    restart: int | None = None
    """The level, from 1, after which it starts again; 0 for never, None for any above."""
    suffix: str = " "
    style: str | None = None
    """The paragraph style whose paragraphs stand on this level."""


@dataclass(slots=True)
class _List:
    """A list as a paragraph names it: a definition, and what it overrides there."""

    levels: list[_Level]
    counters: list[int | None]
    """The last number of each level; shared by all lists of one definition."""
    starts: dict[int, int]
    """Levels that start again where this list is used first."""


class Numbering:
    """The lists of a document, and how far each is counted.

    Args:
        root: of the numbering part; None without one.
        list_of_style: the number of the list that a numbering style names.
    """

    def __init__(self, root: Any, list_of_style: Callable[[str], str | None]) -> None:
        self._definitions: dict[str, Any] = {}
        self._elements: dict[str, Any] = {}
        self._list_of_style = list_of_style
        self._lists: dict[str, _List | None] = {}
        self._counters: dict[str, list[int | None]] = {}
        for element in () if root is None else root:
            name = local(element)
            if name == "abstractNum":
                self._definitions[attribute(element, "abstractNumId") or ""] = element
            elif name == "num":
                self._elements[attribute(element, "numId") or ""] = element

    def label(self, list_id: str, level: int | None, *styles: str | None) -> Label | None:
        """Count a paragraph, and return what stands before it.

        Args:
            list_id: of the paragraph's list.
            level: in the list, from 0; None where only the style tells.
            styles: the paragraph's style, and the one that names the list.

        Returns:
            None without such a list, and for a level that shows nothing.
        """
        if list_id not in self._lists:
            self._lists[list_id] = self._read(list_id)
        found = self._lists[list_id]
        if found is None:
            return None
        if level is None:
            linked = {each.style: i for i, each in enumerate(found.levels)}
            level = next((linked[style] for style in styles if style and style in linked), 0)
        level = min(max(level, 0), LEVELS - 1)
        _count(found, level)
        one = found.levels[level]
        if one.format == _BULLET:
            return Label("", True, level)
        text = _text(found, level)
        return Label(text + one.suffix, False, level) if text else None

    def _read(self, list_id: str) -> _List | None:
        element = self._elements.get(list_id)
        definition_id = self._definition_of(list_id)
        if element is None or definition_id is None:
            return None
        levels = _levels(self._definitions[definition_id])
        starts: dict[int, int] = {}
        for override in element:
            if local(override) != "lvlOverride":
                continue
            index = number(attribute(override, "ilvl"), 0, LEVELS - 1)
            if index is None:
                continue
            if (own := child(override, "lvl")) is not None:
                levels[index] = _level(own)
            start = number(value(override, "startOverride"), 0, _MOST)
            if start is not None:
                levels[index] = replace(levels[index], start=start)
                starts[index] = start
        counters = self._counters.setdefault(definition_id, [None] * LEVELS)
        return _List(levels, counters, starts)

    def _definition_of(self, list_id: str) -> str | None:
        """The definition of a list; a definition may name a style that names the list."""
        current: str | None = list_id
        for _ in range(_MAX_LINKS):
            definition_id = value(self._elements.get(current or ""), "abstractNumId")
            definition = self._definitions.get(definition_id or "")
            style = value(definition, "numStyleLink")
            if definition is None or style is None:
                return definition_id if definition is not None else None
            current = self._list_of_style(style)
        return None


def _levels(definition: Any) -> list[_Level]:
    levels = [_Level()] * LEVELS
    for element in definition:
        if local(element) == "lvl":
            index = number(attribute(element, "ilvl"), 0, LEVELS - 1)
            if index is not None:
                levels[index] = _level(element)
    return levels


def _level(element: Any) -> _Level:
    start = number(value(element, "start"), 0, _MOST)
    return _Level(
        start=0 if start is None else start,
        format=_format(element),
        text=(value(element, "lvlText") or "")[:100],
        is_legal=is_on(child(element, "isLgl")) or False,
        restart=number(value(element, "lvlRestart"), 0, LEVELS),
        suffix="" if value(element, "suff") == "nothing" else " ",
        style=value(element, "pStyle"),
    )


def _format(element: Any) -> str:
    # What older programs do not know stands beside what they show instead.
    alternate = child(element, "AlternateContent")
    fallback = value(child(alternate, "Fallback"), "numFmt")
    return value(element, "numFmt") or fallback or "decimal"


def _count(found: _List, level: int) -> None:
    counters = found.counters
    # A level that is left out is taken as begun.
    for above in range(level):
        if counters[above] is None:
            counters[above] = found.levels[above].start
    counted = counters[level]
    if level in found.starts:
        counters[level] = found.starts.pop(level)
    else:
        counters[level] = found.levels[level].start if counted is None else counted + 1
    for below in range(level + 1, LEVELS):
        restart = found.levels[below].restart
        if restart is None or level < restart:
            counters[below] = None


def _text(found: _List, level: int) -> str:
    one = found.levels[level]

    def written(place: re.Match[str]) -> str:
        index = int(place[1]) - 1
        other = found.levels[index]
        counted = found.counters[index]
        is_decimal = one.is_legal and other.format != "none"
        return numeral(
            other.start if counted is None else counted, "decimal" if is_decimal else other.format
        )

    return _PLACE.sub(written, one.text).strip()


def numeral(count: int, form: str) -> str:
    """Write ``count`` as the number format ``form``; in digits where it is not known."""
    if form in ("none", _BULLET):
        return ""
    write = _FORMS.get(form)
    return (write(count) if write is not None and count > 0 else "") or str(count)


def _roman(count: int) -> str:
    if count >= 4_000:
        return ""
    text = ""
    for amount, letters in _ROMAN:
        text += letters * (count // amount)
        count %= amount
    return text


_ROMAN: Final = (
    (1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l"),
    (40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i"),
)  # fmt: skip


def _repeated(letters: str) -> Callable[[int], str]:
    """After the last letter they are doubled: z, aa, bb."""

    def write(count: int) -> str:
        times, index = divmod(count - 1, len(letters))
        return letters[index] * (times + 1) if times < 30 else ""

    return write


def _only(letters: str) -> Callable[[int], str]:
    """There is none after the last."""
    return lambda count: letters[count - 1 : count]


def _ordinal(count: int) -> str:
    is_teen = count // 10 % 10 == 1
    return f"{count}{'th' if is_teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(count % 10, 'th')}"


def _cardinal_text(count: int) -> str:
    if count < 20:
        return _WORDS[count]
    tens, ones = divmod(count, 10)
    if tens > 9:
        return ""
    return _TENS[tens - 2] + (f"-{_WORDS[ones].lower()}" if ones else "")


def _ordinal_text(count: int) -> str:
    text = _cardinal_text(count)
    head, dash, last = text.rpartition("-")
    for ending, instead in _ORDINALS.items():
        if last.lower() == ending:
            return head + dash + (instead.capitalize() if last[0].isupper() else instead)
    return (text[:-1] + "ieth" if text.endswith("y") else text + "th") if text else ""


_WORDS: Final = (
    "Zero", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten",
    "Eleven", "Twelve", "Thirteen", "Fourteen", "Fifteen", "Sixteen", "Seventeen",
    "Eighteen", "Nineteen",
)  # fmt: skip
_TENS: Final = ("Twenty", "Thirty", "Forty", "Fifty", "Sixty", "Seventy", "Eighty", "Ninety")
_ORDINALS: Final = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}


def _chinese(digits: str, units: str) -> Callable[[int], str]:
    """Counting by units of ten, hundred, thousand and ten thousand."""

    def write(count: int) -> str:
        text, is_gap = "", False
        for unit in reversed(range(5)):
            digit = count // 10**unit % 10
            if digit:
                text += (digits[0] if is_gap and text else "") + digits[digit]
                text += units[unit - 1] if unit else ""
            is_gap = not digit
        # Ten is written without the one.
        return text[1:] if 10 <= count < 20 and units[0] == "十" else text

    return write


def _digits(digits: str) -> Callable[[int], str]:
    return lambda count: "".join(digits[int(digit)] for digit in str(count))


_LATIN: Final = "abcdefghijklmnopqrstuvwxyz"
_RUSSIAN: Final = "абвгдежзиклмнопрстуфхцчшщыэюя"
_CIRCLED: Final = "".join(map(chr, [*range(0x2460, 0x2474), *range(0x3251, 0x325F)]))
_CHINESE: Final = _chinese("零一二三四五六七八九", "十百千万")
_FORMS: Final[dict[str, Callable[[int], str]]] = {
    "decimalZero": lambda count: f"{count:02}",
    "lowerRoman": _roman,
    "upperRoman": lambda count: _roman(count).upper(),
    "lowerLetter": _repeated(_LATIN),
    "upperLetter": _repeated(_LATIN.upper()),
    "russianLower": _repeated(_RUSSIAN),
    "russianUpper": _repeated(_RUSSIAN.upper()),
    "ordinal": _ordinal,
    "cardinalText": _cardinal_text,
    "ordinalText": _ordinal_text,
    "hex": lambda count: f"{count:X}",
    "numberInDash": lambda count: f"- {count} -",
    "decimalEnclosedCircle": _only(_CIRCLED),
    "decimalEnclosedCircleChinese": _only(_CIRCLED),
    "decimalEnclosedFullstop": lambda count: f"{count}.",
    "decimalEnclosedParen": lambda count: f"({count})",
    "chineseCounting": _CHINESE,
    "chineseCountingThousand": _CHINESE,
    "japaneseCounting": _CHINESE,
    "taiwaneseCounting": _CHINESE,
    "taiwaneseCountingThousand": _CHINESE,
    "chineseLegalSimplified": _chinese("零壹贰叁肆伍陆柒捌玖", "拾佰仟万"),
    "ideographLegalTraditional": _chinese("零壹貳參肆伍陸柒捌玖", "拾佰仟萬"),
    "ideographDigital": _digits("〇一二三四五六七八九"),
    "japaneseDigitalTenThousand": _digits("〇一二三四五六七八九"),
    "taiwaneseDigital": _digits("〇一二三四五六七八九"),
    "ideographTraditional": _only("甲乙丙丁戊己庚辛壬癸"),
    "ideographZodiac": _only("子丑寅卯辰巳午未申酉戌亥"),
    "aiueo": _repeated("ｱｲｳｴｵｶｷｸｹｺｻｼｽｾｿﾀﾁﾂﾃﾄﾅﾆﾇﾈﾉﾊﾋﾌﾍﾎﾏﾐﾑﾒﾓﾔﾕﾖﾗﾘﾙﾚﾛﾜｦﾝ"),
    "aiueoFullWidth": _repeated(
        "アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワヲン"
    ),
    "iroha": _repeated("ｲﾛﾊﾆﾎﾍﾄﾁﾘﾇﾙｦﾜｶﾖﾀﾚｿﾂﾈﾅﾗﾑｳヰﾉｵｸﾔﾏｹﾌｺｴﾃｱｻｷﾕﾒﾐｼヱﾋﾓｾｽﾝ"),
    "ganada": _repeated("가나다라마바사아자차카타파하"),
    "chosung": _repeated("ㄱㄴㄷㄹㅁㅂㅅㅇㅈㅊㅋㅌㅍㅎ"),
    # Above ten, Hebrew adds letters up.
    "hebrew1": _only("אבגדהוזחטי"),
    "hebrew2": _only("אבגדהוזחטיכלמנסעפצקרשת"),
    "arabicAlpha": _repeated("أبتثجحخدذرزسشصضطظعغفقكلمنهوي"),
}
