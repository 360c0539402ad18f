"""Who did what, on the command line: the operating system's user."""

from __future__ import annotations

import os
import pwd

from activekg_pipelines.services import Services
from tests.integration.cli.conftest import NAME, CommandLine
from tests.integration.syncing import query
from tests.s3_bucket import SECRET_ACCESS_KEY, Bucket

USER = pwd.getpwuid(os.getuid()).pw_name


def test_what_is_done_at_the_command_line_is_recorded_with_the_user(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    cli.add(bucket)
    cli("connectors", "pause", NAME, USER="somebody", LOGNAME="somebody")
    cli("limits", "set", "acme_corp", "--objects", "5")
    cli("limits", "clear", "acme_corp")
    cli("limits", "clear", "acme_corp")
    cli("connectors", "remove", NAME, "--documents", "keep", "--yes")
    shown = cli.json("actions", "--tenant", "acme_corp")
    assert [item["action"] for item in reversed(shown["items"])] == [
        "connector_registered",
        "connector_changed",
        "limits_changed",
        "limits_changed",
        "connector_removal_begun",
        "connector_removed",
    ]
    assert {(item["actor"], item["via"], item["by_operator"]) for item in shown["items"]} == {
        (USER, "command_line", True)
    }
    assert query(services, "SELECT count(*) FROM connectors.actions") == [(6,)]


def test_the_record_is_shown_as_a_table_in_pages(cli: CommandLine, bucket: Bucket) -> None:
    cli.add(bucket)
    cli("connectors", "pause", NAME)
    result = cli("actions", "--limit", "1")
    assert "connector_changed" in result.stdout
    assert NAME in result.stdout
    assert "connector_registered" not in result.stdout
    assert SECRET_ACCESS_KEY not in result.output
    cursor = result.stderr.split("--cursor ")[1].strip()
    assert "connector_registered" in cli("actions", "--cursor", cursor).stdout
    assert "Nothing is recorded." in cli("actions", "--tenant", "globex").stderr
    assert "connector_removed" in cli("actions", "--action", "nothing", code=2).stderr
