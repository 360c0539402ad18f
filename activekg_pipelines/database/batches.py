"""Writes a batch of which the database may refuse a row, without losing the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, TypeVar

import psycopg
from psycopg.errors import ForeignKeyViolation, ProgramLimitExceeded, RaiseException

Item = TypeVar("Item")
Written = TypeVar("Written")

REFUSALS: Final = (
    psycopg.DataError,
    psycopg.IntegrityError,
    ProgramLimitExceeded,
    # A trigger's.
    RaiseException,
    # The client's, of half of a surrogate pair.
    UnicodeEncodeError,
)
"""What a statement ends in because of a value in one of its rows.

The connection, locks and time limits end statements otherwise: there the same statement
may succeed later.
"""


def write_apart(
    items: Sequence[Item],
    write: Callable[[Sequence[Item]], Written],
    refused: Callable[[Item, Exception], Item | None],
) -> list[Written]:
    """Write a batch; where the database refuses it, halve it until the row is alone.

    One refused row among ``n`` costs about ``2 log2 n`` more transactions.

    Args:
        items: in the order in which they are written. No items are one empty batch.
        write: writes some of them, neighbours of each other, in a transaction of its own.
        refused: what to write in the place of an item that is refused alone, or None to
            leave it out. It is asked again where that is refused, too, and may raise.

    Returns:
        What the calls of ``write`` that succeeded returned, in the order of the items.
    """
    done: list[Written] = []
    pending = [items]
    while pending:
        batch = pending.pop()
        try:
            done.append(write(batch))
        except ForeignKeyViolation:
            # What the whole batch belongs to was removed meanwhile.
            raise
        except REFUSALS as error:
            if not batch:
                raise
            if len(batch) > 1:
                middle = len(batch) // 2
                pending += [batch[middle:], batch[:middle]]
            elif (instead := refused(batch[0], error)) is not None:
                pending.append([instead])
    return done
