"""What a hostile file is, and what it must not reach."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

INDEXED: Final = "indexed"


@dataclass(frozen=True, slots=True)
class Canary:
    """A file and an HTTP address that hostile files ask for; both answer ``secret``."""

    file: Path
    url: str
    secret: str


@dataclass(frozen=True, slots=True)
class HostileFile:
    """A document and what must become of it.

    Attributes:
        key: of the object; it says what the file does.
        ends: "indexed", or the code of its
            :class:`~activekg_pipelines.errors.ObjectError`. Several, parted by "|",
            where it depends on the machine which limit is met first.
        holds: a part of the text, where there is one.
        title: of the document, where that is the point.
    """

    key: str
    data: bytes
    ends: str = INDEXED
    holds: str = ""
    title: str | None = None


def deflated(block: bytes, times: int) -> bytes:
    """``block * times`` as a raw deflate stream, without ever holding it.

    A compressed block can be repeated.
    """
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    body = compressor.compress(block) + compressor.flush(zlib.Z_FULL_FLUSH)
    return body * times + compressor.flush(zlib.Z_FINISH)


def zlibbed(block: bytes, times: int) -> bytes:
    """The same as a zlib stream, with its header and without a true checksum.

    PDF readers do not look at the checksum.
    """
    return b"\x78\x9c" + deflated(block, times) + bytes(4)
