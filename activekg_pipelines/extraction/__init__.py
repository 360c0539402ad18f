"""Turns downloaded files into text.

A format is a folder; the rest tells formats apart and runs them in a sandbox.
"""

from __future__ import annotations

from activekg_pipelines.extraction.clean import clean_text, clean_title, clean_value
from activekg_pipelines.extraction.detect import HEAD_BYTES, detect, unsupported_by_name
from activekg_pipelines.extraction.dispatch import extract_file
from activekg_pipelines.extraction.document import JSON, ExtractedDocument
from activekg_pipelines.extraction.document_limits import Limits, PdfEngine
from activekg_pipelines.extraction.fork_server import check_parsers
from activekg_pipelines.extraction.format import Format
from activekg_pipelines.extraction.registry import (
    EXTRACTOR_VERSION,
    FORMATS,
    UNSUPPORTED_EXTENSIONS,
    Formats,
)
from activekg_pipelines.extraction.sandbox import Sandbox

__all__ = [
    "EXTRACTOR_VERSION",
    "FORMATS",
    "HEAD_BYTES",
    "JSON",
    "UNSUPPORTED_EXTENSIONS",
    "ExtractedDocument",
    "Format",
    "Formats",
    "Limits",
    "PdfEngine",
    "Sandbox",
    "check_parsers",
    "clean_text",
    "clean_title",
    "clean_value",
    "detect",
    "extract_file",
    "unsupported_by_name",
]
