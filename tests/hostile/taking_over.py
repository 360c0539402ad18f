"""An extractor whose document has taken its worker over and writes what it likes."""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from activekg_pipelines.extraction import ExtractedDocument, Limits

CHANNEL: Final = 3


class RunsCommand:
    """Whoever unpickles it makes a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return os.system, (f"touch '{self.trace}'",)


def trace_of(path: Path) -> Path:
    """The file that shows that the owner of the sandbox ran what the worker wrote."""
    return path.with_name("trace")


def message(head: object, body: bytes = b"", *, encode: bool = True) -> bytes:
    """A message as the protocol knows it, about anything."""
    data = json.dumps(head).encode() if encode else head
    assert isinstance(data, bytes)
    return struct.pack(">II", len(data), len(body)) + data + body


def answer(number: int, **fields: object) -> dict[str, object]:
    return {"number": number, "title": None, "mime_type": "text/plain", "facts": {}, **fields}


def _pickled(path: Path) -> bytes:
    return pickle.dumps(RunsCommand(trace_of(path)))


def _hang(_: int, path: Path) -> bytes:
    del path
    os.close(CHANNEL)
    time.sleep(3600)
    return b""


def _for_ever(number: int, path: Path) -> bytes:
    del path
    # In one piece with what follows: nobody may wait after a complete answer.
    os.write(CHANNEL, message(answer(number), b"text") + b"more")
    while True:
        os.write(CHANNEL, b"more" * 1000)


def _slowly(number: int, path: Path) -> bytes:
    del path
    for byte in message(answer(number), b"text" * 1000):
        os.write(CHANNEL, bytes([byte]))
        time.sleep(0.05)
    return b""


def _later(number: int, path: Path) -> bytes:
    """Answer as it should, and write more once it may, when nobody has asked."""

    def write_more() -> None:
        while not path.with_name("go").exists():
            time.sleep(0.01)
        os.write(CHANNEL, message(answer(number + 1), b"forged"))
        os._exit(0)

    threading.Thread(target=write_more).start()
    os.write(CHANNEL, message(answer(number), str(os.getpid()).encode()))
    time.sleep(3600)
    return b""


ATTACKS: Final[dict[str, Callable[[int, Path], bytes]]] = {
    "a pickle": lambda _, path: _pickled(path),
    "a pickle for a head": lambda _, path: message(_pickled(path), encode=False),
    "a pickle for a text": lambda number, path: message(answer(number), _pickled(path)),
    "a giant head": lambda *_: struct.pack(">II", 2**32 - 1, 0),
    "a giant text": lambda *_: struct.pack(">II", 100, 2**32 - 1),
    "another document's answer": lambda number, _: message(answer(number + 1), b"text"),
    "no object": lambda number, _: message([number]),
    "a wrong type": lambda number, _: message(answer(number, facts=["a fact"])),
    "another error": lambda number, _: message(
        {"number": number, "error": "access_denied", "message": "No."}
    ),
    "two answers": lambda number, _: message(answer(number), b"text") * 2,
    "no end": _for_ever,
    "a byte now and then": _slowly,
    "an end at once": _hang,
    "half an answer": lambda number, _: message(answer(number), b"text")[:-1],
    "more when nobody asked": _later,
}
"""What it writes, by name: of the document's number and path."""


def take_over(path: Path, key: str, content_type: str | None, limits: Limits) -> ExtractedDocument:
    """Do what ``key`` names in :data:`ATTACKS`; read the document where it names none."""
    del content_type, limits
    if key in ATTACKS:
        written = ATTACKS[key](_number(), path)
        os.write(CHANNEL, written)
        os._exit(0)
    return ExtractedDocument(path.read_text(), None, "text/plain", {"process": os.getpid()})


def _number() -> int:
    """The document's number, as code that has taken over the process finds it."""
    frame: Any = sys._getframe()
    while "number" not in frame.f_locals:
        frame = frame.f_back
    return int(frame.f_locals["number"])
