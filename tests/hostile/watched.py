"""An extraction that ends when a parser reaches out, and one that reaches out."""

from __future__ import annotations

import ctypes
import os
import platform
import resource
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from activekg_pipelines.extraction import ExtractedDocument, Limits, extract_file

CAUGHT: Final = 97
"""Exit status of a worker whose parser reached out."""

_FORBIDDEN: Final = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn",
    "os.startfile", "urllib.", "http.", "ftplib.", "smtplib.", "webbrowser.", "os.remove",
    "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "shutil.", "tempfile.",
)  # fmt: skip
_ROOT: Final = Path(__file__).parents[2]
_PROGRAM: Final = tuple(
    os.path.realpath(folder) + os.sep
    for folder in (
        sys.prefix,
        sys.base_prefix,
        "/usr",
        "/lib",
        _ROOT / "activekg_pipelines",
        _ROOT / "tests",
    )
)
_own: list[str] = []


def watched(path: Path, key: str, content_type: str | None, limits: Limits) -> ExtractedDocument:
    """Extract, watched by the interpreter's own audit events."""
    if not _own:
        sys.addaudithook(_watch)
    _own[:] = [os.path.realpath(path)]
    return extract_file(path, key, content_type, limits)


def _watch(event: str, arguments: tuple[object, ...]) -> None:
    if event.startswith(_FORBIDDEN) or (event == "open" and not _is_allowed(*arguments)):
        os.write(
            2,
            f"\nA parser reached out: {event} {arguments!r}"[:500].encode(errors="replace") + b"\n",
        )
        os._exit(CAUGHT)


def _is_allowed(path: object, mode: object, flags: object) -> bool:
    if isinstance(path, int):
        return True
    real = os.path.realpath(os.fsdecode(path))  # type: ignore[arg-type]
    writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    del mode
    return not writes and (real in _own or real == os.devnull or real.startswith(_PROGRAM))


REACHES: Final[dict[str, Callable[[Path], object]]] = {
    "a file": lambda _: Path("/etc/passwd").read_text(),
    "the surroundings of its process": lambda _: Path("/proc/self/environ").read_text(),
    "a new file": lambda path: path.with_name("new").write_text("text"),
    "its own file": lambda path: path.write_text("text"),
    "a deletion": lambda path: path.unlink(),
    "a socket": lambda _: socket.socket(),
    "a local socket": lambda _: socket.socket(socket.AF_UNIX),
    "a program": lambda _: subprocess.run(["/bin/true"], check=True),
    "a process": lambda _: os.fork() or os._exit(0),
    "a signal": lambda _: os.kill(os.getppid(), 0),
    "a signal to a thread": lambda _: _call("tgkill", os.getppid(), os.getppid(), 0),
    "a signal to any thread": lambda _: _call("tkill", os.getppid(), 0),
    "a signal with a value": lambda _: _call("rt_sigqueueinfo", os.getppid(), 0, _ZEROS),
    "a handle of its parent": lambda _: os.pidfd_open(os.getppid()),
    "its file's rights": lambda path: path.chmod(0o600),
    "an open file's rights": lambda path: _with(path, lambda file: os.fchmod(file, 0o600)),
    "a file's rights by its folder": lambda path: _with(
        path.parent, lambda folder: os.chmod(path.name, 0o600, dir_fd=folder)
    ),
    "a file's rights the new way": lambda path: _call(
        "fchmodat2", _HERE, os.fsencode(path), 0o600, 0
    ),
    "its file's owner": lambda path: os.chown(path, -1, -1),
    "an open file's owner": lambda path: _with(path, lambda file: os.chown(file, -1, -1)),
    "a link's owner": lambda path: os.lchown(path, -1, -1),
    "a file's owner by its folder": lambda path: _with(
        path.parent, lambda folder: os.chown(path.name, -1, -1, dir_fd=folder)
    ),
    "its file's times": os.utime,
    "its file's length": lambda path: os.truncate(path, 100),
    "a limit of its parent": lambda _: resource.prlimit(os.getppid(), resource.RLIMIT_CORE),
    "a limit of its own": lambda _: _call(
        "setrlimit",
        resource.RLIMIT_CORE,
        struct.pack("@LL", *(value & _UNLIMITED for value in _core_limits())),
    ),
    "a limit of its own the new way": lambda _: resource.prlimit(
        0, resource.RLIMIT_CORE, _core_limits()
    ),
    "its priority": lambda _: os.setpriority(os.PRIO_PROCESS, 0, 0),
    "its parent's priority": lambda _: os.setpriority(
        os.PRIO_PROCESS, os.getppid(), os.getpriority(os.PRIO_PROCESS, os.getppid())
    ),
    "its scheduler": lambda _: os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0)),
    "its scheduler's parameters": lambda _: os.sched_setparam(0, os.sched_param(0)),
    "its processors": lambda _: os.sched_setaffinity(0, os.sched_getaffinity(0)),
    "its priority at the disk": lambda _: _call("ioprio_set", 1, 0, 0),
    "a key ring": lambda _: _call("keyctl", 0, _PROCESS_KEYRING, 1),
    "a key": lambda _: _call("add_key", b"user", b"name", b"value", 5, _PROCESS_KEYRING),
    "memory with a name": lambda _: os.memfd_create("name"),
    "memory of others": lambda _: _call("shmget", 0, 4096, 0o1600),
    "another namespace": lambda _: _call("unshare", 0),
}
"""What a parser with a hole might do, by name."""

_HERE: Final = -100
_PROCESS_KEYRING: Final = -2
_UNLIMITED: Final = 2**64 - 1
# A siginfo_t that says it comes from another process, as the kernel wants it.
_ZEROS: Final = struct.pack("=iii", 0, 0, -1).ljust(128, b"\0")
_NUMBERS: Final = {
    "x86_64": {
        "tgkill": 234, "tkill": 200, "rt_sigqueueinfo": 129, "fchmodat2": 452, "ioprio_set": 251,
        "keyctl": 250, "add_key": 248, "shmget": 29, "unshare": 272, "setrlimit": 160,
    },
    "aarch64": {
        "tgkill": 131, "tkill": 130, "rt_sigqueueinfo": 138, "fchmodat2": 452, "ioprio_set": 30,
        "keyctl": 219, "add_key": 217, "shmget": 194, "unshare": 97, "setrlimit": 164,
    },
}  # fmt: skip


def _call(name: str, *arguments: int | bytes) -> int:
    """Make a call of the kernel that Python has no function for."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    result = int(libc.syscall(_NUMBERS[platform.machine()][name], *arguments))
    if result < 0:
        raise OSError(ctypes.get_errno(), name)
    return result


def _core_limits() -> tuple[int, int]:
    return resource.getrlimit(resource.RLIMIT_CORE)


def _with(path: Path, do: Callable[[int], object]) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        do(opened)
    finally:
        os.close(opened)


def reaching(path: Path, key: str, content_type: str | None, limits: Limits) -> ExtractedDocument:
    """Do what ``key`` names in :data:`REACHES`, and say how it ended."""
    del content_type, limits
    try:
        REACHES[key](path)
    except OSError as error:
        return ExtractedDocument(type(error).__name__, None, "text/plain", {})
    return ExtractedDocument("done", None, "text/plain", {})


def reaching_while_watched(
    path: Path, key: str, content_type: str | None, limits: Limits
) -> ExtractedDocument:
    """The same under the eyes of :func:`watched`."""
    watched(path, "a.txt", content_type, limits)
    return reaching(path, key, content_type, limits)
