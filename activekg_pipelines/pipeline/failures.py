"""What becomes of errors: of one object, and of what ended a run or a poll.

An object gets its next state, is counted, and is logged. The connector keeps what ended
its run or poll.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from typing import Final

from psycopg import Error as DatabaseError
from psycopg_pool import PoolTimeout

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.errors import (
    ActiveKGError,
    Disposition,
    ModelError,
    NotStorable,
    ObjectError,
    ParserUnavailable,
    RunsDied,
    SourceError,
    first_line,
)
from activekg_pipelines.ledger import planner
from activekg_pipelines.ledger.run_counts import RunCounts
from activekg_pipelines.ledger.states import ClaimedObject, ClaimedText, FailedObject, ObjectState
from activekg_pipelines.quoting import printable
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings

logger = logging.getLogger(__name__)

RUN_FAILED: Final = "run_failed"
"""The code of what ended a run and is none of our errors; the next good run clears it."""
POLL_FAILED: Final = "poll_failed"
"""The same of a poll; the next completed scan clears it."""

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
        skipped=states[ObjectState.SKIPPED] + states[ObjectState.ARCHIVED],
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


def not_storable(error: Exception) -> NotStorable:
    """What an object ends in whose row the database refused."""
    return NotStorable(
        f"The database refuses what belongs to this object ({type(error).__name__}): "
        f"{first_line(error)}."
    )


def record_failure(
    services: Services,
    connector: Connector,
    error: Exception,
    *,
    unexpected: str,
    sentence: str | None = None,
) -> bool:
    """Keep with the connector what ended its run or poll, whatever it is.

    Errors of the source and of a parser are kept by whoever met them.

    Args:
        unexpected: the code of an error that is none of ours.
        sentence: what to keep of such an error; by default its class and what it says.

    Returns:
        Whether it could be written. Where the database is away it cannot.
    """
    if isinstance(error, (SourceError, ParserUnavailable)):
        return True
    if isinstance(error, ModelError):
        code, said = error.code, error.message
    elif isinstance(error, ActiveKGError):
        # A missing key stops the connector as refused credentials do.
        code, said = "configuration", error.message
    else:
        code = unexpected
        said = sentence or (
            f"It ended in an error that has no name here: {type(error).__name__}: "
            f"{first_line(error)}. The log of the run or of Dagster's code server says where."
        )
    try:
        with services.database.transaction(tenant_id=connector.tenant_id) as conn:
            services.connectors.record_error(conn, connector.id, code, said)
    except (DatabaseError, PoolTimeout) as away:
        name = type(away).__name__
        logger.warning("What ended the work could not be recorded: %s", name)
        return False
    return True


def log_failure(step: str, uri: str, error: ObjectError) -> None:
    """Log why an object was not indexed.

    It is an error, unless the object only holds nothing to index, or is archived.

    Args:
        step: what failed, as an infinitive.
    """
    fields = {"object": uri}
    if error.disposition in {Disposition.SKIP, Disposition.ARCHIVED}:
        logger.info("Skipping %s - %s", uri, error.message, extra=fields)
    elif printable(uri, len(error.message)) in error.message:
        logger.error("%s", error.message, extra=fields)
    else:
        logger.error("Failed to %s %s: %s", step, uri, error.message, extra=fields)
