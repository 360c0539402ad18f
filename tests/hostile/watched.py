"""An extraction that ends when a parser reaches out, and one that reaches out."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from activekg_pipelines.extraction import ExtractedDocument, Limits, extract_file

CAUGHT: Final = 97
"""Exit status of a worker whose parser reached out."""

_FORBIDDEN: Final = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn",
    "os.startfile", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.", "os.remove",
    "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "shutil.", "tempfile.",
)  # fmt: skip
_ROOT: Final = Path(__file__).parents[2]
_PROGRAM: Final = tuple(
    os.path.realpath(folder) + os.sep
    for folder in (
        sys.prefix,
        sys.base_prefix,
        "/usr",
        "/lib",
        _ROOT / "activekg_pipelines",
        _ROOT / "tests",
    )
)
_own: list[str] = []


def watched(path: Path, key: str, content_type: str | None, limits: Limits) -> ExtractedDocument:
    """Extract, watched by the interpreter's own audit events."""
    if not _own:
        sys.addaudithook(_watch)
    _own[:] = [os.path.realpath(path)]
    return extract_file(path, key, content_type, limits)


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event.startswith(_FORBIDDEN) or (event == "open" and not _is_allowed(*arguments)):
        os.write(
            2,
            f"\nA parser reached out: {event} {arguments!r}"[:500].encode(errors="replace") + b"\n",
        )
        os._exit(CAUGHT)


def _is_allowed(path: object, mode: object, flags: object) -> bool:
    if isinstance(path, int):
        return True
    real = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
    writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    del mode
    return not writes and (real in _own or real == os.devnull or real.startswith(_PROGRAM))


REACHES: Final[dict[str, Callable[[Path], object]]] = {
    "a file": lambda _: Path("/etc/passwd").read_text(),
    "the surroundings of its process": lambda _: Path("/proc/self/environ").read_text(),
    "a new file": lambda path: path.with_name("new").write_text("text"),
    "its own file": lambda path: path.write_text("text"),
    "a deletion": lambda path: path.unlink(),
    "a socket": lambda _: socket.socket(),
    "a local socket": lambda _: socket.socket(socket.AF_UNIX),
    "a program": lambda _: subprocess.run(["/bin/true"], check=True),
    "a process": lambda _: os.fork() or os._exit(0),
    "a signal": lambda _: os.kill(os.getppid(), 0),
}
"""What a parser with a hole might do, by name."""


def reaching(path: Path, key: str, content_type: str | None, limits: Limits) -> ExtractedDocument:
    """Do what ``key`` names in :data:`REACHES`, and say how it ended."""
    del content_type, limits
    try:
        REACHES[key](path)
    except OSError as error:
        return ExtractedDocument(type(error).__name__, None, "text/plain", {})
    return ExtractedDocument("done", None, "text/plain", {})


def reaching_while_watched(
    path: Path, key: str, content_type: str | None, limits: Limits
) -> ExtractedDocument:
    """The same under the eyes of :func:`watched`."""
    watched(path, "a.txt", content_type, limits)
    return reaching(path, key, content_type, limits)
