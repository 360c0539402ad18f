"""The demonstration: a tenant registers a bucket and asks about its documents.

Then documents change, and the tenant asks again. Two things are not as in production. A
local stand-in for AWS S3 serves the bucket, and the database is embedded unless
ACTIVEKG_DSN says otherwise.
"""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from activekg_pipelines.administration.tokens import mint_token
from activekg_pipelines.cli.environment import project_file
from activekg_pipelines.cli.stack import Stack, StackError, local_stack, require_free_port
from activekg_pipelines.errors import SettingsError

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

TENANT = "acme_corp"
BUCKET = "acme-documents"
_REGION = "us-east-1"
# The stand-in takes any key pair; these are the ones of AWS's own documentation.
_ACCESS_KEY_ID = "AKIAIOSFODNN7EXAMPLE"
_SECRET_ACCESS_KEY = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"  # noqa: S105
_SYNC_SECONDS = 300.0
_QUESTIONS_SHOWN = 4


@dataclass(frozen=True, slots=True)
class _Demo:
    """A demonstration under way."""

    console: Console
    stack: Stack
    api: httpx.Client
    s3: S3Client
    examples: Path


def run_demo(console: Console, *, once: bool) -> None:
    """Run the demonstration.

    Args:
        console: where it shows itself.
        once: stop everything after the answers. Otherwise the system stays up until
            Ctrl-C.

    Raises:
        SettingsError, StackError: what went wrong, in a sentence.
    """
    started = time.monotonic()
    examples = project_file("dagster.yaml").parent / "examples"
    if not examples.is_dir():
        raise SettingsError(
            "The demonstration's documents are missing: run it in a checkout of activekg-pipelines."
        )
    given = os.environ.get("ACTIVEKG_DEMO_S3_PORT", "5055")
    if not given.isdecimal() or not 0 < int(given) < 65536:
        raise SettingsError(f"ACTIVEKG_DEMO_S3_PORT must be a port number, not {given!r}.")
    port = int(given)
    with _s3_stand_in(port) as endpoint:
        # Both names set to different values would be refused.
        os.environ.pop("ACTIVEKG_S3_ENDPOINT_ALLOWLIST", None)
        allowed = os.environ["ACTIVEKG_ENDPOINT_ALLOWLIST"] = endpoint.removeprefix("http://")
        with local_stack(console) as stack:
            token = mint_token(
                stack.services.settings,
                "demo",
                TENANT,
                ["connectors:admin", "search:read"],
                12 * 3600,
            )
            with httpx.Client(
                base_url=stack.api_url, headers={"Authorization": f"Bearer {token}"}, timeout=60
            ) as api:
                demo = _Demo(console, stack, api, _client(endpoint), examples)
                _play(demo, endpoint)
            console.print(f"\nDone in {time.monotonic() - started:.0f} seconds.")
            if once:
                console.print(
                    "The connector stays registered, without its stand-in for S3. Remove it "
                    "while the system is up: "
                    f"activekg-pipelines connectors remove {TENANT}/documents --documents remove",
                    soft_wrap=True,
                )
            else:
                _stay_up(console, stack, token, allowed)


def _play(demo: _Demo, endpoint: str) -> None:
    questions = json.loads((demo.examples / "questions.json").read_text(encoding="utf-8"))
    changes = json.loads((demo.examples / "changes.json").read_text(encoding="utf-8"))
    count = _fill(demo)
    demo.console.print(
        f"\n[bold]1. A bucket[/] s3://{BUCKET} with {count} documents, served by moto, a local "
        f"stand-in for AWS S3 at {endpoint}."
    )
    config_id, existed = _register(demo, endpoint)
    demo.console.print(
        f"\n[bold]2. Tenant {TENANT} {'has registered' if existed else 'registers'} it[/] through "
        f"the admin API: connector {config_id}."
    )
    # A new connector's first sync starts by itself.
    _watch(demo, config_id, _sync(demo, config_id) if existed else None)

    demo.console.print("\n[bold]3. Questions[/]")
    for question in questions[:_QUESTIONS_SHOWN]:
        _ask(demo, question["question"], question["expected_key"])

    change, delete, add = changes["change"], changes["delete"], changes["add"]
    demo.console.print("\n[bold]4. One document changes, one is deleted, one is added[/]")
    since = _now(demo)
    for item in (change, add):
        demo.s3.put_object(
            Bucket=BUCKET, Key=item["key"], Body=(demo.examples / item["file"]).read_bytes()
        )
    demo.s3.delete_object(Bucket=BUCKET, Key=delete["key"])
    for verb, item in (("changed", change), ("deleted", delete), ("added", add)):
        demo.console.print(f"   {verb:8} s3://{BUCKET}/{item['key']}")
    _watch(demo, config_id, _sync(demo, config_id))
    touched = _touched(demo, config_id, since)
    demo.console.print(f"   The sync touched {touched}.")
    expected = {"added": 1, "changed": 1, "deleted": 1, "indexed": 2}
    if touched != expected:
        raise StackError(
            f"The second sync should have touched {expected}, but it touched {touched}."
        )
    _ask(demo, change["question"], change["key"])
    _ask(demo, add["question"], add["key"])


def _fill(demo: _Demo) -> int:
    """Put the shipped documents into the bucket, as they are without any change."""
    folder = demo.examples / "documents"
    demo.s3.create_bucket(Bucket=BUCKET)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for path in files:
        demo.s3.put_object(
            Bucket=BUCKET, Key=path.relative_to(folder).as_posix(), Body=path.read_bytes()
        )
    return len(files)


def _register(demo: _Demo, endpoint: str) -> tuple[str, bool]:
    """The connector's id, and whether it was registered already."""
    listed = demo.api.get("/_admin/connectors/configs").raise_for_status().json()
    for config in listed["items"]:
        if config["config"]["bucket"] == BUCKET:
            change = {"config": {"endpoint_url": endpoint}}
            demo.api.put(
                f"/_admin/connectors/configs/{config['id']}", json=change
            ).raise_for_status()
            return str(config["id"]), True
    body = {
        "tenant_id": TENANT,
        "provider": "s3",
        "config": {
            "name": "documents",
            "bucket": BUCKET,
            "region": _REGION,
            "endpoint_url": endpoint,
            "access_key_id": _ACCESS_KEY_ID,
            "secret_access_key": _SECRET_ACCESS_KEY,
        },
    }
    answer = demo.api.post("/_admin/connectors/configs", json=body).raise_for_status()
    return str(answer.json()["id"]), False


def _sync(demo: _Demo, config_id: str) -> str:
    """Ask for a sync now; returns its id."""
    answer = demo.api.post(f"/_admin/connectors/configs/{config_id}/sync").raise_for_status()
    return str(answer.json()["sync_id"])


def _watch(demo: _Demo, config_id: str, sync_id: str | None) -> None:
    """Show a sync's progress until its run has ended.

    Args:
        sync_id: which; None for the connector's newest.

    Raises:
        StackError: the run failed, or did not end in time.
    """
    with Progress(
        TextColumn("   "),
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=demo.console,
    ) as progress:
        bars = {
            name: progress.add_task(f"{name:9}", total=None)
            for name in ("found", "extracted", "embedded")
        }
        deadline = time.monotonic() + _SYNC_SECONDS
        while time.monotonic() < deadline:
            demo.stack.check()
            run = _run(demo, config_id, sync_id)
            with demo.stack.services.database.transaction() as conn:
                states = demo.stack.services.ledger.progress(conn, UUID(config_id))
            known = sum(count for state, count in states.items() if state != "deleted")
            done = {
                "found": known,
                "extracted": known - states.get("pending", 0),
                "embedded": known - states.get("pending", 0) - states.get("extracted", 0),
            }
            for name, bar in bars.items():
                progress.update(bar, completed=done[name], total=max(known, 1))
            if run["status"] in {"failed", "cancelled"}:
                raise StackError(f"The run failed: {run['errors']}. See {run['dagster_run_url']}")
            # A run that was interrupted before leaves work that another run finishes.
            if run["status"] == "succeeded" and done["embedded"] == known:
                return
            time.sleep(0.5)
    raise StackError(
        f"The sync did not end within {_SYNC_SECONDS:.0f} seconds; see "
        f"{demo.stack.webserver_url}/runs"
    )


def _run(demo: _Demo, config_id: str, sync_id: str | None) -> dict[str, Any]:
    answer = demo.api.get(
        "/_admin/connectors/runs", params={"config_id": config_id}
    ).raise_for_status()
    matching = [run for run in answer.json()["items"] if sync_id in {None, run["id"]}]
    return dict(matching[0]) if matching else {"status": "waiting"}


def _touched(demo: _Demo, config_id: str, since: str) -> dict[str, int]:
    """The counts of all runs since a time.

    A poll may have come between the change and the sync that was asked for.
    """
    params = {"config_id": config_id, "since": since}
    items = (
        demo.api.get("/_admin/connectors/runs", params=params).raise_for_status().json()["items"]
    )
    return {
        name: sum(run["objects"][name] for run in items)
        for name in ("added", "changed", "deleted", "indexed")
    }


def _ask(demo: _Demo, question: str, expected_key: str) -> None:
    hits = (
        demo.api.get("/search", params={"q": question, "limit": 3})
        .raise_for_status()
        .json()["hits"]
    )
    demo.console.print(f"\n   [italic]{question}[/]", highlight=False)
    for rank, hit in enumerate(hits, 1):
        snippet = " ".join(hit["snippet"].split())
        demo.console.print(f"   {rank}. {hit['uri']}\n      [dim]{snippet}[/]", highlight=False)
    if not any(hit["uri"] == f"s3://{BUCKET}/{expected_key}" for hit in hits):
        raise StackError(
            f"The answers to {question!r} should name s3://{BUCKET}/{expected_key}, but do not."
        )


def _now(demo: _Demo) -> str:
    with demo.stack.services.database.transaction() as conn:
        row = conn.execute("SELECT now()").fetchone()
    return str(row[0].isoformat()) if row else ""


def _stay_up(console: Console, stack: Stack, token: str, allowed: str) -> None:
    console.print(f"\nDagster UI   {stack.webserver_url}")
    console.print(f"Admin API    {stack.api_url}")
    console.print(f"Admin token  {token}", soft_wrap=True, highlight=False)
    console.print(
        f"Everything stays up. Ctrl-C stops it. In other terminals, for what reads the bucket: "
        f"export ACTIVEKG_ENDPOINT_ALLOWLIST={allowed}",
        soft_wrap=True,
        highlight=False,
    )
    stack.run_forever()


@contextmanager
def _s3_stand_in(port: int) -> Iterator[str]:
    try:
        from moto.server import ThreadedMotoServer
    except ImportError:
        raise SettingsError(
            "The demonstration needs moto: pip install 'activekg-pipelines[demo]'"
        ) from None
    # Its request log would run through the progress bars.
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    require_free_port("127.0.0.1", port, "ACTIVEKG_DEMO_S3_PORT")
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
    server.start()
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        server.stop()


def _client(endpoint: str) -> S3Client:
    import boto3

    return boto3.client(
        "s3",
        endpoint_url=endpoint,
        region_name=_REGION,
        aws_access_key_id=_ACCESS_KEY_ID,
        aws_secret_access_key=_SECRET_ACCESS_KEY,
    )
