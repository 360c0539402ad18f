"""A round of faults, and what came of it.

It changes the bucket and breaks the system at seeded moments, lets it settle, and asks
the oracle.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import psycopg

from tests.chaos.faults import KINDS, NoTarget, Target
from tests.chaos.oracle import Differences, Expected, Vectors, compare
from tests.chaos.reader import Reader
from tests.chaos.system import System
from tests.chaos.world import Source

_STORM_SECONDS = 10.0
_RUN_START_SECONDS = 30.0
# Past every pause that a few failures cause: 30 seconds of a connector, 10 + 20 + 40 of
# a step.
_SETTLE_SECONDS = 300.0


@dataclass
class Round:
    """What a round did and found.

    Attributes:
        faults: those that hit, by kind; ``missed`` those that found nothing to hit,
            with the reason.
        by_hand: an operator asked for a sync when the faults were over.
        recovery: seconds from the last fault's end until everything had settled; None
            when it never did.
    """

    seed: int
    faults: list[str] = field(default_factory=list)
    missed: list[str] = field(default_factory=list)
    journal: list[str] = field(default_factory=list)
    by_hand: bool = False
    recovery: float | None = None
    seconds: float = 0.0
    looks: int = 0
    differences: Differences = field(default_factory=Differences)

    def note(self, what: str) -> None:
        """Write down what happens, with the time."""
        self.journal.append(f"{time.strftime('%H:%M:%S')} {what}")

    def __str__(self) -> str:
        recovery = (
            "never settled" if self.recovery is None else f"settled after {self.recovery:.0f} s"
        )
        return (
            f"seed {self.seed}: {', '.join(self.faults) or 'no fault'}; {recovery}"
            f"{' of a sync by hand' if self.by_hand else ''}; round {self.seconds:.0f} s; "
            f"{sum(self.differences.counts().values())} differences"
            + (f"; missed: {', '.join(self.missed)}" if self.missed else "")
        )


@dataclass
class Chaos:
    """A system under test with its tenants' buckets, and what is known across rounds."""

    system: System
    sources: dict[str, Source]
    reader: Reader
    vectors: Vectors = field(default_factory=Vectors)

    def expected(self) -> list[Expected]:
        """What the buckets hold now."""
        return [
            Expected(
                source.tenant_id, config_id, source.bucket.name, source.listing(), source.versions
            )
            for config_id, source in self.sources.items()
        ]

    def play(self, seed: int, kinds: Sequence[str] = ()) -> Round:
        """One round.

        Args:
            seed: decides what is done, and when.
            kinds: the faults; drawn from all of them when none are given.
        """
        rng = random.Random(seed)
        played = Round(seed)
        started = time.monotonic()
        config_id, source = rng.choice(
            list(self.sources.items()) if rng.random() < 0.2 else [self._largest()]
        )
        target = Target(self.system, source, config_id)
        chosen = list(kinds) or rng.sample(list(KINDS), rng.randint(3, 4))
        played.by_hand = rng.random() < 0.75
        looks = self.reader.looks

        source.change(rng, 25)
        self._start_syncs(rng, config_id, played)
        if rng.random() < 0.7:
            self._wait_for_a_run(config_id)
        played.note("the faults begin")
        faults = [
            threading.Thread(
                target=self._fault,
                args=(played, target, kind, random.Random(rng.random()), *_moment(rng)),
            )
            for kind in chosen
        ]
        for thread in faults:
            thread.start()
        until = time.monotonic() + _STORM_SECONDS
        while time.monotonic() < until:
            changed = rng.choice(list(self.sources.values()) + [source] * 3)
            changed.change(rng, rng.randint(1, 12), pause=rng.choice([0, 0, 0.05]))
            time.sleep(rng.uniform(0.1, 1.5))
        if rng.random() < 0.4:
            self._start_syncs(rng, config_id, played)
        for thread in faults:
            thread.join()

        over = time.monotonic()
        played.note("the faults are over")
        if played.by_hand:
            self.system.sync(config_id)
        if unsettled := self.settle(time.monotonic() + _SETTLE_SECONDS):
            played.differences.add("not settled", unsettled)
        else:
            played.recovery = time.monotonic() - over
            played.note("settled")
            self.judge(played.differences)
        for broken in self.reader.take():
            played.differences.add("reader: half a document", broken)
        played.looks = self.reader.looks - looks
        played.seconds = time.monotonic() - started
        return played

    def judge(self, differences: Differences) -> None:
        """Ask the oracle."""
        with psycopg.connect(self.system.environment["ACTIVEKG_DSN"]) as conn:
            found = compare(conn, self.expected(), self.vectors)
        for kind, examples in found.found.items():
            differences.found[kind] += examples

    def settle(self, deadline: float) -> str | None:
        """Wait until nothing is left to do.

        Returns what is left at the deadline (monotonic), if anything.

        Whoever mended a bucket's policy replays what was refused meanwhile; nothing
        else is done by hand.
        """
        while True:
            unsettled = self._unsettled()
            if unsettled is None:
                if not sum(
                    self.system.replay(config_id, "access_denied") for config_id in self.sources
                ):
                    return None
            elif time.monotonic() > deadline:
                return unsettled
            time.sleep(0.5)

    def _unsettled(self) -> str | None:
        for config_id, source in self.sources.items():
            due, claimed, missing, waiting, scans = self.system.ask(
                """
                SELECT count(*) FILTER (WHERE state IN ('pending', 'extracted', 'failed')),
                    count(claimed_by), count(missing_since_scan),
                    (SELECT count(*) FROM connectors.runs r
                     WHERE r.connector_id = %(id)s AND r.status IN ('waiting', 'running')),
                    (SELECT count(*) FROM connectors.scans s
                     WHERE s.connector_id = %(id)s AND s.status = 'completed'
                     AND s.started_at > to_timestamp(%(changed)s))
                FROM connectors.objects WHERE connector_id = %(id)s
                """.replace("%(id)s", f"'{config_id}'").replace(
                    "%(changed)s", f"{source.changed_at:.6f}"
                ),
            )[0]
            if due or claimed or missing or waiting or not scans:
                return (
                    f"{source.tenant_id}: {due} objects due, {claimed} leased, {missing} to be "
                    f"deleted, {waiting} "
                    f"syncs live, {scans} scans since the last change; Dagster's live runs: "
                    f"{self.system.live_runs()}"
                )
        if live := self.system.live_runs():
            return f"Dagster's live runs: {live}"
        return None

    def _start_syncs(self, rng: random.Random, config_id: str, played: Round) -> None:
        way = rng.choice(["poll", "manual", "two at once", "all"])
        if way == "manual":
            self.system.sync(config_id)
        if way in {"two at once", "all"}:
            self.system.sync(config_id, "all")
        if way == "two at once":
            self.system.sync(config_id)
        played.note(f"sync: {way}")

    def _wait_for_a_run(self, config_id: str) -> None:
        """Mostly there is work to disturb.

        The rest of the rounds disturbs its beginning.
        """
        held = (
            "SELECT FROM connectors.objects WHERE connector_id = %s AND claimed_by IS NOT NULL "
            "LIMIT 1"
        )
        deadline = time.monotonic() + _RUN_START_SECONDS
        while time.monotonic() < deadline and not self.system.ask(held, config_id):
            time.sleep(0.1)

    def _fault(
        self, played: Round, target: Target, kind: str, rng: random.Random, at: float, lasts: float
    ) -> None:
        time.sleep(at)
        try:
            with KINDS[kind](target, rng):
                played.note(f"{kind} begins")
                played.faults.append(kind)
                time.sleep(lasts)
            played.note(f"{kind} ends")
        except NoTarget as reason:
            played.missed.append(f"{kind} ({reason})")

    def _largest(self) -> tuple[str, Source]:
        return next(iter(self.sources.items()))


def _moment(rng: random.Random) -> tuple[float, float]:
    """When a fault begins and how long it lasts, in seconds."""
    return rng.uniform(0, _STORM_SECONDS), rng.uniform(0.5, 6)


def summary(rounds: Sequence[Round]) -> str:
    """The rounds in a few lines."""
    faults = Counter(kind for played in rounds for kind in played.faults)
    differences: Counter[str] = sum((played.differences.counts() for played in rounds), Counter())
    lines = [
        f"{len(rounds)} rounds, {sum(faults.values())} faults, "
        f"{sum(played.looks for played in rounds)} looks of the "
        f"reader, {sum(differences.values())} differences"
    ]
    lines += [f"  {count:4} times {kind}" for kind, count in faults.most_common()]
    missed = Counter(miss for played in rounds for miss in played.missed)
    lines += [f"  missed {count} times {kind}" for kind, count in missed.most_common()]
    lines += [f"  DIFFERENT {count:4} times {kind}" for kind, count in differences.most_common()]
    for name, by_hand in (("by itself", False), ("after a sync by hand", True)):
        times = [
            played.recovery
            for played in rounds
            if played.by_hand is by_hand and played.recovery is not None
        ]
        if times:
            lines.append(
                f"recovery {name}: mean {sum(times) / len(times):.0f} s, worst {max(times):.0f} s"
            )
    lines += [f"NEVER SETTLED: seed {played.seed}" for played in rounds if played.recovery is None]
    return "\n".join(lines)
