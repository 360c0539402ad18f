"""What a tenant may use, and what it has used today.

Limits that an operator set for a tenant override the installation's.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from psycopg import Connection
from psycopg.rows import TupleRow, class_row

from activekg_pipelines.database.queries import load_queries

_SQL = load_queries(Path(__file__).with_name("tenant_limits.sql"))


@dataclass(frozen=True, slots=True)
class TenantLimits:
    """What a tenant may use; 0 means no limit, and None the installation's default.

    Attributes:
        connectors: registered at once.
        objects: of one connector; a scan takes in no new ones beyond that.
        bytes_per_day: downloaded on a day in UTC, by the database's clock.
    """

    connectors: int | None = None
    objects: int | None = None
    bytes_per_day: int | None = None


@dataclass(frozen=True, slots=True)
class TenantUsage:
    """A tenant's limits as they hold, and what it has used of them.

    Attributes:
        max_connectors, max_objects, max_bytes_per_day: the limits; None for no limit.
        is_own: an operator set limits for this tenant.
        connectors: registered.
        objects_over_limit: new objects that the last scans did not take in.
        bytes_today: downloaded since midnight, UTC.
        day_ends_at: the next midnight, UTC.
    """

    tenant_id: str
    max_connectors: int | None
    max_objects: int | None
    max_bytes_per_day: int | None
    is_own: bool
    connectors: int
    objects_over_limit: int
    bytes_today: int
    day_ends_at: datetime

    @property
    def waits_until(self) -> datetime | None:
        """When downloads go on; None while the day's bytes are not used up."""
        spent = self.max_bytes_per_day is not None and self.bytes_today >= self.max_bytes_per_day
        return self.day_ends_at if spent else None


class LimitStore:
    """Reads and sets limits, in the caller's transaction.

    Args:
        defaults: the installation's; every field set.
    """

    def __init__(self, defaults: TenantLimits) -> None:
        self._defaults = defaults

    def usage(self, conn: Connection[TupleRow], tenant_id: str) -> TenantUsage:
        """One tenant's limits and usage, also of a tenant that has no rows yet."""
        (found,) = self._read(conn, [tenant_id])
        return found

    def page(
        self, conn: Connection[TupleRow], *, after: str | None, limit: int
    ) -> list[TenantUsage]:
        """Tenants that have connectors or limits of their own, by id.

        Args:
            after: the last tenant of the page before.
            limit: tenants at most.
        """
        rows = conn.execute(_SQL["tenants"], {"after": after, "limit": limit})
        return self._read(conn, [row[0] for row in rows])

    def set(self, conn: Connection[TupleRow], tenant_id: str, limits: TenantLimits) -> None:
        """Set the given limits of a tenant; those that are None stay as they are."""
        conn.execute(
            _SQL["set"],
            {
                "tenant_id": tenant_id,
                "connectors": limits.connectors,
                "objects": limits.objects,
                "bytes_per_day": limits.bytes_per_day,
            },
        )

    def clear(self, conn: Connection[TupleRow], tenant_id: str) -> bool:
        """Let the installation's defaults hold for a tenant again.

        Returns:
            False where they did.
        """
        return conn.execute(_SQL["clear"], {"tenant_id": tenant_id}).rowcount > 0

    def _read(self, conn: Connection[TupleRow], tenants: list[str]) -> list[TenantUsage]:
        rows = conn.cursor(row_factory=class_row(TenantUsage)).execute(
            _SQL["usage"],
            {
                "tenants": tenants,
                "connectors": self._defaults.connectors,
                "objects": self._defaults.objects,
                "bytes_per_day": self._defaults.bytes_per_day,
            },
        )
        return rows.fetchall()
