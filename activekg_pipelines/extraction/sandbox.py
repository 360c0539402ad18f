"""Runs extractions in worker processes with a deadline and a memory limit.

PDFium aborts the process on a PDF of 778 bytes, every HTML parser has a page that hangs
it, and a megabyte of ZIP can ask for gigabytes. A document may cost its own attempt,
never its neighbours' or the run. Workers hold no credentials, and where the kernel
allows it they reach nothing but their documents.

A hostile document may take a worker over. Then the pools of Python's libraries are no
border: concurrent.futures, multiprocessing and pebble unpickle what a worker writes,
which runs it. So workers answer in a protocol of our own, and are supervised here.
"""

from __future__ import annotations

import itertools
import logging
import os
import signal
import threading
import time
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from activekg_pipelines.errors import (
    ObjectError,
    ParserCrashed,
    ParserDeadline,
    ParserUnavailable,
)
from activekg_pipelines.extraction.dispatch import extract_file
from activekg_pipelines.extraction.document import ExtractedDocument
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.fork_server import Forked, ForkServer, fork_server
from activekg_pipelines.extraction.protocol import (
    NotLoaded,
    Outcome,
    UnexpectedAnswer,
    decode_outcome,
    max_answer_bytes,
)
from activekg_pipelines.extraction.worker import Extractor

logger = logging.getLogger(__name__)

# Parsers leak; some 50 documents keep a worker's memory bounded, and the start of its
# successor costs each of them a fraction of a millisecond.
DOCUMENTS_PER_WORKER: Final = 50
# A worker that ends before it begins a document says nothing about that document.
_TRIES: Final = 3


class Sandbox:
    """A pool of worker processes for extractions, and a context manager.

    Several threads may submit to it.

    Args:
        limits: bounds of each extraction.
        workers: number of processes; the number of CPUs when None.
        documents_per_worker: after so many documents a worker is replaced.
        extractor: what a worker runs: a function at the top of a module that workers
            can import.
        documents: folder of all documents that are submitted. When it is given, workers
            can read no other files.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        workers: int | None = None,
        documents_per_worker: int = DOCUMENTS_PER_WORKER,
        extractor: Extractor = extract_file,
        documents: Path | None = None,
    ) -> None:
        self._limits = limits or Limits()
        self._documents_per_worker = documents_per_worker
        self._orders = {
            "limits": asdict(self._limits),
            "extractor": [extractor.__module__, extractor.__name__],
            "documents": None if documents is None else str(documents.absolute()),
        }
        self._threads = ThreadPoolExecutor(
            workers or os.cpu_count() or 1, thread_name_prefix="sandbox"
        )
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._is_closed = False
        self._idle: list[_Worker] = []
        self._unfinished: dict[Future[ExtractedDocument], _Worker | None] = {}
        # Meanwhile the first document is downloaded.
        self._threads.submit(_start_early)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop the workers. Extractions that have not finished are cancelled."""
        with self._lock:
            self._is_closed = True
            unfinished = tuple(self._unfinished)
        for outcome in unfinished:
            outcome.cancel()
        self._threads.shutdown(cancel_futures=True)
        while self._idle:
            self._idle.pop().end()

    def submit(self, path: Path, key: str, content_type: str | None) -> Future[ExtractedDocument]:
        """Start the extraction of the file at ``path``.

        The file must stay there until the future is done. The future's exception, if
        any, is an :class:`~activekg_pipelines.errors.ObjectError`: the document's own,
        or ParserDeadline, ParserMemory or ParserCrashed. It is ParserUnavailable where
        the fault is not the document's. Cancelling the future stops the extraction.

        Raises:
            RuntimeError: the sandbox is closed.
        """
        outcome: Future[ExtractedDocument] = Future()
        document = _Document(next(self._numbers), path, key, content_type)
        with self._lock:
            if self._is_closed:
                raise RuntimeError("The sandbox is closed.")
            self._unfinished[outcome] = None
            self._threads.submit(self._settle, outcome, document)
        outcome.add_done_callback(self._finished)
        return outcome

    def _finished(self, outcome: Future[ExtractedDocument]) -> None:
        with self._lock:
            worker = self._unfinished.pop(outcome, None)
            if worker is not None:
                # It is still at work, so the future was cancelled.
                worker.interrupt()

    def _settle(self, outcome: Future[ExtractedDocument], document: _Document) -> None:
        result: ExtractedDocument | BaseException
        try:
            result = self._read(outcome, document)
        except BaseException as error:  # noqa: BLE001 - raised by the future's result
            result = error
        if not outcome.set_running_or_notify_cancel():
            return
        if isinstance(result, BaseException):
            outcome.set_exception(result)
        else:
            outcome.set_result(result)

    def _read(
        self, outcome: Future[ExtractedDocument], document: _Document
    ) -> ExtractedDocument | ObjectError:
        for _ in range(_TRIES):
            if outcome.cancelled():
                raise CancelledError
            worker = self._idle_worker() or self._new_worker()
            try:
                self._put_to_work(worker, outcome)
                result = worker.read(document)
            except _NotBegunError:
                continue
            finally:
                self._give_back(worker, outcome)
            if isinstance(result, NotLoaded):
                return _not_loaded(result, worker.server)
            return result
        return ParserCrashed("Process after process ended before it began to read this document.")

    def _put_to_work(self, worker: _Worker, outcome: Future[ExtractedDocument]) -> None:
        """From here on, cancelling ``outcome`` interrupts ``worker``."""
        with self._lock:
            if outcome.cancelled():
                raise CancelledError
            self._unfinished[outcome] = worker

    def _idle_worker(self) -> _Worker | None:
        while True:
            with self._lock:
                if not self._idle:
                    return None
                worker = self._idle.pop()
            if worker.is_waiting():
                return worker
            worker.end()

    def _new_worker(self) -> _Worker:
        try:
            return _Worker(fork_server(), self._orders, self._limits)
        except EOFError:
            # The fork server died, which says nothing about the next one.
            try:
                return _Worker(fork_server(), self._orders, self._limits)
            except EOFError:
                raise ParserUnavailable(
                    "The process that parsers are started from ends again and again."
                ) from None

    def _give_back(self, worker: _Worker, outcome: Future[ExtractedDocument]) -> None:
        with self._lock:
            is_reused = (
                # Cancelling may have interrupted it.
                not outcome.cancelled()
                and worker.is_well
                and worker.documents < self._documents_per_worker
            )
            if outcome in self._unfinished:
                self._unfinished[outcome] = None
            if is_reused:
                self._idle.append(worker)
        if not is_reused:
            worker.end()


def _start_early() -> None:
    # Whoever reads a document tries again, and tells why it does not start.
    with suppress(ParserUnavailable):
        fork_server()


class _NotBegunError(Exception):
    """The worker, or the fork server with it, ended through no fault of the document."""


@dataclass(frozen=True, slots=True)
class _Document:
    number: int
    path: Path
    key: str
    content_type: str | None

    def request(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "path": str(self.path.absolute()),
            "key": self.key,
            "content_type": self.content_type,
        }


class _Worker:
    """One worker process, which reads one document at a time.

    Attributes:
        documents: that it has read.
        is_well: whether it did all that it should, and nothing else.

    Raises:
        EOFError: the fork server has ended.
        ParserUnavailable: the worker cannot be started.
    """

    def __init__(self, server: ForkServer, orders: dict[str, Any], limits: Limits) -> None:
        self.server = server
        self.documents = 0
        self.is_well = True
        self._limits = limits
        self._forked: Forked = server.fork(orders)
        self._channel = self._forked.channel
        self._status: int | None = None
        self._has_ended = False

    def interrupt(self) -> None:
        """Let whoever waits for this worker find that it answers nothing more."""
        self._channel.interrupt()

    def end(self) -> int | None:
        """End the process; as :meth:`ForkServer.end`."""
        if not self._has_ended:
            self._has_ended = True
            self.is_well = False
            self._status = self.server.end(self._forked.process)
            self._channel.close()
        return self._status

    def is_waiting(self) -> bool:
        """Whether it waits for a document, as it should."""
        try:
            if not self._channel.has_unread():
                return True
        except EOFError:
            return False
        logger.warning("A parser's process wrote when it was not asked, and was replaced.")
        return False

    def read(self, document: _Document) -> Outcome:
        """Let the worker read one document.

        Raises:
            _NotBegunError: the worker ended before it had begun.
        """
        self.is_well = False
        self._begin(document)
        deadline = time.monotonic() + self._limits.timeout_seconds
        max_chars = self._limits.max_text_chars
        try:
            head, body = self._channel.receive(
                max_body_bytes=max_answer_bytes(max_chars), deadline=deadline
            )
            outcome = decode_outcome(head, body, document.number, max_chars)
            self.documents += 1
            self.is_well = self._says_nothing_more()
        except TimeoutError:
            return ParserDeadline(
                f"The parser did not finish this document in {self._limits.timeout_seconds:g} "
                "seconds."
            )
        except UnexpectedAnswer as what:
            return ParserCrashed(
                f"The parser's process wrote {what}; the document may have taken it over."
            )
        except EOFError:
            return self._death()
        return outcome

    def _says_nothing_more(self) -> bool:
        """Whether it is still there, after its answer."""
        try:
            if self._channel.has_unread():
                raise UnexpectedAnswer("more than one answer")
        except EOFError:
            return False
        return True

    def _begin(self, document: _Document) -> None:
        deadline = time.monotonic() + self._limits.timeout_seconds
        try:
            self._channel.send(document.request(), deadline=deadline)
            head, _ = self._channel.receive(deadline=deadline)
        except (EOFError, TimeoutError):
            raise _NotBegunError from None
        except UnexpectedAnswer as what:
            head = {"wrote": str(what)}
        if head != {"begun": document.number}:
            logger.warning("A parser's process did not begin as it should, and was replaced.")
            raise _NotBegunError

    def _death(self) -> ParserCrashed:
        status = self.end()
        if status is None:
            raise _NotBegunError
        if status < 0:
            return ParserCrashed(
                f"The parser's process died on this document ({_signal_name(-status)})."
            )
        return ParserCrashed()


def _not_loaded(claim: NotLoaded, server: ForkServer) -> ParserCrashed:
    """The error of a document whose worker says that a parser cannot be loaded.

    A document may have made it say so. What the clean process says is true: it has seen
    no document.

    Raises:
        ParserUnavailable: the clean process could not load a parser either.
    """
    server.check_parsers()
    return ParserCrashed(f"A parser cannot be loaded: {claim.message}")


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
