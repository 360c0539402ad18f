"""A run that was frozen past its lease.

Another run takes its objects, and when it wakes it writes nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import pytest

from tests.chaos.documents import Version, good
from tests.chaos.rounds import Chaos
from tests.chaos.system import LEASE_SECONDS
from tests.fault_proxy import slow
from tests.s3_bucket import Bucket

_GRAPH = """
SELECT id, version, props, embedding::text FROM public.nodes WHERE tenant_id = %s ORDER BY id
"""
_OBJECTS = (
    "SELECT key, state::text, etag, indexed_etag, claimed_by FROM connectors.objects WHERE "
    "connector_id = %s ORDER BY 1"
)


def claimed(chaos: Chaos, config_id: str, state: str) -> Callable[[], str | None]:
    """Asks which run holds an object of a state."""

    def ask() -> str | None:
        rows = chaos.system.ask(
            "SELECT claimed_by FROM connectors.objects WHERE connector_id = %s AND state::text = %s"
            " AND claimed_by IS NOT NULL LIMIT 1",
            config_id,
            state,
        )
        return rows[0][0] if rows else None

    return ask


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("state", "documents"),
    [
        pytest.param("pending", 1, id="while it reads"),
        pytest.param("extracted", 60, id="while it embeds"),
    ],
)
def test_a_run_that_was_frozen_past_its_lease_and_overtaken_writes_nothing_when_it_wakes(
    chaos: Chaos, s3_endpoint: str, state: str, documents: int
) -> None:
    system = chaos.system
    rng = random.Random(documents)
    tenant_id = f"frozen_{state}"
    bucket = Bucket.create(
        s3_endpoint, f"{system.home.name.replace('_', '-').lower()}-frozen-{state}"
    )
    old = {f"{number:03}.txt": good(rng, ".txt") for number in range(documents)}
    for key, version in old.items():
        bucket.put(key, version.body)
    # A run that reads is caught in the middle of the first object's bytes.
    rule = (
        system.proxy.inject("GET", "000.txt", slow(2.0, piece=100), times=1)
        if state == "pending"
        else None
    )
    config_id = system.register(bucket, tenant_id)
    try:
        frozen = system.wait("a run holds an object", claimed(chaos, config_id, state), 120)
        process = system.run_processes()[frozen]
        process.suspend()
        assert claimed(chaos, config_id, state)() == frozen, "the run was caught too late"

        new = {key: good(rng, ".txt") for key in old}
        for key, version in new.items():
            bucket.put(key, version.body)
        system.sync(config_id)
        system.wait(
            "another run indexes the new versions",
            lambda: indexed(chaos, config_id, new),
            12 * LEASE_SECONDS,
        )
        before = system.ask(_GRAPH, tenant_id)
        counts = run_counts(chaos, frozen)

        process.resume()
        end = system.wait("the woken run ends", lambda: ended(chaos, frozen), 120)
        assert end in {"SUCCESS", "FAILURE"}
        # Long enough for whoever would now take objects up again.
        system.wait("nothing is live", lambda: not system.live_runs(), 120)
        assert indexed(chaos, config_id, new)
        assert system.ask(_GRAPH, tenant_id) == before, "no node was written again"
        assert run_counts(chaos, frozen) == counts, "what was not written is not counted"
        # Its row is closed, or belongs to the run that took its work over.
        for (status,) in system.ask(
            "SELECT status FROM connectors.runs WHERE dagster_run_id = %s", frozen
        ):
            assert status in {"succeeded", "failed"}
    finally:
        system.proxy.heal(*([rule] if rule else []))
        system.api(
            "DELETE", f"/_admin/connectors/configs/{config_id}", params={"documents": "remove"}
        )


def indexed(chaos: Chaos, config_id: str, versions: dict[str, Version]) -> bool:
    """Whether the ledger shows exactly these versions, and the graph their texts."""
    wanted = [
        (key, "indexed", version.etag, version.etag, None)
        for key, version in sorted(versions.items())
    ]
    return chaos.system.ask(_OBJECTS, config_id) == wanted


def ended(chaos: Chaos, run: str) -> str | None:
    """How a run of Dagster's ended, once it has."""
    (status,) = chaos.system.ask(
        "SELECT status FROM runs WHERE run_id = %s", run, of="ACTIVEKG_DAGSTER_DSN"
    )[0]
    return status if status in {"SUCCESS", "FAILURE", "CANCELED"} else None


def run_counts(chaos: Chaos, run: str) -> list[tuple[Any, ...]]:
    """What a run says that it wrote."""
    return chaos.system.ask(
        "SELECT extracted, indexed, chunks, failed, dead FROM connectors.runs WHERE "
        "dagster_run_id = %s",
        run,
    )
