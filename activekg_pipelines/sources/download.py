"""Writes the bytes of one object to a file: never too many, and never fewer than declared."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from activekg_pipelines.errors import FetchFailed, TooLarge

CHUNK_BYTES: Final = 256 * 1024
_NO_SPACE: Final = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Written:
    """What arrived: bytes, and their digest."""

    size: int
    sha256: bytes


def write_body(
    body: Iterable[bytes], target: Path, *, uri: str, declared: int | None, max_bytes: int
) -> Written:
    """Write an answer's body to a file.

    Args:
        body: its bytes, in pieces of about :data:`CHUNK_BYTES`.
        uri: of the object, for messages.
        declared: bytes that the answer declares. None where it does not: there the end
            mark of the transfer shows whether the body is complete.
        max_bytes: limit on the declared length and on the bytes that arrive.

    Raises:
        TooLarge: more than ``max_bytes``.
        FetchFailed: another number of bytes arrived, or no space is left for them.
    """
    if declared is not None and declared > max_bytes:
        raise _too_large(uri, declared, max_bytes)
    digest = hashlib.sha256()
    size = 0
    try:
        with target.open("wb") as file:
            for piece in body:
                size += len(piece)
                if size > max_bytes:
                    raise _too_large(uri, size, max_bytes)
                digest.update(piece)
                file.write(piece)
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        # Smaller objects may still fit, and other downloads free their space again.
        raise FetchFailed(
            f"Failed to fetch {uri}: no space is left for temporary files in "
            f"{target.parent.parent}. Free some, or set TMPDIR to a larger disk."
        ) from None
    if declared is not None and size != declared:
        raise FetchFailed(f"Failed to fetch {uri}: {size} of {declared} bytes arrived")
    return Written(size, digest.digest())


def _too_large(uri: str, size: int, max_bytes: int) -> TooLarge:
    return TooLarge(
        f"{uri} is larger than ACTIVEKG_MAX_FILE_BYTES allows: {size:,} bytes, limit {max_bytes:,}."
    )
