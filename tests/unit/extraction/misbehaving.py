"""An extractor for workers that does what hostile documents make parsers do."""

from __future__ import annotations

import os
import re
import sys
import time
from pathlib import Path

from activekg_pipelines.errors import Encrypted
from activekg_pipelines.extraction import ExtractedDocument, Limits, extract_file


class OddError(Exception):
    """Cannot be unpickled: its constructor wants two arguments, its args hold one."""

    def __init__(self, one: str, two: str) -> None:
        super().__init__(one)
        self.two = two


def misbehave(path: Path, key: str, content_type: str | None, limits: Limits) -> ExtractedDocument:
    """Do what ``key`` says."""
    match key:
        case "hang":
            time.sleep(3600)
        case "stuck":
            # In C code, where no Python signal handler runs.
            re.match("(a+)+$", "a" * 60 + "b")
        case "abort":
            os.abort()
        case "exit":
            os._exit(3)
        case "hog":
            bytearray(limits.memory_bytes * 2)
        case "odd error":
            raise OddError("said\nthis", "and that")
        case "system exit":
            raise SystemExit(1)
        case "own error":
            raise Encrypted("A message of its own.")
        case "no parser":
            raise ImportError("No module named 'parser'")
        case "lxml memory":
            raise ValueError("Memory allocation failed : growing buffer")
        case "modules":
            return _document(" ".join(sys.modules))
        case "process":
            return _document(str(os.getpid()))
        case "sleep":
            time.sleep(0.3)
    return extract_file(path, "a.txt", content_type, limits)


def _document(text: str) -> ExtractedDocument:
    return ExtractedDocument(text, None, "text/plain", {})
