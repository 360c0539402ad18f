"""Where a command finds its installation, and what it says when it finds none."""

from __future__ import annotations

import os
from pathlib import Path

import psycopg
import pytest
from cryptography.fernet import Fernet
from psycopg.conninfo import make_conninfo
from typer.testing import CliRunner

from activekg_pipelines.cli.environment import prepare_environment
from activekg_pipelines.cli.main import app
from activekg_pipelines.settings import connector_keks, settings


@pytest.fixture
def nothing_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An environment without any of this package's variables.

    Its home does not exist yet.
    """
    for name in list(os.environ):
        if name.startswith(("ACTIVEKG_", "CONNECTOR_KEK", "JWT_", "DAGSTER")):
            monkeypatch.delenv(name)
    # What prepare_environment sets is taken back with the rest.
    monkeypatch.setattr(os, "environ", os.environ.copy())
    home = tmp_path / "home"
    os.environ["ACTIVEKG_HOME"] = str(home)
    settings.cache_clear()
    return home


@pytest.mark.parametrize(
    "dsn", ["postgres//user:s3cret@db/x", "nonsense s3cret", "mysql://user:s3cret@db/x"]
)
@pytest.mark.parametrize("command", [["doctor"], ["migrate"], ["connectors", "list"]])
def test_an_unreadable_address_is_a_sentence_without_the_password(
    nothing_set: Path, dsn: str, command: list[str]
) -> None:
    os.environ["ACTIVEKG_DSN"] = dsn
    result = CliRunner().invoke(app, command)
    assert result.exit_code != 0
    assert "ACTIVEKG_DSN is no address of a Postgres database" in result.output
    assert "s3cret" not in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


def test_an_unreachable_database_is_a_sentence(nothing_set: Path) -> None:
    os.environ["ACTIVEKG_DSN"] = "postgresql://user:s3cret@127.0.0.1:1/db"
    os.environ["ACTIVEKG_DAGSTER_DSN"] = "postgresql://user:s3cret@127.0.0.1:1/dagster"
    result = CliRunner().invoke(app, ["migrate"])
    assert result.exit_code == 1
    assert "cannot be reached" in result.output
    assert "s3cret" not in result.output


def test_a_command_makes_no_second_empty_installation(nothing_set: Path) -> None:
    result = CliRunner().invoke(app, ["connectors", "list"])
    assert result.exit_code == 1
    assert "There is no local system in" in result.output
    assert not nothing_set.exists()


def test_a_key_in_the_environment_comes_beside_the_generated_one(nothing_set: Path) -> None:
    prepare_environment(generate_keys=True, create=True)
    generated = connector_keks()[1].get_secret_value()
    del os.environ["CONNECTOR_KEK_V1"]
    os.environ["CONNECTOR_KEK_V2"] = Fernet.generate_key().decode()
    os.environ["CONNECTOR_KEK_ACTIVE_VERSION"] = "2"
    settings.cache_clear()
    values = prepare_environment(generate_keys=True)
    assert values["CONNECTOR_KEK_V1"] == generated
    assert set(connector_keks()) == {1, 2}
    assert settings().connector_kek_active_version == 2


def test_a_shell_that_took_over_the_environment_still_starts_the_embedded_database(
    nothing_set: Path,
) -> None:
    first = prepare_environment(generate_keys=True, create=True)
    os.environ |= first
    settings.cache_clear()
    assert prepare_environment(generate_keys=False)["ACTIVEKG_DSN"] == first["ACTIVEKG_DSN"]


@pytest.mark.parametrize(
    "command",
    [
        ["migrate"],
        ["migrate", "--check"],
        ["migrate", "--sql"],
        ["connectors", "list"],
        ["objects", "acme_corp/none"],
        ["preview", "acme_corp/none"],
        ["limits", "show"],
        ["rotate-keys"],
    ],
    ids=" ".join,
)
def test_what_needs_no_dagster_asks_for_none(
    nothing_set: Path, dsn: str, tmp_path: Path, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The role may not create Dagster's database, and no `dagster.yaml` is there."""
    monkeypatch.setattr("activekg_pipelines.cli.environment.__file__", str(tmp_path / "a/b/c.py"))
    monkeypatch.chdir(tmp_path)
    with psycopg.connect(dsn, autocommit=True) as conn:
        name = conn.info.dbname
        conn.execute(f'CREATE ROLE "{name}_own" LOGIN')
        conn.execute(f'GRANT postgres TO "{name}_own"')
        before = conn.execute("SELECT datname FROM pg_database").fetchall()
        os.environ["ACTIVEKG_DSN"] = make_conninfo(dsn, user=f"{name}_own")
        os.environ["CONNECTOR_KEK_V1"] = Fernet.generate_key().decode()
        result = CliRunner().invoke(app, command)
        assert "Dagster" not in result.output
        assert "dagster" not in result.output
        assert result.exit_code == 0 or "No connector is called" in result.output, result.output
        assert conn.execute("SELECT datname FROM pg_database").fetchall() == before


def test_what_needs_dagster_says_that_its_database_is_missing(nothing_set: Path, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        name = conn.info.dbname
        conn.execute(f'CREATE ROLE "{name}_own" LOGIN')
        conn.execute(f'GRANT postgres TO "{name}_own"')
        os.environ["ACTIVEKG_DSN"] = make_conninfo(dsn, user=f"{name}_own")
        result = CliRunner().invoke(app, ["env"])
        assert result.exit_code == 1
        assert (
            "ACTIVEKG_DAGSTER_DSN is the database that Dagster keeps its runs in" in result.output
        )
