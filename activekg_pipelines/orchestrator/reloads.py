"""Reloads of the definitions, so that sensors follow the registry."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence

from activekg_pipelines.orchestrator.sensors import WORK_QUEUE_SENSOR
from activekg_pipelines.orchestrator.webserver import CodeLocation, Webserver, WebserverError

_log = logging.getLogger(__name__)

# A reload of a small location took 3.5 s; one with a thousand sensors takes longer, and
# nobody waits for it.
_TIMEOUT_SECONDS = 60.0


class Reloads:
    """Reloads in the background. Several requests in a short time make one reload.

    Args:
        webserver: is asked to reload.
        interval_seconds: reloads start at least this far apart.
    """

    def __init__(self, webserver: Webserver, *, interval_seconds: float) -> None:
        self._webserver = webserver
        self._interval = interval_seconds
        self._schedule_lock = threading.Lock()
        self._reload_lock = threading.Lock()
        self._scheduled: threading.Timer | None = None
        self._running: threading.Timer | None = None
        self._last_reload = float("-inf")

    def request(self) -> None:
        """Reload soon. A request while a reload is scheduled joins it.

        An unreachable webserver is logged and is no error. It loads the definitions when
        it starts, and the sensor ``work_queue`` starts first syncs without any reload.
        """
        with self._schedule_lock:
            if self._scheduled is not None:
                return
            delay = max(0.0, self._last_reload + self._interval - time.monotonic())
            self._scheduled = threading.Timer(delay, self._reload)
            self._scheduled.daemon = True
            self._scheduled.start()

    def wait(self) -> None:
        """Wait for the reload that is due."""
        with self._schedule_lock:
            waiting = [timer for timer in (self._running, self._scheduled) if timer is not None]
        for timer in waiting:
            timer.join()

    def _reload(self) -> None:
        with self._reload_lock:
            with self._schedule_lock:
                # From here on a new request needs a reload of its own: this one may
                # already have read the registry.
                self._running, self._scheduled = self._scheduled, None
                self._last_reload = time.monotonic()
            try:
                locations = self._webserver.code_locations(timeout=_TIMEOUT_SECONDS)
                for name in locations_to_reload(locations):
                    failure = self._webserver.reload(name, timeout=_TIMEOUT_SECONDS)
                    if failure is not None:
                        _log.warning(
                            "The code location %s could not be reloaded: %s", name, failure
                        )
            except WebserverError as error:
                _log.warning(
                    "The webserver could not be asked to reload (%s): check "
                    "ACTIVEKG_WEBSERVER_URL; new sensors appear with its next start",
                    error.message,
                )


def locations_to_reload(locations: Sequence[CodeLocation]) -> list[str]:
    """The names of this package's code locations among all of a workspace.

    One that failed cannot be told from another that failed. Where none of ours is loaded,
    all broken ones are tried.
    """
    own = [location.name for location in locations if WORK_QUEUE_SENSOR in location.sensors]
    return own or [location.name for location in locations if location.failed or location.loading]
