"""A run's lease on its objects: renewed while it works, released when it ends."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from activekg_pipelines.pipeline.stop import Stop
from activekg_pipelines.services import Services

logger = logging.getLogger(__name__)

# A run without a heartbeat for so many leases hangs: its claims expire, and other runs
# take them over. It is more than one, because a batch of texts that is encoded on a busy
# machine may take longer than one lease and must not lose its claims for that.
_LEASES_WITHOUT_HEARTBEAT = 10


class Lease:
    """What a run holds, and what it may still claim.

    The ledger renews and releases all that a run holds, so a run has one lease.
    Extraction and indexing share it, each in its own thread; it ends when both have
    ended.

    Args:
        run: Dagster's run id.
        max_objects: objects that each of the two steps may claim.
        budget_seconds: wall time after which nothing more is claimed.
        lease_seconds: how long a claim holds without being renewed.
        stop: says when somebody asked for the end of the run.
    """

    def __init__(
        self,
        services: Services,
        run: str,
        *,
        max_objects: int,
        budget_seconds: float,
        lease_seconds: float,
        stop: Stop,
    ) -> None:
        self.run = run
        self._stop = stop
        self._services = services
        self._max_objects = max_objects
        self._deadline = time.monotonic() + budget_seconds
        self._renew_every = lease_seconds / 3
        self._heartbeat_timeout = lease_seconds * _LEASES_WITHOUT_HEARTBEAT
        self._heartbeat_at = time.monotonic()
        self._claiming = threading.Lock()
        self._ended = False
        self.cause: BaseException | None = None
        """What made one of the steps fail first, so that the other has to end, too."""

    @property
    def stopped(self) -> bool:
        """Whether one of the steps failed, or somebody stopped the run."""
        return self.cause is not None or self._stop.cause is not None

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

    @contextmanager
    def claiming(self) -> Iterator[bool]:
        """Whether objects may be claimed still, while the context lasts.

        A thread that an interrupted run has left behind must not claim any: nobody would
        give them back.
        """
        with self._claiming:
            yield not self._ended

    def end(self) -> None:
        """Let nobody claim anything more."""
        with self._claiming:
            self._ended = True

    def go_on(self) -> None:
        """A heartbeat between two pieces of work that can be done later as well.

        Raises:
            RunCancelled: somebody stopped the run.
        """
        self._stop.check()
        self.heartbeat()

    def heartbeat(self) -> None:
        """Say that there is progress, so that the claims are renewed.

        A step calls it between batches of work. A step that only waits must not call
        it: the claims of a run that hangs have to expire.
        """
        self._heartbeat_at = time.monotonic()

    def renew_until(self, ended: threading.Event) -> None:
        """Renew the claims three times a lease while heartbeats come.

        A process that is stopped renews nothing.
        """
        while not ended.wait(self._renew_every):
            if time.monotonic() - self._heartbeat_at > self._heartbeat_timeout:
                continue
            try:
                with self._services.database.transaction() as conn:
                    self._services.ledger.renew_claims(conn, self.run)
            except (DatabaseError, PoolTimeout) as error:
                # The work meets the same error, and decides whether the run goes on.
                logger.warning(
                    "The claims of run %s could not be renewed: %s", self.run, type(error).__name__
                )


@contextmanager
def lease(
    services: Services,
    run: str,
    *,
    max_objects: int,
    budget_seconds: float,
    stop: Stop | None = None,
) -> Iterator[Lease]:
    """A run's :class:`Lease`.

    However it ends, it releases all its claims at once.

    Raises:
        RunCancelled: somebody stopped the run; what it had finished is stored.
    """
    stop = stop or Stop()
    held = Lease(
        services,
        run,
        max_objects=max_objects,
        budget_seconds=budget_seconds,
        lease_seconds=services.settings.activekg_lease_seconds,
        stop=stop,
    )
    ended = threading.Event()
    renewing = threading.Thread(target=held.renew_until, args=(ended,), name="lease", daemon=True)
    renewing.start()
    try:
        yield held
        stop.check()
    finally:
        ended.set()
        try:
            _release(services, held, renewing)
        except Exception:
            raise
        except BaseException:
            # Whoever interrupts the run does not wait until its leases end.
            _release(services, held, renewing)
            raise


def _release(services: Services, held: Lease, renewing: threading.Thread) -> None:
    renewing.join()
    held.end()
    with services.database.transaction() as conn:
        services.ledger.release_claims(conn, held.run)
