"""Pages of lists: opaque cursors out, checked values in."""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Annotated, Generic, TypeVar
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from activekg_pipelines.errors import ActiveKGError
from activekg_pipelines.sources.config import Key

Item = TypeVar("Item")
Position = TypeVar("Position")


class InvalidCursor(ActiveKGError):
    """The cursor is none that a page of this list gave."""


class PageQuery(BaseModel):
    """Query parameters that every list takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    cursor: Annotated[
        str | None, Field(max_length=4096, description="`next_cursor` of the page before.")
    ] = None
    limit: Annotated[int, Field(ge=1, le=1000, description="Items at most.")] = 100


class Page(BaseModel, Generic[Item]):
    """One page; ``next_cursor`` is null on the last one."""

    items: list[Item]
    next_cursor: str | None


class Cursor(Generic[Position]):
    """Writes a position in a list as an opaque string, and reads it back.

    Args:
        adapter: the position's type; what does not fit it is refused.
    """

    def __init__(self, adapter: TypeAdapter[Position]) -> None:
        self._adapter = adapter

    def encode(self, position: Position) -> str:
        """The string for a position."""
        return base64.urlsafe_b64encode(self._adapter.dump_json(position)).decode().rstrip("=")

    def decode(self, cursor: str | None) -> Position | None:
        """The position behind a string; None for the first page.

        Raises:
            InvalidCursor: no page gave this cursor.
        """
        if cursor is None:
            return None
        try:
            return self._adapter.validate_json(
                base64.b64decode(cursor + "=" * (-len(cursor) % 4), "-_", validate=True)
            )
        except (ValueError, ValidationError):
            raise InvalidCursor from None


TimeAndId = tuple[AwareDatetime, UUID]
by_time: Cursor[tuple[datetime, UUID]] = Cursor(TypeAdapter(TimeAndId))
# Cursors come from outside like all else: what Postgres cannot take is refused here.
by_number: Cursor[int] = Cursor(TypeAdapter(Annotated[int, Field(ge=0, lt=2**63, strict=True)]))
by_key: Cursor[str] = Cursor(TypeAdapter(Key))


def page_of(
    rows: Sequence[Position],
    limit: int,
    show: Callable[[Position], Item],
    mark: Callable[[Position], str],
) -> Page[Item]:
    """A page from one row more than it shows.

    Args:
        rows: up to ``limit + 1``; the last one only says that there is a next page.
        limit: items at most.
        show: a row as an item.
        mark: the cursor behind a row.
    """
    shown = rows[:limit]
    return Page(
        items=[show(row) for row in shown],
        next_cursor=mark(shown[-1]) if len(rows) > limit else None,
    )
