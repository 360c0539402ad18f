"""A tenant is removed from the command line, once somebody has confirmed it."""

from __future__ import annotations

from activekg_pipelines.administration.schemas import TenantRemovalView
from activekg_pipelines.services import Services
from tests.integration.cli.conftest import NAME, CommandLine
from tests.integration.syncing import query
from tests.s3_bucket import Bucket


def test_it_asks_with_what_there_is_and_a_no_changes_nothing(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    cli.add(bucket)
    result = cli("tenants", "remove", "acme_corp", code=1, answer="n\n")
    assert "1 in connectors.connectors" in " ".join(result.stderr.split())
    assert cli.json("connectors", "show", NAME)["partition_key"] == NAME
    assert query(services, "SELECT count(*) FROM connectors.actions") == [(1,)]


def test_it_removes_a_tenant_and_proves_it(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    cli.add(bucket)
    cli.add(bucket, tenant="globex")
    result = cli("tenants", "remove", "acme_corp", answer="y\n")
    assert "Nothing of acme_corp is left." in result.stdout
    assert ["connectors.connectors", "1", "0"] in [
        line.split() for line in result.stdout.splitlines()
    ]
    assert [item["tenant_id"] for item in cli.json("connectors", "list")["items"]] == ["globex"]
    again = cli.json("tenants", "remove", "acme_corp", "--yes")
    TenantRemovalView.model_validate(again)
    assert again["is_complete"]
    assert not any(one["removed"] or one["left"] for one in again["counts"])
    shown = cli.json("actions", "--action", "tenant_removed")["items"]
    assert [item["details"] for item in shown] == [{"removed_tenant": "acme_corp"}]
