"""Takes from a worker what no parser needs: network, programs, processes, other files.

A hole in a parser then opens nothing further. What a hostile document cannot read it
cannot smuggle into its text. Both means, Landlock and seccomp, are the Linux kernel's
own and need no privilege; where it lacks one, the other still holds.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
import sys
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Final

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2

# <linux/audit.h>, then the calls by number: clone, and those that are refused.
_ARCHITECTURES: Final = {
    "x86_64": (0xC000003E, 56, {
        "socket": 41, "connect": 42, "socketpair": 53, "fork": 57, "vfork": 58, "execve": 59,
        "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "execveat": 322,
        "io_uring_setup": 425, "pidfd_getfd": 438}),
    "aarch64": (0xC00000B7, 220, {
        "ptrace": 117, "socket": 198, "socketpair": 199, "connect": 203, "execve": 221,
        "process_vm_readv": 270, "process_vm_writev": 271, "execveat": 281,
        "io_uring_setup": 425, "pidfd_getfd": 438}),
}  # fmt: skip
_CLONE3: Final = 435
_CLONE_THREAD: Final = 0x10000
# Calls of x86's third ABI carry this bit and would pass by their other numbers.
_X32: Final = 0x40000000

# <linux/filter.h> and <linux/seccomp.h>
_LOAD: Final = 0x20
_JUMP_EQUAL: Final = 0x15
_JUMP_GREATER_EQUAL: Final = 0x35
_JUMP_BITS: Final = 0x45
_RETURN: Final = 0x06
_ALLOW: Final = 0x7FFF0000
_REFUSE: Final = 0x00050001  # EPERM
_UNKNOWN_CALL: Final = 0x00050026  # ENOSYS: the C library then falls back from clone3 to clone
_OFFSET_CALL: Final = 0
_OFFSET_ARCHITECTURE: Final = 4
_OFFSET_FIRST_ARGUMENT: Final = 16

# <linux/landlock.h>; these three have the same numbers everywhere.
_LANDLOCK_CREATE: Final = 444
_LANDLOCK_ADD_RULE: Final = 445
_LANDLOCK_RESTRICT: Final = 446
_EXECUTE: Final = 1 << 0
_WRITE_FILE: Final = 1 << 1
_READ_FILE: Final = 1 << 2
_READ_DIRECTORY: Final = 1 << 3
# Every access that a version of Landlock knows, from the first on; names in folders
# stay readable, or no import works.
_ACCESS_BY_VERSION: Final = (0x1FFF, 0x3FFF, 0x7FFF)
# Abstract Unix sockets and signals end at the border too.
_SCOPES: Final = 0b11
_SCOPES_SINCE: Final = 6
# Shared libraries, and what the C library and Python read at odd moments.
_SYSTEM: Final = (
    "/usr",
    "/lib",
    "/lib64",
    "/nix/store",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/dev/urandom",
)


def confine(documents: Path | None, extractor_module: str) -> None:
    """Confine this process for the rest of its life, as far as the kernel can.

    It may open no socket, start no program, start or signal no process, and change no
    file. It may read Python's and its packages' files, and those under ``documents``;
    anything when that is None.

    Args:
        documents: the folder they lie in.
        extractor_module: the module whose package this process must be able to import.
    """
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0:
        return
    _restrict_files(
        libc, None if documents is None else [documents, *_program_files(extractor_module)]
    )
    _restrict_calls(libc)


def _program_files(extractor_module: str) -> list[Path]:
    """Where the interpreter, the system's libraries and the loaded packages lie."""
    found = [*_SYSTEM, sys.prefix, sys.base_prefix, sys.exec_prefix]
    import_module(extractor_module)
    for name, module in list(sys.modules.items()):
        if "." not in name:
            found += getattr(module, "__path__", [getattr(module, "__file__", None) or sys.prefix])
    return [Path(path) for path in found]


def _restrict_files(libc: ctypes.CDLL, readable: Iterable[Path] | None) -> None:
    version = libc.syscall(_LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return
    handled = _ACCESS_BY_VERSION[min(version, len(_ACCESS_BY_VERSION)) - 1] & ~_READ_DIRECTORY
    attributes = (
        struct.pack("=QQQ", handled, 0, _SCOPES)
        if version >= _SCOPES_SINCE
        else struct.pack("=Q", handled)
    )
    rules = libc.syscall(_LANDLOCK_CREATE, attributes, len(attributes), 0)
    if rules < 0:
        return
    try:
        for path in [Path("/")] if readable is None else readable:
            _allow(libc, rules, path, _READ_FILE)
        _allow(libc, rules, Path(os.devnull), _READ_FILE | _WRITE_FILE)
        libc.syscall(_LANDLOCK_RESTRICT, rules, 0)
    finally:
        os.close(rules)


def _allow(libc: ctypes.CDLL, rules: int, path: Path, access: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        # What is not there, as /lib64 on some systems, needs no rule.
        return
    try:
        libc.syscall(_LANDLOCK_ADD_RULE, rules, 1, struct.pack("=Qi", access, handle), 0)
    finally:
        os.close(handle)


def _restrict_calls(libc: ctypes.CDLL) -> None:
    if platform.machine() not in _ARCHITECTURES:
        return
    instructions = _filter(*_ARCHITECTURES[platform.machine()])
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(
        struct.pack("@HP", len(instructions), ctypes.addressof(buffer))
    )
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0)


def _filter(
    architecture: int, clone: int, refused: dict[str, int]
) -> list[tuple[int, int, int, int]]:
    """The BPF program.

    Of each instruction: its operation, its jumps when true and when false, its operand.
    """
    program = [
        (_LOAD, 0, 0, _OFFSET_ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _REFUSE),
        (_LOAD, 0, 0, _OFFSET_CALL),
        (_JUMP_GREATER_EQUAL, 0, 1, _X32),
        (_RETURN, 0, 0, _REFUSE),
        (_JUMP_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _UNKNOWN_CALL),
    ]
    for call in refused.values():
        program += [(_JUMP_EQUAL, 0, 1, call), (_RETURN, 0, 0, _REFUSE)]
    return [
        *program,
        # A thread of this process is allowed, a new process is not.
        (_JUMP_EQUAL, 0, 3, clone),
        (_LOAD, 0, 0, _OFFSET_FIRST_ARGUMENT),
        (_JUMP_BITS, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]
