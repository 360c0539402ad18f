"""A database that goes away ends the run.

It costs no object an attempt, and the next run does the work.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict

from activekg_pipelines.database.pool import Database
from activekg_pipelines.services import Services
from activekg_pipelines.sources.s3.source import S3Source
from activekg_pipelines.sources.source import Fetched
from tests.integration.syncing import Ended, drain, end_leases, graph_of, outcomes, query, scan
from tests.s3_bucket import Bucket

NAMES = [f"{number}.txt" for number in range(5)]


@pytest.fixture
def short_wait(configured: Callable[..., Services], dsn: str) -> Services:
    """Services that wait a second for a connection, instead of half a minute."""
    services = configured()
    services.database = Database(dsn, wait_seconds=1.0)
    return services


@pytest.fixture
def switch(postgres: str, dsn: str) -> Iterator[Callable[..., None]]:
    """Switches the test's database off and on.

    Every connection ends and no new one is accepted.
    """
    name = str(conninfo_to_dict(dsn)["dbname"])
    with psycopg.connect(postgres, autocommit=True) as conn:

        def switch(*, on: bool) -> None:
            conn.execute(
                sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}").format(
                    sql.Identifier(name), sql.Literal(on)
                )
            )
            if not on:
                conn.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s",
                    [name],
                )

        yield switch
        switch(on=True)


def wait_until_back(services: Services) -> None:
    """Wait until the pool connects again.

    It retries with exponential backoff, so one second may see no attempt.
    """
    for _ in range(60):
        with suppress(psycopg.OperationalError):
            query(services, "SELECT 1")
            return
    pytest.fail("The database did not come back within a minute.")


def test_a_database_that_is_away_ends_the_run_before_anything_is_begun(
    short_wait: Services, bucket: Bucket, switch: Callable[..., None]
) -> None:
    connector = bucket.register(short_wait)
    bucket.put_many(dict.fromkeys(NAMES, "A note about penguins."))
    scan(short_wait, connector)
    switch(on=False)
    with pytest.raises(psycopg.OperationalError):
        drain(short_wait, connector)
    switch(on=True)
    wait_until_back(short_wait)
    assert set(outcomes(short_wait, connector).values()) == {Ended("pending", None, None, 0)}
    assert drain(short_wait, connector).indexed == len(NAMES)


def test_a_database_that_goes_away_in_the_middle_costs_no_object_an_attempt(
    short_wait: Services,
    bucket: Bucket,
    switch: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connector = bucket.register(short_wait)
    bucket.put_many({name: f"Note {name} is about penguins." for name in NAMES})
    scan(short_wait, connector)

    fetch = S3Source.fetch

    def fetching(source: S3Source, key: str, *rest: Any, **options: Any) -> Fetched:
        if key == NAMES[2]:
            switch(on=False)
        return fetch(source, key, *rest, **options)

    with monkeypatch.context() as failing:
        failing.setattr(S3Source, "fetch", fetching)
        with pytest.raises(psycopg.OperationalError):
            drain(short_wait, connector)
    switch(on=True)
    wait_until_back(short_wait)
    assert {end.attempts for end in outcomes(short_wait, connector).values()} == {0}
    assert {end.code for end in outcomes(short_wait, connector).values()} == {None}
    # The run could not release its claims; its lease ends.
    end_leases(short_wait)
    drain(short_wait, connector)
    assert {end.state for end in outcomes(short_wait, connector).values()} == {"indexed"}
    assert graph_of(short_wait) == (5, 5, 5)
