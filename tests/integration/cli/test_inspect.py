"""What the extractor makes of a document, shown on a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from activekg_pipelines.cli.main import app
from activekg_pipelines.services import Services
from tests.integration.cli.conftest import CommandLine
from tests.integration.syncing import sync
from tests.s3_bucket import Bucket

POLICY = (
    "# Travel policy\n\nThe daily rate is 28 euros.\n\n| city | rate |\n|---|---|\n| Bern | 90 |\n"
)


@pytest.fixture
def inspect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Calls the command in a folder without a system, and without a database."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str, code: int = 0) -> Result:
        environment = {"ACTIVEKG_DSN": None, "ACTIVEKG_HOME": str(tmp_path / "home")}
        result = CliRunner(env=environment).invoke(app, ["inspect", *arguments])
        assert result.exit_code == code, result.output + repr(result.exception)
        assert not (tmp_path / "home").exists()
        return result

    return call


def test_a_file_needs_no_system(inspect: Any, tmp_path: Path) -> None:
    (tmp_path / "policy.md").write_text(POLICY)
    shown = inspect("policy.md").stdout
    assert "title       Travel policy\n" in shown
    assert "text/markdown" in shown
    assert "| Bern | 90 |" in shown
    chunks = inspect("policy.md", "--chunks").stdout
    assert "--- chunk 1 of 1" in chunks
    assert "under Travel policy ---" in chunks


def test_the_json_holds_text_and_chunks(inspect: Any, tmp_path: Path) -> None:
    folder = tmp_path / "HR_Docs"
    folder.mkdir()
    (folder / "Travel_Policy-2026.txt").write_text("Trains first.\n\n" * 400)
    found = json.loads(inspect("HR_Docs/Travel_Policy-2026.txt", "--json").stdout)
    assert {"text", "title", "mime_type", "pages", "warnings", "facts", "chunks"} <= set(found)
    assert (found["title"], found["title_from"]) == ("Travel Policy 2026", "name")
    assert found["folders"] == ["HR Docs"]
    assert (found["mime_type"], found["pages"], found["warnings"]) == ("text/plain", None, [])
    assert len(found["chunks"]) > 1
    assert {each["page_from"] for each in found["chunks"]} == {None}
    for chunk in found["chunks"]:
        assert found["text"][chunk["char_start"] : chunk["char_end"]] == chunk["text"]


def test_warnings_are_sentences(inspect: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.txt").write_bytes(("Größe und Maß " * 50).encode() + b"\xff")
    (warning,) = json.loads(inspect("broken.txt", "--json").stdout)["warnings"]
    assert warning["kind"] == "bytes_replaced"
    assert warning["sentence"] in inspect("broken.txt").stdout


def test_a_document_does_not_command_the_terminal(inspect: Any, tmp_path: Path) -> None:
    hostile = "a\x9b31m b\u202ec d\u2066e \U000e0041 ک\u200cت\tend"
    (tmp_path / "hostile.txt").write_text(hostile)
    for arguments in ([], ["--chunks"], ["--json"]):
        shown = inspect("hostile.txt", *arguments).stdout
        assert not {"\x1b", "\x9b", "\u202e", "\u2066", "\U000e0041"} & set(shown)
    assert json.loads(inspect("hostile.txt", "--json").stdout)["text"] == hostile
    assert "ک\u200cت\tend" in inspect("hostile.txt").stdout


def test_what_cannot_be_read_is_a_sentence(inspect: Any, tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "empty.txt").write_bytes(b"")
    for name, sentence in (
        ("photo.jpg", "holds no text this system reads"),
        ("empty.txt", "empty"),
        ("missing.txt", "There is no file missing.txt."),
        (".", "is not a file"),
    ):
        assert sentence in " ".join(inspect(name, code=1).output.split())


def test_an_object_is_read_with_its_connector(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    cli.add(bucket, prefix="docs/")
    bucket.put("docs/policy.md", POLICY)
    uri = f"s3://{bucket.name}/docs/policy.md"
    found = cli.json("inspect", uri)
    assert (found["title"], len(found["chunks"])) == ("Travel policy", 1)
    assert "is registered" in cli("inspect", f"s3://{bucket.name}/b.txt", code=1).output
    assert "There is no object" in cli("inspect", f"{uri}x", code=1).output
    with services.database.transaction() as conn:
        stored = conn.execute("SELECT count(*) FROM connectors.objects").fetchone()
    assert stored == (0,)


def test_an_object_of_several_tenants_needs_a_tenant(cli: CommandLine, bucket: Bucket) -> None:
    cli.add(bucket)
    cli.add(bucket, tenant="globex")
    bucket.put("policy.md", POLICY)
    uri = f"s3://{bucket.name}/policy.md"
    answer = cli("inspect", uri, code=1).output
    assert "acme_corp/documents" in answer
    assert "--tenant" in answer
    assert "Travel policy" in cli("inspect", uri, "--tenant", "globex").stdout


def test_the_title_is_the_one_that_a_sync_stores(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    bucket.put("HR_Docs/Travel_Policy-2026.txt", "Trains first.")
    bucket.put("HR_Docs/rates.md", POLICY)
    connector = bucket.register(services)
    sync(services, connector)
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        rows = conn.execute(
            "SELECT props ->> 'title', props ->> 'title_from', props -> 'folders'"
            " FROM public.nodes WHERE classes @> '{Document}' ORDER BY 2"
        ).fetchall()
    assert rows == [
        ("Travel policy", "document", None),
        ("Travel Policy 2026", "name", ["HR Docs"]),
    ]
    shown = cli.json("inspect", f"s3://{bucket.name}/HR_Docs/Travel_Policy-2026.txt")
    assert (shown["title"], shown["folders"]) == ("Travel Policy 2026", ["HR Docs"])
