"""Writes the bytes of one object to a file: never too many, and never fewer than declared."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO, Final

from activekg_pipelines.errors import Corrupt, FetchFailed, TooLarge
from activekg_pipelines.sources.encodings import NotEncoded, undo

CHUNK_BYTES: Final = 256 * 1024
_NO_SPACE: Final = {errno.ENOSPC, errno.EDQUOT}


@dataclass(frozen=True, slots=True)
class Written:
    """What arrived.

    Attributes:
        size: bytes that arrived, as they were encoded.
        sha256: digest of the bytes in the file, of which the text is made.
    """

    size: int
    sha256: bytes


def write_body(
    body: Iterable[bytes],
    target: Path,
    *,
    uri: str,
    declared: int | None,
    max_bytes: int,
    codings: Sequence[str] = (),
) -> Written:
    """Write an answer's body to a file, without what it was encoded with.

    Where it turns out not to be encoded as the answer says, its bytes are written as they
    came.

    Args:
        body: its bytes, in pieces of about :data:`CHUNK_BYTES`.
        uri: of the object, for messages.
        declared: bytes that the answer declares. None where it does not: there the end
            mark of the transfer shows whether the body is complete.
        max_bytes: limit on the declared length, on the bytes that arrive, and on those
            that they unpack to.
        codings: that may be undone, as
            :func:`~activekg_pipelines.sources.encodings.named_codings` gives them.

    Raises:
        TooLarge: more than ``max_bytes``.
        FetchFailed: another number of bytes arrived, or no space is left for them.
        Corrupt: all of them arrived, and are damaged in their encoding.
    """
    if declared is not None and declared > max_bytes:
        raise _too_large(uri, declared, max_bytes)
    try:
        return _write(_Arriving(body, uri, declared, max_bytes), target, codings)
    except OSError as error:
        if error.errno not in _NO_SPACE:
            raise
        # Smaller objects may still fit, and other downloads free their space again.
        raise FetchFailed(
            f"Failed to fetch {uri}: no space is left for temporary files in "
            f"{target.parent.parent}. Free some, or set TMPDIR to a larger disk."
        ) from None


class _Arriving:
    """A body and its bounds; counts and digests what came of it."""

    def __init__(
        self, body: Iterable[bytes], uri: str, declared: int | None, max_bytes: int
    ) -> None:
        self.size = 0
        self.digest = hashlib.sha256()
        self._body = body
        self._uri = uri
        self._declared = declared
        self._max_bytes = max_bytes

    def written_to(self, file: BinaryIO) -> Iterator[bytes]:
        """The pieces, each of them written."""
        for piece in self._body:
            self.size += len(piece)
            self.check(self.size)
            self.digest.update(piece)
            file.write(piece)
            yield piece
        if self._declared is not None and self.size != self._declared:
            raise FetchFailed(
                f"Failed to fetch {self._uri}: {self.size} of {self._declared} bytes arrived"
            )

    def check(self, size: int) -> None:
        """Refuse more bytes than allowed."""
        if size > self._max_bytes:
            raise _too_large(self._uri, size, self._max_bytes)

    def damaged(self, coding: str) -> Corrupt:
        """The error of bytes that begin as a coding, and break off in it."""
        return Corrupt(
            f"{self._uri} is damaged: it was uploaded with Content-Encoding {coding}, and its "
            "bytes cannot be unpacked to their end."
        )


def _write(arriving: _Arriving, target: Path, codings: Sequence[str]) -> Written:
    unpacked = target.with_name(f"{target.name}.unpacked")
    unpack = partial(_unpack, target=unpacked, codings=codings, most=arriving.check)
    failed: set[tuple[int, str]] = set()
    try:
        with target.open("wb") as file:
            pieces = arriving.written_to(file)
            digest, failure = unpack(pieces)
            # What is left where unpacking ended early: whether all of it arrives, and
            # arrives well, comes before what can be made of it.
            for _ in pieces:
                pass
        while failure is not None:
            if failure.is_damaged:
                raise arriving.damaged(failure.coding)
            failed.add((failure.depth, failure.coding))
            with target.open("rb") as stored:
                arrived = iter(partial(stored.read, CHUNK_BYTES), b"")
                digest, failure = unpack(arrived, failed=failed)
        if digest is None:
            return Written(arriving.size, arriving.digest.digest())
        unpacked.replace(target)
        return Written(arriving.size, digest)
    finally:
        unpacked.unlink(missing_ok=True)


def _unpack(
    pieces: Iterator[bytes],
    *,
    target: Path,
    codings: Sequence[str],
    most: Callable[[int], object],
    failed: Collection[tuple[int, str]] = (),
) -> tuple[bytes | None, NotEncoded | None]:
    """Write what a body's bytes unpack to.

    Returns:
        The digest of it, None where the bytes are not encoded; and why it is worth nothing,
        where it is.
    """
    try:
        plain, depth = undo(pieces, codings, most=most, failed=failed)
        if depth == 0:
            return None, None
        digest = hashlib.sha256()
        with target.open("wb") as file:
            for piece in plain:
                digest.update(piece)
                file.write(piece)
    except NotEncoded as failure:
        return None, failure
    return digest.digest(), None


def _too_large(uri: str, size: int, max_bytes: int) -> TooLarge:
    return TooLarge(
        f"{uri} is larger than ACTIVEKG_MAX_FILE_BYTES allows: {size:,} bytes, limit {max_bytes:,}."
    )
