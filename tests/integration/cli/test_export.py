"""The command that writes a tenant's chunks into a file."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
from typer.testing import CliRunner

from activekg_pipelines.cli.main import app
from activekg_pipelines.services import Services
from tests.integration.syncing import sync
from tests.s3_bucket import Bucket


def test_export_writes_what_pandas_reads(
    services: Services, bucket: Bucket, tmp_path: Path
) -> None:
    bucket.put("note.txt", "A short note about the roof.")
    sync(services, bucket.register(services))
    target = tmp_path / "chunks.parquet"
    result = CliRunner().invoke(app, ["export", str(target), "--tenant", "acme_corp"])
    assert result.exit_code == 0, result.output
    assert "1 chunks in" in result.output
    assert list(pd.read_parquet(target)["text"]) == ["A short note about the roof."]


def test_a_missing_folder_is_a_sentence(services: Services, tmp_path: Path) -> None:
    result = CliRunner().invoke(
        app, ["export", str(tmp_path / "no" / "chunks.parquet"), "--tenant", "acme_corp"]
    )
    assert result.exit_code == 2
    assert "does not exist" in result.output
