"""The help teaches, and loads nothing heavy."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from activekg_pipelines.cli.main import app

HEAVY = {
    "boto3",
    "dagster",
    "fastapi",
    "numpy",
    "openvino",
    "psycopg",
    "pydantic",
    "sqlalchemy",
    "torch",
}


def commands(group: Any, *path: str) -> Iterator[tuple[str, ...]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *path, name)
        else:
            yield (*path, name)


COMMANDS = list(commands(typer.main.get_command(app)))


def test_the_commands_are_those_that_were_promised() -> None:
    promised = {
        ("connectors", name)
        for name in ["add", "list", "show", "test", "sync", "pause", "resume", "remove"]
    }
    promised |= {
        (name,)
        for name in [
            "runs",
            "objects",
            "preview",
            "rotate-keys",
            "search",
            "token",
            "doctor",
            "up",
            "demo",
        ]
    }
    promised |= {("dead-letters", "list"), ("dead-letters", "replay")}
    assert promised <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_each_command_teaches_by_an_example(command: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*command, "--help"]).stdout
    assert f"activekg-pipelines {' '.join(command)}" in shown.partition("Example")[2]


def test_exit_codes_are_documented() -> None:
    shown = " ".join(CliRunner().invoke(app, ["--help"]).stdout.split())
    for part in (
        "0 done",
        "1 failed",
        "2 the command was called wrongly",
        "3 `connectors test`",
        "4 `doctor`",
    ):
        assert part in shown


def test_the_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; from activekg_pipelines.cli.main import app; app(['--help'], "
        "standalone_mode=False);"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    assert "Usage" in shown
    loaded = shown.splitlines()[-1].split()
    assert "typer" in loaded
    assert HEAVY & set(loaded) == set()


def test_a_command_needs_no_web_framework() -> None:
    code = (
        "import sys; from activekg_pipelines.administration import schemas, tokens, "
        "connection_test, operations;"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert {"boto3", "dagster", "fastapi", "numpy", "starlette", "torch"} & set(loaded) == set()


def test_a_process_ends_with_the_exit_code() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "activekg_pipelines.cli.main", "token", "--hours", "none"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert answer.returncode == 2
    assert "Traceback" not in answer.stderr
