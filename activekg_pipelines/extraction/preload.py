"""Imported once by the fork server, so that each worker starts with the parsers loaded:
10 ms instead of a second.

Nothing else imports this module.
"""

from __future__ import annotations

import bs4
import charset_normalizer
import docx
import pdfplumber
import pypdfium2
import trafilatura

from activekg_pipelines.extraction import sandbox
