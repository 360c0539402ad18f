"""A run's lease on its objects: renewed while it works, given back when it ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from activekg_pipelines.services import Services

logger = logging.getLogger(__name__)

# A step that shows no progress for so many leases hangs: its claims end, and others
# take them over. A batch of texts that is encoded on a crowded machine may take longer
# than one lease, and must not lose its claims for that.
_LEASES_WITHOUT_PROGRESS = 10


class Lease:
    """What a run holds, and what it may still take up.

    The ledger renews and releases all that a run holds, so a run has one lease.
    Extraction and indexing share it, each in its own thread; it ends when both have
    ended.

    Args:
        services: with the ledger that holds the claims.
        run: Dagster's run id.
        max_objects: objects that each of the two steps may claim.
        budget_seconds: wall time after which nothing more is claimed.
        lease_seconds: how long a claim holds without being renewed.
    """

    def __init__(
        self,
        services: Services,
        run: str,
        *,
        max_objects: int,
        budget_seconds: float,
        lease_seconds: float,
    ) -> None:
        self.run = run
        self._services = services
        self._max_objects = max_objects
        self._deadline = time.monotonic() + budget_seconds
        self._renew_every = lease_seconds / 3
        self._longest_silence = lease_seconds * _LEASES_WITHOUT_PROGRESS
        self._progress_at = time.monotonic()
        self.cause: BaseException | None = None
        """What made one of the steps fail first, so that the other has to end, too."""

    @property
    def stopped(self) -> bool:
        """Whether one of the steps failed."""
        return self.cause is not None

    def stop(self, cause: BaseException) -> None:
        """Let the other step end as soon as it can."""
        self.cause = self.cause or cause

    def claimable(self, most: int, taken: int) -> int:
        """How many objects to claim next.

        Args:
            most: objects at once.
            taken: objects that the step has claimed so far.
        """
        if self.stopped or time.monotonic() >= self._deadline:
            return 0
        return min(most, self._max_objects - taken)

    def keep(self) -> None:
        """Show progress, for which the claims live on; call it between batches of work.

        Who only waits must not call it: the claims of a run that hangs have to end.
        """
        self._progress_at = time.monotonic()

    def renew_until(self, ended: threading.Event) -> None:
        """Renew the claims three times a lease while there is progress.

        A frozen process renews nothing.
        """
        while not ended.wait(self._renew_every):
            if time.monotonic() - self._progress_at > self._longest_silence:
                continue
            try:
                with self._services.database.transaction() as conn:
                    self._services.ledger.renew_claims(conn, self.run)
            except (DatabaseError, PoolTimeout) as error:
                # The work itself meets it too, and decides what becomes of the run.
                logger.warning(
                    "The claims of run %s could not be renewed: %s", self.run, type(error).__name__
                )


@contextmanager
def lease(
    services: Services, run: str, *, max_objects: int, budget_seconds: float
) -> Iterator[Lease]:
    """A run's :class:`Lease`.

    What it still holds at the end, however it ends, is free for others at once.
    """
    held = Lease(
        services,
        run,
        max_objects=max_objects,
        budget_seconds=budget_seconds,
        lease_seconds=services.settings.activekg_lease_seconds,
    )
    ended = threading.Event()
    renewing = threading.Thread(target=held.renew_until, args=(ended,), name="lease", daemon=True)
    renewing.start()
    try:
        yield held
    finally:
        ended.set()
        renewing.join()
        with services.database.transaction() as conn:
            services.ledger.release_claims(conn, run)
