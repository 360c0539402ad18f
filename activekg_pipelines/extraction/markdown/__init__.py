"""Markdown: the text as it stands, with the title that it gives itself."""

from __future__ import annotations

from typing import Final

from activekg_pipelines.extraction.format import Format
from activekg_pipelines.extraction.markdown.extractor import MIME_TYPE, extract

FORMAT: Final = Format(
    name="Markdown",
    mime_type=MIME_TYPE,
    extensions=("md", "markdown"),
    content_types=(MIME_TYPE, "text/x-markdown"),
    # Markdown may begin with a page's HTML.
    name_decides=True,
    extract=extract,
    extract_as=extract,
    preload=("activekg_pipelines.extraction.legacy_tables",),
    version=1,
)
