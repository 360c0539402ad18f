"""A run's hold on its objects: renewed while it works, given back when it ends, bounded in objects and time."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from activekg_pipelines.ledger.store import Ledger


@dataclass(slots=True)
class Lease:
    """What one step of a run may still take up.

    Attributes:
        run: Dagster's run id.
        objects_left: objects that the step may still claim.
        deadline: monotonic time after which it claims nothing more.
    """

    run: str
    objects_left: int
    deadline: float
    _ledger: Ledger
    _renew_every: float
    _renewed_at: float = field(default_factory=time.monotonic)

    def claimable(self, most: int) -> int:
        """How many objects to claim next: ``most``, or as many as the bounds leave."""
        return min(most, self.objects_left) if time.monotonic() < self.deadline else 0

    def took(self, objects: int) -> None:
        """Count claimed objects against the bound."""
        self.objects_left -= objects

    def keep(self) -> None:
        """Renew the claims if a third of their time has passed; call it between batches."""
        if time.monotonic() - self._renewed_at >= self._renew_every:
            self._ledger.renew_claims(self.run)
            self._renewed_at = time.monotonic()


@contextmanager
def lease(
    ledger: Ledger, run: str, *, max_objects: int, budget_seconds: float, lease_seconds: float
) -> Iterator[Lease]:
    """A step's lease; what it still holds at the end, however it ends, is free for others at once."""
    held = Lease(run, max_objects, time.monotonic() + budget_seconds, ledger, lease_seconds / 3)
    try:
        yield held
    finally:
        ledger.release_claims(run)
