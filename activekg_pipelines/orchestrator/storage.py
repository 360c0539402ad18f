"""Dagster's own storage in Postgres, over connections that stay open.

Dagster makes a connection for each statement, and asks before most of them whether its
tables are there. A tick that finds nothing makes thirty connections. With a thousand
tenants that is most of what an idle installation does.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from dagster_postgres import DagsterPostgresStorage, PostgresRunStorage, PostgresScheduleStorage
from dagster_postgres.utils import (
    create_pg_connection,
    create_pg_engine,
    get_token_provider_from_config,
    pg_url_from_config,
    set_pg_statement_timeout,
)
from sqlalchemy import event

from activekg_pipelines.database.pool import KEEPALIVES

if TYPE_CHECKING:
    from dagster._serdes import ConfigurableClassData
    from dagster_postgres.auth import PgTokenProvider
    from sqlalchemy.engine import Connection

# Connections that each instance keeps; a process has one instance as a rule. Ticks that
# run at the same time open further connections while they need them.
_KEPT: Final = 3


class PooledPostgresStorage(DagsterPostgresStorage):
    """``storage`` of ``dagster.yaml``; configured as Dagster's ``postgres`` is.

    Events go through Dagster's own storage, connection by connection: runs write them,
    and idle ticks do not.
    """

    def __init__(
        self,
        postgres_url: str,
        should_autocreate_tables: bool = True,
        inst_data: ConfigurableClassData | None = None,
        token_provider: PgTokenProvider | None = None,
    ) -> None:
        # Makes the tables of runs, schedules and events.
        super().__init__(postgres_url, should_autocreate_tables, inst_data, token_provider)
        connections = _Connections(postgres_url, token_provider)
        self._runs = _Runs(postgres_url, token_provider, connections)
        self._schedules = _Schedules(postgres_url, token_provider, connections)

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> PooledPostgresStorage:
        """The constructor that Dagster calls."""
        return cls(
            pg_url_from_config(config_value),
            config_value.get("should_autocreate_tables", True),
            inst_data,
            get_token_provider_from_config(config_value),
        )

    @property
    def run_storage(self) -> PostgresRunStorage:
        """Runs, and daemons' heartbeats."""
        return self._runs

    @property
    def schedule_storage(self) -> PostgresScheduleStorage:
        """Sensors, schedules and their ticks."""
        return self._schedules


class _Connections:
    """The connections of an instance."""

    def __init__(self, url: str, token_provider: PgTokenProvider | None) -> None:
        self._make = partial(
            create_pg_engine,
            url,
            token_provider,
            isolation_level="AUTOCOMMIT",
            # A server that was restarted has ended its connections.
            pool_pre_ping=True,
            connect_args=KEEPALIVES,
            pool_size=_KEPT,
        )
        # Any number may be open: a daemon that waits for a connection would look dead.
        # Each is renewed after five minutes, so that a host name which leads to another
        # server now is followed.
        self._engine = self._make(max_overflow=-1, pool_recycle=300)

    def connect(self) -> AbstractContextManager[Connection]:
        return create_pg_connection(self._engine)

    def limit(self, statement_timeout: int, pool_recycle: int, max_overflow: int) -> None:
        self._engine.dispose()
        self._engine = self._make(max_overflow=max_overflow, pool_recycle=pool_recycle)
        event.listen(
            self._engine,
            "connect",
            lambda connection, _: set_pg_statement_timeout(connection, statement_timeout),
        )

    def dispose(self) -> None:
        self._engine.dispose()


class _Runs(PostgresRunStorage):
    def __init__(
        self, postgres_url: str, token_provider: PgTokenProvider | None, connections: _Connections
    ) -> None:
        super().__init__(
            postgres_url, should_autocreate_tables=False, token_provider=token_provider
        )
        self._connections = connections
        self._columns = False

    def connect(self) -> AbstractContextManager[Connection]:
        return self._connections.connect()

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        self._connections.limit(statement_timeout, pool_recycle, max_overflow)

    def dispose(self) -> None:
        """Close all connections; an instance that ends forgets the schedules'."""
        self._connections.dispose()

    def has_run_stats_index_cols(self) -> bool:
        # What a migration has made stays.
        self._columns = self._columns or super().has_run_stats_index_cols()
        return self._columns


class _Schedules(PostgresScheduleStorage):
    def __init__(
        self, postgres_url: str, token_provider: PgTokenProvider | None, connections: _Connections
    ) -> None:
        super().__init__(
            postgres_url, should_autocreate_tables=False, token_provider=token_provider
        )
        self._connections = connections
        self._tables = False
        self._built: set[str] = set()
        # The states of sensors and those of schedules, by how each is stored. Another
        # thread of the daemon reads each kind.
        self._states: dict[Any, dict[str, Any]] = {}

    def connect(self, run_id: str | None = None) -> AbstractContextManager[Connection]:
        return self._connections.connect()

    def optimize_for_webserver(
        self, statement_timeout: int, pool_recycle: int, max_overflow: int
    ) -> None:
        self._connections.limit(statement_timeout, pool_recycle, max_overflow)

    def has_instigators_table(self) -> bool:
        # What a migration has made stays. So does an index, below.
        self._tables = self._tables or super().has_instigators_table()
        return self._tables

    def _has_instigators_table(self, conn: Connection) -> bool:
        # A tick asks twice, and Dagster answers from a list of all tables.
        return self._tables or super()._has_instigators_table(conn)

    def has_built_index(self, migration_name: str) -> bool:
        if migration_name not in self._built and super().has_built_index(migration_name):
            self._built.add(migration_name)
        return migration_name in self._built

    def _deserialize_rows(self, rows: Any, *as_type: Any) -> Any:
        # The daemon reads the state of every sensor each five seconds, and few have
        # changed since.
        if len(rows) < 2:
            return super()._deserialize_rows(rows, *as_type)
        before = ChainMap(*self._states.values())
        new = [row for row in rows if row[0] not in before]
        made = dict(
            zip((row[0] for row in new), super()._deserialize_rows(new, *as_type), strict=True)
        )
        states = {row[0]: before.get(row[0]) or made[row[0]] for row in rows}
        kind = next(iter(states.values())).instigator_type
        self._states = self._states | {kind: states}
        return list(states.values())
