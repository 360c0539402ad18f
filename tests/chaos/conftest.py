"""One system for all rounds, and the summary of all rounds at the end.

A round that left the system broken gives the next one a new system.
"""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psycopg
import pytest

from tests.chaos.reader import Reader
from tests.chaos.rounds import Chaos, Round, summary
from tests.chaos.system import running, start_dagster
from tests.chaos.world import Source
from tests.fault_proxy import fault_proxy
from tests.s3_bucket import Bucket

_rounds: list[Round] = []

_FIRST_SYNC_SECONDS = 420


@dataclass
class Stage:
    """Where rounds are played: a running system, replaced when one broke it."""

    s3_endpoint: str
    model_home: Path
    project_root: Path
    _stack: ExitStack = field(default_factory=ExitStack)
    _chaos: Chaos | None = None
    _home: Path | None = None

    def chaos(self) -> Chaos:
        """The running system; its first sync has ended."""
        if self._chaos is None:
            self._chaos = self._start()
        return self._chaos

    def close(self, *, keep_logs: bool) -> None:
        """Stop the system; the next call of :meth:`chaos` starts another one."""
        self._chaos = None
        self._stack.close()
        if self._home is not None and not keep_logs:
            shutil.rmtree(self._home)
        self._home = None

    def _start(self) -> Chaos:
        # Not among the test session's folders, which the next sessions remove: the logs
        # of a failure stay.
        home = self._home = Path(tempfile.mkdtemp(prefix="chaos-"))
        rng = random.Random(0)
        proxy = self._stack.enter_context(fault_proxy(self.s3_endpoint))
        system = self._stack.enter_context(running(home, proxy, self.model_home, self.project_root))
        sources: dict[str, Source] = {}
        for tenant_id, documents in (("chaos", 200), ("bystander", 40)):
            source = Source(
                tenant_id,
                Bucket.create(
                    self.s3_endpoint, f"{home.name.replace('_', '-').lower()}-{tenant_id}"
                ),
            )
            source.fill(rng, documents)
            sources[system.register(source.bucket, tenant_id)] = source
        start_dagster(system)
        reader = Reader(
            partial(psycopg.connect, system.environment["ACTIVEKG_DSN"]),
            {source.tenant_id: source.versions for source in sources.values()},
        )
        reader.start()
        self._stack.callback(reader.stop)
        chaos = Chaos(system, sources, reader)
        unsettled = chaos.settle(time.monotonic() + _FIRST_SYNC_SECONDS)
        assert unsettled is None, f"the first sync, without a fault: {unsettled}. Logs: {home}"
        return chaos


@pytest.fixture(scope="session")
def stage(
    s3_endpoint: str, model_home: Path, project_root: Path, request: pytest.FixtureRequest
) -> Iterator[Stage]:
    """Where rounds are played."""
    (model_home / "models").mkdir(parents=True, exist_ok=True)
    opened = Stage(s3_endpoint, model_home, project_root)
    yield opened
    opened.close(keep_logs=bool(request.session.testsfailed))


@pytest.fixture
def chaos(stage: Stage, request: pytest.FixtureRequest) -> Iterator[Chaos]:
    """The running system with its buckets.

    A test that fails leaves the next one a new system.
    """
    failed_before = request.session.testsfailed
    yield stage.chaos()
    if request.session.testsfailed > failed_before:
        stage.close(keep_logs=True)


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[[Round], None]:
    """Shows a round at once and keeps it for the summary."""
    terminal = request.config.pluginmanager.get_plugin("terminalreporter")
    capture = request.config.pluginmanager.get_plugin("capturemanager")

    def write(played: Round) -> None:
        _rounds.append(played)
        with capture.global_and_fixture_disabled():
            terminal.ensure_newline()
            terminal.line(str(played))
            terminal.flush()

    return write


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the rounds came to."""
    if _rounds:
        terminalreporter.section("chaos")
        terminalreporter.line(summary(_rounds))
