"""What the sandbox and its processes say to each other: data, decoded by running nothing.

A document may have taken over the worker that reads it. So nothing that a worker writes
is believed: it has a maximum size, and it becomes a document or an error only where
each field has the type, the size and the characters that it should have.
"""

from __future__ import annotations

import json
import math
import re
import socket
import struct
import time
from dataclasses import dataclass, replace
from typing import Any, Final, NoReturn, TypeAlias

from activekg_pipelines.errors import (
    Corrupt,
    EmptyObject,
    Encrypted,
    NoTextLayer,
    ObjectError,
    ParserMemory,
    TextTooLarge,
    UnsupportedType,
)
from activekg_pipelines.extraction.clean import clean_title, clean_value
from activekg_pipelines.extraction.document import JSON, MAX_WARNINGS, ExtractedDocument
from activekg_pipelines.extraction.warnings import DocumentWarning

Head: TypeAlias = dict[str, Any]

# A message is the lengths of its head and its body, the head in JSON, and the body.
_LENGTHS: Final = struct.Struct(">II")
_MAX_HEAD_BYTES: Final = 1024**2
_MAX_BYTES_PER_CHARACTER: Final = 4
_MAX_MESSAGE_CHARS: Final = 1000
_MAX_DEPTH: Final = 5
_MAX_INTEGER: Final = 2**63
_MIME_TYPE: Final = re.compile(r"[a-z0-9.+-]{1,60}/[a-z0-9.+-]{1,120}")

# What a parser may say about its document. That a source refuses, or that runs died, is
# not a parser's to say.
_SAYABLE: Final = {
    kind.code: kind
    for kind in (
        Corrupt,
        EmptyObject,
        Encrypted,
        NoTextLayer,
        ParserMemory,
        TextTooLarge,
        UnsupportedType,
    )
}


class UnexpectedAnswer(Exception):
    """A worker wrote what is no answer; the message says what, as a noun."""


@dataclass(frozen=True, slots=True)
class NotLoaded:
    """A worker's claim that a parser cannot be loaded."""

    message: str


Outcome: TypeAlias = ExtractedDocument | ObjectError | NotLoaded


class Channel:
    """One end of a connection that carries messages, and a file descriptor if asked.

    Args:
        end: of a pair of stream sockets; this object closes it.
    """

    def __init__(self, end: socket.socket) -> None:
        self._end = end

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()

    def interrupt(self) -> None:
        """Let whoever waits at either end find that nothing follows."""
        try:
            self._end.shutdown(socket.SHUT_RDWR)
        except OSError:
            # The other end is gone, which is what this is for.
            return

    def has_unread(self) -> bool:
        """Whether the other end wrote something that nobody has read yet.

        Raises:
            EOFError: the other end is closed.
        """
        self._end.settimeout(0)
        try:
            waiting = self._end.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return False
        except ConnectionError:
            raise EOFError from None
        if not waiting:
            raise EOFError
        return True

    def send(self, head: Head, body: bytes = b"", *, deadline: float | None = None) -> None:
        """Send one message.

        Args:
            deadline: on the monotonic clock; forever when None.

        Raises:
            EOFError: the other end is closed.
            TimeoutError: the other end did not read it before the deadline.
        """
        encoded = json.dumps(head).encode()
        self._end.settimeout(_left(deadline))
        try:
            self._end.sendall(_LENGTHS.pack(len(encoded), len(body)) + encoded)
            if body:
                self._end.sendall(body)
        except ConnectionError:
            raise EOFError from None

    def receive(
        self, *, max_body_bytes: int = 0, deadline: float | None = None
    ) -> tuple[Head, bytearray]:
        """Wait for one message.

        Args:
            deadline: on the monotonic clock; forever when None.

        Raises:
            EOFError: the other end is closed.
            TimeoutError: the message was not complete before the deadline.
            UnexpectedAnswer: it is too large, or its head is no object in JSON.
        """
        head_bytes, body_bytes = _LENGTHS.unpack(self._exactly(_LENGTHS.size, deadline))
        if head_bytes > _MAX_HEAD_BYTES or body_bytes > max_body_bytes:
            raise UnexpectedAnswer(f"an answer of {head_bytes + body_bytes:,} bytes")
        try:
            head = json.loads(self._exactly(head_bytes, deadline), parse_constant=_refuse)
        except (ValueError, RecursionError):
            raise UnexpectedAnswer("an answer that is not JSON") from None
        if not isinstance(head, dict):
            raise UnexpectedAnswer("an answer that is no object")
        return head, self._exactly(body_bytes, deadline)

    def send_order(self, order: bytes, *descriptors: int) -> None:
        """Send one byte, and open files with it."""
        self._end.settimeout(None)
        try:
            socket.send_fds(self._end, [order], descriptors)
        except ConnectionError:
            raise EOFError from None

    def receive_order(self) -> tuple[bytes, list[int]]:
        """Wait for one byte and what came with it; b"" when the other end is closed."""
        self._end.settimeout(None)
        order, descriptors, _, _ = socket.recv_fds(self._end, 1, 1)
        return order, descriptors

    def _exactly(self, size: int, deadline: float | None) -> bytearray:
        received = bytearray(size)
        at = 0
        with memoryview(received) as view:
            while at < size:
                self._end.settimeout(_left(deadline))
                try:
                    count = self._end.recv_into(view[at:])
                except ConnectionError:
                    raise EOFError from None
                if count == 0:
                    raise EOFError
                at += count
        return received


def max_answer_bytes(max_text_chars: int) -> int:
    """The largest body of an answer whose text may have so many characters."""
    return max_text_chars * _MAX_BYTES_PER_CHARACTER


def encode_outcome(number: int, outcome: Outcome) -> tuple[Head, bytes]:
    """Head and body of a worker's answer to the document with this number."""
    match outcome:
        case NotLoaded(message):
            return {"number": number, "not_loaded": message[:_MAX_MESSAGE_CHARS]}, b""
        case ObjectError():
            message = outcome.message[:_MAX_MESSAGE_CHARS]
            return {"number": number, "error": outcome.code, "message": message}, b""
        case ExtractedDocument():
            head = {
                "number": number,
                "title": outcome.title,
                "mime_type": outcome.mime_type,
                "facts": outcome.facts,
            }
            return head, clean_value(outcome.text).encode()


def decode_outcome(head: Head, body: bytearray, number: int, max_text_chars: int) -> Outcome:
    """What a worker answered to the document with this number.

    Raises:
        UnexpectedAnswer: it is none of the outcomes that a parser can have.
    """
    if head.get("number") != number or isinstance(head["number"], bool):
        raise UnexpectedAnswer("an answer to another document")
    fields = head.keys() - {"number"}
    if fields == {"not_loaded"}:
        return NotLoaded(_message(head["not_loaded"]))
    if fields == {"error", "message"}:
        kind = _SAYABLE.get(head["error"]) if isinstance(head["error"], str) else None
        if kind is None:
            raise UnexpectedAnswer("an error that no parser has")
        return kind(_message(head["message"]))
    if fields != {"title", "mime_type", "facts"}:
        raise UnexpectedAnswer("an answer with other fields")
    text = _text(body, max_text_chars)
    return ExtractedDocument(
        text=text,
        title=_title(head["title"]),
        mime_type=_mime_type(head["mime_type"]),
        facts=_facts(head["facts"], len(text)),
    )


def one_line(message: str) -> str:
    """``message`` without anything that moves a cursor or turns the direction of writing."""
    shown = "".join(each if each.isprintable() else " " for each in message)
    return " ".join(shown.split())[:_MAX_MESSAGE_CHARS]


def _left(deadline: float | None) -> float | None:
    if deadline is None:
        return None
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON.")


def _message(value: object) -> str:
    if not isinstance(value, str):
        raise UnexpectedAnswer("an error without a sentence")
    return one_line(value)


def _text(body: bytearray, max_text_chars: int) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        raise UnexpectedAnswer("a text that is not UTF-8") from None
    if len(text) > max_text_chars:
        raise UnexpectedAnswer("a text longer than the limit")
    if "\0" in text:
        raise UnexpectedAnswer("a text with a NUL")
    return text


def _title(value: object) -> str | None:
    if value is not None and not isinstance(value, str):
        raise UnexpectedAnswer("a title that is no text")
    return clean_title(value)


def _mime_type(value: object) -> str:
    if not isinstance(value, str) or not _MIME_TYPE.fullmatch(value):
        raise UnexpectedAnswer("a type that is none")
    return value


def _facts(value: object, characters: int) -> dict[str, JSON]:
    facts = _fact(value, _MAX_DEPTH)
    if not isinstance(facts, dict):
        raise UnexpectedAnswer("facts that are no object")
    if "warnings" in facts:
        facts["warnings"] = _warnings(facts["warnings"])
    if "page_starts" in facts and not _are_page_starts(facts["page_starts"], characters):
        raise UnexpectedAnswer("pages that start nowhere in the text")
    return facts


def _warnings(value: JSON) -> list[JSON]:
    if not isinstance(value, list) or len(value) > MAX_WARNINGS:
        raise UnexpectedAnswer("warnings that are no list of a few")
    try:
        warnings = [DocumentWarning.from_json(each) for each in value]
    except ValueError:
        raise UnexpectedAnswer("a warning that is none") from None
    return [replace(each, detail=one_line(each.detail)).as_json() for each in warnings]


def _are_page_starts(value: JSON, characters: int) -> bool:
    if not isinstance(value, list):
        return False
    starts = [each for each in value if type(each) is int]
    bounds = [0, *starts, characters]
    return len(starts) == len(value) and bounds == sorted(bounds)


def _fact(value: object, depth: int) -> JSON:
    """``value`` if the ledger can store it."""
    match value:
        case None | bool():
            return value
        case int() if abs(value) < _MAX_INTEGER:
            return value
        case float() if math.isfinite(value):
            return value
        case str():
            return clean_value(value)
        case list() if depth:
            return [_fact(each, depth - 1) for each in value]
        case dict() if depth:
            return {clean_value(name): _fact(each, depth - 1) for name, each in value.items()}
        case _:
            raise UnexpectedAnswer("a fact that cannot be stored")
