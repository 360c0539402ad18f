"""The parts of an installation, and whether each works.

``doctor`` shows all of these checks, the readiness of the API some. A check looks, and
repairs nothing.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Self

import psycopg
from psycopg.pq import TransactionStatus

from activekg_pipelines.administration import reads
from activekg_pipelines.administration.tokens import TokenVerifier
from activekg_pipelines.database.migrate import current_revision, find_obstacles, newest_revision
from activekg_pipelines.database.pool import connect
from activekg_pipelines.database.requirements import Obstacle
from activekg_pipelines.errors import (
    ActiveKGError,
    InvalidConnector,
    ParserUnavailable,
    first_line,
)
from activekg_pipelines.services import Services
from activekg_pipelines.sources.registry import provider

if TYPE_CHECKING:
    from activekg_pipelines.orchestrator.health import Check as DagsterCheck

# S3 refuses requests that are 15 minutes off, the admin API tokens that are
# JWT_LEEWAY_SECONDS off: 30 by default.
_CLOCK_SECONDS = 30.0
# Connectors that a finding names.
_SHOWN = 5
_SENTENCE: Final = "The sandbox reads this."
_PAGE: Final = f"<html><head><title>A page</title></head><body><p>{_SENTENCE}</p></body></html>"


@dataclass(frozen=True, slots=True)
class Finding:
    """How one part is.

    Attributes:
        ok: None where nobody can know, because a part that it needs is broken.
        detail: for everybody.
        quoted: what a library, a setting or a row says; for operators alone.
        fix: what to do; empty where nothing is.
    """

    name: str
    ok: bool | None
    detail: str
    quoted: str = ""
    fix: str = ""

    def told(self) -> str:
        """All of it, for operators."""
        return f"{self.detail}: {self.quoted}" if self.quoted else self.detail


@dataclass(frozen=True, slots=True)
class Check:
    """One part of an installation.

    Attributes:
        look: says how the part is; what it raises makes the part broken.
        fix: what to do where the error says nothing better.
        needs: the part without which nobody can know.
        of_connectors: it looks at what tenants registered, and not at the installation.
        is_broken: of whoever needs this part: "unknown, because …".
        for_readiness: nothing syncs or is searched without it.
    """

    name: str
    look: Callable[[Installation], Finding | str]
    fix: str = ""
    needs: str | None = None
    is_broken: str = ""
    for_readiness: bool = False
    of_connectors: bool = False


class Broken(ActiveKGError):
    """The part is broken."""

    def __init__(self, detail: str, fix: str | None = None, *, quoted: str = "") -> None:
        super().__init__(detail, fix=fix)
        self.has_fix = fix is not None
        self.quoted = quoted


class Installation:
    """What the checks look at.

    Args:
        connect_seconds: to wait for the database at most. The pool would wait for half a
            minute.
        answer_seconds: that a statement may take; None for as long as it takes.
        no_database: why the database cannot even be asked.
        page: what the sandbox is given to read.
    """

    def __init__(
        self,
        services: Services,
        *,
        connect_seconds: int = 5,
        answer_seconds: int | None = None,
        no_database: str | None = None,
        page: bytes = _PAGE.encode(),
    ) -> None:
        self.services = services
        self.settings = services.settings
        self.no_database = no_database
        self.page = page
        self._connect_seconds = connect_seconds
        self._answer_seconds = answer_seconds
        self._conn: psycopg.Connection[Any] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._conn is not None:
            self._conn.close()

    @property
    def conn(self) -> psycopg.Connection[Any]:
        """A connection of its own to the database, in a transaction of this check."""
        if self._conn is None:
            dsn = self.settings.require_dsn()
            self._conn = connect(dsn, connect_timeout=self._connect_seconds)
        begins = self._conn.info.transaction_status is TransactionStatus.IDLE
        if begins and self._answer_seconds is not None:
            # For the transaction alone: a pooler gives the session to others afterwards.
            timeout = f"{self._answer_seconds}s"
            self._conn.execute("SELECT set_config('statement_timeout', %s, true)", (timeout,))
        return self._conn

    def end_check(self) -> None:
        """End the transaction, which a statement that failed would keep from going on."""
        if self._conn is not None and not self._conn.closed:
            self._conn.rollback()

    @cached_property
    def obstacles(self) -> list[Obstacle]:
        """What keeps this version from migrating or using the database."""
        return find_obstacles(self.settings.require_dsn())

    @cached_property
    def dagster(self) -> Mapping[str, DagsterCheck]:
        """What Dagster says of its parts."""
        return {check.name: check for check in self.services.orchestrator.health()}


def findings(installation: Installation, names: Collection[str]) -> Iterator[Finding]:
    """How these parts are, each as soon as it is known, in the order of the checks."""
    known: dict[str, Finding] = {}
    for check in CHECKS:
        if check.name in names:
            yield _found(check, installation, known)


def _found(check: Check, installation: Installation, known: dict[str, Finding]) -> Finding:
    if check.name not in known:
        needed = _BY_NAME[check.needs] if check.needs else None
        state = _found(needed, installation, known) if needed else None
        if needed is None or state is None or state.ok:
            known[check.name] = _look(check, installation)
        else:
            # One reason for all that hangs on the part that is broken.
            reason = f"unknown, because {needed.is_broken}" if state.ok is False else state.detail
            known[check.name] = Finding(check.name, None, reason)
    return known[check.name]


def _look(check: Check, installation: Installation) -> Finding:
    """A part's finding.

    What its check raises is a finding, too, so that one broken part hides no other.
    """
    try:
        try:
            found = check.look(installation)
        finally:
            installation.end_check()
    except Broken as error:
        fix = error.fix if error.has_fix else check.fix
        return Finding(check.name, False, error.message, error.quoted, fix)
    except ActiveKGError as error:
        return Finding(check.name, False, error.message, fix=check.fix)
    except (psycopg.Error, OSError, ImportError) as error:
        return Finding(check.name, False, type(error).__name__, first_line(error), check.fix)
    return found if isinstance(found, Finding) else Finding(check.name, True, found)


def _token_key(installation: Installation) -> str:
    TokenVerifier(installation.settings)
    return f"checks tokens with {installation.settings.jwt_algorithm}"


def _database(installation: Installation) -> Finding:
    if installation.no_database is not None:
        raise Broken("cannot be asked", quoted=installation.no_database)
    try:
        version = installation.conn.info.server_version
    except psycopg.Error as error:
        detail = f"does not answer ({type(error).__name__})"
        raise Broken(detail, quoted=first_line(error)) from None
    quoted = f"PostgreSQL {version // 10000}.{version % 10000}"
    return Finding("database", True, "answers", quoted)


def _rights(installation: Installation) -> str:
    if found := [one for one in installation.obstacles if not one.about_pgvector]:
        raise Broken(" ".join(one.what for one in found), " ".join(one.remedy for one in found))
    return "nothing stands in the way of the migration or of a sync"


def _pgvector(installation: Installation) -> str:
    for one in installation.obstacles:
        if one.about_pgvector:
            raise Broken(one.what, one.remedy)
    row = installation.conn.execute(
        "SELECT (SELECT extversion FROM pg_extension WHERE extname = 'vector'),"
        " (SELECT default_version FROM pg_available_extensions WHERE name = 'vector')"
    ).fetchone()
    installed, available = row or (None, None)
    return installed or f"{available} is available; the migration creates it"


def _migrations(installation: Installation) -> str:
    current = current_revision(installation.settings.require_dsn())
    newest = newest_revision()
    if current != newest:
        raise Broken(f"the database is at {current or 'no revision'}, this version wants {newest}")
    return f"current, at {newest}"


def _encryption_keys(installation: Installation) -> Finding:
    ring = installation.services.keyring
    rows = reads.credentials_by_key_version(installation.conn)
    unreadable: list[str] = []
    for row in rows:
        try:
            ring.decrypt(row.provider, row.id, row.secrets, row.kek_version)
        except ActiveKGError as error:
            unreadable.append(
                f"version {row.kek_version}, of {row.connectors} connectors: {error.message}"
            )
    if unreadable:
        raise Broken(
            "stored credentials cannot be read with the keys that are set",
            "Set these keys again, or give the connectors new access keys.",
            quoted="; ".join(unreadable),
        )
    old = sum(row.connectors for row in rows if row.kek_version != ring.active_version)
    quoted = f"version {ring.active_version} is active"
    if not old:
        return Finding("encryption_keys", True, "reads the stored credentials", quoted)
    return Finding(
        "encryption_keys",
        True,
        "reads the stored credentials",
        f"{quoted}; {old} connectors still use an older one",
        "Encrypt their credentials with the active key.",
    )


def _endpoints(installation: Installation) -> str:
    settings = installation.settings
    refused: list[str] = []
    for row in reads.configurations(installation.conn):
        try:
            provider(row.provider).config.stored(row.config, {}).check(settings)
        except InvalidConnector as error:
            refused.append(f"{', '.join(row.partition_keys)}: {error.message}")
    if refused:
        raise Broken("not allowed", quoted="; ".join(refused))
    if not settings.activekg_endpoint_allowlist:
        return "AWS only"
    return f"AWS, and {', '.join(settings.activekg_endpoint_allowlist)}"


def _clock(installation: Installation) -> str:
    before = time.time()
    row = installation.conn.execute(
        "SELECT extract(epoch FROM clock_timestamp())::float8"
    ).fetchone()
    # The answer's own way is no skew.
    skew = (row[0] if row else before) - (before + time.time()) / 2
    if abs(skew) > _CLOCK_SECONDS:
        raise Broken(f"the database's clock is {skew:+.0f} seconds from this machine's")
    return f"{abs(skew):.1f} seconds between this machine and the database"


def _dagster_storage(installation: Installation) -> str:
    return f"answers; {installation.services.orchestrator.count_partitions()} partitions"


def _dagster(name: str) -> Callable[[Installation], str]:
    def look(installation: Installation) -> str:
        found = installation.dagster[name]
        if not found.ok:
            raise Broken(found.detail)
        return found.detail

    return look


def _model(installation: Installation) -> str:
    settings = installation.settings
    # A cache of its own: the remembered hash would say that a damaged file is well.
    with tempfile.TemporaryDirectory(prefix="activekg-") as folder:
        fresh = settings.model_copy(update={"activekg_home": Path(folder)})
        version = Services(fresh).versions.encoder
    return f"{settings.activekg_embedding_model}, stored as {version}"


def _sandbox(installation: Installation) -> str:
    from activekg_pipelines.extraction import Sandbox, check_parsers

    started = time.monotonic()
    try:
        check_parsers()
    except ParserUnavailable as error:
        raise Broken(error.message, error.fix) from error
    with (
        tempfile.TemporaryDirectory(prefix="activekg-") as folder,
        Sandbox(installation.services.limits, workers=1, documents=Path(folder)) as sandbox,
    ):
        document = Path(folder) / "page.html"
        document.write_bytes(installation.page)
        text = sandbox.submit(document, document.name, None).result().text
    if _SENTENCE not in text:
        raise Broken(
            "a page was read wrongly",
            "Install the package's dependencies in the versions that it names.",
        )
    return f"a page was read in a process of its own in {time.monotonic() - started:.1f} seconds"


def _temporary_space(installation: Installation) -> str:
    settings = installation.settings
    folder = tempfile.gettempdir()
    free = shutil.disk_usage(folder).free
    # Each download thread holds one file until it is parsed.
    needed = settings.activekg_download_threads * settings.activekg_max_file_bytes
    if free < needed:
        raise Broken(
            f"{folder} has {free / 1e9:.1f} GB free, and a run may need {needed / 1e9:.1f}"
        )
    return f"{folder} has {free / 1e9:.1f} GB free"


def _connectors(kind: reads.Trouble, wrong: str) -> Callable[[Installation], str]:
    def look(installation: Installation) -> str:
        found = reads.troubled(installation.conn, kind, shown=_SHOWN)
        if not found:
            return "none"
        connectors = found[0].connectors
        more = f"; and {connectors - len(found)} more" if connectors > len(found) else ""
        raise Broken(
            f"{connectors} connectors {wrong}",
            quoted="; ".join(f"{one.partition_key}: {one.trouble}" for one in found) + more,
        )

    return look


CHECKS: Final = (
    Check(
        "token_key",
        _token_key,
        fix="Set JWT_SECRET_KEY, or JWT_PUBLIC_KEY with JWT_ALGORITHM, as the admin API has them.",
    ),
    Check(
        "database",
        _database,
        fix="Start Postgres, and check ACTIVEKG_DSN and ACTIVEKG_DAGSTER_DSN.",
        is_broken="the database does not answer",
        for_readiness=True,
    ),
    Check(
        "database_rights",
        _rights,
        fix="Check that the role may read the system catalogue.",
        needs="database",
    ),
    Check(
        "pgvector",
        _pgvector,
        fix="Check that the role may read the system catalogue.",
        needs="database",
    ),
    Check(
        "migrations",
        _migrations,
        fix="Run the migration.",
        needs="database",
        is_broken="the migrations are not current",
        for_readiness=True,
    ),
    Check(
        "encryption_keys",
        _encryption_keys,
        fix="Set CONNECTOR_KEK_V<n> and CONNECTOR_KEK_ACTIVE_VERSION as every other process has "
        "them.",
        needs="migrations",
        for_readiness=True,
    ),
    Check(
        "s3_endpoints",
        _endpoints,
        fix="Add the hosts to ACTIVEKG_ENDPOINT_ALLOWLIST of every process.",
        needs="migrations",
    ),
    Check(
        "clock",
        _clock,
        fix="Synchronise both clocks (NTP): S3 and tokens are refused when this machine's is "
        "wrong.",
        needs="database",
    ),
    Check(
        "dagster_storage",
        _dagster_storage,
        fix="Check ACTIVEKG_DAGSTER_DSN, DAGSTER_HOME and its dagster.yaml.",
        needs="database",
    ),
    Check(
        "dagster_webserver",
        _dagster("dagster_webserver"),
        fix="Set ACTIVEKG_WEBSERVER_URL to where Dagster's webserver answers, or start Dagster.",
        is_broken="the webserver does not answer",
        for_readiness=True,
    ),
    Check(
        "dagster_code_location",
        _dagster("dagster_code_location"),
        fix="See the error under Deployment in the webserver, correct it, and reload.",
        needs="dagster_webserver",
        for_readiness=True,
    ),
    Check(
        "dagster_daemon",
        _dagster("dagster_daemon"),
        fix="Start dagster-daemon (one process), with the same DAGSTER_HOME as the webserver.",
        needs="dagster_webserver",
        for_readiness=True,
    ),
    Check(
        "model",
        _model,
        fix="Install the package's dependencies, or set ACTIVEKG_EMBEDDING_MODEL to a model that "
        "this machine has.",
    ),
    Check(
        "sandbox",
        _sandbox,
        fix="Check ACTIVEKG_PARSE_MEMORY_BYTES and ACTIVEKG_PARSE_TIMEOUT_SECONDS, and that "
        "processes may start.",
    ),
    Check(
        "temporary_space",
        _temporary_space,
        fix="Free some, set TMPDIR to another disk, or lower ACTIVEKG_DOWNLOAD_THREADS or "
        "ACTIVEKG_MAX_FILE_BYTES.",
    ),
    Check(
        "connector_errors",
        _connectors(reads.Trouble.ERRORS, "cannot be synced"),
        fix="Correct what the error names, then test the connector.",
        needs="migrations",
        of_connectors=True,
    ),
    Check(
        "dead_letters",
        _connectors(reads.Trouble.DEAD_LETTERS, "have objects that are not tried again"),
        fix="Remove the causes, then replay them.",
        needs="migrations",
        of_connectors=True,
    ),
    Check(
        "held_deletions",
        _connectors(reads.Trouble.HELD_DELETIONS, "wait for their deletions to be confirmed"),
        fix="Correct bucket and prefix, or confirm the deletions.",
        needs="migrations",
        of_connectors=True,
    ),
    Check(
        "late_listings",
        _connectors(reads.Trouble.LATE_LISTINGS, "were last listed too long ago"),
        fix="Start Dagster's daemon and the sensors, or lengthen the poll interval.",
        needs="migrations",
        of_connectors=True,
    ),
)
"""All checks, in the order in which they are shown."""

_BY_NAME: Final = {check.name: check for check in CHECKS}
