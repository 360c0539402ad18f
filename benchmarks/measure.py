"""Measures ways of the same work alternately, and prints what came out.

The machine that it ran on is printed too.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

_INSTRUCTIONS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16")


@dataclass(frozen=True, slots=True)
class Sample:
    """Seconds of one run."""

    wall: float
    cpu: float
    """Of this process, and of the children that it has waited for."""


@dataclass(frozen=True, slots=True)
class Result:
    """A line of a results table.

    Attributes:
        stage: what was measured.
        value: what came out, with its unit.
        target: what it shall reach; None where it is only told.
        met: whether it does.
    """

    stage: str
    value: str
    target: str | None = None
    met: bool | None = None


def interleave(ways: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[Sample]]:
    """Run every way after the other, ``rounds`` times.

    One run of each comes first, and does not count. Other load on the machine falls on
    all of them alike; it changes CPU time least.
    """
    for work in ways.values():
        work()
    samples: dict[str, list[Sample]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            samples[name].append(measure(work))
    return samples


def measure(work: Callable[[], object]) -> Sample:
    """One run of ``work``."""
    wall, cpu = time.perf_counter(), _cpu_seconds()
    work()
    return Sample(time.perf_counter() - wall, _cpu_seconds() - cpu)


def ratio(baseline: list[Sample], ours: list[Sample], clock: str = "cpu") -> float:
    """How many times faster ours is.

    It is the median over the rounds, each pair having run one after the other.
    """
    pairs = zip(baseline, ours, strict=True)
    return statistics.median(
        getattr(theirs, clock) / getattr(mine, clock) for theirs, mine in pairs
    )


def peak_memory() -> int:
    """Bytes that this process has had resident at most."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else peak * 1024


def machine() -> str:
    """The machine in a line, and how fast it is now.

    Processor, cores, the instructions that matter, memory and Python. A virtual
    machine's cores do less when its neighbours do more, so that shares of a core tell
    nothing without its speed.
    """
    cpuinfo = Path("/proc/cpuinfo").read_text("utf-8") if Path("/proc/cpuinfo").exists() else ""
    fields = dict(line.split(":", 1) for line in cpuinfo.splitlines() if ":" in line)
    fields = {name.strip(): value.strip() for name, value in fields.items()}
    known = set(fields.get("flags", "").split())
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    parts = [
        fields.get("model name") or platform.processor() or platform.machine(),
        f"{os.cpu_count()} cores",
        " ".join(name for name in _INSTRUCTIONS if name in known) or "no AVX2",
        f"{memory:.0f} GiB",
        f"Python {platform.python_version()}",
        f"ten million steps of a loop in {_loop_seconds():.2f} s of CPU time",
    ]
    return ", ".join(parts)


def print_results(title: str, results: Iterable[Result]) -> None:
    """Print a table that reads in a terminal and in Markdown.

    Each line comes with its result.
    """
    print(f"\n### {title}\n\n{machine()}\n")
    print("| stage | measured | shall reach | reached |\n|---|---|---|---|")
    for result in results:
        reached = "" if result.met is None else "yes" if result.met else "**no**"
        print(
            f"| {result.stage} | {result.value} | {result.target or ''} | {reached} |", flush=True
        )


def _loop_seconds() -> float:
    began = time.process_time()
    for _ in range(10_000_000):
        pass
    return time.process_time() - began


def _cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
