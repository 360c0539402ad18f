"""The local environment: database, keys, and Dagster's home.

Where none are set, the database is embedded and the keys are generated. Everything lies
under ``ACTIVEKG_HOME``. Generated keys are kept in a file that only its owner can read. A
second start, a second terminal and ``dagster``'s own commands find the same keys and
databases.
"""

from __future__ import annotations

import os
import secrets
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from cryptography.fernet import Fernet
from psycopg.conninfo import conninfo_to_dict

from activekg_pipelines.database.embedded import ensure_database, start_embedded
from activekg_pipelines.errors import SettingsError
from activekg_pipelines.settings import check_dsn, connector_keks, load_settings, settings

if TYPE_CHECKING:
    from dagster import DagsterInstance

_SECRETS_FILE = "secrets.env"


def prepare_environment(
    *, generate_keys: bool, create: bool = False, dagster: bool = True
) -> dict[str, str]:
    """Set what is not set of database, keys and Dagster's home.

    Starts the embedded database when ACTIVEKG_DSN is not set.

    Args:
        generate_keys: make an encryption key and a JWT secret when there are none. Only
            for a local system.
        create: make a new local system where there is none. Commands that only read would
            find it empty.
        dagster: also Dagster's database, which is made where there is none, and its
            home. Most commands need neither.

    Returns:
        Every variable that a process needs to work with this system, secrets included.

    Raises:
        SettingsError: something that is set cannot be used.
    """
    home = load_settings().activekg_home.resolve()
    if not create and not home.is_dir() and load_settings().activekg_dsn is None:
        raise SettingsError(
            f"There is no local system in {home}. Run this where you ran `activekg-pipelines up`, "
            "or set ACTIVEKG_HOME to its folder, or ACTIVEKG_DSN to your own database."
        )
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise SettingsError(
            f"ACTIVEKG_HOME: the folder {home} cannot be made: {error.strerror}."
        ) from None
    values = {"ACTIVEKG_HOME": str(home)}
    values |= _secrets(home, generate=generate_keys)
    values |= _databases(home, dagster=dagster)
    if dagster:
        values |= _dagster(home)
    os.environ.update(values)
    settings.cache_clear()
    return values


def open_dagster() -> DagsterInstance:
    """Dagster's instance, at the moment when a command comes to need it.

    Raises:
        SettingsError: its database can neither be found nor made.
    """
    from dagster import DagsterInstance

    prepare_environment(generate_keys=False)
    return DagsterInstance.get()


def exports(values: Mapping[str, str]) -> str:
    """``values`` as lines for a shell's ``eval``."""
    return "\n".join(
        f"export {name}={shlex.quote(value)}" for name, value in sorted(values.items())
    )


def project_file(name: str) -> Path:
    """The path of ``dagster.yaml`` or ``workspace.yaml``.

    The file of the working directory comes first, then that of the checkout that this
    package lies in.

    Raises:
        SettingsError: neither has it.
    """
    for folder in (Path.cwd(), Path(__file__).resolve().parents[2]):
        if (folder / name).is_file():
            return folder / name
    raise SettingsError(
        f"{name} is missing. "
        "Run this in a checkout of activekg-pipelines, or copy the file from one."
    )


def _secrets(home: Path, *, generate: bool) -> dict[str, str]:
    stored = _read(home / _SECRETS_FILE)
    if generate and not connector_keks() and "CONNECTOR_KEK_V1" not in stored:
        stored |= {
            "CONNECTOR_KEK_V1": Fernet.generate_key().decode(),
            "CONNECTOR_KEK_ACTIVE_VERSION": "1",
        }
    # Stored keys come beside those in the environment, which win. A rotation adds a key
    # there, and still reads what the stored key has encrypted.
    keys = {name: value for name, value in stored.items() if name.startswith("CONNECTOR_KEK_")}
    values = {name: value for name, value in keys.items() if not os.environ.get(name)}
    current = load_settings()
    if current.jwt_secret_key is None and current.jwt_public_key is None:
        if generate and "JWT_SECRET_KEY" not in stored:
            stored["JWT_SECRET_KEY"] = secrets.token_urlsafe(48)
        values |= {name: value for name, value in stored.items() if name.startswith("JWT_")}
    if generate and stored != _read(home / _SECRETS_FILE):
        _write(home / _SECRETS_FILE, stored)
    return values


def is_embedded(home: Path) -> bool:
    """Whether the database is the embedded one.

    That is so when none is named, or when the embedded one is, as in a shell that took
    over ``env``.
    """
    current = load_settings()
    if current.activekg_dsn is None:
        return True
    return conninfo_to_dict(current.require_dsn()).get("host") == str(home / "postgres")


def _databases(home: Path, *, dagster: bool) -> dict[str, str]:
    if is_embedded(home):
        server = start_embedded(home / "postgres")
        return {
            "ACTIVEKG_DSN": ensure_database(server, "activekg"),
            "ACTIVEKG_DAGSTER_DSN": ensure_database(server, "dagster"),
        }
    dsn = load_settings().require_dsn()
    if not dagster:
        return {"ACTIVEKG_DSN": dsn}
    if own := os.environ.get("ACTIVEKG_DAGSTER_DSN"):
        return {"ACTIVEKG_DSN": dsn, "ACTIVEKG_DAGSTER_DSN": check_dsn("ACTIVEKG_DAGSTER_DSN", own)}
    name = conninfo_to_dict(dsn).get("dbname") or "postgres"
    return {"ACTIVEKG_DSN": dsn, "ACTIVEKG_DAGSTER_DSN": ensure_database(dsn, f"{name}_dagster")}


def _dagster(home: Path) -> dict[str, str]:
    folder = home / "dagster"
    folder.mkdir(exist_ok=True)
    _link(folder / "dagster.yaml", project_file("dagster.yaml"))
    defaults = {
        "DAGSTER_HOME": str(folder),
        "ACTIVEKG_DAGSTER_FILES": str(folder / "files"),
        # Ticks list for 20 seconds at most. A slow source must not end them.
        "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "120",
        # A run's process loads the definitions before its launch counts as done. On a
        # busy machine that takes minutes.
        "DAGSTER_GRPC_TIMEOUT_SECONDS": "180",
    }
    return {name: os.environ.get(name) or value for name, value in defaults.items()}


def _link(link: Path, target: Path) -> None:
    """Point ``link`` to ``target`` without a moment in which it is missing.

    A run that starts at that moment reads it.
    """
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
