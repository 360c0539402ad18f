"""Decisions: how many runs, when to retry, whether to delete. Pure functions."""

from __future__ import annotations

import math
from datetime import datetime
from typing import Final

from activekg_pipelines.errors import Disposition, ObjectError
from activekg_pipelines.ledger.states import FailedObject, KnownVersion, ObjectState, Trigger

# The first time, the machine may have been busy. Each further one is a minute of a
# processor, or gigabytes of memory, for whoever uploads such a document.
MAX_PARSER_FAILURES: Final = 2


def is_changed(
    known: KnownVersion, etag: str, size: int, modified_at: datetime, *, distrusted: bool
) -> bool:
    """Whether a listed entry is another version than the one that the ledger knows.

    The same token with another size is another version. The same token and size with
    another time is none where the token is the digest of the bytes, or where nobody
    looked, as with the stores whose tokens are beyond doubt. Elsewhere it may be one,
    and one download decides.

    Args:
        known: the ledger's row.
        etag, size, modified_at: as they are listed now. Of the time seconds count: some
            stores give no more, or only in a listing.
        distrusted: the same token was seen over other bytes in this source.
    """
    if etag not in {known.etag, known.arrived_etag} or size != known.size:
        return True
    doubtful = distrusted or known.etag_is_digest is False or known.arrived_etag is not None
    return doubtful and modified_at.replace(microsecond=0) != known.modified_at.replace(
        microsecond=0
    )


def runs_wanted(due: int, live: int, *, max_objects: int, cap: int) -> int:
    """How many more runs a connector needs.

    Args:
        due: objects that a run could take up now.
        live: runs that are waiting or running already.
        max_objects: objects that one run takes at most.
        cap: runs that a connector may have at once.

    A live run counts as if it still had to process all of its objects. If that gives
    too few runs, more are asked for seconds later. Each run too many costs the start of
    a process.
    """
    return max(0, min(math.ceil(due / max_objects), cap) - live)


def queue_priority(trigger: Trigger, ahead: int) -> int:
    """A run's priority in Dagster's queue.

    The highest number comes first, and the oldest of equal ones.

    Args:
        trigger: why it was asked for. A person waits for a manual sync, and for a first
            one.
        ahead: runs of its tenant that are under way or come before it. They count more
            than the trigger: a tenant's first run comes before every other tenant's
            second one, however many runs each has.
    """
    return {Trigger.MANUAL: 8, Trigger.REGISTERED: 4}.get(trigger, 0) - 10 * ahead


def retry_delay(attempts: int, *, base: float, cap: float, chance: float) -> float:
    """Seconds until the next attempt: exponential backoff with "equal jitter".

    Args:
        attempts: attempts made so far, at least 1.
        base: seconds after the first attempt.
        cap: seconds at most.
        chance: uniform in [0, 1). Half of the delay is fixed, so that a retry never
            comes at once.

    Source: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
    """
    delay = _doubled(attempts, base, cap)
    return delay / 2 + delay / 2 * chance


def backoff_seconds(failures: int, *, base: float, cap: float, chance: float = 0.0) -> float:
    """Seconds to wait after several failures in a row: exponential backoff.

    Args:
        failures: in a row, the last one included; at least 1.
        base: seconds after the first one; each further one doubles them.
        cap: seconds at most.
        chance: uniform in [0, 1). It takes off up to a quarter, so that what failed
            together is not tried again together.
    """
    return _doubled(failures, base, cap) * (1 - chance / 4)


def backoff_table(*, base: float, cap: float) -> list[float]:
    """All delays of a backoff, for a statement that reads the number of failures itself.

    Returns:
        Seconds after one failure, after two, and so on. The last one, ``cap``, holds
        for any larger number.
    """
    table = [backoff_seconds(1, base=base, cap=cap)]
    while table[-1] < cap:
        table.append(backoff_seconds(len(table) + 1, base=base, cap=cap))
    return table


def _doubled(times: int, base: float, cap: float) -> float:
    # The exponent is bounded because a float is not: 2.0 ** 1100 raises.
    return min(cap, base * 2.0 ** min(times - 1, 60))


def settle(
    object_id: int,
    error: ObjectError,
    attempts: int,
    *,
    parser_failures: int = 0,
    max_attempts: int,
    base: float,
    cap: float,
    chance: float,
) -> FailedObject:
    """The next state of an object that ended in an error.

    Args:
        attempts: attempts made so far, including this one.
        parser_failures: of the attempts before this one, those that its parser's process
            did not survive.
        max_attempts: attempts after which a transient error makes a dead letter.
        base, cap, chance: as for :func:`retry_delay`.
    """
    match error.disposition:
        case Disposition.SKIP:
            return FailedObject(object_id, error, ObjectState.SKIPPED, None)
        case Disposition.ARCHIVED:
            return FailedObject(object_id, error, ObjectState.ARCHIVED, None)
        case Disposition.DEAD:
            return FailedObject(object_id, error, ObjectState.DEAD, None)
        case Disposition.RETRY if error.of_parser and parser_failures + 1 >= MAX_PARSER_FAILURES:
            return FailedObject(object_id, error, ObjectState.DEAD, None)
        case Disposition.RETRY | Disposition.GONE if attempts >= max_attempts:
            return FailedObject(object_id, error, ObjectState.DEAD, None)
        case Disposition.RETRY | Disposition.GONE:
            delay = retry_delay(attempts, base=base, cap=cap, chance=chance)
            return FailedObject(object_id, error, ObjectState.FAILED, delay)


def removes_document(failure: FailedObject) -> bool:
    """Whether the graph must remove the version that it holds.

    It must where the current version is known to hold no readable text. An answer from
    the version before would quote what is no longer there. What only prevents reading
    (a refusal, a transient failure, runs that die) says nothing about the content, so
    the last good version stays. A vanished object is deleted by the next completed
    scan.
    """
    return failure.error.without_text


def deletions_held_back(
    missing: int, known: int, *, share: float, min_objects: int, confirmed: int
) -> bool:
    """Whether a completed scan's deletions look like an accident.

    Examples are a wrong prefix and an emptied source.

    Args:
        missing: objects that the scan did not see any more.
        known: objects that the ledger held before, the missing ones included.
        share: share of ``known`` above which nothing is deleted without a confirmation.
        min_objects: deletions up to this number are carried out in any case.
        confirmed: how many deletions were confirmed. If there are more, they are held
            back again.
    """
    # A quotient is exact where the share is reached, and a product is not:
    # 29 > 0.29 * 100.
    return missing > max(confirmed, min_objects) and missing / known > share
