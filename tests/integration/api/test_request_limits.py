"""How often a caller may ask.

Refusing costs neither the others nor the memory.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from fastapi.testclient import TestClient
from limits import parse
from limits.storage import MemoryStorage
from starlette.responses import PlainTextResponse

from activekg_pipelines.administration.tokens import mint_token
from activekg_pipelines.api.app import MAX_BODY_BYTES, create_app, openapi_document
from activekg_pipelines.api.request_limits import RefusalLimitMiddleware, RequestWindows
from activekg_pipelines.errors import SettingsError
from activekg_pipelines.services import Services
from activekg_pipelines.settings import Settings
from tests.integration.api.conftest import CONFIGS, RUNS, Caller, assert_problem
from tests.parts import with_parts

Connect = Callable[..., TestClient]


@pytest.fixture
def limited(admin: Services) -> Iterator[Connect]:
    """Makes clients of one API that allows three requests a minute.

    Each client has an address of its own.
    """
    with ExitStack() as opened:
        yield _connect(admin, opened, "3/minute")


@pytest.fixture
def quickly_limited(admin: Services) -> Iterator[Connect]:
    """The same with two requests a second."""
    with ExitStack() as opened:
        yield _connect(admin, opened, "2/second")


@pytest.fixture
def token(app_settings: Settings) -> Callable[..., str]:
    def mint(subject: str = "alice", tenant_id: str = "acme_corp", ttl_seconds: int = 600) -> str:
        return mint_token(app_settings, subject, tenant_id, ["connectors:admin"], ttl_seconds)

    return mint


def test_a_caller_who_asks_too_often_is_told_when_to_come_back(
    limited: Connect, token: Callable[..., str]
) -> None:
    alice = Caller(limited(), token())
    assert [alice.get(RUNS).status_code for _ in range(3)] == [200] * 3
    answer = alice.get(RUNS)
    assert_problem(answer, 429, "too_many_requests")
    assert 1 <= int(answer.headers["retry-after"]) <= 60


def test_waiting_as_long_as_retry_after_says_is_enough(
    quickly_limited: Connect, token: Callable[..., str]
) -> None:
    alice = Caller(quickly_limited(), token())
    statuses = [alice.get(RUNS).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    time.sleep(int(alice.get(RUNS).headers["retry-after"]))
    assert alice.get(RUNS).status_code == 200


def test_each_subject_of_each_tenant_has_requests_of_its_own(
    limited: Connect, token: Callable[..., str]
) -> None:
    client = limited()
    for subject, tenant_id in [("alice", "acme_corp"), ("bob", "acme_corp"), ("alice", "globex")]:
        caller = Caller(client, token(subject, tenant_id))
        assert [caller.get(RUNS).status_code for _ in range(4)] == [200, 200, 200, 429]


def test_a_new_token_or_another_address_gives_no_new_requests(
    limited: Connect, token: Callable[..., str]
) -> None:
    for ttl_seconds in (600, 700, 800):
        assert Caller(limited(), token(ttl_seconds=ttl_seconds)).get(RUNS).status_code == 200
    assert_problem(Caller(limited("10.0.0.2"), token(ttl_seconds=900)).get(RUNS), 429)


def test_refused_requests_do_not_lengthen_the_wait(
    quickly_limited: Connect, token: Callable[..., str]
) -> None:
    alice = Caller(quickly_limited(), token())
    deadline = time.monotonic() + 1.5
    statuses = []
    while time.monotonic() < deadline:
        statuses.append(alice.get(RUNS).status_code)
    assert statuses.count(200) in {3, 4}


def test_guessing_tokens_is_limited_by_address(limited: Connect, token: Callable[..., str]) -> None:
    guesser = limited("203.0.113.9")
    for guess in ("a.b.c", token()[:-2] + "xx", None):
        assert_problem(Caller(guesser, guess).get(RUNS), 401)
    refused = Caller(guesser, "d.e.f").get(RUNS)
    assert_problem(refused, 429, "too_many_requests")
    assert int(refused.headers["retry-after"]) >= 1
    assert_problem(Caller(limited("203.0.113.10"), "d.e.f").get(RUNS), 401)


def test_wrong_tokens_lock_out_no_right_one_of_the_same_address(
    limited: Connect, token: Callable[..., str]
) -> None:
    office = limited("203.0.113.9")
    assert [Caller(office, "a.b.c").get(RUNS).status_code for _ in range(600)][-1] == 429
    assert Caller(office, token()).get(RUNS).status_code == 200
    assert_problem(Caller(office, "a.b.c").get(RUNS), 429)


def test_an_ipv6_network_is_one_address_and_a_mapped_ipv4_address_is_that_address(
    limited: Connect,
) -> None:
    for last in (1, 2, 3):
        assert_problem(Caller(limited(f"2001:db8:0:7::{last}"), "a.b.c").get(RUNS), 401)
    assert_problem(Caller(limited("2001:db8:0:7:ffff::1"), "a.b.c").get(RUNS), 429)
    assert_problem(Caller(limited("2001:db8:0:8::1"), "a.b.c").get(RUNS), 401)
    for _ in range(3):
        assert_problem(Caller(limited("::ffff:10.0.0.1"), "a.b.c").get(RUNS), 401)
    assert_problem(Caller(limited("10.0.0.1"), "a.b.c").get(RUNS), 429)
    assert_problem(Caller(limited("::ffff:10.0.0.2"), "a.b.c").get(RUNS), 401)


def test_bodies_that_are_too_large_count(limited: Connect, token: Callable[..., str]) -> None:
    alice = Caller(limited(), token())
    for _ in range(3):
        assert_problem(alice.request("POST", CONFIGS, content=b"x" * (MAX_BODY_BYTES + 1)), 413)
    assert_problem(alice.request("POST", CONFIGS, content=b"x" * (MAX_BODY_BYTES + 1)), 429)


def test_probes_are_never_limited(limited: Connect) -> None:
    client = limited()
    for _ in range(4):
        Caller(client, "a.b.c").get(RUNS)
    for _ in range(5):
        assert Caller(client, None).get("/healthz").status_code == 200
        assert Caller(client, None).get("/readyz").status_code == 200


def test_open_metrics_are_limited_by_address(admin: Services) -> None:
    with ExitStack() as opened:
        connect = _connect(admin, opened, "3/minute", activekg_metrics="open")
        assert [connect().get("/metrics").status_code for _ in range(4)] == [200, 200, 200, 429]
        assert connect("10.0.0.2").get("/metrics").status_code == 200


def test_the_limit_can_be_switched_off(admin: Services, token: Callable[..., str]) -> None:
    with ExitStack() as opened:
        client = _connect(admin, opened, "off")()
        assert {Caller(client, token()).get(RUNS).status_code for _ in range(20)} == {200}


@pytest.mark.parametrize(
    "value",
    [
        "many",
        "600",
        "0/minute",
        "-1/minute",
        "600/minute; 5/second",
        "10001/second",
        "100/day",
        "10/2 hours",
        "9" * 5000,
    ],
)
def test_a_rate_that_is_none_is_a_sentence_at_the_start(admin: Services, value: str) -> None:
    with pytest.raises(
        SettingsError, match=r"ACTIVEKG_API_RATE_LIMIT must be one rate such as 600/minute"
    ):
        create_app(_with(admin, activekg_api_rate_limit=value))


def test_every_limited_route_declares_429(admin: Services) -> None:
    declared = {
        path: operation["responses"].get("429")
        for path, operations in openapi_document(create_app(admin))["paths"].items()
        for operation in operations.values()
    }
    assert {path for path, answer in declared.items() if answer is None} == {"/healthz", "/readyz"}
    for answer in declared.values():
        assert answer is None or answer["headers"]["Retry-After"]["required"]


def test_clients_whose_window_is_over_are_forgotten() -> None:
    storage = MemoryStorage()
    windows = RequestWindows(parse("5/second"), storage)
    for number in range(2000):
        windows.count(f"10.1.{number // 250}.{number % 250}")
    assert len(storage.events) == 2000
    time.sleep(1.1)
    windows.count("10.2.0.1")
    assert set(storage.events) == {parse("5/second").key_for("10.2.0.1")}
    # One of that client, and one more while the storage's own thread looks at somebody
    # who has just been forgotten.
    assert len(storage.locks) <= 2


def test_memory_is_bounded_while_addresses_are_made_up_faster_than_windows_end() -> None:
    storage = MemoryStorage()
    windows = RequestWindows(parse("2/hour"), storage)
    application = RefusalLimitMiddleware(PlainTextResponse("", 401), windows, ())

    async def knock(address: str) -> int:
        statuses: list[int] = []

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {
            "type": "http",
            "method": "GET",
            "path": "/",
            "headers": [],
            "client": (address, 1),
        }
        await application(scope, _no_body, send)
        return statuses[0]

    async def attack() -> list[int]:
        first = [await knock("192.0.2.1") for _ in range(3)]
        for number in range(12_000):
            await knock(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        return [*first, await knock("10.0.46.223"), await knock("10.0.46.223")]

    assert asyncio.run(attack()) == [401, 401, 429, 401, 429]
    assert len(storage.events) == 10_000
    assert len(storage.locks) <= 10_001


def _connect(admin: Services, opened: ExitStack, rate: str, **changes: object) -> Connect:
    application = create_app(_with(admin, activekg_api_rate_limit=rate, **changes))

    def connect(address: str = "10.0.0.1") -> TestClient:
        # Not entered: the first client that leaves would close the services of all.
        client = TestClient(application, client=(address, 50000), raise_server_exceptions=False)
        opened.callback(client.close)
        return client

    return connect


def _with(admin: Services, **changes: object) -> Services:
    return with_parts(admin, settings=admin.settings.model_copy(update=changes))


async def _no_body() -> Any:
    return {"type": "http.request", "body": b"", "more_body": False}
