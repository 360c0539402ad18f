"""A provider of another package, found by its entry point, is one like the built-in ones."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from activekg_pipelines.services import Services

PROVIDER = '''
from activekg_pipelines.settings import Settings
from activekg_pipelines.sources.config import Prefix, SourceConfig
from activekg_pipelines.sources.memory import MemorySource, MemoryStore
from activekg_pipelines.sources.provider import Provider
from activekg_pipelines.sources.source import Location


class ShelfConfig(SourceConfig):
    """A shelf of documents."""

    shelf: str
    prefix: Prefix = ""

    def location(self) -> Location:
        return Location("shelf", self.shelf, self.prefix)


def open_shelf(config: ShelfConfig, settings: Settings) -> MemorySource:
    raise NotImplementedError


PROVIDER = Provider("shelf", title="Shelf", place="shelf", config=ShelfConfig, open=open_shelf)
'''


@pytest.fixture
def python_path(tmp_path: Path, project_root: Path) -> str:
    """Of a process in which the package ``shelves`` is installed."""
    (tmp_path / "shelves.py").write_text(PROVIDER)
    metadata = tmp_path / "shelves-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: shelves\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        "[activekg_pipelines.sources]\nshelf = shelves:PROVIDER\n"
    )
    return os.pathsep.join([str(tmp_path), str(project_root)])


def answer(python_path: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment, "PYTHONPATH": python_path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_api_and_the_command_line_know_it(python_path: str) -> None:
    code = (
        "import json; from activekg_pipelines.api.app import published_document;"
        "print(json.dumps(published_document()))"
    )
    schemas = json.loads(answer(python_path, "-c", code))["components"]["schemas"]
    assert schemas["ShelfRegistration"]["properties"]["provider"]["const"] == "shelf"
    assert "shelf" in schemas["ShelfConfigView"]["properties"]
    shown = answer(python_path, "-m", "activekg_pipelines.cli.main", "connectors", "add", "--help")
    assert "--shelf" in shown
    assert "(shelf)" in shown
    assert "s3, gcs, shelf" in shown


def test_it_is_registered(
    python_path: str, services: Services, instance: dg.DagsterInstance
) -> None:
    given = ("--tenant", "acme_corp", "--provider", "shelf", "--shelf", "top", "--json")
    shown = answer(
        python_path,
        *("-m", "activekg_pipelines.cli.main", "connectors", "add", *given),
        ACTIVEKG_DAGSTER_DSN=str(instance.run_storage.postgres_url),  # type: ignore[attr-defined]
        ACTIVEKG_WEBSERVER_URL="http://127.0.0.1:9",
    )
    registered = json.loads(shown)
    assert registered["config"]["shelf"] == "top"
    assert registered["location"] == "shelf://top/"
    with services.database.transaction() as conn:
        stored = services.connectors.page(conn)
    assert [(one.provider, one.partition_key) for one in stored] == [("shelf", "acme_corp/top")]
