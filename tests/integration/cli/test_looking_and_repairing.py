"""History, objects, dead letters, previews and key rotation from the command line."""

from __future__ import annotations

import pytest
from cryptography.fernet import Fernet

from activekg_pipelines.administration.schemas import KeyRotation, ObjectView, PreviewView, RunView
from activekg_pipelines.services import Services
from tests.integration.cli.conftest import NAME, CommandLine
from tests.integration.syncing import sync
from tests.s3_bucket import Bucket


def add_objects(
    services: Services, connector_id: str, *objects: tuple[str, str, str | None]
) -> None:
    """Rows of the ledger: key, state, error."""
    with services.database.transaction() as conn:
        for key, state, error in objects:
            conn.execute(
                "INSERT INTO connectors.objects (connector_id, tenant_id, key, etag, size, "
                "modified_at, state,"
                " attempts, error_code, error_message) VALUES (%s, 'acme_corp', %s, 'e', 5, "
                "now(), %s, 2, %s, %s)",
                (
                    connector_id,
                    key,
                    state,
                    error,
                    error and f"It ended with {error}, which is a long sentence." * 3,
                ),
            )


def states(services: Services) -> dict[str, str]:
    with services.database.transaction() as conn:
        return dict(conn.execute("SELECT key, state::text FROM connectors.objects").fetchall())


def test_runs_are_shown_newest_first_and_filtered(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    cli.add(bucket)
    other = cli.add(bucket, tenant="globex")
    for name in (NAME, "globex/documents"):
        cli("connectors", "sync", name)
    page = cli.json("runs")
    assert [RunView.model_validate(item).tenant_id for item in page["items"]] == [
        "globex",
        "acme_corp",
    ]
    assert [item["config_id"] for item in cli.json("runs", "globex/documents")["items"]] == [
        other["id"]
    ]
    assert cli.json("runs", "--tenant", "globex", "--status", "failed")["items"] == []
    assert cli.json("runs", "--since", "2999-01-01") == {"items": [], "next_cursor": None}
    first = cli.json("runs", "--limit", "1")
    assert (
        cli.json("runs", "--limit", "1", "--cursor", first["next_cursor"])["items"]
        == page["items"][1:]
    )
    assert NAME in cli("runs").stdout
    cli("runs", "--status", "excellent", code=2)


def test_objects_and_dead_letters_name_their_causes(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    added = cli.add(bucket)
    add_objects(services, added["id"], ("a.txt", "indexed", None), ("b.pdf", "dead", "corrupt"))
    items = cli.json("objects", NAME)["items"]
    assert [ObjectView.model_validate(item).uri for item in items] == [
        f"s3://{bucket.name}/a.txt",
        f"s3://{bucket.name}/b.pdf",
    ]
    assert [item["key"] for item in cli.json("objects", NAME, "--state", "indexed")["items"]] == [
        "a.txt"
    ]
    assert [item["key"] for item in cli.json("dead-letters", "list", NAME)["items"]] == ["b.pdf"]
    assert cli.json("dead-letters", "list", NAME, "--error-type", "encrypted")["items"] == []
    assert "corrupt" in cli("dead-letters", "list", NAME).stdout


def test_one_command_names_the_documents_that_were_not_read_whole(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    bucket.put("damaged.txt", "Füße überqueren die Straße. ".encode() * 20 + b"\xff\n")
    bucket.put("whole.txt", "Füße überqueren die Straße.")
    cli.add(bucket)
    sync(services, services.connector_of_partition(NAME))
    for filters in (("--not-read-whole",), ("--warning", "bytes_replaced")):
        assert [item["key"] for item in cli.json("objects", NAME, *filters)["items"]] == [
            "damaged.txt"
        ]
    shown = cli("objects", NAME, "--not-read-whole").stdout
    assert "bytes_replaced" in shown
    assert "Some bytes are not valid utf-8" in " ".join(shown.split())
    assert "no such object" in cli("objects", NAME, "--warning", "partly_read").stderr
    cli("objects", NAME, "--warning", "all_is_well", code=2)


def test_keys_are_shown_whole_and_cannot_command_the_terminal(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    added = cli.add(bucket)
    long = "folder with spaces/" * 30 + "[bold]ä.txt"
    add_objects(
        services, added["id"], (long, "dead", "corrupt"), ("\x1b[2J\x07evil\n.txt", "pending", None)
    )
    shown = cli("objects", NAME, COLUMNS="60").stdout
    assert f"s3://{bucket.name}/{long}" in shown
    assert "\x1b[2J" not in shown
    assert "\\x1b[2J\\x07evil\\n.txt" in shown.replace("\n", "\\n") or "\\x1b[2J\\x07evil" in shown


@pytest.mark.parametrize(
    ("arguments", "replayed"),
    [
        (("--key", "b.pdf"), {"b.pdf"}),
        (("--error-type", "encrypted"), {"c.pdf"}),
        (("--all",), {"b.pdf", "c.pdf"}),
    ],
)
def test_dead_letters_are_replayed(
    cli: CommandLine,
    bucket: Bucket,
    services: Services,
    arguments: tuple[str, ...],
    replayed: set[str],
) -> None:
    added = cli.add(bucket)
    add_objects(services, added["id"], ("b.pdf", "dead", "corrupt"), ("c.pdf", "dead", "encrypted"))
    assert cli.json("dead-letters", "replay", NAME, *arguments) == {"replayed": len(replayed)}
    assert {key for key, state in states(services).items() if state == "pending"} == replayed


def test_a_replay_says_what_exactly_once(cli: CommandLine) -> None:
    for arguments in ((), ("--all", "--key", "a"), ("--key", "a", "--error-type", "corrupt")):
        assert "exactly one" in cli("dead-letters", "replay", NAME, *arguments, code=2).stderr


def test_a_preview_shows_what_would_be_done(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    added = cli.add(bucket)
    bucket.put("new.txt", "text")
    add_objects(services, added["id"], ("gone.txt", "indexed", None))
    view = PreviewView.model_validate(cli.json("preview", NAME))
    assert (view.changes.add.sample, view.changes.delete.sample) == (["new.txt"], ["gone.txt"])
    shown = cli("preview", NAME, "--keys").stdout
    assert f"s3://{bucket.name}/new.txt" in shown
    assert "cannot be estimated" in shown
    assert states(services) == {"gone.txt": "indexed"}


def test_a_preview_of_a_bucket_that_cannot_be_listed_fails(
    cli: CommandLine, bucket: Bucket, services: Services
) -> None:
    cli.add(bucket)
    with services.database.transaction() as conn:
        conn.execute("UPDATE connectors.connectors SET bucket = 'no-such-bucket'")
    assert "does not exist" in cli("preview", NAME, code=1).stderr


def test_keys_are_rotated_and_the_old_one_can_go(cli: CommandLine, bucket: Bucket) -> None:
    cli.add(bucket)
    new = {"CONNECTOR_KEK_V2": Fernet.generate_key().decode(), "CONNECTOR_KEK_ACTIVE_VERSION": "2"}
    dry = KeyRotation.model_validate(cli.json("rotate-keys", "--dry-run", **new))
    assert (dry.rotated, dry.remaining, dry.dry_run) == (1, 0, True)
    assert "1 connectors encrypted with key version 2; 0 remain" in cli("rotate-keys", **new).stdout
    assert cli.json("connectors", "test", NAME, **new, CONNECTOR_KEK_V1=None)["status"] == "success"


def test_credentials_that_cannot_be_read_fail_a_rotation(cli: CommandLine, bucket: Bucket) -> None:
    cli.add(bucket)
    other = {
        "CONNECTOR_KEK_V1": Fernet.generate_key().decode(),
        "CONNECTOR_KEK_V2": Fernet.generate_key().decode(),
    }
    result = cli("rotate-keys", code=1, CONNECTOR_KEK_ACTIVE_VERSION="2", **other)
    assert "cannot be decrypted with CONNECTOR_KEK_V1" in result.stderr


def test_a_database_that_was_never_migrated_says_what_to_do(
    cli: CommandLine, empty_dsn: str
) -> None:
    assert (
        "activekg-pipelines migrate"
        in cli("connectors", "list", code=1, ACTIVEKG_DSN=empty_dsn).stderr
    )


def test_a_database_that_is_away_is_one_sentence_without_its_password(cli: CommandLine) -> None:
    away = "postgresql://user:topsecret@127.0.0.1:1/nowhere"
    result = cli("runs", code=1, ACTIVEKG_DSN=away, ACTIVEKG_DAGSTER_DSN=None)
    assert "The database does not answer" in result.stderr
    assert "topsecret" not in result.output
