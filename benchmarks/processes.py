"""Running a process to its end while watching what it and its children take."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import psutil

_LOOK_EVERY_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Watched:
    """What a process printed and took.

    Attributes:
        output: its last line, as JSON.
        peak_bytes: memory of it and its children at most; pages that several share
            count once (PSS), where the system tells.
        cpu_seconds: of it and its children.
        idle: share of the machine's CPU time that nobody used meanwhile.
        processes: how many there were at most.
    """

    output: dict[str, Any]
    peak_bytes: int
    cpu_seconds: float
    idle: float
    processes: int


def watch(module: str, *arguments: object) -> Watched:
    """Run ``python -m module`` with arguments.

    Raises:
        subprocess.CalledProcessError: it failed.
    """
    command = [sys.executable, "-m", module, *map(str, arguments)]
    before = psutil.cpu_times()
    peak = most = 0
    cpu: dict[int, float] = {}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            with suppress(psutil.NoSuchProcess):
                family = [watched, *watched.children(recursive=True)]
                peak = max(peak, sum(map(_memory, family)))
                most = max(most, len(family))
                cpu |= {one.pid: _cpu_seconds(one) or cpu.get(one.pid, 0.0) for one in family}
            time.sleep(_LOOK_EVERY_SECONDS)
        assert process.stdout
        printed = process.stdout.read()
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command, printed)
    after = psutil.cpu_times()
    spent = [end - begin for begin, end in zip(before, after, strict=True)]
    idle = (after.idle - before.idle) / sum(spent)
    return Watched(json.loads(printed.splitlines()[-1]), peak, sum(cpu.values()), idle, most)


def _memory(process: psutil.Process) -> int:
    with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", 0) or memory.uss)
    return 0


def _cpu_seconds(process: psutil.Process) -> float:
    with suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0
