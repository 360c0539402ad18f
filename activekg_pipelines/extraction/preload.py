"""Imported once by the fork server, so that each worker starts with the parsers loaded: 10 ms instead of a second.

Nothing else imports this module.
"""

from __future__ import annotations

import bs4  # noqa: F401
import charset_normalizer  # noqa: F401
import docx  # noqa: F401
import pdfplumber  # noqa: F401
import pypdfium2  # noqa: F401
import trafilatura  # noqa: F401

from activekg_pipelines.extraction import sandbox  # noqa: F401
