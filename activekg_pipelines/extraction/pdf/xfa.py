"""Reads the XML of an XFA form: its captions, and what was filled in.

Such a form is built by a program inside the document. Its pages say "Please wait ..."
until a reader runs that, which is not done here.
"""

from __future__ import annotations

import ctypes
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any, Final

import pypdfium2.raw as pdfium

from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.markdown_writer import one_line

_MAX_PACKETS: Final = 100
_LABELS: Final = frozenset({"draw", "field", "exclGroup"})


def xfa_text(pdf: Any, limits: Limits) -> str:
    """Return what the form of a PDFium document says, "" when it cannot be read."""
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False,
        no_network=True,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
        recover=True,
    )
    data = b"".join(_packets(pdf, limits.max_xml_bytes))
    try:
        whole = etree.fromstring(data, parser) if data else None
    except etree.XMLSyntaxError:
        return ""
    if whole is None:
        return ""
    values = _values(whole)
    lines = list(_template(whole, values))
    lines += [
        f"{name}: {value}" for name, rest in values.items() for value in rest if one_line(value)
    ]
    return "\n".join(lines)


def _packets(pdf: Any, most: int) -> Iterator[bytes]:
    for index in range(min(pdfium.FPDF_GetXFAPacketCount(pdf), _MAX_PACKETS)):
        size = ctypes.c_ulong()
        if not pdfium.FPDF_GetXFAPacketContent(pdf, index, None, 0, size):
            continue
        most -= size.value
        if most < 0:
            return
        buffer = ctypes.create_string_buffer(size.value)
        if pdfium.FPDF_GetXFAPacketContent(pdf, index, buffer, size.value, size):
            yield buffer.raw


def _values(whole: Any) -> dict[str, deque[str]]:
    """What was filled in, by the name of the field, in the order of the form."""
    values: dict[str, deque[str]] = defaultdict(deque)
    for data in whole.iter("{*}datasets"):
        for element in data.iter("{*}*"):
            if len(element) == 0 and element.text and element.text.strip():
                values[_name(element)].append(one_line(element.text))
    return values


def _template(whole: Any, values: dict[str, deque[str]]) -> Iterator[str]:
    """The lines of the form, each value beside its caption."""
    for template in whole.iter("{*}template"):
        for element in template.iter("{*}*"):
            kind = _name(element)
            if kind not in _LABELS:
                continue
            caption = _texts(element.find("{*}caption/{*}value"))
            filled = values.get(element.get("name") or "")
            value = filled.popleft() if filled else _texts(element.find("{*}value"))
            line = ": ".join(part for part in (caption.rstrip(" :"), value) if part)
            if line:
                yield line


def _texts(element: Any) -> str:
    return "" if element is None else one_line(" ".join(element.itertext()))


def _name(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]
