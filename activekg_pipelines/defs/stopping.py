"""How a run notices that it has to end: by the ledger, by Dagster, or by a signal.

Dagster's own way raises an exception at whatever the step is doing. Here the work ends
between two pieces, so that what is finished is stored; only what does not end by itself
within seconds is interrupted.
"""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import dagster as dg
from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout
from sqlalchemy.exc import SQLAlchemyError

from activekg_pipelines.administration.launches import DAGSTER
from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.errors import RunCancelled
from activekg_pipelines.pipeline.stop import Stop
from activekg_pipelines.services import Services

logger = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
# A batch that is encoded, or a page that is compared, ends within that.
_GRACE_SECONDS = 5.0
_STOPPED = (dg.DagsterRunStatus.CANCELING, dg.DagsterRunStatus.CANCELED)


@contextmanager
def watched(
    services: Services, connector: Connector, instance: dg.DagsterInstance, run: str
) -> Iterator[Stop]:
    """Look each second whether the run has to end, as long as the context lasts.

    Args:
        run: Dagster's run id.

    Raises:
        RunCancelled: somebody cancelled the run. The work was interrupted where it did
            not end by itself.
        dagster.DagsterExecutionInterruptedError: the process has to end, and nobody
            cancelled the run.
    """
    watch = _Watch(services, connector, instance, run)
    try:
        with _signals_to(watch):
            thread = threading.Thread(target=watch.look, name="stop", daemon=True)
            thread.start()
            try:
                yield watch.stop
            finally:
                watch.ended.set()
                thread.join()
    except dg.DagsterExecutionInterruptedError:
        # The work did not end by itself.
        watch.stop.check()
        raise
    if watch.signalled:
        # It came too late for the work.
        watch.ask()
        watch.stop.check()
        # The process has to end, which is Dagster's again.
        signal.raise_signal(signal.SIGINT)


@contextmanager
def _signals_to(watch: _Watch) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        # Only the main thread gets signals. Nobody sends any to a run in another one.
        yield
        return
    watch.works_in = threading.get_ident()
    before = {
        sign: signal.signal(sign, watch.on_signal) for sign in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield
    finally:
        for sign, handler in before.items():
            signal.signal(sign, handler)


class _Watch:
    """The thread that looks, and the signal handler that it shares two flags with."""

    def __init__(
        self, services: Services, connector: Connector, instance: dg.DagsterInstance, run: str
    ) -> None:
        self.stop = Stop()
        self.ended = threading.Event()
        self.works_in: int | None = None
        """The main thread, while it works and takes signals."""
        # Plain flags: the handler may come between any two instructions, also within a
        # lock that it would then wait for.
        self.signalled = False
        self._interrupts = False
        self._services = services
        self._connector = connector
        self._instance = instance
        self._run = run

    def on_signal(self, *_: Any) -> None:
        """Interrupt the work when the thread wants that; else leave it to the thread."""
        if self._interrupts:
            self._interrupts = False
            raise dg.DagsterExecutionInterruptedError
        self.signalled = True

    def look(self) -> None:
        """Ask until the work has ended; interrupt it where it does not end by itself."""
        while not self.ended.wait(_LOOK_SECONDS):
            # Read first: Dagster stores a cancellation before it sends the signal.
            signalled = self.signalled
            self.ask()
            if self.stop.cause is not None:
                logger.info("%s", self.stop.cause.message)
                break
            if signalled:
                # The process has to end. Another run takes up what is left.
                self._interrupt()
                break
        while not self.ended.wait(_GRACE_SECONDS):
            self._interrupt()

    def ask(self) -> None:
        """Ask Dagster and the ledger once."""
        try:
            if self._is_cancelled_at_dagster():
                with self._services.database.transaction() as conn:
                    self._services.ledger.cancel_runs(
                        conn, self._connector.id, by=DAGSTER, run=self._run
                    )
            with self._services.database.transaction() as conn:
                self._services.ledger.check_run(conn, self._run)
        except RunCancelled as cause:
            self.stop.ask(cause)
        except (DatabaseError, PoolTimeout, SQLAlchemyError, dg.DagsterError) as error:
            # The work meets the same error, and decides whether the run goes on.
            logger.warning(
                "Whether run %s has to end could not be asked: %s", self._run, type(error).__name__
            )

    def _is_cancelled_at_dagster(self) -> bool:
        run = self._instance.get_run_by_id(self._run)
        return run is not None and run.status in _STOPPED

    def _interrupt(self) -> None:
        if self.works_in is not None:
            self._interrupts = True
            signal.pthread_kill(self.works_in, signal.SIGINT)
