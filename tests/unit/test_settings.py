"""The environment is read once, typed, under old names as well as new ones."""

from __future__ import annotations

import os
from ipaddress import ip_network

import pytest

from activekg_pipelines.errors import SettingsError
from activekg_pipelines.settings import READ_ELSEWHERE, Settings, load_settings, variables_of

OLDER_NAMES = [
    ("ACTIVEKG_ENDPOINT_ALLOWLIST", "ACTIVEKG_S3_ENDPOINT_ALLOWLIST", "a.example, b:9", "c"),
    ("ACTIVEKG_PRIVATE_NETWORKS", "ACTIVEKG_S3_PRIVATE_NETWORKS", "10.2.0.0/16", "10.3.0.0/16"),
    ("ACTIVEKG_MIN_BYTES_PER_SECOND", "ACTIVEKG_S3_MIN_BYTES_PER_SECOND", "5", "6"),
    ("ACTIVEKG_FAIR_SHARE_SECONDS", "ACTIVEKG_TURN_SECONDS", "2.5", "3"),
]


@pytest.fixture(autouse=True)
def _nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("CONNECTOR_KEK", "ACTIVEKG_", "JWT_")):
            monkeypatch.delenv(name)


@pytest.mark.parametrize(("name", "older", "value", "other"), OLDER_NAMES)
def test_the_older_name_of_a_variable_says_the_same(
    name: str, older: str, value: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    new = load_settings()
    assert getattr(new, name.lower()) != getattr(Settings.model_construct(), name.lower())
    monkeypatch.delenv(name)
    monkeypatch.setenv(older, value)
    assert load_settings() == new
    monkeypatch.setenv(name, value)
    assert load_settings() == new


@pytest.mark.parametrize(("name", "older", "value", "other"), OLDER_NAMES)
def test_two_names_with_different_values_are_refused(
    name: str, older: str, value: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv(older, other)
    with pytest.raises(SettingsError, match=f"{name} and {older}, its older name, differ"):
        load_settings()
    monkeypatch.setenv(older, "")
    assert load_settings()


def test_every_older_name_is_tested() -> None:
    with_older_names = {
        names for field in Settings.model_fields if len(names := variables_of(field)) > 1
    }
    assert with_older_names == {(name, older) for name, older, *_ in OLDER_NAMES}


def test_a_value_that_breaks_a_rule_is_told_by_the_name_that_was_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ACTIVEKG_TURN_SECONDS", "0")
    with pytest.raises(SettingsError, match=r"ACTIVEKG_TURN_SECONDS: .* greater than 0") as error:
        load_settings()
    assert "FAIR_SHARE" not in str(error.value)
    monkeypatch.setenv("ACTIVEKG_PRIVATE_NETWORKS", "10.0.0.0/8,s3cret")
    with pytest.raises(SettingsError, match=r"ACTIVEKG_PRIVATE_NETWORKS\.1\.") as error:
        load_settings()
    assert "s3cret" not in str(error.value)


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACTIVEKG_ENDPOINT_ALLOWLIST", " store.example:9000 ,minio,")
    monkeypatch.setenv("ACTIVEKG_PRIVATE_NETWORKS", "10.2.0.0/16, fd00::/8")
    settings = load_settings()
    assert settings.activekg_endpoint_allowlist == ("store.example:9000", "minio")
    assert settings.activekg_private_networks == (ip_network("10.2.0.0/16"), ip_network("fd00::/8"))


def test_a_variable_is_described_once() -> None:
    fields = [name for field in Settings.model_fields for name in variables_of(field)]
    names = fields + [variable.name for variable in READ_ELSEWHERE]
    assert len(names) == len(set(names))
