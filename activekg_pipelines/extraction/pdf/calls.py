"""PDFium's functions for objects and characters, called by the ten thousand on a page.

Handles are plain integers here: pypdfium2's own functions make a Python object of each,
which takes longer than the call. Importing this module loads PDFium.
"""

from __future__ import annotations

import ctypes
from ctypes import c_int, c_uint, c_void_p
from typing import Any, Final

import pypdfium2.raw as pdfium


def address(handle: Any) -> int:
    """Return the address that a pypdfium2 object, a pointer or a buffer stands for."""
    return ctypes.cast(getattr(handle, "raw", handle), c_void_p).value or 0


def _function(name: str, result: Any, *arguments: Any) -> Any:
    # PYFUNCTYPE keeps the interpreter lock: giving it up and taking it back costs as
    # much as one of these calls.
    return ctypes.PYFUNCTYPE(result, *arguments)(address(getattr(pdfium, name)))


# Each takes addresses, indexes, and addresses of buffers to write into. PDFium's
# fpdf_edit.h and fpdf_text.h describe them.
count_page_objects: Final = _function("FPDFPage_CountObjects", c_int, c_void_p)
page_object: Final = _function("FPDFPage_GetObject", c_void_p, c_void_p, c_int)
count_form_objects: Final = _function("FPDFFormObj_CountObjects", c_int, c_void_p)
form_object: Final = _function("FPDFFormObj_GetObject", c_void_p, c_void_p, ctypes.c_ulong)
object_type: Final = _function("FPDFPageObj_GetType", c_int, c_void_p)
object_matrix: Final = _function("FPDFPageObj_GetMatrix", c_int, c_void_p, c_void_p)
object_bounds: Final = _function("FPDFPageObj_GetBounds", c_int, *[c_void_p] * 5)
fill_color: Final = _function("FPDFPageObj_GetFillColor", c_int, *[c_void_p] * 5)
has_transparency: Final = _function("FPDFPageObj_HasTransparency", c_int, c_void_p)
clip_path: Final = _function("FPDFPageObj_GetClipPath", c_void_p, c_void_p)
count_clips: Final = _function("FPDFClipPath_CountPaths", c_int, c_void_p)
count_clip_segments: Final = _function("FPDFClipPath_CountPathSegments", c_int, c_void_p, c_int)
clip_segment: Final = _function("FPDFClipPath_GetPathSegment", c_void_p, c_void_p, c_int, c_int)
text_mode: Final = _function("FPDFTextObj_GetTextRenderMode", c_int, c_void_p)
font_size: Final = _function("FPDFTextObj_GetFontSize", c_int, c_void_p, c_void_p)
font_of: Final = _function("FPDFTextObj_GetFont", c_void_p, c_void_p)
is_embedded: Final = _function("FPDFFont_GetIsEmbedded", c_int, c_void_p)
font_name: Final = _function(
    "FPDFFont_GetBaseFontName", ctypes.c_size_t, c_void_p, c_void_p, ctypes.c_size_t
)
count_marks: Final = _function("FPDFPageObj_CountMarks", c_int, c_void_p)
mark: Final = _function("FPDFPageObj_GetMark", c_void_p, c_void_p, ctypes.c_ulong)
mark_name: Final = _function(
    "FPDFPageObjMark_GetName", c_int, c_void_p, c_void_p, ctypes.c_ulong, c_void_p
)
mark_string: Final = _function(
    "FPDFPageObjMark_GetParamStringValue",
    c_int,
    c_void_p,
    ctypes.c_char_p,
    c_void_p,
    ctypes.c_ulong,
    c_void_p,
)
remove_from_page: Final = _function("FPDFPage_RemoveObject", c_int, c_void_p, c_void_p)
remove_from_form: Final = _function("FPDFFormObj_RemoveObject", c_int, c_void_p, c_void_p)
destroy: Final = _function("FPDFPageObj_Destroy", None, c_void_p)
path_draw_mode: Final = _function("FPDFPath_GetDrawMode", c_int, c_void_p, c_void_p, c_void_p)
count_segments: Final = _function("FPDFPath_CountSegments", c_int, c_void_p)
path_segment: Final = _function("FPDFPath_GetPathSegment", c_void_p, c_void_p, c_int)
segment_point: Final = _function("FPDFPathSegment_GetPoint", c_int, c_void_p, c_void_p, c_void_p)
segment_type: Final = _function("FPDFPathSegment_GetType", c_int, c_void_p)
segment_closes: Final = _function("FPDFPathSegment_GetClose", c_int, c_void_p)
character_box: Final = _function("FPDFText_GetCharBox", c_int, c_void_p, c_int, *[c_void_p] * 4)
character_index: Final = _function("FPDFText_GetCharIndexFromTextIndex", c_int, c_void_p, c_int)
text_at: Final = _function("FPDFText_GetTextObject", c_void_p, c_void_p, c_int)
character_code: Final = _function("FPDFText_GetUnicode", c_uint, c_void_p, c_int)

TEXT: Final[int] = pdfium.FPDF_PAGEOBJ_TEXT
IMAGE: Final[int] = pdfium.FPDF_PAGEOBJ_IMAGE
SHADING: Final[int] = pdfium.FPDF_PAGEOBJ_SHADING
PATH: Final[int] = pdfium.FPDF_PAGEOBJ_PATH
FORM: Final[int] = pdfium.FPDF_PAGEOBJ_FORM
LINE_TO: Final[int] = pdfium.FPDF_SEGMENT_LINETO
MOVE_TO: Final[int] = pdfium.FPDF_SEGMENT_MOVETO
