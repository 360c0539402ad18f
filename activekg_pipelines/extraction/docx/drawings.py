"""Reads charts and SmartArt, whose text lies in parts of their own."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import date, timedelta
from typing import Any, Final

from activekg_pipelines.extraction import markdown_writer
from activekg_pipelines.extraction.docx.word_xml import attribute, child, number, value

# A chart of more is a data set; its titles and names are read.
_MAX_CELLS: Final = 5_000
_MAX_POINTS: Final = 2_000
_MAX_LEVELS: Final = 10
_SPREADSHEET_EPOCH: Final = date(1899, 12, 30)
_DATE_FORMAT: Final = re.compile(r"y.*[md]|[md].*y", re.IGNORECASE)


def chart(root: Any) -> list[str]:
    """The text of a chart: its titles, and its values as a Markdown table if they are few."""
    titles = [text for element in root.iter("{*}title") if (text := _rich_text(element))]
    columns = [_series(element) for element in root.iter("{*}ser")]
    data: dict[str | None, Any] = {}
    for element in root.iter("{*}data"):
        data.setdefault(attribute(element, "id"), element)
    columns += [_new_series(data, element) for element in root.iter("{*}series")]
    names = [name for name, _, _ in columns]
    points = list(dict.fromkeys(point for _, _, values in columns for point in values))
    if len(points) * len(columns) > _MAX_CELLS:
        return [*titles, *filter(None, names)]
    labels = {point: label for _, found, _ in columns for point, label in found.items()}
    table = markdown_writer.table(
        [
            ["", *names],
            *(
                [labels.get(point, ""), *(values.get(point, "") for _, _, values in columns)]
                for point in points
            ),
        ]
    )
    return [*titles, *([table] if table else [])]


def diagram(root: Any) -> list[tuple[int, str]]:
    """The texts of a SmartArt drawing in their order, each with its depth from 0."""
    texts: dict[str, str] = {}
    tops: list[str] = []
    for point in root.iter("{*}pt"):
        kind = attribute(point, "type") or "node"
        key = attribute(point, "modelId") or ""
        if kind in ("node", "asst"):
            texts[key] = _rich_text(child(point, "t"))
        elif kind == "doc":
            tops.append(key)
    below: dict[str, list[tuple[int, str]]] = {}
    for edge in root.iter("{*}cxn"):
        if (attribute(edge, "type") or "parOf") == "parOf":
            order = number(attribute(edge, "srcOrd"), 0, 10**6) or 0
            target = attribute(edge, "destId") or ""
            below.setdefault(attribute(edge, "srcId") or "", []).append((order, target))
    found: list[tuple[int, str]] = []
    waiting = [(top, -1) for top in reversed(tops)]
    while waiting:
        key, depth = waiting.pop()
        if text := texts.pop(key, ""):
            found.append((depth, text))
        for _, target in sorted(below.pop(key, ()), reverse=True):
            waiting.append((target, depth + 1))
    return found + [(0, text) for text in texts.values() if text]


def _rich_text(element: Any) -> str:
    if element is None:
        return ""
    paragraphs = (
        "".join(each.text or "" for each in paragraph.iter("{*}t"))
        for paragraph in element.iter("{*}p")
    )
    # A title may also be the value of a cell.
    texts = [text for text in paragraphs if text] or [each.text or "" for each in _points(element)]
    return markdown_writer.one_line(" ".join(texts))


def _points(element: Any) -> Iterator[Any]:
    return element.iter("{*}v")  # type: ignore[no-any-return]


def _series(element: Any) -> tuple[str, dict[int, str], dict[int, str]]:
    """Its name, and by place its labels and its values."""
    named = child(element, "tx")
    name = "" if named is None else " ".join(each.text or "" for each in _points(named))
    labels = _cached(child(element, "cat"), child(element, "xVal"))
    return name, labels, _cached(child(element, "val"), child(element, "yVal"))


def _cached(*elements: Any) -> dict[int, str]:
    element = next((each for each in elements if each is not None), None)
    if element is None:
        return {}
    form = element.findtext(".//{*}formatCode") or ""
    # Labels of several levels lie one level after the other.
    return _placed(
        (
            attribute(point, "idx"),
            point.findtext("{*}v") or "",
            attribute(point, "formatCode") or form,
        )
        for point in element.iter("{*}pt")
    )


def _new_series(
    data: dict[str | None, Any], element: Any
) -> tuple[str, dict[int, str], dict[int, str]]:
    """A series of a chart of the newer kinds: waterfall, treemap, funnel and others.

    ``data`` are the chart's by their ids.
    """
    name = element.findtext(".//{*}txData/{*}v") or ""
    own = data.get(value(element, "dataId"))
    if own is None:
        return name, {}, {}
    return name, _level_points(child(own, "strDim")), _level_points(child(own, "numDim"))


def _level_points(element: Any) -> dict[int, str]:
    points = () if element is None else element.iter("{*}pt")
    return _placed((attribute(point, "idx"), point.text or "", "") for point in points)


def _placed(points: Iterable[tuple[str | None, str, str]]) -> dict[int, str]:
    """The texts of points by place, the last level's first."""
    levels: dict[int, list[str]] = {}
    for count, (at, stored, form) in enumerate(points):
        if count >= _MAX_LEVELS * _MAX_POINTS:
            break
        place, text = number(at, 0, 10**6), _shown(stored, form)
        if place is not None and text and (place in levels or len(levels) < _MAX_POINTS):
            levels.setdefault(place, []).append(text)
    return {place: " ".join(reversed(texts)) for place, texts in levels.items()}


def _shown(text: str, form: str) -> str:
    """A stored value as people know it: 0.1 and not 0.10000000000000001, and dates."""
    try:
        amount = float(text)
    except ValueError:
        return text
    if _DATE_FORMAT.search(form) and 1 <= amount < 2_958_466:
        return (_SPREADSHEET_EPOCH + timedelta(days=int(amount))).isoformat()
    return f"{amount:.15g}" if "." in text or "E" in text.upper() else text
