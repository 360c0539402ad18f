"""What extraction and indexing do with an object that ended in an error.

It gets its next state, is counted, and is logged.
"""

from __future__ import annotations

import logging
import random
from collections import Counter

from activekg_pipelines.errors import Disposition, ObjectError, RunsDied
from activekg_pipelines.ledger import planner
from activekg_pipelines.ledger.run_counts import RunCounts
from activekg_pipelines.ledger.states import ClaimedObject, ClaimedText, FailedObject, ObjectState
from activekg_pipelines.settings import Settings

logger = logging.getLogger(__name__)

# An object that does no harm may be claimed together with the one that kills the run.
# Ten deaths in a row are no coincidence.
_MAX_DEATHS = 10


def failed(
    object_: ClaimedObject | ClaimedText, error: ObjectError, settings: Settings
) -> FailedObject:
    """The next state of a claimed object that ended in an error."""
    return planner.settle(
        object_.id,
        error,
        object_.attempts + 1,
        parser_failures=object_.parser_failures if isinstance(object_, ClaimedObject) else 0,
        max_attempts=settings.activekg_max_attempts,
        base=settings.activekg_retry_base_seconds,
        cap=settings.activekg_retry_cap_seconds,
        chance=random.random(),  # noqa: S311 - no secret
    )


def failure_counts(failures: list[FailedObject]) -> RunCounts:
    """A run's counts of failures."""
    states = Counter(failure.state for failure in failures)
    return RunCounts(
        skipped=states[ObjectState.SKIPPED],
        failed=states[ObjectState.FAILED],
        dead=states[ObjectState.DEAD],
        errors=dict(Counter(failure.error.code for failure in failures)),
    )


def too_many_deaths(deaths: int) -> RunsDied | None:
    """Why an object is not tried again when run after run died with it."""
    if deaths < _MAX_DEATHS:
        return None
    return RunsDied(
        f"{deaths} runs died while they worked on this object; it is not tried again until it is "
        "replayed."
    )


def log_failure(step: str, uri: str, error: ObjectError) -> None:
    """Log why an object was not indexed.

    It is an error, unless the object only holds nothing to index.

    Args:
        step: what failed, as an infinitive.
    """
    fields = {"object": uri}
    if error.disposition is Disposition.SKIP:
        logger.info("Skipping %s - %s", uri, error.message, extra=fields)
    elif uri in error.message:
        logger.error("%s", error.message, extra=fields)
    else:
        logger.error("Failed to %s %s: %s", step, uri, error.message, extra=fields)
