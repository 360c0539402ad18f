"""The instance files that this project ships are valid for the Dagster that it pins."""

from __future__ import annotations

import importlib
import shutil
from pathlib import Path

import pytest
import yaml
from dagster._config import process_config
from dagster._core.instance.config import dagster_instance_config

from activekg_pipelines import dagster_storage
from activekg_pipelines.orchestrator.storage import PooledPostgresStorage
from activekg_pipelines.settings import Settings


def test_the_queue_has_the_places_that_the_settings_count_on(project_root: Path) -> None:
    queue = yaml.safe_load((project_root / "dagster.yaml").read_text())["run_coordinator"]["config"]
    limits = {limit["key"]: limit["limit"] for limit in queue["tag_concurrency_limits"]}
    settings = Settings()
    assert settings.activekg_concurrent_runs == queue["max_concurrent_runs"]
    assert (
        settings.activekg_runs_per_tenant
        == limits["activekg/tenant"] + 1
        <= queue["max_concurrent_runs"]
    )
    assert settings.activekg_runs_per_connector == limits["dagster/partition"]


@pytest.mark.parametrize("name", ["dagster.yaml", "deploy/dagster.aws.yaml"])
def test_the_instance_file_is_valid(name: str, project_root: Path, tmp_path: Path) -> None:
    shutil.copy(project_root / name, tmp_path / "dagster.yaml")
    config, _ = dagster_instance_config(str(tmp_path))
    classes = [
        part
        for part in config.values()
        if isinstance(part, dict) and {"module", "class"} <= set(part)
    ]
    assert classes
    for part in classes:
        # Dagster's documented names for its own modules are aliases.
        configurable = getattr(
            importlib.import_module(part["module"].replace("dagster.core.", "dagster._core.")),
            part["class"],
        )
        outcome = process_config(configurable.config_type(), part.get("config") or {})
        assert outcome.success or all(
            "environment variable" in error.message for error in outcome.errors
        ), outcome.errors
    assert config["run_retries"] == {
        "enabled": True,
        "max_retries": 3,
        "retry_on_asset_or_op_failure": False,
    }
    assert config["telemetry"] == {"enabled": False}


def test_instance_files_of_operators_may_name_the_storage_by_its_earlier_module() -> None:
    assert dagster_storage.PooledPostgresStorage is PooledPostgresStorage
