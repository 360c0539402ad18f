"""What many tenants cost in whose buckets nothing happens.

    python -m benchmarks.idle [--tenants 100 1000]

It is the CPU of the daemon and of the code server. Every tenant has one connector that
is polled every 900 seconds, over HTTP, on a running system. The watch begins when every
sensor has ticked once. It lasts for 900 seconds, in which each ticks once more.
"""

from __future__ import annotations

import argparse
import os
import time
from contextlib import suppress

import psutil
import psycopg

from activekg_pipelines.pipeline.scan import scan_connector
from activekg_pipelines.services import Services
from benchmarks.measure import Result, print_results
from benchmarks.system import folder, register, server, services
from tests.e2e.conftest import System, running_system

_POLL_SECONDS = 900
_WAIT_SECONDS = 900.0
_PARTS = {"daemon": ("dagster._daemon",), "code server": ("code-server start", "api grpc")}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tenants", type=int, nargs="+", default=[100, 1000])
    arguments = parser.parse_args()
    results = [line for tenants in arguments.tenants for line in _results(tenants)]
    print_results("Idle tenants", results)


def _results(tenants: int) -> list[Result]:
    with (
        server("benchmarks.listing_server", 0) as endpoint,
        folder() as home,
        # Not where `up` would look for a database of its own.
        services(home / "database", ACTIVEKG_HOME=str(home)) as opened,
    ):
        for number in range(tenants):
            connector = register(opened, endpoint, f"bucket-{number:04}", f"tenant-{number:04}")
            # A first sync is a run; after this one there is nothing to run.
            scan_connector(opened, connector, budget_seconds=None)
        _spread(opened)
        names = ("ACTIVEKG_DSN", "CONNECTOR_KEK_V1", "ACTIVEKG_ENDPOINT_ALLOWLIST")
        with running_system(home, endpoint, {name: os.environ[name] for name in names}) as system:
            _wait_for_a_tick_of_each(system, tenants)
            polls, used, memory = _watch(opened, system)
    assert polls > 0.8 * tenants, f"Only {polls} polls: that is not what shall be measured."
    share = sum(used.values()) / _POLL_SECONDS
    parts = ", ".join(f"{name} {100 * cpu / _POLL_SECONDS:.1f} %" for name, cpu in used.items())
    return [
        Result(
            f"{tenants:,} tenants polled every {_POLL_SECONDS} s: "
            "daemon and code server, of a core",
            f"{100 * share:.1f} % ({parts})",
            "< 10 %" if tenants == 1000 else None,
            share < 0.1 if tenants == 1000 else None,
        ),
        Result(
            f"- {polls} polls in {_POLL_SECONDS} s: CPU of a poll",
            f"{1000 * sum(used.values()) / max(polls, 1):.0f} ms",
        ),
        Result("- memory of both", f"{memory / 2**20:.0f} MiB"),
    ]


def _wait_for_a_tick_of_each(system: System, tenants: int) -> None:
    """Every sensor looks once, as soon as the daemon begins."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while time.monotonic() < deadline:
        with psycopg.connect(system.environment["ACTIVEKG_DAGSTER_DSN"]) as conn:
            ticked = conn.execute("SELECT count(DISTINCT selector_id) FROM job_ticks").fetchone()
        if ticked and ticked[0] >= tenants:
            return
        time.sleep(1)
    raise TimeoutError(f"Not every tenant's sensor ticked within {_WAIT_SECONDS:.0f} s.")


def _spread(opened: Services) -> None:
    with opened.database.transaction() as conn:
        conn.execute(
            "UPDATE connectors.connectors"
            " SET last_scan_started_at = now() - random() * %s * interval '1 second'",
            (_POLL_SECONDS,),
        )


def _watch(opened: Services, system: System) -> tuple[int, dict[str, float], int]:
    """Scans completed, CPU seconds by part, and bytes of memory of all at the end."""
    before, scans = _cpu(system), _scans(opened)
    time.sleep(_POLL_SECONDS)
    after = _cpu(system)
    used = {name: after[name][0] - before[name][0] for name in _PARTS}
    return _scans(opened) - scans, used, sum(memory for _, memory in after.values())


def _scans(opened: Services) -> int:
    with opened.database.transaction() as conn:
        row = conn.execute("SELECT coalesce(max(id), 0) FROM connectors.scans").fetchone()
    return int(row[0]) if row else 0


def _cpu(system: System) -> dict[str, tuple[float, int]]:
    """CPU seconds, and bytes, of each part so far."""
    found = dict.fromkeys(_PARTS, (0.0, 0))
    for process in psutil.Process(system.process.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            command = " ".join(process.cmdline())
            for name, marks in _PARTS.items():
                if any(mark in command for mark in marks):
                    times, memory = process.cpu_times(), process.memory_full_info()
                    cpu, held = found[name]
                    found[name] = (cpu + times.user + times.system, held + memory.uss)
    assert all(cpu for cpu, _ in found.values()), f"not running: {found}"
    return found


if __name__ == "__main__":
    main()
