"""Limits of tenants from the command line."""

from __future__ import annotations

import pytest

from activekg_pipelines.administration.schemas import TenantLimitsView
from activekg_pipelines.services import Services
from tests.integration.cli.conftest import CommandLine
from tests.s3_bucket import Bucket


def test_limits_are_set_one_by_one_shown_and_cleared(cli: CommandLine, bucket: Bucket) -> None:
    cli.add(bucket)
    shown = cli.json("limits", "set", "acme_corp", "--objects", "500")
    TenantLimitsView.model_validate(shown)
    shown = cli.json("limits", "set", "acme_corp", "--bytes-per-day", "1000", "--connectors", "0")
    assert (
        shown["max_connectors"],
        shown["max_objects_per_connector"],
        shown["max_bytes_per_day"],
    ) == (
        None,
        500,
        1000,
    )
    assert (
        cli.json("limits", "show")["items"]
        == cli.json("limits", "show", "--tenant", "acme_corp")["items"]
        == [shown]
    )
    table = cli("limits", "show").stdout
    assert "1 of any" in table
    assert "0 of 1000" in table
    cleared = cli.json("limits", "clear", "acme_corp")
    assert (cleared["max_connectors"], cleared["max_bytes_per_day"], cleared["is_own"]) == (
        100,
        None,
        False,
    )
    assert "no limits of its own" in cli("limits", "clear", "acme_corp").stdout


def test_tenants_are_paged(cli: CommandLine) -> None:
    for tenant in ("a", "b", "c"):
        cli("limits", "set", tenant, "--objects", "1")
    first = cli.json("limits", "show", "--limit", "2")
    rest = cli.json("limits", "show", "--limit", "2", "--cursor", first["next_cursor"])
    assert [item["tenant_id"] for item in first["items"] + rest["items"]] == ["a", "b", "c"]
    assert rest["next_cursor"] is None


def test_a_tenant_that_nobody_knows_is_said_to_be_so(cli: CommandLine) -> None:
    assert (
        "No connector is registered for acme_crop"
        in cli("limits", "set", "acme_crop", "--objects", "1").stderr
    )


@pytest.mark.parametrize("arguments", [[], ["--objects", "-1"], ["--bytes-per-day", str(2**63)]])
def test_a_limit_that_is_none_is_wrong_usage(cli: CommandLine, arguments: list[str]) -> None:
    cli("limits", "set", "acme_corp", *arguments, code=2)


def test_show_says_until_when_downloads_wait(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    cli.add(bucket)
    cli("limits", "set", "acme_corp", "--bytes-per-day", "10")
    with services.database.transaction() as conn:
        conn.execute(
            "INSERT INTO connectors.tenant_usage VALUES ((now() AT TIME ZONE 'UTC')::date, "
            "'acme_corp', 10)"
        )
        conn.execute("UPDATE connectors.connectors SET objects_over_limit = 3")
    shown = cli("connectors", "show", "acme_corp/documents").stdout
    assert "downloads wait until" in shown
    assert "objects over limit" in shown
