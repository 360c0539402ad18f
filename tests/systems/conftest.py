"""Foreign servers, and a real Dagster instance beside them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from activekg_pipelines.settings import Settings, load_settings
from tests.integration.conftest import (  # noqa: F401 - fixtures that these tests share
    dagster_template,
    encoder,
    instance,
    services,
)
from tests.systems import seaweedfs


@pytest.fixture(scope="session")
def weed_endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real SeaweedFS that answers S3."""
    with seaweedfs.running(tmp_path_factory.mktemp("seaweedfs")) as endpoint:
        yield endpoint


@pytest.fixture
def app_settings(
    app_settings: Settings, weed_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> Settings:
    """Settings with which connectors may read from SeaweedFS."""
    monkeypatch.setenv("ACTIVEKG_ENDPOINT_ALLOWLIST", weed_endpoint.removeprefix("http://"))
    return load_settings()
