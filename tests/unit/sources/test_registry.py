"""What is wrong with one provider stays with it."""

from __future__ import annotations

import logging
from importlib.metadata import EntryPoint
from typing import Annotated

import pytest
from pydantic import Field, SecretStr

from activekg_pipelines.sources import registry
from activekg_pipelines.sources.config import SourceConfig, patch_of


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ("no_such_package:PROVIDER", "cannot be loaded"),
        ("tests.places:OTHER_S3", "the name 's3' is taken"),
    ],
)
def test_a_package_that_is_broken_keeps_no_other_provider_from_working(
    value: str, sentence: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    broken = EntryPoint("broken", value, registry.ENTRY_POINTS)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [broken])
    registry._registered.cache_clear()
    try:
        with caplog.at_level(logging.ERROR):
            assert list(registry.providers()) == ["s3", "gcs"]
            assert registry.provider("s3") is registry.S3
    finally:
        registry._registered.cache_clear()
    assert sentence in caplog.text


class Optional(SourceConfig):
    password: Annotated[SecretStr | None, Field(description="If it has one.")] = None


class Hidden(SourceConfig):
    password: Annotated[SecretStr, Field(min_length=3)] | None = None


class Several(SourceConfig):
    passwords: tuple[SecretStr, ...] = ()


def test_a_secret_may_be_absent_and_is_not_taken_away_by_null() -> None:
    assert Optional.secret_fields() == ("password",)
    assert "password" not in patch_of(Optional).NULLABLE


@pytest.mark.parametrize("config", [Hidden, Several])
def test_a_secret_that_would_be_stored_in_clear_or_lost_is_refused(
    config: type[SourceConfig],
) -> None:
    with pytest.raises(TypeError, match="A secret field is"):
        config.secret_fields()
