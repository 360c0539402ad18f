"""Registering and steering connectors from the command line."""

from __future__ import annotations

from uuid import uuid4

import dagster as dg
import pytest

from activekg_pipelines.administration.schemas import (
    ChangedConnector,
    ConnectionTest,
    ConnectorDetail,
    ConnectorView,
    RunView,
)
from activekg_pipelines.services import Services
from tests.integration.cli.conftest import NAME, CommandLine, runs_worked_off
from tests.registry import secrets_of
from tests.s3_bucket import ACCESS_KEY_ID, SECRET_ACCESS_KEY, Bucket

NO_KEYS = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}


def test_a_bucket_is_registered_with_its_partition(
    cli: CommandLine, bucket: Bucket, services: Services, instance: dg.DagsterInstance
) -> None:
    added = cli.add(bucket, prefix="documents/", **{"poll-interval": "300"})
    ConnectorView.model_validate(added)
    assert added["partition_key"] == NAME
    assert added["config"]["poll_interval_seconds"] == 300
    assert added["config"]["secret_access_key"] == "********"
    assert secrets_of(services, added["id"]) == {
        "access_key_id": ACCESS_KEY_ID,
        "secret_access_key": SECRET_ACCESS_KEY,
    }
    assert instance.get_dynamic_partitions("connector") == [NAME]


def test_keys_that_are_not_in_the_environment_are_asked_for(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    arguments = ["connectors", "add", "--tenant", "acme_corp", "--bucket", bucket.name]
    without = {"AWS_ACCESS_KEY_ID": None, "AWS_SECRET_ACCESS_KEY": None}
    result = cli(*arguments, answer=f"{ACCESS_KEY_ID}\n{SECRET_ACCESS_KEY}\n", **without)
    assert "secret access key (not shown)" in result.stderr
    (connector,) = list(services.every_connector())
    assert secrets_of(services, connector.id)["secret_access_key"] == SECRET_ACCESS_KEY
    assert "AWS_SECRET_ACCESS_KEY" in cli(*arguments, code=2, answer="", **without).stderr


def test_the_secret_is_no_argument(cli: CommandLine, bucket: Bucket) -> None:
    arguments = ["connectors", "add", "--tenant", "acme_corp", "--bucket", bucket.name]
    cli(*arguments, "--secret-access-key", "x" * 40, code=2)
    cli(*arguments, "x" * 40, code=2)


@pytest.mark.parametrize(
    ("option", "value", "rule"),
    [
        ("--bucket", "No Such", "--bucket"),
        ("--region", "eu-west-1", "--bucket: must be 3 to 63 lower-case"),
        ("--addressing-style", "both", "--addressing-style"),
        ("--poll-interval", "5", "greater than or equal to 60"),
        ("--tenant", "a/b", "--tenant"),
        ("--access-key-id", "short", "--access-key-id: must have at least 16 characters"),
        ("--endpoint-url", "ftp://a", "http:// or https://"),
    ],
)
def test_values_that_break_a_rule_are_wrong_usage(
    cli: CommandLine, option: str, value: str, rule: str
) -> None:
    result = cli(
        *("connectors", "add", "--tenant", "acme_corp", "--bucket", "My_Documents", option, value),
        code=2,
        AWS_ACCESS_KEY_ID=ACCESS_KEY_ID,
        AWS_SECRET_ACCESS_KEY=SECRET_ACCESS_KEY,
    )
    assert rule in " ".join(result.stderr.split())


@pytest.mark.parametrize("odd", ["\n", "\r", " ", "é"])
def test_a_pasted_key_with_an_odd_character_is_refused_by_a_sentence(
    cli: CommandLine, bucket: Bucket, services: Services, odd: str
) -> None:
    add = ["connectors", "add", "--tenant", "acme_corp", "--bucket", bucket.name]
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}
    for name, key in keys.items():
        result = cli(*add, code=2, **keys | {name: key + odd})
        assert "must hold no blank, no line end" in " ".join(result.stderr.split())
    assert list(services.every_connector()) == []


def test_a_public_bucket_is_registered_without_keys(
    cli: CommandLine, bucket: Bucket, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACTIVEKG_S3_ANONYMOUS", "allowed")
    add = ["connectors", "add", "--tenant", "acme_corp", "--bucket", bucket.name, "--anonymous"]
    where = ["--endpoint-url", bucket.endpoint_url, "--addressing-style", "path"]
    cli(*add, *where, "--requester-pays")
    (connector,) = list(services.every_connector())
    assert secrets_of(services, connector.id) == {}
    kept = {"anonymous": True, "requester_pays": True, "addressing_style": "path"}
    assert kept.items() <= connector.config.items()
    name = connector.partition_key
    assert cli.json("connectors", "test", name)["status"] == "success"
    changed = cli.json("connectors", "update", name, "--no-requester-pays", "--no-anonymous")
    assert changed["config"]["requester_pays"] is False
    tested = cli("connectors", "test", name, code=3).stderr
    assert "no access key" in tested
    assert "`access_key_id` and `secret_access_key`" in tested


def test_refusals_are_one_sentence(cli: CommandLine, bucket: Bucket) -> None:
    cli.add(bucket)
    keys = {"AWS_ACCESS_KEY_ID": ACCESS_KEY_ID, "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}
    add = ["connectors", "add", "--tenant", "acme_corp", "--bucket", bucket.name]
    assert "Each object belongs to one connector" in cli(*add, code=1, **keys).stderr
    result = cli(*add, "--endpoint-url", "http://169.254.169.254", code=1, **keys)
    assert "ACTIVEKG_ENDPOINT_ALLOWLIST" in result.stderr
    assert "Traceback" not in result.output
    assert result.stdout == ""


def test_connectors_are_listed_in_pages(cli: CommandLine, bucket: Bucket) -> None:
    names = [
        cli.add(bucket, prefix=f"{name}/", name=name)["partition_key"] for name in ("a", "b", "c")
    ]
    cli.add(bucket, tenant="globex")
    first = cli.json("connectors", "list", "--tenant", "acme_corp", "--limit", "2")
    rest = cli.json(
        "connectors",
        "list",
        "--tenant",
        "acme_corp",
        "--limit",
        "2",
        "--cursor",
        first["next_cursor"],
    )
    assert [item["partition_key"] for item in first["items"] + rest["items"]] == names
    assert rest["next_cursor"] is None
    assert len(cli.json("connectors", "list")["items"]) == 4
    assert "--cursor" in cli("connectors", "list", "--limit", "1").stderr
    assert "cursor" in cli("connectors", "list", "--cursor", "nonsense", code=1).stderr


def test_a_table_keeps_each_source_in_one_piece(cli: CommandLine, bucket: Bucket) -> None:
    prefix = "a-very-long-prefix/" * 20
    cli.add(bucket, prefix=prefix)
    lines = cli("connectors", "list", COLUMNS="40").stdout.splitlines()
    assert len(lines) == 2
    assert f"s3://{bucket.name}/{prefix}" in lines[1]


def test_a_connector_is_named_by_id_or_by_tenant_and_name(cli: CommandLine, bucket: Bucket) -> None:
    added = cli.add(bucket)
    for name in (added["id"], NAME):
        ConnectorDetail.model_validate(cli.json("connectors", "show", name))
    assert f"s3://{bucket.name}/" in cli("connectors", "show", NAME).stdout
    for unknown in (str(uuid4()), "acme_corp/other", "documents"):
        assert "connectors list" in cli("connectors", "show", unknown, code=1).stderr


def test_a_test_that_fails_exits_with_3_and_names_the_fix(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    bucket.put("a.txt", "text")
    added = cli.add(bucket)
    assert cli.json("connectors", "test", NAME)["objects_found"] == 1
    assert "1 objects" in cli("connectors", "test", NAME).stdout
    with services.database.transaction() as conn:
        conn.execute(
            "UPDATE connectors.connectors SET bucket = 'no-such-bucket' WHERE id = %s",
            (added["id"],),
        )
    answer = ConnectionTest.model_validate(cli.json("connectors", "test", NAME, code=3))
    assert answer.error_type == "no_such_bucket"
    assert "Check the spelling" in cli("connectors", "test", NAME, code=3).stderr


def test_a_paused_connector_is_not_synced_until_it_is_resumed(
    cli: CommandLine, bucket: Bucket
) -> None:
    cli.add(bucket)
    assert cli.json("connectors", "pause", NAME)["status"] == "disabled"
    assert "paused" in cli("connectors", "sync", NAME, code=1).stderr
    assert cli.json("connectors", "resume", NAME)["config"]["enabled"] is True
    assert "sync_id" in cli.json("connectors", "sync", NAME)


def test_a_second_sync_joins_the_one_that_waits(cli: CommandLine, bucket: Bucket) -> None:
    cli.add(bucket)
    first = cli.json("connectors", "sync", NAME)
    assert cli.json("connectors", "sync", NAME) == first
    assert cli.json("connectors", "sync", NAME, "--mode", "all") != first
    cli("connectors", "sync", NAME, "--mode", "some", code=2)


def test_a_sync_is_followed_to_its_end_and_what_it_found_is_searched(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    bucket.put("house.md", "# House\n\nThe roof of the house is red, and its door is green.")
    bucket.put("photo.jpg", "jpeg")
    cli.add(bucket)
    with runs_worked_off(services):
        assert "1 indexed" in cli("connectors", "sync", NAME, "--wait", "--timeout", "60").stdout
        run = cli.json("connectors", "sync", NAME, "--wait", "--timeout", "60")
    assert RunView.model_validate(run).status == "succeeded"
    (hit,) = cli.json("search", "What colour is the roof?", "--tenant", "acme_corp")["hits"]
    assert hit["uri"] == f"s3://{bucket.name}/house.md"
    assert (
        f"s3://{bucket.name}/house.md"
        in cli("search", "roof", "--tenant", "acme_corp", COLUMNS="20").stdout
    )
    assert cli.json("search", "roof", "--tenant", "globex") == {"hits": []}
    cli("search", " ", "--tenant", "acme_corp", code=2)
    assert "0 of the 1" in cli("connectors", "sync", NAME, "--key", "gone.md").stdout


def test_a_sync_that_fails_or_takes_too_long_fails_the_command(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    added = cli.add(bucket)
    result = cli("connectors", "sync", NAME, "--wait", "--timeout", "1", code=1)
    assert "It goes on" in result.stderr
    with services.database.transaction() as conn:
        conn.execute(
            "UPDATE connectors.connectors SET bucket = 'no-such-bucket' WHERE id = %s",
            (added["id"],),
        )
    with runs_worked_off(services):
        assert (
            "The sync failed"
            in cli("connectors", "sync", NAME, "--wait", "--timeout", "60", code=1).stderr
        )


def test_a_connectors_syncs_are_cancelled(cli: CommandLine, bucket: Bucket) -> None:
    cli.add(bucket)
    assert "No sync waits or runs" in cli("connectors", "cancel", NAME).stdout
    sync_id = cli.json("connectors", "sync", NAME)["sync_id"]
    assert cli.json("connectors", "cancel", NAME, "--sync", sync_id) == {"sync_ids": [sync_id]}
    (run,) = cli.json("runs", NAME, "--status", "cancelled")["items"]
    assert run["id"] == sync_id
    assert run["cancelled_by"].endswith("(command line)")
    cli.json("connectors", "sync", NAME)
    assert "Syncs that end within seconds: 1." in cli("connectors", "cancel", NAME).stdout
    cli("connectors", "cancel", NAME, "--sync", NAME, code=2)
    recorded = cli.json("actions", "--action", "sync_cancelled")["items"]
    assert [item["details"]["syncs"] for item in recorded][-1] == [sync_id]
    assert len(recorded) == 2


def test_removing_asks_first_and_says_what_became_of_the_documents(
    cli: CommandLine, bucket: Bucket, services: Services, instance: dg.DagsterInstance
) -> None:
    bucket.put("a.txt", "Some text that can be found.")
    cli.add(bucket)
    with runs_worked_off(services):
        cli("connectors", "sync", NAME, "--wait", "--timeout", "60")
    cli("connectors", "remove", NAME, "--yes", code=2)
    cli("connectors", "remove", NAME, "--documents", "keep", code=1, answer="n\n")
    removed = cli.json("connectors", "remove", NAME, "--documents", "remove", "--yes")
    assert (removed["documents_removed"], removed["documents_kept"]) == (1, 0)
    assert instance.get_dynamic_partitions("connector") == []
    assert "No connector is registered" in cli("connectors", "list").stderr


def test_held_back_deletions_are_confirmed(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    added = cli.add(bucket)
    assert "No deletion" in cli("connectors", "confirm-deletes", NAME).stdout
    with services.database.transaction() as conn:
        conn.execute(
            "UPDATE connectors.connectors SET deletions_held_back = 50 WHERE id = %s",
            (added["id"],),
        )
    assert "confirm-deletes" in cli("connectors", "show", NAME).stdout
    confirmed = cli.json("connectors", "confirm-deletes", NAME)
    assert confirmed["deletions_confirmed"] == 50
    assert confirmed["sync_id"]


def test_an_access_key_is_changed_without_showing_its_secret(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    added = cli.add(bucket, prefix="documents/")
    new_id, new_secret = "AKIANEWNEWNEWNEWNEW1", "n" * 40
    result = cli(
        "connectors", "update", NAME, "--access-key-id", new_id, answer=f"{new_secret}\n", **NO_KEYS
    )
    assert "secret access key (not shown)" in result.stderr
    assert new_secret not in result.output
    assert secrets_of(services, added["id"]) == {
        "access_key_id": new_id,
        "secret_access_key": new_secret,
    }
    assert services.connector(added["id"]).location.prefix == "documents/"

    keys = {"AWS_ACCESS_KEY_ID": "AKIAOTHEROTHEROTHER1", "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY}
    cli("connectors", "update", NAME, "--poll-interval", "120", **keys)
    assert secrets_of(services, added["id"])["access_key_id"] == new_id, (
        "only what is given changes"
    )
    cli("connectors", "update", NAME, "--access-key-id", ACCESS_KEY_ID, **keys)
    assert secrets_of(services, added["id"]) == {
        "access_key_id": ACCESS_KEY_ID,
        "secret_access_key": SECRET_ACCESS_KEY,
    }
    cli("connectors", "update", NAME, "--secret-access-key", "x" * 40, code=2)


def test_given_values_change_and_the_others_stay(cli: CommandLine, bucket: Bucket) -> None:
    added = cli.add(bucket, prefix="documents/")
    changed = ChangedConnector.model_validate(
        cli.json("connectors", "update", NAME, "--region", "eu-west-1", "--poll-interval", "120")
    )
    expected = ConnectorView.model_validate(added).config.model_dump() | {
        "region": "eu-west-1",
        "poll_interval_seconds": 120,
    }
    assert changed.config.model_dump() == expected
    assert f"{NAME} is changed." in cli("connectors", "update", NAME, "--prefix", "").stdout
    assert (
        cli.json("connectors", "update", NAME, "--endpoint-url", "")["config"]["endpoint_url"]
        is None
    )
    assert "Say what to change" in cli("connectors", "update", NAME, code=2).stderr
    assert (
        "greater than or equal to 60"
        in cli("connectors", "update", NAME, "--poll-interval", "5", code=2).stderr
    )
    assert (
        "connectors list"
        in cli("connectors", "update", "acme_corp/other", "--prefix", "a/", code=1).stderr
    )


def test_a_new_prefix_asks_what_becomes_of_the_documents_that_it_leaves_behind(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    bucket.put("a/pump.txt", "The pump runs at 40 bar.")
    bucket.put("b/valve.txt", "The valve opens at 50 bar.")
    added = cli.add(bucket)
    with runs_worked_off(services):
        cli("connectors", "sync", NAME, "--wait", "--timeout", "60")
    refused = cli("connectors", "update", NAME, "--prefix", "a/", code=1)
    assert "1 documents come from objects outside" in refused.stderr
    assert "--documents remove or --documents keep" in refused.stderr
    assert services.connector(added["id"]).location.prefix == ""

    assert (
        "1 documents kept."
        in cli("connectors", "update", NAME, "--prefix", "a/", "--documents", "keep").stdout
    )
    removed = cli.json("connectors", "update", NAME, "--prefix", "c/", "--documents", "remove")
    assert (removed["documents_removed"], removed["documents_kept"]) == (1, 0)
    hits = cli.json("search", "pump valve", "--tenant", "acme_corp")["hits"]
    assert [hit["uri"] for hit in hits] == [f"s3://{bucket.name}/b/valve.txt"]
