"""The sandbox's side of the clean process that workers are forked from."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from activekg_pipelines.errors import ParserUnavailable
from activekg_pipelines.extraction.protocol import Channel, Head, UnexpectedAnswer, one_line
from activekg_pipelines.extraction.worker import END, FORK

# Importing the parsers takes a second on an idle machine.
_START_SECONDS: Final = 120.0
_ANSWER_SECONDS: Final = 60.0
_END_SECONDS: Final = 5.0
_MAX_COMPLAINT_BYTES: Final = 10_000

_PROGRAM: Final = (
    "import sys\n"
    "sys.path[:] = sys.argv[2:]\n"
    "from activekg_pipelines.extraction.worker import main\n"
    "main(int(sys.argv[1]))\n"
)
# Where an installation keeps shared libraries elsewhere, Python does not even start
# without this one.
_ENVIRONMENT: Final = ("LD_LIBRARY_PATH",)


@dataclass(frozen=True, slots=True)
class Forked:
    """A worker that is ready for its first document."""

    process: int
    channel: Channel


class ForkServer:
    """A clean process that forks workers. Several threads may use it.

    Args:
        search_path: where it looks for the parsers.

    Raises:
        ParserUnavailable: the process cannot be started.
    """

    def __init__(self, search_path: tuple[str, ...]) -> None:
        self.search_path: Final = search_path
        # Whoever finds that the process has ended closes it while it asks.
        self._lock = threading.RLock()
        ours, theirs = socket.socketpair()
        self._control = Channel(ours)
        with theirs:
            try:
                self._process = _start(theirs.fileno(), search_path)
            except OSError as error:
                self._control.close()
                raise ParserUnavailable(
                    f"The process that parsers are started from does not start: {error}"
                ) from error
        try:
            ready, _ = self._control.receive(deadline=time.monotonic() + _START_SECONDS)
        except (EOFError, TimeoutError, UnexpectedAnswer):
            self.close()
            raise ParserUnavailable(
                "The process that parsers are started from does not start"
                f"{_complaint(self._process.stderr)}."
            ) from None
        finally:
            if self._process.stderr is not None:
                self._process.stderr.close()
        self._not_loaded: list[str] = ready["not_loaded"]

    def check_parsers(self) -> None:
        """Raise ParserUnavailable when the process could not load one of the parsers."""
        if self._not_loaded:
            raise ParserUnavailable(
                "A parser of this installation cannot be loaded "
                f"({one_line('; '.join(self._not_loaded))}): install the package again with all "
                "its dependencies."
            )

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        """End the process, and all workers with it."""
        self._control.interrupt()
        try:
            self._process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        # Who waits for an answer has found by now that none follows.
        with self._lock:
            self._control.close()

    def abandon(self) -> None:
        """Let go of the process in a forked child, which did not start it.

        It ends with the last one that holds the connection.
        """
        self._control.close()

    def fork(self, orders: Head) -> Forked:
        """Start a worker.

        Raises:
            EOFError: this process has ended.
            ParserUnavailable: the worker cannot be started.
        """
        ours, theirs = socket.socketpair()
        channel = Channel(ours)
        try:
            with theirs:
                details = {**orders, "search_path": _search_path()}
                answer = self._ask(FORK, details, theirs.fileno())
            return self._ready(answer, channel)
        except BaseException:
            channel.close()
            raise

    def end(self, process: int) -> int | None:
        """End a worker.

        Returns:
            How it ended, which may have been by itself: the exit status, or a signal's
            number below zero. None when nobody can know, because this process has ended
            and every worker with it.
        """
        try:
            return int(self._ask(END, {"worker": process})["status"])
        except EOFError:
            return None

    def _ready(self, forked: Head, channel: Channel) -> Forked:
        """The worker once it has said that it is ready, before it has seen a document."""
        if "error" in forked:
            raise ParserUnavailable(
                f"A parser's process cannot be started: {one_line(forked['error'])}"
            )
        process = forked["worker"]
        try:
            ready, _ = channel.receive(deadline=time.monotonic() + _ANSWER_SECONDS)
        except (EOFError, TimeoutError, UnexpectedAnswer):
            status = self.end(process)
            if status is None:
                raise EOFError from None
            raise ParserUnavailable(
                f"A parser's process ended with status {status} before it was ready."
            ) from None
        if "error" in ready:
            self.end(process)
            raise ParserUnavailable(
                f"A parser's process cannot be prepared: {one_line(ready['error'])}"
            )
        return Forked(process, channel)

    def _ask(self, order: bytes, details: Head, *descriptors: int) -> Head:
        """What the process answers.

        Raises:
            EOFError: it has ended, or hangs and was ended for that.
        """
        with self._lock:
            try:
                self._control.send_order(order, *descriptors)
                self._control.send(details)
                answer, _ = self._control.receive(deadline=time.monotonic() + _ANSWER_SECONDS)
            except (EOFError, OSError, TimeoutError, UnexpectedAnswer):
                self.close()
                raise EOFError from None
        return answer


def _start(descriptor: int, search_path: tuple[str, ...]) -> subprocess.Popen[bytes]:
    # Isolated: neither the environment nor the folder that it starts in has a say in what
    # it imports.
    program = [sys.executable, "-I", "-Xutf8", "-c", _PROGRAM, str(descriptor), *search_path]
    return subprocess.Popen(  # noqa: S603 - our own program
        program,
        env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ},
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        pass_fds=[descriptor],
        # Ctrl-C is for the owner, which then ends this process.
        process_group=0,
    )


def _complaint(complaints: IO[bytes] | None) -> str:
    """What a process that does not start wrote last, as the end of a sentence."""
    if complaints is None:
        return ""
    # A process that it started itself may hold the other end still.
    os.set_blocking(complaints.fileno(), False)
    written = complaints.read(_MAX_COMPLAINT_BYTES) or b""
    lines = written.decode(errors="replace").splitlines()
    return f": {one_line(lines[-1]).rstrip('.')}" if lines else ""


class _Shared:
    """This process's fork server, and the lock of whoever looks for it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.server: ForkServer | None = None
        # A forked child has its parent's connection, and must neither use nor keep it.
        os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        self.lock = threading.Lock()
        if self.server is not None:
            self.server.abandon()
            self.server = None


_shared = _Shared()


def fork_server() -> ForkServer:
    """This process's fork server, which is started when it is first needed.

    All sandboxes of a process share it, because it takes a second to start. Another one
    takes its place when it has died, or when parsers are looked for elsewhere by now.

    Raises:
        ParserUnavailable: it cannot be started.
    """
    search_path = _search_path()
    with _shared.lock:
        server = _shared.server
        if server is not None and not server.is_alive():
            server.close()
            server = None
        # Libraries add to the path's end, where nothing hides a parser.
        if server is None or search_path[: len(server.search_path)] != server.search_path:
            server = _shared.server = ForkServer(search_path)
        return server


def _search_path() -> tuple[str, ...]:
    return tuple(str(Path(path).absolute()) for path in sys.path)


def check_parsers() -> None:
    """Raise ParserUnavailable when a parser of this installation cannot be loaded."""
    fork_server().check_parsers()
