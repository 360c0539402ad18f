"""No secret anywhere it could be read, and keys that change under running syncs."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import psycopg
from psycopg import sql

from tests.e2e.conftest import CLI, System
from tests.s3_bucket import SECRET_ACCESS_KEY, Bucket


def dump(dsn: str) -> str:
    """Every row of every table of a database as text."""
    parts = []
    with psycopg.connect(dsn) as conn:
        tables = conn.execute(
            "SELECT schemaname, tablename FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', "
            "'information_schema')"
        ).fetchall()
        for schema, table in tables:
            rows = conn.execute(
                sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(schema, table))
            ).fetchall()
            parts += [row[0] for row in rows]
    return "\n".join(parts)


def test_no_secret_is_readable_after_a_sync_with_failures(system: System, bucket: Bucket) -> None:
    bucket.put("good.txt", "A readable document.")
    bucket.put("broken.pdf", b"%PDF-1.7 this is not a PDF")
    config_id = system.register(bucket, "secretive")
    system.wait(
        "the sync has ended", lambda: system.states(config_id) == {"indexed": 1, "dead": 1}, 90
    )
    wrong = {
        "access_key_id": "AKIAIOSFODNN7EXAMPL3",
        "secret_access_key": "wrong/" + SECRET_ACCESS_KEY,
        "bucket": "no-such",
    }
    body = {"tenant_id": "secretive", "provider": "s3", "config": {**wrong, "name": "missing"}}
    broken_id = system.api("POST", "/_admin/connectors/configs", json=body).json()["id"]
    system.wait("the sync of a missing bucket fails", lambda: _failed(system, broken_id), 90)

    home = Path(system.environment["ACTIVEKG_HOME"])
    answers = "".join(
        system.api("GET", path).text
        for path in (
            "/_admin/connectors/configs",
            f"/_admin/connectors/configs/{config_id}",
            f"/_admin/connectors/configs/{config_id}/objects",
            f"/_admin/connectors/configs/{broken_id}",
            f"/_admin/connectors/runs?config_id={broken_id}",
            "/metrics",
        )
    )
    assert (
        system.api("POST", f"/_admin/connectors/configs/{broken_id}/test").json()["error_type"]
        == "no_such_bucket"
    )
    logs = "".join(path.read_text(errors="replace") for path in (home / "logs").glob("*"))
    compute_logs = "".join(
        path.read_text(errors="replace") for path in (home / "dagster").rglob("*") if path.is_file()
    )
    places = {
        "graph database": dump(system.environment["ACTIVEKG_DSN"]),
        "Dagster's database: events, run configs, ticks": dump(
            system.environment["ACTIVEKG_DAGSTER_DSN"]
        ),
        "HTTP answers": answers,
        "logs": logs + system.log.read_text(),
        "compute logs": compute_logs,
    }
    token = system.headers["Authorization"].removeprefix("Bearer ")
    for place, text in places.items():
        assert text, f"nothing was looked at: {place}"
        assert SECRET_ACCESS_KEY not in text, place
        assert token not in text, place
        assert system.environment["CONNECTOR_KEK_V1"] not in text, place
        assert system.environment["JWT_SECRET_KEY"] not in text, place


def _failed(system: System, config_id: str) -> Any:
    return any(run["status"] == "failed" for run in system.runs(config_id))


def test_a_key_changes_while_syncs_run(system: System, bucket: Bucket) -> None:
    """Every process of the system knows both keys and encrypts with the first.

    So it is in the first step of a rotation.
    """
    config_ids = []
    for number in range(3):
        bucket.put_many(
            {f"{number}/{n}.txt": f"Text {n} of connector {number}." for n in range(60)}
        )
        config = {
            "name": f"c{number}",
            "bucket": bucket.name,
            "prefix": f"{number}/",
            "endpoint_url": bucket.endpoint_url,
        }
        config |= {"access_key_id": "AKIAIOSFODNN7EXAMPLE", "secret_access_key": SECRET_ACCESS_KEY}
        body = {"tenant_id": "rotating", "provider": "s3", "config": config}
        config_ids.append(system.api("POST", "/_admin/connectors/configs", json=body).json()["id"])
    system.wait(
        "a sync runs",
        lambda: any(run["status"] == "running" for run in system.runs(config_ids[0])),
        60,
    )

    rotating = system.environment | {"CONNECTOR_KEK_ACTIVE_VERSION": "2"}
    rotated = subprocess.run(
        [*CLI, "rotate-keys", "--tenant", "rotating", "--json"],
        env=rotating,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(rotated.stdout) | {"failed": []} == {
        "rotated": 3, "remaining": 0, "failed": [], "dry_run": False, "active_version": 2
    }  # fmt: skip
    for config_id in config_ids:
        assert system.api("POST", f"/_admin/connectors/configs/{config_id}/sync").status_code == 202
    for config_id in config_ids:
        system.wait(
            "every sync has ended",
            lambda config_id=config_id: (
                system.states(config_id) == {"indexed": 60}
                and all(
                    run["status"] not in {"waiting", "running"} for run in system.runs(config_id)
                )
            ),
            120,
        )
        assert [run["errors"] for run in system.runs(config_id) if run["status"] == "failed"] == []

    alone = {name: value for name, value in rotating.items() if name != "CONNECTOR_KEK_V1"}
    tested = subprocess.run(
        [*CLI, "connectors", "test", "rotating/c0", "--json"],
        env=alone,
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(tested.stdout)["status"] == "success"
