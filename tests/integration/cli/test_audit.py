"""The audit from the command line: sentences, exit codes, JSON, repairs."""

from __future__ import annotations

from activekg_pipelines.services import Services
from tests.integration.cli.conftest import NAME, CommandLine, runs_worked_off
from tests.s3_bucket import Bucket


def synced(cli: CommandLine, bucket: Bucket, services: Services, **options: str) -> None:
    """Register the bucket and sync it.

    All scans then began well after its objects were written.
    """
    added = cli.add(bucket, **options)
    with runs_worked_off(services):
        cli("connectors", "sync", added["partition_key"], "--wait", "--timeout", "120")
    age_objects(services)


def age_objects(services: Services) -> None:
    execute(services, "UPDATE connectors.scans SET started_at = started_at + interval '10 minutes'")


def execute(services: Services, sql: str) -> None:
    with services.database.transaction() as conn:
        conn.execute(sql)  # type: ignore[call-overload]


def test_a_connector_that_agrees_is_one_sentence(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    bucket.put("pump.txt", "The pump runs at 40 bar.")
    synced(cli, bucket, services)
    shown = cli("audit", NAME).stdout
    assert shown == (
        f"{NAME}: 1 objects in the bucket, 1 in the ledger, 2 documents and chunks in the graph. "
        "Everything agrees.\n"
    )
    (answer,) = cli.json("audit", "--vectors", "10")["connectors"]
    assert (answer["connector"], answer["differences"], answer["mended"], answer["error"]) == (
        NAME,
        [],
        None,
        None,
    )
    assert (answer["listed"], answer["objects"], answer["nodes"], answer["vectors_checked"]) == (
        1,
        1,
        2,
        1,
    )


def test_drift_is_shown_with_examples_and_repaired_by_the_sync_that_is_asked_for(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    bucket.put("pump.txt", "The pump runs at 40 bar.")
    bucket.put("[bold]valve.txt", "The valve opens at 50 bar.")
    synced(cli, bucket, services)
    execute(
        services,
        "DELETE FROM edges WHERE src IN (SELECT id FROM nodes WHERE props ->> 'uri' LIKE "
        "'%valve.txt')",
    )

    shown = cli("audit", code=1, COLUMNS="60").stdout
    assert "Not everything agrees" in shown
    assert f"s3://{bucket.name}/[bold]valve.txt" in shown
    assert "chunks have no edge to their document" in " ".join(shown.split())
    assert f"activekg-pipelines audit {NAME} --repair" in shown
    kinds = {
        difference["kind"]: difference["count"]
        for difference in cli.json("audit", NAME, code=1)["connectors"][0]["differences"]
    }
    assert kinds == {"chunk_without_edge": 1, "chunk_count_differs": 1}

    repaired = cli("audit", NAME, "--repair", code=1).stdout
    assert "1 indexed again" in repaired
    assert "Removed: 1 chunks." in repaired
    with runs_worked_off(services):
        # Joins the sync that the audit asked for.
        cli("connectors", "sync", NAME, "--wait", "--timeout", "120")
    age_objects(services)
    assert "Everything agrees" in cli("audit", NAME, "--repair").stdout
    hits = cli.json("search", "When does the valve open?", "--tenant", "acme_corp")["hits"]
    assert f"s3://{bucket.name}/[bold]valve.txt" in [hit["uri"] for hit in hits]


def test_a_repair_says_in_json_what_it_did(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    bucket.put("pump.txt", "The pump runs at 40 bar.")
    synced(cli, bucket, services)
    execute(services, "DELETE FROM connectors.texts")
    (answer,) = cli.json("audit", NAME, "--repair", code=1)["connectors"]
    assert answer["differences"] == [
        {
            "kind": "text_missing",
            "description": "objects that are extracted or indexed have no stored text",
            "count": 1,
            "examples": [f"s3://{bucket.name}/pump.txt"],
        }
    ]
    assert answer["mended"]["fetch"] == 1
    assert cli.json("connectors", "sync", NAME)["sync_id"] == answer["mended"]["sync_id"]


def test_what_cannot_be_looked_at_exits_with_2_and_the_others_are_looked_at(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    bucket.put("pump.txt", "The pump runs at 40 bar.")
    cli.add(bucket)
    synced(cli, bucket, services, tenant="globex")
    execute(
        services,
        "UPDATE connectors.connectors SET bucket = 'no-such-bucket' WHERE tenant_id = 'acme_corp'",
    )
    result = cli("audit", code=2)
    assert (
        f"{NAME} could not be audited: The bucket 'no-such-bucket' does not exist" in result.stderr
    )
    assert "globex/documents: 1 objects in the bucket" in result.stdout
    answers = cli.json("audit", code=2)["connectors"]
    assert ["does not exist" in str(answer["error"]) for answer in answers] == [True, False]
    assert "globex/documents" in cli("audit", "--tenant", "globex").stdout
    assert "connectors list" in cli("audit", "acme_corp/other", code=2).stderr


def test_without_a_connector_there_is_nothing_to_audit(cli: CommandLine) -> None:
    assert "No connector is registered" in cli("audit").stderr
    assert cli.json("audit") == {"connectors": []}


def test_a_database_that_is_away_exits_with_2(cli: CommandLine) -> None:
    away = "postgresql://user:topsecret@127.0.0.1:1/nowhere"
    result = cli("audit", code=2, ACTIVEKG_DSN=away, ACTIVEKG_DAGSTER_DSN=None)
    assert "topsecret" not in result.output
