"""What bodies are encoded with is undone, whatever their headers say of it."""

from __future__ import annotations

import gzip
import hashlib
import random
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator
from itertools import permutations, product
from pathlib import Path

import brotli
import pytest
import zstandard

from activekg_pipelines.errors import Corrupt, FetchFailed, TooLarge
from activekg_pipelines.sources.download import Written, write_body
from activekg_pipelines.sources.encodings import UNNAMED_CHUNKED, named_codings

MEBIBYTE = 1024**2
WORDS = random.Random(1).choices(["penguin", "walrus", "ice", "Antarctica", "fish"], k=8000)
TEXT = " ".join(f"{word}{number}" for number, word in enumerate(WORDS)).encode()
SIGNATURE = b";chunk-signature=" + b"a1" * 32
CHECKSUM = b"x-amz-checksum-crc32:AAAAAA==\r\n"


def raw_deflate(body: bytes) -> bytes:
    stream = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return stream.compress(body) + stream.flush()


def framed(body: bytes, *, signature: bytes = SIGNATURE, trailer: bytes = CHECKSUM) -> bytes:
    """A body in frames, as clients of S3 upload it."""
    parts = [body[begin : begin + 8192] for begin in range(0, len(body), 8192)] + [b""]
    frames = [b"%x%s\r\n%s\r\n" % (len(part), signature, part) for part in parts]
    return b"".join(frames).removesuffix(b"\r\n") + trailer + b"\r\n"


ENCODERS: dict[str, tuple[str, Callable[[bytes], bytes]]] = {
    "gzip": ("gzip", gzip.compress),
    "x-gzip": ("X-GZip", gzip.compress),
    "deflate": ("deflate", zlib.compress),
    "raw deflate": ("deflate", raw_deflate),
    "br": ("br", lambda body: brotli.compress(body, quality=4)),
    "zstd": ("zstd", zstandard.ZstdCompressor(write_checksum=True).compress),
    "aws-chunked": ("aws-chunked", framed),
}


def pieces_of(body: bytes, size: int) -> Iterator[bytes]:
    return (body[begin : begin + size] for begin in range(0, len(body), size))


def write(
    folder: Path,
    body: bytes,
    header: str | None,
    *,
    piece: int = 65536,
    declared: int | None = None,
    most: int = 100 * MEBIBYTE,
    unnamed: bool = False,
) -> Written:
    return write_body(
        pieces_of(body, piece),
        folder / "object",
        uri="s3://bucket/a.txt",
        declared=len(body) if declared is None else declared,
        max_bytes=most,
        codings=[*[UNNAMED_CHUNKED] * unnamed, *named_codings(header)],
    )


def unpacked(folder: Path, body: bytes, header: str | None, **given: int) -> bytes:
    """What is in the file, which is the only one and has the digest that is told."""
    written = write(folder, body, header, **given)
    assert [one.name for one in folder.iterdir()] == ["object"]
    content = (folder / "object").read_bytes()
    assert written == Written(len(body), hashlib.sha256(content).digest())
    return content


@pytest.mark.parametrize("piece", [1, 1000, MEBIBYTE])
@pytest.mark.parametrize("name", ENCODERS)
def test_each_coding_is_undone_however_its_bytes_come(
    tmp_path: Path, name: str, piece: int
) -> None:
    header, encode = ENCODERS[name]
    text = TEXT if piece > 1 else TEXT[:3000]
    assert unpacked(tmp_path, encode(text), header, piece=piece) == text


@pytest.mark.parametrize(("first", "second"), list(product(ENCODERS, ENCODERS)))
def test_two_codings_are_undone_in_the_order_in_which_they_were_applied(
    tmp_path: Path, first: str, second: str
) -> None:
    (one, encode_one), (other, encode_other) = ENCODERS[first], ENCODERS[second]
    body = encode_other(encode_one(TEXT))
    for named in permutations([one, other]):
        assert unpacked(tmp_path, body, ", ".join(named)) == TEXT


@pytest.mark.parametrize("name", ENCODERS)
def test_a_coding_that_is_named_twice_was_applied_once(tmp_path: Path, name: str) -> None:
    header, encode = ENCODERS[name]
    assert unpacked(tmp_path, encode(TEXT), f"{header}, {header}") == TEXT


@pytest.mark.parametrize(
    "body",
    [
        TEXT,
        b"",
        b"x",
        # These look like the header of zlib.
        b"x y",
        b"x ? and more",
        b"<!DOCTYPE html><p>Penguins</p>",
        b'{"a": 1}',
        # These look like a frame.
        b"1\r\n2\r\n3\r\n",
        b"2024\r\nA report about penguins.\r\n",
        b"%PDF-1.7\n",
        b"PK\x03\x04" + bytes(100),
    ],
)
@pytest.mark.parametrize(
    "header", [*(header for header, _ in ENCODERS.values()), "gzip, br", "br, deflate", "utf-8", ""]
)
def test_bytes_that_are_not_encoded_as_their_header_says_stay_as_they_are(
    tmp_path: Path, body: bytes, header: str
) -> None:
    assert unpacked(tmp_path, body, header) == body
    assert unpacked(tmp_path, body, header, unnamed=True) == body


@pytest.mark.parametrize("header", [None, "identity", "utf-8", "compress"])
def test_what_no_header_names_stays_encoded(tmp_path: Path, header: str | None) -> None:
    body = gzip.compress(TEXT)
    assert unpacked(tmp_path, body, header) == body


def test_members_one_after_the_other_are_one_text(tmp_path: Path) -> None:
    halves = TEXT[:1000], TEXT[1000:]
    members = b"".join(map(gzip.compress, halves))
    assert unpacked(tmp_path, members + bytes(512), "gzip") == TEXT
    skipped = b"\x50\x2a\x4d\x18\x04\x00\x00\x00abcd"
    frames = skipped.join(map(zstandard.compress, halves))
    assert unpacked(tmp_path, frames, "zstd") == TEXT


@pytest.mark.parametrize(
    "body",
    [
        framed(TEXT),
        framed(TEXT, trailer=b""),
        framed(TEXT, signature=b""),
        framed(TEXT, trailer=CHECKSUM + b"x-amz-trailer-signature:" + b"b2" * 32 + b"\r\n"),
        # As some clients end it.
        framed(TEXT, signature=b"").removesuffix(b"\r\n"),
    ],
    ids=["signed", "signed alone", "unsigned", "signed trailer", "no end"],
)
def test_frames_of_s3_are_known_without_a_header(tmp_path: Path, body: bytes) -> None:
    assert unpacked(tmp_path, body, None, unnamed=True) == TEXT
    assert unpacked(tmp_path, body, None) == body, "not where S3 wrote nothing"


def test_frames_that_nothing_marks_as_those_of_s3_are_undone_only_where_a_header_says_so(
    tmp_path: Path,
) -> None:
    body = framed(TEXT, signature=b"", trailer=b"")
    assert unpacked(tmp_path, body, None, unnamed=True) == body
    assert unpacked(tmp_path, body, "aws-chunked") == TEXT


@pytest.mark.parametrize("name", ["gzip", "zstd"])
def test_what_is_damaged_in_its_encoding_is_no_text_of_another_kind(
    tmp_path: Path, name: str
) -> None:
    header, encode = ENCODERS[name]
    whole = encode(TEXT)
    for body in (whole[:-20], whole[:100] + b"\xff" * 50 + whole[150:]):
        with pytest.raises(Corrupt, match=f"Content-Encoding {header}"):
            write(tmp_path, body, header)
    with pytest.raises(FetchFailed, match="bytes arrived"):
        write(tmp_path, whole[:-20], header, declared=len(whole))


def bomb_of_gzip() -> bytes:
    stream = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    return b"".join([stream.compress(bytes(MEBIBYTE)) for _ in range(300)]) + stream.flush()


def bomb_of_zstd() -> bytes:
    stream = zstandard.ZstdCompressor().compressobj()
    return b"".join([stream.compress(bytes(MEBIBYTE)) for _ in range(300)]) + stream.flush()


BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": bomb_of_gzip,
    "gzip, gzip, gzip": lambda: gzip.compress(gzip.compress(bomb_of_gzip())),
    "zstd": bomb_of_zstd,
    "br": lambda: brotli.compress(bytes(64 * MEBIBYTE), quality=3),
    "deflate": lambda: zlib.compress(bytes(64 * MEBIBYTE)),
}


@pytest.mark.parametrize("header", BOMBS)
def test_a_bomb_ends_at_the_limit_and_takes_no_memory(tmp_path: Path, header: str) -> None:
    body, taken = BOMBS[header](), []

    def pieces() -> Iterator[bytes]:
        for piece in pieces_of(body, 1024):
            taken.append(len(piece))
            yield piece

    tracemalloc.start()
    try:
        with pytest.raises(TooLarge):
            write_body(
                pieces(),
                tmp_path / "object",
                uri="s3://bucket/bomb",
                declared=len(body),
                max_bytes=32 * MEBIBYTE,
                codings=named_codings(header),
            )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 24 * MEBIBYTE
    assert [one.name for one in tmp_path.iterdir()] == ["object"]
    if len(body) > 100 * 1024:
        assert sum(taken) < len(body), "the rest is not waited for"


def test_the_limit_holds_for_what_arrives_too(tmp_path: Path) -> None:
    body = gzip.compress(random.Random(2).randbytes(5000))
    with pytest.raises(TooLarge):
        write(tmp_path, body, "gzip", most=4000)
    with pytest.raises(TooLarge):
        write(tmp_path, gzip.compress(bytes(5000)), "gzip", most=4000)


@pytest.mark.parametrize(
    ("body", "header"),
    [
        (gzip.compress(gzip.compress(b"") * 300_000), "gzip, gzip"),
        (gzip.compress(zstandard.compress(b"") * 300_000), "zstd, gzip"),
    ],
    ids=["gzip", "zstd"],
)
def test_a_body_of_many_empty_members_is_given_up(tmp_path: Path, body: bytes, header: str) -> None:
    with pytest.raises(Corrupt):
        write(tmp_path, body, header)


def test_many_members_in_few_bytes_take_little_time(tmp_path: Path) -> None:
    # 350 bytes, of which a piece of several megabytes is made at once.
    body = zstandard.compress(gzip.compress(b"", mtime=0) * 190_000, level=19)
    assert len(body) < 1000
    begun = time.process_time()
    assert unpacked(tmp_path, body, "gzip, zstd") == b""
    assert time.process_time() - begun < 8


def test_a_window_that_is_larger_than_the_standard_allows_takes_no_memory(tmp_path: Path) -> None:
    parameters = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    body = stream.compress(TEXT) + stream.flush()
    with pytest.raises(Corrupt):
        write(tmp_path, body, "zstd")


def test_more_codings_than_anybody_applies_are_not_undone(tmp_path: Path) -> None:
    body = TEXT
    for _ in range(8):
        body = gzip.compress(body)
    assert unpacked(tmp_path, body, ", ".join(["gzip"] * 8)).startswith(b"\x1f\x8b")
    assert len(named_codings(",".join(["gzip"] * 100_000))) <= 5
