"""What one document may cost before its extraction is given up."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

PdfEngine: TypeAlias = Literal["pdfium", "pdfplumber"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one extraction; the defaults suit documents of up to some 100 MB.

    ``max_pages`` cuts and leaves a warning. Every other bound ends the document with an
    error.
    """

    max_text_chars: int = 20_000_000
    max_pages: int = 5_000
    """A PDF of 1.8 MB can claim 300,000 pages."""
    max_xml_bytes: int = 50_000_000
    """Unpacked size of a Word file's XML. Without it 1 MB of ZIP becomes 2 to 5 GB of
    memory.
    """
    timeout_seconds: float = 60.0
    memory_bytes: int = 2 * 1024**3
    """Address space of a worker, libraries included (some 0.5 GB)."""
    pdf_engine: PdfEngine = "pdfium"
