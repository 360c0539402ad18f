"""Turns downloaded files into text: what a file is, one module a format, and the
sandbox that runs them.
"""

from __future__ import annotations

from activekg_pipelines.extraction.clean import clean_text, clean_title, clean_value
from activekg_pipelines.extraction.detect import HEAD_BYTES, Format, detect, unsupported_by_name
from activekg_pipelines.extraction.dispatch import extract_file
from activekg_pipelines.extraction.document import EXTRACTOR_VERSION, JSON, ExtractedDocument
from activekg_pipelines.extraction.limits import Limits, PdfEngine
from activekg_pipelines.extraction.sandbox import Sandbox

__all__ = [
    "EXTRACTOR_VERSION",
    "HEAD_BYTES",
    "JSON",
    "ExtractedDocument",
    "Format",
    "Limits",
    "PdfEngine",
    "Sandbox",
    "clean_text",
    "clean_title",
    "clean_value",
    "detect",
    "extract_file",
    "unsupported_by_name",
]
