"""Undoes what a body was encoded with when it was uploaded, while it comes.

``Content-Encoding`` names the codings, but uploaders and stores write it wrongly: twice,
in another order, or over bytes that are not encoded. So the first bytes decide which of
the named codings is undone next, and none where they look like none of them.

Nothing here holds more than a few pieces, however much they unpack to.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

PIECE_BYTES: Final = 256 * 1024
"""Of what is unpacked, at once."""
AWS_CHUNKED: Final = "aws-chunked"
"""S3's framing of uploads: sizes, signatures and checksums between the bytes.

A store that does not know it keeps it in the object.
"""
UNNAMED_CHUNKED: Final = "aws-chunked?"
"""The same where no header says so. It is undone where it holds what only S3 writes."""

_ALIASES: Final = {"x-gzip": "gzip"}
_MAX_CODINGS: Final = 5
_HEAD_BYTES: Final = 256
_GZIP: Final = b"\x1f\x8b\x08"
# A frame, or a frame to be skipped, of which seekable files have some.
_ZSTD: Final = re.compile(rb"\x28\xb5\x2f\xfd|[\x50-\x5f]\x2a\x4d\x18")
# What every decoder of this coding must hold: https://www.rfc-editor.org/rfc/rfc9659.
_ZSTD_WINDOW: Final = 8 * 1024 * 1024
# A block of 4 bytes may unpack to 128 KiB, and the library has no limit of its own.
_ZSTD_BYTES_AT_ONCE: Final = 256
# https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-streaming.html
_FRAME: Final = re.compile(rb"([0-9A-Fa-f]{1,16})(;chunk-signature=[0-9a-f]{64})?\r\n")
_TRAILER: Final = re.compile(rb"[\w-]{1,64}:[^\r\n]*")
_MAX_TRAILER: Final = 8 * 1024
# Of gzip, whose library copies at each member all that is left of what it was given.
_GZIP_BYTES_AT_ONCE: Final = 4096
# Members, or frames. A million empty ones are a small body and many seconds of work.
_MAX_PARTS: Final = 200_000
_FRAMINGS: Final = frozenset({AWS_CHUNKED, UNNAMED_CHUNKED})


class NotEncoded(Exception):
    """The bytes are not of a coding that they were tried as.

    Attributes:
        coding: which one.
        depth: how many codings were undone before it.
        is_damaged: they begin as nothing else does, so that they are of it and broken.
    """

    def __init__(self, coding: str, *, is_damaged: bool = False) -> None:
        super().__init__(coding)
        self.coding = coding
        self.depth = -1
        self.is_damaged = is_damaged


def named_codings(header: str | None) -> list[str]:
    """The codings of a ``Content-Encoding`` that can be undone, the last one first.

    Others, such as ``identity`` and the ``utf-8`` that people write there, are left out.
    """
    named = [one.strip().lower() for one in (header or "").split(",", 64)]
    known = [_ALIASES.get(one, one) for one in named]
    return [one for one in reversed(known) if one in _UNDO][:_MAX_CODINGS]


def undo(
    pieces: Iterator[bytes],
    codings: Sequence[str],
    *,
    most: Callable[[int], object],
    failed: Collection[tuple[int, str]] = (),
) -> tuple[Iterator[bytes], int]:
    """The bytes without their codings.

    Args:
        pieces: as they come.
        codings: that may be undone, the last one first.
        most: gets the number of bytes that a coding has unpacked to so far, and raises
            where they are too many.
        failed: depth and coding of what was tried before; it is not tried again.

    Returns:
        The bytes, and how many codings are undone in them.

    Raises:
        NotEncoded: here or by the iterator: the bytes only began like such a coding.
            What the iterator gave until then is worth nothing.
    """
    left = list(codings)
    for depth in range(len(codings)):
        head, pieces = _head(pieces)
        coding = _coding_of(head, [one for one in left if (depth, one) not in failed])
        if coding is None:
            return pieces, depth
        left.remove(coding)
        pieces = _counted(_UNDO[coding](pieces), depth, most)
    return pieces, len(codings)


def _head(pieces: Iterator[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes, and all of them."""
    read, size = [], 0
    for piece in pieces:
        read.append(piece)
        size += len(piece)
        if size >= _HEAD_BYTES:
            break
    return b"".join(read)[:_HEAD_BYTES], chain(read, pieces)


def _coding_of(head: bytes, left: Collection[str]) -> str | None:
    """Which of the codings the bytes seem to be of."""
    if _FRAME.match(head) and (framed := [one for one in left if one in _FRAMINGS]):
        return framed[0]
    if head.startswith(_GZIP):
        return "gzip" if "gzip" in left else None
    if _ZSTD.match(head):
        return "zstd" if "zstd" in left else None
    # These two have no magic: they are tried.
    return next((one for one in left if one in {"br", "deflate"} and head), None)


def _counted(pieces: Iterable[bytes], depth: int, most: Callable[[int], object]) -> Iterator[bytes]:
    size = 0
    try:
        for piece in pieces:
            size += len(piece)
            most(size)
            if piece:
                yield piece
    except NotEncoded as failure:
        # The innermost one is the first to see it.
        if failure.depth < 0:
            failure.depth = depth
        raise


def _cut(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """The same bytes in pieces that are not larger."""
    for piece in pieces:
        for begin in range(0, len(piece), most):
            yield piece[begin : begin + most]


def _gunzip(pieces: Iterator[bytes]) -> Generator[bytes]:
    """Several members are one text; what follows the last one is padding."""
    member, members = zlib.decompressobj(zlib.MAX_WBITS | 16), 1
    for piece in _cut(pieces, _GZIP_BYTES_AT_ONCE):
        rest = piece
        while rest:
            if member.eof:
                if not rest.startswith(_GZIP[: len(rest)]):
                    return
                member, members = zlib.decompressobj(zlib.MAX_WBITS | 16), members + 1
                if members > _MAX_PARTS:
                    raise NotEncoded("gzip", is_damaged=True)
            try:
                yield member.decompress(rest, PIECE_BYTES)
            except zlib.error:
                raise NotEncoded("gzip", is_damaged=True) from None
            rest = member.unconsumed_tail or member.unused_data
    if not member.eof:
        raise NotEncoded("gzip", is_damaged=True)


def _inflate(pieces: Iterator[bytes]) -> Generator[bytes]:
    """With zlib's header as the standard wants it, or without as some servers do."""
    head, pieces = _head(pieces)
    has_header = head[0] & 0x0F == 8 and int.from_bytes(head[:2]) % 31 == 0
    stream = zlib.decompressobj(zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS)
    try:
        for piece in pieces:
            if stream.eof:
                raise NotEncoded("deflate")
            yield stream.decompress(piece, PIECE_BYTES)
            while stream.unconsumed_tail:
                yield stream.decompress(stream.unconsumed_tail, PIECE_BYTES)
        # The last bytes may have come with the limit.
        while more := stream.decompress(b"", PIECE_BYTES):
            yield more
    except zlib.error:
        raise NotEncoded("deflate") from None
    if not stream.eof or stream.unused_data:
        raise NotEncoded("deflate")


def _unbrotli(pieces: Iterator[bytes]) -> Generator[bytes]:
    import brotli

    stream = brotli.Decompressor()
    try:
        for piece in pieces:
            yield (out := stream.process(piece, output_buffer_limit=PIECE_BYTES))
            # It holds some back also where it says that it would take more.
            while not stream.is_finished() and (out or not stream.can_accept_more_data()):
                yield (out := stream.process(b"", output_buffer_limit=PIECE_BYTES))
    except brotli.error:
        raise NotEncoded("br") from None
    if not stream.is_finished():
        raise NotEncoded("br")


def _unzstd(pieces: Iterator[bytes]) -> Generator[bytes]:
    """Several frames are one text."""
    import zstandard

    made = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    frame, frames = made.decompressobj(), 1
    for piece in _cut(pieces, _ZSTD_BYTES_AT_ONCE):
        rest = piece
        while rest:
            if frame.eof:
                frame, frames = made.decompressobj(), frames + 1
                if frames > _MAX_PARTS:
                    raise NotEncoded("zstd", is_damaged=True)
            try:
                yield frame.decompress(rest)
            except zstandard.ZstdError:
                raise NotEncoded("zstd", is_damaged=True) from None
            rest = frame.unused_data
    if not frame.eof:
        raise NotEncoded("zstd", is_damaged=True)


def _unframe(pieces: Iterator[bytes]) -> Generator[bytes]:
    """The bytes of the frames; the trailer after the empty one is left out."""
    yield from _frames(pieces, AWS_CHUNKED)


def _unframe_unnamed(pieces: Iterator[bytes]) -> Generator[bytes]:
    """The same where a signature or a checksum of S3 shows that they are frames."""
    frames = _frames(pieces, UNNAMED_CHUNKED)
    while True:
        try:
            yield next(frames)
        except StopIteration as end:
            if not end.value:
                raise NotEncoded(UNNAMED_CHUNKED) from None
            return


def _frames(pieces: Iterator[bytes], coding: str) -> Generator[bytes, None, bool]:
    """Returns whether something that only S3 writes was among them."""
    source = _Reader(pieces, coding)
    is_signed = False
    for _ in range(_MAX_PARTS):
        frame = _FRAME.fullmatch(source.line())
        if frame is None:
            raise NotEncoded(coding)
        is_signed |= frame[2] is not None
        if (size := int(frame[1], 16)) == 0:
            break
        yield from source.exactly(size)
        if source.line() != b"\r\n":
            raise NotEncoded(coding)
    else:
        raise NotEncoded(coding)
    trailer = [line for line in source.rest().splitlines() if line]
    if not all(map(_TRAILER.fullmatch, trailer)):
        raise NotEncoded(coding)
    return is_signed or any(line.startswith(b"x-amz-") for line in trailer)


class _Reader:
    """Pieces read by line and by number of bytes; what else is there raises NotEncoded."""

    def __init__(self, pieces: Iterator[bytes], coding: str) -> None:
        self._pieces = pieces
        self._coding = coding
        self._piece = b""
        self._at = 0

    def line(self) -> bytes:
        """Up to a line end, which comes soon."""
        while (end := self._piece.find(b"\n", self._at) + 1) == 0:
            begun = self._piece[self._at :]
            if len(begun) > _HEAD_BYTES:
                raise NotEncoded(self._coding)
            self._fill()
            self._piece, self._at = begun + self._piece, 0
        line, self._at = self._piece[self._at : end], end
        return line

    def exactly(self, size: int) -> Iterator[bytes]:
        """So many bytes."""
        while size:
            if self._at == len(self._piece):
                self._fill()
            part = self._piece[self._at : self._at + size]
            self._at += len(part)
            size -= len(part)
            yield part

    def rest(self) -> bytes:
        """All that is left, which is little."""
        rest = self._piece[self._at :]
        for piece in self._pieces:
            rest += piece
            if len(rest) > _MAX_TRAILER:
                break
        if len(rest) > _MAX_TRAILER:
            raise NotEncoded(self._coding)
        return rest

    def _fill(self) -> None:
        """The next piece in place of the one that is read."""
        self._piece, self._at = next(self._pieces, b""), 0
        if not self._piece:
            raise NotEncoded(self._coding)


_UNDO: Final[dict[str, Callable[[Iterator[bytes]], Iterable[bytes]]]] = {
    "gzip": _gunzip,
    "deflate": _inflate,
    "br": _unbrotli,
    "zstd": _unzstd,
    AWS_CHUNKED: _unframe,
    UNNAMED_CHUNKED: _unframe_unnamed,
}
