"""What is written on a PDFium page without being part of it: notes, stamps, files."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from typing import Any, Final

import pypdfium2.raw as pdfium

# What these show is text, often. A link, a highlight or a drawing shows none.
_SHOWN: Final = frozenset(
    {
        pdfium.FPDF_ANNOT_FREETEXT,
        pdfium.FPDF_ANNOT_STAMP,
        pdfium.FPDF_ANNOT_LINE,
        pdfium.FPDF_ANNOT_WATERMARK,
        pdfium.FPDF_ANNOT_WIDGET,
        pdfium.FPDF_ANNOT_REDACT,
    }
)
_MAX_ANNOTATIONS: Final = 10_000
_MAX_CHARS: Final = 100_000


@dataclass(slots=True)
class Annotations:
    """``are_drawn`` says that some have an appearance, which flattening makes readable.

    ``texts`` is what those without one say. ``files`` are the names of attached files.
    """

    are_drawn: bool = False
    texts: list[str] = field(default_factory=list)
    files: list[str] = field(default_factory=list)


def read_annotations(page: Any) -> Annotations:
    """Return what the annotations of a PDFium page hold."""
    found = Annotations()
    for index in range(min(pdfium.FPDFPage_GetAnnotCount(page), _MAX_ANNOTATIONS)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        try:
            _read(annotation, found)
        finally:
            pdfium.FPDFPage_CloseAnnot(annotation)
    return found


def _read(annotation: Any, found: Annotations) -> None:
    kind = pdfium.FPDFAnnot_GetSubtype(annotation)
    if kind == pdfium.FPDF_ANNOT_FILEATTACHMENT:
        file = pdfium.FPDFAnnot_GetFileAttachment(annotation)
        found.files.append(_string(pdfium.FPDFAttachment_GetName, file) if file else "")
    elif kind in _SHOWN:
        flags = pdfium.FPDFAnnot_GetFlags(annotation)
        if flags & (pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW):
            return
        # Two bytes are the end of an empty string.
        is_drawn = pdfium.FPDFAnnot_GetAP(annotation, _NORMAL, None, 0) > 2
        if is_drawn or kind == pdfium.FPDF_ANNOT_WIDGET:
            found.are_drawn = True
        elif kind == pdfium.FPDF_ANNOT_FREETEXT:
            text = _string(pdfium.FPDFAnnot_GetStringValue, annotation, b"Contents")
            if text.strip():
                found.texts.append(text)


def _string(read: Any, *of: Any) -> str:
    """What a function of PDFium writes into a buffer, as UTF-16."""
    size = min(read(*of, None, 0), 2 * _MAX_CHARS)
    buffer = ctypes.create_string_buffer(size + 2)
    pointer = ctypes.cast(buffer, ctypes.POINTER(pdfium.FPDF_WCHAR))
    read(*of, pointer, size)
    return buffer.raw[:size].decode("utf-16-le", "ignore").rstrip("\x00")


_NORMAL: Final[int] = pdfium.FPDF_ANNOT_APPEARANCEMODE_NORMAL
