"""The local environment: embedded database and generated keys where none are set, and Dagster's home.

Everything lies under ``ACTIVEKG_HOME``. What is generated is kept in a file that only its owner can read, so that a
second start, a second terminal and ``dagster``'s own commands find the same keys and databases.
"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path

from cryptography.fernet import Fernet
from psycopg.conninfo import conninfo_to_dict

from activekg_pipelines.database.embedded import ensure_database, start_embedded
from activekg_pipelines.errors import SettingsError
from activekg_pipelines.settings import connector_keks, load_settings, settings

_SECRETS_FILE = "secrets.env"


def prepare_environment(*, generate_keys: bool) -> dict[str, str]:
    """Set what is not set: database, keys, Dagster's home. Starts the embedded database when ACTIVEKG_DSN is not set.

    Args:
        generate_keys: make an encryption key and a JWT secret when there are none; only for a local system.

    Returns:
        Every variable that a process needs to work with this system, secrets included.

    Raises:
        SettingsError: something that is set cannot be used.
    """
    home = load_settings().activekg_home.resolve()
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    values = {"ACTIVEKG_HOME": str(home)}
    values |= _secrets(home, generate=generate_keys)
    values |= _databases(home)
    values |= _dagster(home)
    os.environ.update(values)
    settings.cache_clear()
    return values


def exports(values: Mapping[str, str]) -> str:
    """``values`` as lines for a shell's ``eval``."""
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in sorted(values.items()))


def project_file(name: str) -> Path:
    """``dagster.yaml`` or ``workspace.yaml``: of the working directory, or of the checkout that this package lies in.

    Raises:
        SettingsError: neither has it.
    """
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (folder / name).is_file():
            return folder / name
    raise SettingsError(f"{name} is missing. Run this in a checkout of activekg-pipelines, or copy the file from one.")


def _secrets(home: Path, *, generate: bool) -> dict[str, str]:
    stored = _read(home / _SECRETS_FILE)
    values: dict[str, str] = {}
    if not connector_keks():
        if generate and "CONNECTOR_KEK_V1" not in stored:
            stored |= {"CONNECTOR_KEK_V1": Fernet.generate_key().decode(), "CONNECTOR_KEK_ACTIVE_VERSION": "1"}
        values |= {name: value for name, value in stored.items() if name.startswith("CONNECTOR_KEK_")}
    current = load_settings()
    if current.jwt_secret_key is None and current.jwt_public_key is None:
        if generate and "JWT_SECRET_KEY" not in stored:
            stored["JWT_SECRET_KEY"] = secrets.token_urlsafe(48)
        values |= {name: value for name, value in stored.items() if name.startswith("JWT_")}
    if generate and stored != _read(home / _SECRETS_FILE):
        _write(home / _SECRETS_FILE, stored)
    return values


def _databases(home: Path) -> dict[str, str]:
    given = load_settings().activekg_dsn
    if given is None:
        server = start_embedded(home / "postgres")
        return {
            "ACTIVEKG_DSN": ensure_database(server, "activekg"),
            "ACTIVEKG_DAGSTER_DSN": ensure_database(server, "dagster"),
        }
    dsn = given.get_secret_value()
    if os.environ.get("ACTIVEKG_DAGSTER_DSN"):
        return {"ACTIVEKG_DSN": dsn, "ACTIVEKG_DAGSTER_DSN": os.environ["ACTIVEKG_DAGSTER_DSN"]}
    name = conninfo_to_dict(dsn).get("dbname") or "postgres"
    return {"ACTIVEKG_DSN": dsn, "ACTIVEKG_DAGSTER_DSN": ensure_database(dsn, f"{name}_dagster")}


def _dagster(home: Path) -> dict[str, str]:
    folder = home / "dagster"
    folder.mkdir(exist_ok=True)
    _link(folder / "dagster.yaml", project_file("dagster.yaml"))
    defaults = {
        "DAGSTER_HOME": str(folder),
        "ACTIVEKG_DAGSTER_FILES": str(folder / "files"),
        # Ticks list for 20 seconds at most; a slow answer of S3 must not end them.
        "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "120",
    }
    return {name: os.environ.get(name) or value for name, value in defaults.items()}


def _link(link: Path, target: Path) -> None:
    """Point ``link`` to ``target`` without a moment in which it is missing: a run that starts just then reads it."""
    if link.is_symlink() and link.readlink() == target:
        return
    draft = link.with_name(f"{link.name}.{os.getpid()}")
    draft.symlink_to(target)
    draft.replace(link)


def _read(path: Path) -> dict[str, str]:
    if not path.is_file():
        return {}
    lines = path.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line)


def _write(path: Path, values: Mapping[str, str]) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.writelines(f"{name}={value}\n" for name, value in sorted(values.items()))
