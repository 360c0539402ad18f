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
from typing import Final, TypeAlias

_PR_SET_NO_NEW_PRIVS: Final = 38
_PR_SET_SECCOMP: Final = 22
_SECCOMP_MODE_FILTER: Final = 2

# <linux/audit.h>, and the column of the numbers below.
_ARCHITECTURES: Final = {"x86_64": (0xC000003E, 0), "aarch64": (0xC00000B7, 1)}

# Calls that are refused, with their numbers on x86_64 and aarch64. Newer architectures
# have fewer; None where there is none.
_REFUSED: Final[dict[str, tuple[int | None, int | None]]] = {
    # Connections, programs, processes
    "socket": (41, 198), "connect": (42, 203), "socketpair": (53, 199),
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    # The memory and the files of other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271),
    "pidfd_open": (434, 434), "pidfd_getfd": (438, 438), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "kcmp": (312, 272), "userfaultfd": (323, 282),
    "perf_event_open": (298, 241), "bpf": (321, 280),
    "migrate_pages": (256, 238), "move_pages": (279, 239),
    # Calls that come to the kernel past this filter
    "io_uring_setup": (425, 425), "io_uring_enter": (426, 426), "io_uring_register": (427, 427),
    # Signals; tgkill, by which a process aborts itself, is below
    "kill": (62, 129), "tkill": (200, 130), "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240), "pidfd_send_signal": (424, 424),
    # What files are, which Landlock knows nothing of. It knows truncate since Linux 6.2.
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452),
    "chown": (92, None), "fchown": (93, 55), "lchown": (94, None), "fchownat": (260, 54),
    "setxattr": (188, 5), "lsetxattr": (189, 6), "fsetxattr": (190, 7), "setxattrat": (463, 463),
    "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "removexattrat": (466, 466), "file_setattr": (469, 469),
    "utime": (132, None), "utimes": (235, None), "futimesat": (261, None), "utimensat": (280, 88),
    "truncate": (76, 45),
    # Its limits, and who gets the processor
    "setrlimit": (160, 164), "setpriority": (141, 140), "ioprio_set": (251, 30),
    "sched_setparam": (142, 118), "sched_setscheduler": (144, 119),
    "sched_setaffinity": (203, 122), "sched_setattr": (314, 274),
    # What outlives the process, or is shared with others
    "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    "memfd_create": (319, 279), "memfd_secret": (447, 447),
    "shmget": (29, 194), "shmat": (30, 196), "shmctl": (31, 195),
    "semget": (64, 190), "semop": (65, 193), "semctl": (66, 191), "semtimedop": (220, 192),
    "msgget": (68, 186), "msgsnd": (69, 189), "msgrcv": (70, 188), "msgctl": (71, 187),
    "mq_open": (240, 180), "mq_unlink": (241, 181),
    # Another root, other namespaces
    "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41), "chroot": (161, 51),
    "unshare": (272, 97), "setns": (308, 268), "open_by_handle_at": (304, 265),
    "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fspick": (433, 433), "mount_setattr": (442, 442),
}  # fmt: skip
# Calls that are allowed with some arguments.
_CLONE: Final = (56, 220)
_TGKILL: Final = (234, 131)
_PRLIMIT: Final = (302, 261)
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
# Arguments have eight bytes each. Both architectures put the lower half first.
_OFFSET_FIRST_ARGUMENT: Final = 16
_OFFSET_THIRD_ARGUMENT: Final = 32
_HALF: Final = 4

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

    It may open no socket, start no program, start, signal or slow down no process, lift
    no limit of its own, and change no file, its rights and owner included. It may read
    Python's and its packages' files, and those under ``documents``; anything when that
    is None.

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
    instructions = _filter(*_ARCHITECTURES[platform.machine()], os.getpid())
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in instructions)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = ctypes.create_string_buffer(
        struct.pack("@HP", len(instructions), ctypes.addressof(buffer))
    )
    libc.prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, program, 0, 0)


_Instruction: TypeAlias = tuple[int, int, int, int]


def _filter(architecture: int, column: int, process: int) -> list[_Instruction]:
    """The BPF program of a process.

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
    for numbers in _REFUSED.values():
        if (call := numbers[column]) is not None:
            program += [(_JUMP_EQUAL, 0, 1, call), (_RETURN, 0, 0, _REFUSE)]
    return [
        *program,
        # abort() signals the process itself, which then ends as what it is.
        *_only_with(_TGKILL[column], {_OFFSET_FIRST_ARGUMENT: process}),
        # The C library reads its own limits before it starts a thread. Whoever runs as
        # root could also lift them.
        *_only_with(
            _PRLIMIT[column],
            {
                _OFFSET_FIRST_ARGUMENT: 0,
                _OFFSET_THIRD_ARGUMENT: 0,
                _OFFSET_THIRD_ARGUMENT + _HALF: 0,
            },
        ),
        # A thread of this process is allowed, a new process is not.
        (_JUMP_EQUAL, 0, 3, _CLONE[column]),
        (_LOAD, 0, 0, _OFFSET_FIRST_ARGUMENT),
        (_JUMP_BITS, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, _REFUSE),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _only_with(call: int, arguments: dict[int, int]) -> list[_Instruction]:
    """Instructions that allow a call with these arguments alone.

    Args:
        arguments: four bytes, by their offset.
    """
    checks: list[_Instruction] = []
    for number, (offset, value) in enumerate(arguments.items(), start=1):
        to_refusal = 2 * (len(arguments) - number) + 1
        checks += [(_LOAD, 0, 0, offset), (_JUMP_EQUAL, 0, to_refusal, value)]
    checks += [(_RETURN, 0, 0, _ALLOW), (_RETURN, 0, 0, _REFUSE)]
    return [(_JUMP_EQUAL, 0, len(checks), call), *checks]
