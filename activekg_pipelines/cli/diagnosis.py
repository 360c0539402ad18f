"""Looks at each part of an installation and says what to do about what is broken. Mends
nothing itself.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from activekg_pipelines.errors import ActiveKGError, first_line

if TYPE_CHECKING:
    from psycopg import Connection

    from activekg_pipelines.settings import Settings

_ON_MIGRATIONS: Final = ("encryption_keys", "s3_endpoints")
_ON_DATABASE: Final = ("pgvector", "migrations", *_ON_MIGRATIONS, "clock", "dagster_storage")
_DAGSTER: Final = ("dagster_webserver", "dagster_code_location", "dagster_daemon")
_OF_THIS_MACHINE: Final = ("model", "sandbox", "temporary_space")
PARTS: Final = ("settings", "token_key", "database", *_ON_DATABASE, *_DAGSTER, *_OF_THIS_MACHINE)

_CONNECT_SECONDS = 5
# pgvector 0.8 brought the iterative index scans that search under a tenant filter
# needs.
_PGVECTOR = (0, 8)
# S3 refuses requests that are 15 minutes off, the admin API tokens that are
# JWT_LEEWAY_SECONDS off: 30 by default.
_CLOCK_SECONDS = 30.0
_DOCUMENT = (
    b"<html><head><title>Doctor</title></head><body><p>The patient is well.</p></body></html>"
)
_START_DAGSTER = (
    "Start Dagster (activekg-pipelines up), or set ACTIVEKG_WEBSERVER_URL to where "
    "its webserver answers."
)


@dataclass(frozen=True, slots=True)
class Finding:
    """How one part is.

    Attributes:
        ok: None where nobody can know, because a part that it needs is broken.
        fix: what to do; empty where nothing is.
    """

    name: str
    ok: bool | None
    detail: str
    fix: str = ""


class _Broken(ActiveKGError):
    """The part is broken."""

    def __init__(self, detail: str, fix: str) -> None:
        super().__init__(detail)
        self.fix = fix


def diagnose(skip: frozenset[str] = frozenset()) -> Iterator[Finding]:
    """Findings one by one, in the order of :data:`PARTS`, each as soon as it is known.

    Args:
        skip: parts to leave out.
    """
    for finding in _all():
        if finding.name not in skip:
            yield finding


def _all() -> Iterator[Finding]:
    from activekg_pipelines.cli.environment import prepare_environment
    from activekg_pipelines.settings import load_settings, settings

    try:
        current = load_settings()
    except ActiveKGError as error:
        yield Finding(
            "settings", False, error.message, "Correct these variables in the environment."
        )
        yield from _unknown(PARTS[1:], "the settings cannot be read")
        return
    unreachable = None
    try:
        prepare_environment(generate_keys=False)
        current = settings()
    except ActiveKGError as error:
        unreachable = error.message
    yield Finding("settings", True, f"read; what is local lies in {current.activekg_home}")
    yield _look("token_key", _token_key, current)
    yield from _database(current) if unreachable is None else _no_database(unreachable)
    yield from _dagster(current)
    for name, check in zip(_OF_THIS_MACHINE, (_model, _sandbox, _temporary_space), strict=True):
        yield _look(name, check, current)


def _database(settings: Settings) -> Iterator[Finding]:
    import psycopg

    try:
        conn = psycopg.connect(
            settings.require_dsn(), connect_timeout=_CONNECT_SECONDS, autocommit=True
        )
    except psycopg.Error as error:
        yield from _no_database(first_line(error))
        return
    with conn:
        version = conn.info.server_version
        yield Finding("database", True, f"answers: PostgreSQL {version // 10000}.{version % 10000}")
        yield _look("pgvector", _pgvector, conn)
        migrations = _look("migrations", _migrations, settings)
        yield migrations
        if migrations.ok:
            yield _look("encryption_keys", lambda opened: _encryption_keys(settings, opened), conn)
            yield _look("s3_endpoints", lambda opened: _s3_endpoints(settings, opened), conn)
        else:
            yield from _unknown(_ON_MIGRATIONS, "the migrations are not current")
        yield _look("clock", _clock, conn)
    yield _look("dagster_storage", _dagster_storage, settings)


def _no_database(reason: str) -> Iterator[Finding]:
    yield Finding(
        "database",
        False,
        reason,
        "Start Postgres, and check ACTIVEKG_DSN and ACTIVEKG_DAGSTER_DSN.",
    )
    yield from _unknown(_ON_DATABASE, "the database does not answer")


def _pgvector(conn: Connection[Any]) -> str:
    row = conn.execute(
        "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'vector'),"
        " (SELECT default_version FROM pg_available_extensions WHERE name = 'vector')"
    ).fetchone()
    installed, available = row or (None, None)
    version = installed or available
    if version is None:
        raise _Broken("is not there", "Install pgvector 0.8 or newer on the database server.")
    if tuple(int(part) for part in version.split("-")[0].split(".")[:2]) < _PGVECTOR:
        raise _Broken(
            f"{version} is too old",
            "Install pgvector 0.8 or newer, then run: ALTER EXTENSION vector UPDATE",
        )
    return version if installed else f"{version} is available; the migration creates it"


def _migrations(settings: Settings) -> str:
    from activekg_pipelines.database.migrate import current_revision, newest_revision

    current, newest = current_revision(settings.require_dsn()), newest_revision()
    if current != newest:
        raise _Broken(
            f"the database is at {current or 'no revision'}, this version wants {newest}",
            "Run: activekg-pipelines migrate",
        )
    return f"current, at {newest}"


def _encryption_keys(settings: Settings, conn: Connection[Any]) -> str:
    from activekg_pipelines.connectors.encryption import KeyRing

    ring = KeyRing.from_settings(settings)
    # One ciphertext for each version: whoever can read these can read all.
    rows = conn.execute(
        "SELECT kek_version, count(*),"
        " (array_agg(provider))[1], (array_agg(id))[1], (array_agg(secrets))[1]"
        " FROM connectors.connectors GROUP BY kek_version ORDER BY kek_version"
    ).fetchall()
    unreadable: list[str] = []
    for version, count, provider, connector_id, secrets in rows:
        try:
            ring.decrypt(provider, connector_id, bytes(secrets), version)
        except ActiveKGError as error:
            unreadable.append(f"version {version}, of {count} connectors: {error.message}")
    if unreadable:
        raise _Broken(
            "; ".join(unreadable), "Set these keys again, or give the connectors new access keys."
        )
    old = sum(count for version, count, *_ in rows if version != ring.active_version)
    later = (
        f"; {old} connectors still use an older one: activekg-pipelines rotate-keys" if old else ""
    )
    return f"read every stored credential; version {ring.active_version} is active{later}"


def _token_key(settings: Settings) -> str:
    from activekg_pipelines.administration.tokens import TokenVerifier

    TokenVerifier(settings)
    return f"checks tokens with {settings.jwt_algorithm}"


def _clock(conn: Connection[Any]) -> str:
    before = time.time()
    row = conn.execute("SELECT extract(epoch FROM clock_timestamp())::float8").fetchone()
    # The answer's own way is no skew.
    skew = (row[0] if row else before) - (before + time.time()) / 2
    if abs(skew) > _CLOCK_SECONDS:
        raise _Broken(
            f"the database's clock is {skew:+.0f} seconds from this machine's",
            "Synchronise both clocks (NTP): S3 and tokens are refused when this machine's is "
            "wrong.",
        )
    return f"{abs(skew):.1f} seconds between this machine and the database"


def _s3_endpoints(settings: Settings, conn: Connection[Any]) -> str:
    from activekg_pipelines.errors import InvalidConnector
    from activekg_pipelines.sources.registry import provider

    rows = conn.execute(
        "SELECT provider, config, array_agg(partition_key) FROM connectors.connectors"
        " GROUP BY provider, config ORDER BY min(partition_key)"
    )
    refused: list[str] = []
    for kind, config, connectors in rows:
        try:
            provider(kind).config.stored(config, {}).check(settings)
        except InvalidConnector as error:
            refused.append(f"{', '.join(connectors)}: {error.message}")
    if refused:
        raise _Broken(
            f"not allowed: {'; '.join(refused)}",
            "Add the hosts to ACTIVEKG_ENDPOINT_ALLOWLIST of every process.",
        )
    if not settings.activekg_endpoint_allowlist:
        return "AWS only"
    return f"AWS, and {', '.join(settings.activekg_endpoint_allowlist)}"


def _dagster_storage(settings: Settings) -> str:
    from activekg_pipelines.orchestrator.orchestrator import Orchestrator

    with Orchestrator(settings.activekg_webserver_url) as orchestrator:
        count = orchestrator.count_partitions()
    return f"answers; {count} partitions"


def _dagster(settings: Settings) -> Iterator[Finding]:
    from activekg_pipelines.orchestrator.orchestrator import Orchestrator

    fixes = {
        "dagster_webserver": _START_DAGSTER,
        "dagster_code_location": "See the error under Deployment in the webserver, mend it, and "
        "reload.",
        "dagster_daemon": "Start dagster-daemon (one process), with the same DAGSTER_HOME as the "
        "webserver.",
    }
    with Orchestrator(settings.activekg_webserver_url) as orchestrator:
        checks = orchestrator.health()
    answers = all(check.ok for check in checks if check.name == "dagster_webserver")
    for check in checks:
        if check.name != "dagster_webserver" and not answers:
            yield Finding(check.name, None, check.detail)
        else:
            yield Finding(check.name, check.ok, check.detail, "" if check.ok else fixes[check.name])


def _model(settings: Settings) -> str:
    from activekg_pipelines.services import Services

    # A cache of its own: the remembered hash would say that a damaged file is well.
    with tempfile.TemporaryDirectory(prefix="activekg-") as folder:
        fresh = settings.model_copy(update={"activekg_home": Path(folder)})
        version = Services(fresh).versions.encoder
    return f"{settings.activekg_embedding_model}, stored as {version}"


def _sandbox(settings: Settings) -> str:
    from activekg_pipelines.extraction import Sandbox
    from activekg_pipelines.services import Services

    limits = Services(settings).limits
    started = time.monotonic()
    with (
        tempfile.TemporaryDirectory(prefix="activekg-") as folder,
        Sandbox(limits, workers=1, documents=Path(folder)) as sandbox,
    ):
        document = Path(folder) / "doctor.html"
        document.write_bytes(_DOCUMENT)
        text = sandbox.submit(document, document.name, None).result().text
    if "The patient is well." not in text:
        raise _Broken(
            "a page was read wrongly",
            "Install the package's dependencies in the versions that it names.",
        )
    return f"a page was read in a process of its own in {time.monotonic() - started:.1f} seconds"


def _temporary_space(settings: Settings) -> str:
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    # Each download thread holds one file until it is parsed.
    needed = settings.activekg_download_threads * settings.activekg_max_file_bytes
    if free < needed:
        raise _Broken(
            f"{folder} has {free / 1e9:.1f} GB free, and a run may need {needed / 1e9:.1f}",
            "Free some, set TMPDIR to another disk, or lower ACTIVEKG_DOWNLOAD_THREADS or "
            "ACTIVEKG_MAX_FILE_BYTES.",
        )
    return f"{folder} has {free / 1e9:.1f} GB free"


_FIXES: Final = {
    "pgvector": "Check that the role may read the system catalogue.",
    "migrations": "Run: activekg-pipelines migrate",
    "encryption_keys": "Set CONNECTOR_KEK_V<n> and CONNECTOR_KEK_ACTIVE_VERSION as every other "
    "process has them.",
    "token_key": "Set JWT_SECRET_KEY, or JWT_PUBLIC_KEY with JWT_ALGORITHM, as the admin API has "
    "them.",
    "dagster_storage": "Check ACTIVEKG_DAGSTER_DSN, DAGSTER_HOME and its dagster.yaml.",
    "model": "Install the package's dependencies, or set ACTIVEKG_EMBEDDING_MODEL to a model that "
    "this machine has.",
    "sandbox": "Check ACTIVEKG_PARSE_MEMORY_BYTES and ACTIVEKG_PARSE_TIMEOUT_SECONDS, and that "
    "processes may start.",
}


def _look(name: str, check: Callable[[Any], str], subject: Any) -> Finding:
    """A part's finding; what its check raises is one too, so that one broken part hides
    no other.
    """
    import psycopg

    try:
        return Finding(name, True, check(subject))
    except _Broken as broken:
        return Finding(name, False, broken.message, broken.fix)
    except ActiveKGError as error:
        return Finding(name, False, error.message, _FIXES.get(name, ""))
    except (psycopg.Error, OSError, ImportError) as error:
        return Finding(
            name, False, f"{type(error).__name__}: {first_line(error)}", _FIXES.get(name, "")
        )


def _unknown(names: tuple[str, ...], reason: str) -> Iterator[Finding]:
    yield from (Finding(name, None, f"unknown, because {reason}") for name in names)
