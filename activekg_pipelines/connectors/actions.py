"""Who did what to connectors and tenants: a record that is only added to.

Everything happens in the caller's transaction: an action and its record are stored
together, or neither is.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow, class_row
from psycopg.types.json import Jsonb

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.queries import load_queries

_SQL = load_queries(Path(__file__).with_name("actions.sql"))


class ActionKind(StrEnum):
    """What people do."""

    CONNECTOR_REGISTERED = "connector_registered"
    CONNECTOR_CHANGED = "connector_changed"
    """Also where it is paused or resumed."""
    CONNECTOR_CHANGE_BEGUN = "connector_change_begun"
    """Documents leave in batches before the change; it may be cut short."""
    CONNECTOR_REMOVED = "connector_removed"
    CONNECTOR_REMOVAL_BEGUN = "connector_removal_begun"
    """It is paused and its documents leave in batches; it may be cut short."""
    DELETIONS_CONFIRMED = "deletions_confirmed"
    DEAD_LETTERS_REPLAYED = "dead_letters_replayed"
    KEYS_ROTATED = "keys_rotated"
    """Of the tenant's connectors, in one transaction of a rotation."""
    SYNC_CANCELLED = "sync_cancelled"
    LIMITS_CHANGED = "limits_changed"
    TENANT_REMOVAL_BEGUN = "tenant_removal_begun"
    TENANT_REMOVED = "tenant_removed"
    """Both are the operator's own: the tenant's record goes with it."""


class Via(StrEnum):
    """By which door."""

    API = "api"
    COMMAND_LINE = "command_line"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who acts.

    Attributes:
        name: the subject of a token, or a user of the operating system.
        by_operator: not the tenant itself, but whoever runs the installation.
    """

    name: str
    via: Via
    by_operator: bool

    def __str__(self) -> str:
        """As people read it."""
        return self.name if self.via is Via.API else f"{self.name} (command line)"


@dataclass(frozen=True, slots=True)
class Action:
    """One row of the record.

    Attributes:
        tenant_id: None where it is about no tenant that is still there.
        partition_key: of the connector, as it was called then.
        details: what was done, by name; never a secret.
    """

    id: int
    at: datetime
    tenant_id: str | None
    actor: str
    via: Via
    by_operator: bool
    action: ActionKind
    connector_id: UUID | None
    partition_key: str | None
    details: Mapping[str, Any]


# Set at the API's door, where the token is checked, so that no route can forget it. A
# process that nobody asks over HTTP acts for its own user.
_actor: ContextVar[Actor | None] = ContextVar("actor", default=None)


@contextmanager
def acting(actor: Actor) -> Iterator[None]:
    """Name whoever acts meanwhile, in this task and in the threads that it starts."""
    before = _actor.set(actor)
    try:
        yield
    finally:
        _actor.reset(before)


def who_acts() -> Actor:
    """Whoever :func:`acting` names; otherwise the user of this process."""
    return _actor.get() or Actor(_user_name(), Via.COMMAND_LINE, by_operator=True)


def record(
    conn: Connection[TupleRow],
    action: ActionKind,
    tenant_id: str | None,
    connector: Connector | None = None,
    **details: Any,
) -> None:
    """Add an action to the record, with whoever acts.

    Args:
        conn: the transaction that carries the action out.
        tenant_id: whose; None for the operator's own.
        connector: what it was done to, if to one connector.
        details: what was done, as JSON can hold it. Never a secret.
    """
    conn.execute(
        _SQL["record"],
        {
            **_action(action),
            "tenant_id": tenant_id,
            "connector_id": connector.id if connector else None,
            "partition_key": connector.partition_key if connector else None,
            "details": Jsonb(details),
        },
    )


def record_each(
    conn: Connection[TupleRow], action: ActionKind, details: Mapping[str, Mapping[str, Any]]
) -> None:
    """Add an action that was done to several tenants at once, for each of them.

    Args:
        conn: as :func:`record` has it.
        details: what was done, by tenant.
    """
    conn.execute(
        _SQL["record_each"],
        {
            **_action(action),
            "tenants": list(details),
            "details": [Jsonb(done) for done in details.values()],
        },
    )


def page(
    conn: Connection[TupleRow],
    tenant_id: str | None,
    *,
    connector_id: UUID | None = None,
    action: ActionKind | None = None,
    after: int | None = None,
    limit: int,
) -> list[Action]:
    """Actions, newest first.

    Args:
        tenant_id: only this tenant's; None for every tenant's and the operator's own.
        connector_id: only those on this connector, which may be gone.
        action: only these.
        after: ``id`` of the last one of the page before.
        limit: rows at most.
    """
    parameters = {
        "tenant_id": tenant_id,
        "connector_id": connector_id,
        "action": action,
        "after": after,
        "limit": limit,
    }
    rows = conn.cursor(row_factory=class_row(Action)).execute(_SQL["page"], parameters)
    return rows.fetchall()


def _action(action: ActionKind) -> dict[str, Any]:
    actor = who_acts()
    return {
        "actor": actor.name,
        "via": actor.via,
        "by_operator": actor.by_operator,
        "action": action,
    }


def _user_name() -> str:
    import pwd

    # Not from the environment, where anybody writes what they like.
    number = os.getuid()
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        # In a container whose list of users does not have it.
        return f"uid {number}"
