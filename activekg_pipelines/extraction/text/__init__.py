"""Plain text in whatever encoding."""

from __future__ import annotations

from typing import Final

from activekg_pipelines.extraction.format import Format
from activekg_pipelines.extraction.text.extractor import MIME_TYPE, extract

FORMAT: Final = Format(
    name="text",
    mime_type=MIME_TYPE,
    extensions=("txt", "text", "rst", "log", "csv"),
    content_types=(MIME_TYPE,),
    extract=extract,
    extract_as=extract,
    preload=("activekg_pipelines.extraction.legacy_tables",),
    version=1,
)
