"""Connections to Postgres: one pool a process, opened at its first use.

Every transaction is explicit. Stores take the connection; whoever calls them opens the
transaction.

A pooler such as PgBouncer may stand between, and hand each transaction to another
session of the server. So nothing here outlives a transaction: no prepared statement, no
setting, no temporary table.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from pgvector.psycopg import register_vector
from psycopg import Connection
from psycopg.rows import TupleRow
from psycopg_pool import ConnectionPool

from activekg_pipelines.deadline import has_deadline, interruptible, seconds_left
from activekg_pipelines.errors import first_line

logger = logging.getLogger(__name__)

KEEPALIVES: Final = {
    "keepalives_idle": 30,
    "keepalives_interval": 10,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""libpq's parameters of a connection that stays open.

The other end may be gone without a message, behind a firewall or in a zone that failed.
Such a connection ends within a minute. The kernel's defaults take a quarter of an hour.
"""

_CANCEL_SECONDS: Final = 5.0


_SESSION: Final[dict[str, Any]] = {
    # A pooler does not know the statements that a client prepared, and gives its next
    # transaction to a session that does not know them either. And what compares a page
    # has to be planned for its own range of keys: a generic plan reads to the end.
    "prepare_threshold": None,
    # A role or an environment may have chosen another one, in which not every text can
    # be written.
    "client_encoding": "utf8",
}
_SEARCH_PATH: Final = """
    SELECT concat_ws(', ', 'public', (
        SELECT quote_ident(n.nspname)
        FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace
        WHERE e.extname = 'vector' AND n.nspname <> 'public'
    ))
"""


class Database:
    """A pool of connections to one database.

    Args:
        dsn: libpq connection string or URL.
        max_size: connections at most. They are opened when they are needed, and closed
            after a minute without use.
        wait_seconds: for a connection, before the caller gets an error.
        idle_in_transaction_seconds: after these, the server rolls back a transaction in
            which no statement came. So a process that is stopped or cut off in the
            middle of one does not keep its rows locked.
    """

    def __init__(
        self,
        dsn: str,
        *,
        max_size: int = 4,
        wait_seconds: float = 30.0,
        idle_in_transaction_seconds: int = 120,
    ) -> None:
        self._wait_seconds = wait_seconds
        self._idle_in_transaction_seconds = idle_in_transaction_seconds
        self._begin_with = self._settings("public")
        self._pool: ConnectionPool[Connection[TupleRow]] = ConnectionPool(
            dsn,
            min_size=0,
            max_size=max_size,
            max_idle=60.0,
            timeout=wait_seconds,
            check=self._begin,
            configure=self._configure,
            kwargs={"application_name": "activekg-pipelines", **_SESSION, **KEEPALIVES},
            open=False,
            name="activekg",
        )

    @contextmanager
    def transaction(self, *, tenant_id: str | None = None) -> Iterator[Connection[TupleRow]]:
        """One transaction: committed at the end, rolled back on an exception.

        Where somebody waits until a moment, neither the wait for a connection nor a
        statement goes on after it, and the running statement is cancelled when they are
        gone.

        Args:
            tenant_id: sets ``app.current_tenant_id`` for the transaction, so that
                row-level security holds even where this role may see more.
        """
        self._pool.open()
        with self._pool.connection(timeout=seconds_left(self._wait_seconds)) as conn:

            def cancel() -> None:
                try:
                    conn.cancel_safe(timeout=_CANCEL_SECONDS)
                except psycopg.Error as error:
                    logger.warning(
                        "A statement that nobody waits for could not be cancelled, and goes on "
                        "until its timeout: %s",
                        first_line(error),
                    )

            with interruptible(cancel):
                if has_deadline():
                    _bound_statements(conn)
                if tenant_id is not None:
                    act_for(conn, tenant_id)
                yield conn

    def close(self) -> None:
        """Close every connection. The pool cannot be used afterwards."""
        self._pool.close()

    def _configure(self, conn: Connection[Any]) -> None:
        """Look where pgvector lies, and register its types if they exist."""
        try:
            # Any schema will do: the transactions' search path names it, whatever the
            # role's own says.
            self._begin_with = self._settings(search_path(conn))
            self._begin(conn)
            register_vector(conn)
        except psycopg.ProgrammingError:
            # `migrate` connects before the extension exists; nothing it does needs
            # vectors.
            conn.rollback()
        else:
            conn.commit()

    def _begin(self, conn: Connection[Any]) -> None:
        """Begin the transaction of a connection that is about to be used.

        It is also the check whether the connection still works, so that the settings
        cost no further way to the server.
        """
        conn.execute(self._begin_with)

    def _settings(self, path: str) -> bytes:
        """Statements that hold for the transaction."""
        # SET, and no query: some transactions choose their isolation next.
        return (
            "SET LOCAL idle_in_transaction_session_timeout = "
            f"'{self._idle_in_transaction_seconds}s'; SET LOCAL search_path = {path}"
        ).encode()


def connect(
    dsn: str, *, autocommit: bool = False, connect_timeout: int | None = None
) -> Connection[TupleRow]:
    """A connection of its own, outside of a pool; by way of a pooler, too.

    Args:
        dsn: libpq connection string or URL.
        autocommit: each statement is a transaction of its own.
        connect_timeout: in seconds; by default the DSN's.

    Raises:
        psycopg.OperationalError: the database cannot be reached.
    """
    given: dict[str, Any] = {} if connect_timeout is None else {"connect_timeout": connect_timeout}
    return psycopg.connect(dsn, autocommit=autocommit, **_SESSION, **given)


def search_path(conn: Connection[Any]) -> str:
    """The search path with which the tables' types and operators are found.

    It holds ``public`` and the schema of pgvector, which may be another one.
    """
    row = conn.execute(_SEARCH_PATH).fetchone()
    return str(row[0]) if row else "public"


def _bound_statements(conn: Connection[Any]) -> None:
    """End the transaction's statements when nobody waits for them any more."""
    milliseconds = max(1, int(seconds_left(86_400.0) * 1000))
    conn.execute("SELECT set_config('statement_timeout', %s, true)", (str(milliseconds),))


def act_for(conn: Connection[Any], tenant_id: str) -> None:
    """Show the rest of the transaction this tenant's rows.

    It matters where row-level security binds the role.
    """
    conn.execute("SELECT set_config('app.current_tenant_id', %s, true)", (tenant_id,))


def let_idle(conn: Connection[Any]) -> None:
    """Turn off the timeout for the rest of a transaction that only reads.

    It locks no row, so it may stay open as long as it takes.
    """
    conn.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
