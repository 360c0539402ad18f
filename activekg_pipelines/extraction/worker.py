"""The clean process that workers are forked from, and the workers.

The process is a new interpreter. It has an environment made for it, no open files of
the process that started it, and nothing of its memory, so there is no secret that a
worker could inherit. It holds the parsers, so that a worker starts in milliseconds
instead of a second. It never sees a document.
"""

from __future__ import annotations

import ctypes
import gc
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Final, NoReturn, TypeAlias

from activekg_pipelines.errors import Corrupt, ObjectError, ParserMemory
from activekg_pipelines.extraction.confinement import confine
from activekg_pipelines.extraction.document import ExtractedDocument
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.protocol import (
    Channel,
    Head,
    NotLoaded,
    Outcome,
    encode_outcome,
)
from activekg_pipelines.extraction.registry import FORMATS

Extractor: TypeAlias = Callable[[Path, str, str | None, Limits], ExtractedDocument]

# What the sandbox asks of the clean process.
FORK: Final = b"F"
END: Final = b"E"

_PR_SET_PDEATHSIG: Final = 1
_CHANNEL: Final = 3
_MAX_MESSAGE_CHARS: Final = 300
_ONE_THREAD: Final = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def main(descriptor: int) -> None:
    """Fork and end workers as the other end of ``descriptor`` asks, until it is closed."""
    control = Channel(socket.socket(fileno=descriptor))
    not_loaded = _load_parsers()
    # What is there now is shared with all workers. A collection in one of them would
    # copy it.
    gc.collect()
    gc.freeze()
    control.send({"not_loaded": not_loaded})
    # Until here it told the sandbox why this process could not start.
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 2)
    os.close(null)
    workers: set[int] = set()
    try:
        while _serve(control, workers):
            pass
    finally:
        for worker in workers:
            _end(worker)


def _load_parsers() -> list[str]:
    """Import the parsers; of each that cannot be, its name and the reason."""
    # numpy's threads would take address space for each core, and forking wants none.
    os.environ.update(_ONE_THREAD)
    not_loaded = []
    for name in FORMATS.preload:
        try:
            import_module(name)
        except Exception as error:  # noqa: BLE001 - the sandbox tells
            not_loaded.append(f"{name}: {_describe(error)}")
            # A worker that needs it ends in an ImportError again, whatever it is that
            # the confinement would make of another attempt.
            sys.modules[name] = None  # type: ignore[assignment]
    return not_loaded


def _serve(control: Channel, workers: set[int]) -> bool:
    """Do what is asked for; False when nobody will ask any more."""
    order, descriptors = control.receive_order()
    if not order:
        return False
    asked, _ = control.receive()
    if order == FORK:
        control.send(_fork(descriptors[0], asked, workers))
    elif asked["worker"] in workers:
        workers.remove(asked["worker"])
        control.send({"status": _end(asked["worker"])})
    return True


def _fork(descriptor: int, orders: Head, workers: set[int]) -> Head:
    parent = os.getpid()
    try:
        worker = os.fork()
    except OSError as error:
        return {"error": _describe(error)}
    else:
        if worker == 0:
            _be_worker(parent, descriptor, orders)
        workers.add(worker)
        return {"worker": worker}
    finally:
        os.close(descriptor)


def _end(worker: int) -> int:
    """End a worker; how it ended, which may have been by itself: -9 for SIGKILL."""
    # It is our child and still to be waited for, so no other process has its number.
    os.kill(worker, signal.SIGKILL)
    _, status = os.waitpid(worker, 0)
    return os.waitstatus_to_exitcode(status)


def _be_worker(parent: int, descriptor: int, orders: Head) -> NoReturn:
    try:
        _die_with(parent)
        _work(_only_channel(descriptor), orders)
    finally:
        # Nothing of what the parent does at its end is a worker's to do.
        os._exit(1)


def _only_channel(descriptor: int) -> Channel:
    """The worker's end of its channel, beside which nothing stays open."""
    os.dup2(descriptor, _CHANNEL)
    for opened in [int(entry.name) for entry in Path("/dev/fd").iterdir()]:
        if opened > _CHANNEL:
            # The one that the listing itself used is closed already.
            with suppress(OSError):
                os.close(opened)
    return Channel(socket.socket(fileno=_CHANNEL))


def _work(channel: Channel, orders: Head) -> None:
    try:
        extractor, limits = _prepare(orders)
    except Exception as error:  # noqa: BLE001 - the sandbox tells
        channel.send({"error": _describe(error)})
        return
    channel.send({})
    while True:
        try:
            request, _ = channel.receive()
            channel.send({"begun": request["number"]})
            _answer(channel, request, extractor, limits)
        except EOFError:
            return


def _prepare(orders: Head) -> tuple[Extractor, Limits]:
    """Take from this worker what it must not have, before its first document."""
    limits = Limits(**orders["limits"])
    # It may be longer by now than when the parsers were loaded.
    sys.path[:] = orders["search_path"]
    module, name = orders["extractor"]
    extractor: Extractor = getattr(import_module(module), name)
    resource.setrlimit(resource.RLIMIT_AS, (limits.memory_bytes, limits.memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    documents = orders["documents"]
    confine(None if documents is None else Path(documents), module)
    return extractor, limits


def _answer(channel: Channel, request: Head, extractor: Extractor, limits: Limits) -> None:
    number = request["number"]
    outcome = _extract(
        extractor, Path(request["path"]), request["key"], request["content_type"], limits
    )
    try:
        head, body = encode_outcome(number, outcome)
    except MemoryError:
        head, body = encode_outcome(number, ParserMemory())
    channel.send(head, body)


def _extract(
    extractor: Extractor, path: Path, key: str, content_type: str | None, limits: Limits
) -> Outcome:
    try:
        return extractor(path, key, content_type, limits)
    except ObjectError as error:
        return error
    except MemoryError:
        return ParserMemory()
    except ImportError as error:
        return NotLoaded(_describe(error))
    except Exception as error:  # noqa: BLE001 - told by the thread that waits for it
        if "memory allocation failed" in str(error).lower():
            return ParserMemory()
        return Corrupt(f"The document cannot be read: {_describe(error)}")


def _describe(error: BaseException) -> str:
    message = " ".join(str(error).split())[:_MAX_MESSAGE_CHARS]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _die_with(parent: int) -> None:
    """Let the kernel end this worker with its parent, even in the middle of a document.

    Only Linux can; elsewhere the parent ends its workers when it ends.
    """
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is None:
        return
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        # It died before the kernel was asked.
        os._exit(1)
