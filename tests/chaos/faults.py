"""What can go wrong, by name.

Each fault is a context, entered when it begins and left when it is over.
"""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass

import psutil

from tests.chaos.system import CODE_SERVER, DAEMON, LEASE_SECONDS, System
from tests.chaos.world import Source
from tests.fault_proxy import LIST, Fault, reset, slow, status, truncate

# A run has to be there to be hit; the start of one takes about five seconds.
_TARGET_SECONDS = 30.0


class NoTarget(Exception):
    """The fault found nothing to hit: no run was alive, or this machine cannot have it."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a fault is let loose on."""

    system: System
    source: Source
    config_id: str


@contextmanager
def run_killed(target: Target, rng: random.Random) -> Iterator[None]:
    """SIGKILL of a run's process."""
    _, process = _a_run(target, rng)
    process.kill()
    yield


@contextmanager
def code_server_killed(target: Target, rng: random.Random) -> Iterator[None]:
    """SIGKILL of the code server; runs that it started live on."""
    target.system.kill(CODE_SERVER, with_children=False)
    yield


@contextmanager
def code_server_killed_with_its_runs(target: Target, rng: random.Random) -> Iterator[None]:
    """SIGKILL of everything in the code server's container, while a run is alive."""
    _a_run(target, rng)
    target.system.kill(CODE_SERVER, with_children=True)
    yield


@contextmanager
def daemon_killed(target: Target, rng: random.Random) -> Iterator[None]:
    """SIGKILL of the daemon."""
    target.system.kill(DAEMON, with_children=True)
    yield


@contextmanager
def postgres_restarted(target: Target, rng: random.Random) -> Iterator[None]:
    """The database stops at once, and is away for a moment."""
    target.system.postgres.kill()
    try:
        yield
    finally:
        target.system.postgres.start()


@contextmanager
def run_frozen(target: Target, rng: random.Random) -> Iterator[None]:
    """SIGSTOP of a run until its lease has ended and others have its objects.

    Then it wakes.
    """
    run, process = _a_run(target, rng)
    process.suspend()
    try:
        deadline = time.monotonic() + 4 * LEASE_SECONDS
        while time.monotonic() < deadline and _holds_objects(target.system, run):
            time.sleep(0.3)
        yield
    finally:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)


@contextmanager
def disk_full(target: Target, rng: random.Random) -> Iterator[None]:
    """No room is left for temporary files."""
    folder = target.system.disk
    if folder is None:
        raise NoTarget(target.system.disk_reason)
    balloon = folder / "balloon"
    with balloon.open("wb", buffering=0) as file:
        with suppress(OSError):
            while True:
                file.write(b"\0" * 4096)
        # Two pages are left: where none is, Python quietly uses another folder, which a
        # disk that is full has not got.
        file.truncate(file.tell() - 2 * 4096)
    try:
        yield
    finally:
        balloon.unlink()


def _everywhere(fault: Callable[[random.Random], Fault], *operations: str) -> FaultContext:
    """A fault of the object store, in every answer of these operations."""

    @contextmanager
    def context(target: Target, rng: random.Random) -> Iterator[None]:
        proxy = target.system.proxy
        rules = [proxy.inject(operation, None, fault(rng)) for operation in operations]
        try:
            yield
        finally:
            proxy.heal(*rules)

    return context


def _some_keys(fault: Callable[[random.Random], Fault]) -> FaultContext:
    """A fault of the object store, for a third of the keys."""

    @contextmanager
    def context(target: Target, rng: random.Random) -> Iterator[None]:
        proxy = target.system.proxy
        keys = sorted(target.source.listing())
        rules = [proxy.inject("GET", key, fault(rng)) for key in rng.sample(keys, len(keys) // 3)]
        try:
            yield
        finally:
            proxy.heal(*rules)

    return context


FaultContext = Callable[[Target, random.Random], AbstractContextManager[None]]

KINDS: dict[str, FaultContext] = {
    "run killed": run_killed,
    "code server killed": code_server_killed,
    "code server killed with its runs": code_server_killed_with_its_runs,
    "daemon killed": daemon_killed,
    "Postgres restarted": postgres_restarted,
    "run frozen": run_frozen,
    "disk full": disk_full,
    "S3: 500": _everywhere(lambda _: status(500, "InternalError"), LIST, "GET"),
    "S3: 503 SlowDown": _everywhere(lambda _: status(503, "SlowDown"), LIST, "GET"),
    "S3: resets": _everywhere(lambda _: reset(), LIST, "GET"),
    "S3: truncated bodies": _some_keys(lambda rng: truncate(rng.randrange(2000))),
    "S3: truncated listings": _everywhere(lambda rng: truncate(rng.randrange(4000)), LIST),
    "S3: slow bodies": _some_keys(lambda _: slow(0.5, piece=2048)),
    "S3: 403 for some keys": _some_keys(lambda _: status(403, "AccessDenied")),
    "S3: expired token": _everywhere(lambda _: status(400, "ExpiredToken"), LIST, "GET"),
}


def _a_run(target: Target, rng: random.Random) -> tuple[str, psutil.Process]:
    """A run of the connector that has a process; waits for one."""
    system = target.system
    started = time.monotonic()
    asked = False
    while time.monotonic() < started + _TARGET_SECONDS:
        own = {
            row[0]
            for row in system.ask(
                "SELECT dagster_run_id FROM connectors.runs WHERE connector_id = %s AND "
                "dagster_run_id IS NOT NULL"
                " AND status = 'running'",
                target.config_id,
            )
        }
        alive = {run: process for run, process in system.run_processes().items() if run in own}
        if alive:
            return rng.choice(sorted(alive.items(), key=lambda item: item[0]))
        if not asked and time.monotonic() > started + _TARGET_SECONDS / 4:
            system.sync(target.config_id, "all")
            asked = True
        time.sleep(0.2)
    raise NoTarget("no run was alive")


def _holds_objects(system: System, run: str) -> bool:
    return bool(system.ask("SELECT FROM connectors.objects WHERE claimed_by = %s LIMIT 1", run))
