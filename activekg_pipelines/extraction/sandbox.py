"""Runs extractions in worker processes with a deadline and a memory limit.

PDFium aborts the process on a PDF of 778 bytes, every HTML parser has a page that hangs
it, and a megabyte of ZIP can ask for gigabytes. A document may cost its own attempt,
never its neighbours' or the run. Workers hold no credentials, and where the kernel
allows it they reach nothing but their documents.
"""

from __future__ import annotations

import concurrent.futures
import ctypes
import multiprocessing
import os
import resource
import signal
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import forkserver
from multiprocessing.context import ForkServerContext
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

from activekg_pipelines.errors import (
    Corrupt,
    ObjectError,
    ParserCrashed,
    ParserDeadline,
    ParserMemory,
)
from activekg_pipelines.extraction.confinement import confine
from activekg_pipelines.extraction.dispatch import extract_file
from activekg_pipelines.extraction.document import ExtractedDocument
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.registry import FORMATS

Extractor: TypeAlias = Callable[[Path, str, str | None, Limits], ExtractedDocument]

_Task: TypeAlias = "Future[ExtractedDocument | ObjectError]"

# Parsers leak; some 50 documents keep a worker's memory bounded at a cost of 5 ms a
# document.
DOCUMENTS_PER_WORKER: Final = 50
_SECRET_WORDS: Final = ("AWS_", "SECRET", "TOKEN", "PASSWORD", "JWT", "KEK", "DSN")
_PR_SET_PDEATHSIG: Final = 1
_MAX_MESSAGE_CHARS: Final = 300


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
        self._workers = workers or os.cpu_count() or 1
        self._documents_per_worker = documents_per_worker
        self._extractor = extractor
        self._documents = documents
        self._lock = threading.Lock()
        self._pool: Any = None
        self._is_closed = False
        self._running: dict[Future[ExtractedDocument], tuple[Any, _Task]] = {}

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
            pool, self._pool = self._pool, None
            running = tuple(self._running)
        for outcome in running:
            outcome.cancel()
        if pool is not None:
            pool.stop()
            pool.join()

    def submit(self, path: Path, key: str, content_type: str | None) -> Future[ExtractedDocument]:
        """Start the extraction of the file at ``path``.

        The file must stay there until the future is done. The future's exception, if
        any, is an :class:`~activekg_pipelines.errors.ObjectError`: the document's own,
        or ParserDeadline, ParserMemory or ParserCrashed. Cancelling the future stops
        the extraction.

        Raises:
            RuntimeError: the sandbox is closed.
        """
        outcome: Future[ExtractedDocument] = Future()
        self._start(outcome, (self._extractor, path, key, content_type, self._limits), retries=1)
        return outcome

    def _start(
        self, outcome: Future[ExtractedDocument], arguments: tuple[Any, ...], retries: int
    ) -> None:
        with self._lock:
            if self._is_closed:
                raise RuntimeError("The sandbox is closed.")
            task = self._schedule(arguments)
            self._running[outcome] = (self._pool, task)
        outcome.add_done_callback(lambda done: task.cancel() if done.cancelled() else None)
        task.add_done_callback(lambda done: self._settle(outcome, done, arguments, retries))

    def _schedule(self, arguments: tuple[Any, ...]) -> _Task:
        """Hand the work to the pool, or to a new one.

        A worker killed between two documents breaks the old one for good.
        """
        if self._pool is not None and not self._pool.active:
            threading.Thread(target=self._retire, args=(self._pool,), daemon=True).start()
            self._pool = None
        self._pool = self._pool or self._new_pool()
        task: _Task = self._pool.schedule(
            _run, args=arguments, timeout=self._limits.timeout_seconds
        )
        return task

    def _retire(self, pool: Any) -> None:
        """Stop a broken pool and give up what it had not even started.

        It would never finish or fail that.
        """
        pool.stop()
        pool.join()
        with self._lock:
            left = [task for owner, task in self._running.values() if owner is pool]
        for task in left:
            task.cancel()

    def _settle(
        self,
        outcome: Future[ExtractedDocument],
        task: _Task,
        arguments: tuple[Any, ...],
        retries: int,
    ) -> None:
        with self._lock:
            self._running.pop(outcome, None)
            may_retry = retries > 0 and not self._is_closed
        if outcome.cancelled():
            return
        error = CancelledError() if task.cancelled() else task.exception()
        # Another document, or none, is to blame for a broken pool.
        if may_retry and isinstance(error, (CancelledError, BrokenProcessPool)):
            try:
                self._start(outcome, arguments, retries - 1)
            except RuntimeError as closed:
                error = closed
            else:
                return
        if not outcome.set_running_or_notify_cancel():
            return
        result = task.result() if error is None else self._as_object_error(error)
        if isinstance(result, ObjectError):
            outcome.set_exception(result)
        else:
            outcome.set_result(result)

    def _new_pool(self) -> Any:
        from pebble import ProcessPool

        return ProcessPool(
            max_workers=self._workers,
            max_tasks=self._documents_per_worker,
            initializer=_prepare_worker,
            initargs=(self._limits.memory_bytes, self._documents, self._extractor.__module__),
            context=_fork_server(),
        )

    def _as_object_error(self, error: BaseException) -> ObjectError:
        if isinstance(error, concurrent.futures.TimeoutError):
            return ParserDeadline(
                f"The parser did not finish this document in {self._limits.timeout_seconds:g} "
                "seconds."
            )
        if isinstance(error, MemoryError):
            return ParserMemory()
        code = getattr(error, "exitcode", None)
        if isinstance(code, int) and code < 0:
            return ParserCrashed(
                f"The parser's process died on this document ({_signal_name(-code)})."
            )
        return ParserCrashed()


def _fork_server() -> ForkServerContext:
    """Return the context whose workers are forked from a server of modules alone.

    The server has no threads and no locks of this process. It holds the parsers, so
    that a worker starts in 10 ms instead of a second. A parser that cannot be imported
    is missed by its own documents only.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(
        ["activekg_pipelines.extraction.bare_main", *FORMATS.preload, __name__]
    )
    return context


def _run(
    extractor: Extractor, path: Path, key: str, content_type: str | None, limits: Limits
) -> ExtractedDocument | ObjectError:
    """Return the document or the error.

    Errors are returned, not raised, and are of our own classes. One that cannot be
    unpickled would break the whole pool.
    """
    try:
        return extractor(path, key, content_type, limits)
    except ObjectError as error:
        return type(error)(error.message)
    except MemoryError:
        return ParserMemory()
    except ImportError as error:
        # A broken installation says nothing about the document, which must not be given
        # up for it.
        return ParserCrashed(f"A parser cannot be loaded: {_describe(error)}")
    except Exception as error:  # noqa: BLE001 - told by the thread that started this one
        if "memory allocation failed" in str(error).lower():
            return ParserMemory()
        return Corrupt(f"The document cannot be read: {_describe(error)}")


def _describe(error: BaseException) -> str:
    message = " ".join(str(error).split())[:_MAX_MESSAGE_CHARS]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _prepare_worker(memory_bytes: int, documents: Path | None, extractor_module: str) -> None:
    """Take from a worker what it must not have, before its first document.

    Its memory gets a bound; credentials, network and Ctrl-C go; it dies with the owner
    of the sandbox.
    """
    _die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # pebble's own handler runs in Python, which a parser stuck in C code does not. Such
    # a worker would live for 3 seconds more.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    for name in [
        name for name in os.environ if any(word in name.upper() for word in _SECRET_WORDS)
    ]:
        del os.environ[name]
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    confine(documents, extractor_module)


def _die_with_parent() -> None:
    """Let the kernel end this worker with its parent, even in the middle of a document.

    The parent is the fork server. It ends once nobody holds its pipe any more, as the
    process that owns the sandbox does. It hands the pipe to its workers too, so one
    hanging worker would keep them all alive.
    """
    os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
    # Only Linux has prctl; elsewhere a worker ends at its next document, when it finds
    # its own pipe closed.
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
