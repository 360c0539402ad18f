"""What one tenant does to the service, and the others do not notice.

The API is served as in production. Stores and searches hang until the test lets them
go, so that no test depends on the speed of the machine.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import httpx
import psutil
import pytest
import uvicorn

from activekg_pipelines.administration.tokens import mint_token
from activekg_pipelines.api import in_flight, serving
from activekg_pipelines.api.app import OPENAPI_PATH, create_app
from activekg_pipelines.graph.search import SearchHit
from activekg_pipelines.orchestrator.health import Check
from activekg_pipelines.pipeline import preview
from activekg_pipelines.services import Services
from activekg_pipelines.sources.s3.config import S3Config
from activekg_pipelines.sources.turns import Turns
from tests.integration.api.conftest import (
    CONFIGS,
    RecordingOrchestrator,
    assert_problem,
    registration,
)
from tests.integration.endpoint_server import Server, reply, serve

# Far more than a loaded machine needs.
LONG = 120.0

Open = Callable[..., "Api"]


@dataclass
class Api:
    """A served API.

    Attributes:
        services: what it works with.
        url: where it answers.
    """

    services: Services
    url: str

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    def token(self, tenant_id: str) -> str:
        scopes = ["connectors:admin", "search:read", "metrics:read"]
        return mint_token(self.services.settings, "somebody", tenant_id, scopes, 600)

    def ask(self, method: str, path: str, tenant_id: str | None = None, **options: Any) -> Any:
        headers = options.pop("headers", {})
        if tenant_id:
            headers = headers | {"Authorization": f"Bearer {self.token(tenant_id)}"}
        return httpx.request(method, self.url + path, headers=headers, timeout=LONG, **options)

    def register(self, tenant_id: str, endpoint_url: str) -> str:
        """Not over HTTP: the deadline of the test is not meant for this."""
        config = S3Config.model_validate(registration(endpoint_url=endpoint_url)["config"])
        with self.services.database.transaction(tenant_id=tenant_id) as conn:
            return str(self.services.connectors.create(conn, tenant_id, "s3", config).id)

    def begin(self, method: str, path: str, tenant_id: str) -> socket.socket:
        """Send a request, and leave the answer to be read."""
        connection = socket.create_connection(self.address)
        connection.sendall(
            f"{method} {path} HTTP/1.1\r\nHost: api\r\nContent-Length: 0\r\n"
            f"Authorization: Bearer {self.token(tenant_id)}\r\n\r\n".encode()
        )
        return connection


@dataclass
class HangingStore:
    """A store that answers when it is told to.

    Attributes:
        asked: counts the requests that have come.
        left: set when a client has closed its connection before it was answered.
    """

    let_go: threading.Event = field(default_factory=threading.Event)
    asked: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    left: threading.Event = field(default_factory=threading.Event)
    server: Server | None = None

    def __call__(self, connection: socket.socket) -> None:
        self.asked.release()
        connection.settimeout(0.05)
        while not self.let_go.is_set():
            with suppress(TimeoutError):
                if not connection.recv(1):
                    self.left.set()
                    return
        reply()(connection)

    @property
    def url(self) -> str:
        assert self.server is not None
        return self.server.url


@pytest.fixture
def store() -> Iterator[HangingStore]:
    hanging = HangingStore()
    with serve(hanging) as hanging.server:
        yield hanging
        hanging.let_go.set()


@pytest.fixture
def opened(
    configured: Callable[..., Services], orchestrator: RecordingOrchestrator
) -> Iterator[Open]:
    """Serves an API with other settings than usual."""
    with ExitStack() as servers:

        def open_api(**changes: object) -> Api:
            services = configured(
                **{
                    "activekg_endpoint_allowlist": ("127.0.0.1",),
                    "activekg_api_request_seconds": 300.0,
                    "activekg_api_search_seconds": 300.0,
                    **changes,
                }
            )
            services.orchestrator = orchestrator  # type: ignore[assignment]
            return servers.enter_context(_served(services))

        yield open_api


@contextmanager
def _served(services: Services) -> Iterator[Api]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        options = serving.server_options(services.settings)
        server = uvicorn.Server(uvicorn.Config(create_app(services), log_config=None, **options))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        api = Api(services, f"http://127.0.0.1:{listener.getsockname()[1]}")
        _until(lambda: server.started)
        try:
            yield api
        finally:
            server.should_exit = True
            thread.join(LONG)


def test_others_are_answered_while_a_tenants_previews_hang(
    opened: Open, store: HangingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "_LISTING_SECONDS", 300.0)
    api = opened()
    config_id = api.register("acme_corp", store.url)
    path = f"{CONFIGS}/{config_id}/preview"
    with ThreadPoolExecutor(44) as callers:
        previews = [callers.submit(api.ask, "POST", path, "acme_corp") for _ in range(44)]
        for _ in range(api.services.settings.activekg_api_source_requests_per_tenant):
            assert store.asked.acquire(timeout=LONG)
        statuses = {
            what: api.ask("GET", what, "globex").status_code
            for what in (CONFIGS, "/search?q=house", "/healthz", "/readyz", "/metrics")
        }
        # The tenant's own other requests go on, too.
        statuses["own"] = api.ask("GET", CONFIGS, "acme_corp").status_code
        # Nobody gave up meanwhile.
        assert not store.left.is_set()
        assert set(statuses.values()) == {200}, statuses
        _until(lambda: sum(one.done() for one in previews) == 41)
        store.let_go.set()
        answers = [one.result() for one in previews]
    refused = [answer for answer in answers if answer.status_code != 200]
    assert len(refused) == 41
    for answer in refused:
        assert_problem(answer, 503, "too_many_in_flight")
        assert int(answer.headers["retry-after"]) >= 1


def test_what_all_stores_list_is_read_in_one_line(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = []

    class Counted(Turns):
        def __init__(self, share: float) -> None:
            super().__init__(share)
            self.taken = 0
            lines.append(self)

        def take(self) -> float:
            self.taken += 1
            return super().take()

    monkeypatch.setattr(in_flight, "Turns", Counted)
    api = opened()
    with serve(reply()) as server:
        for tenant_id in ("acme_corp", "globex"):
            path = f"{CONFIGS}/{api.register(tenant_id, server.url)}"
            before = sum(line.taken for line in lines)
            assert api.ask("POST", f"{path}/preview", tenant_id).status_code == 200
            assert api.ask("POST", f"{path}/test", tenant_id).json()["status"] == "success"
            assert sum(line.taken for line in lines) >= before + 2
    assert len(lines) == 1


def test_others_search_while_a_tenants_searches_hang(opened: Open) -> None:
    api = opened()
    let_go, begun = threading.Event(), threading.Semaphore(0)

    def search(tenant_id: str, query: str, limit: int) -> list[SearchHit]:
        if tenant_id == "acme_corp":
            begun.release()
            assert let_go.wait(LONG)
        return []

    api.services.search = search
    with ThreadPoolExecutor(120) as callers:
        path = "/search?q=" + "+".join(f"w{number}" for number in range(300))
        hanging = [callers.submit(api.ask, "GET", path, "acme_corp") for _ in range(120)]
        for _ in range(api.services.settings.activekg_api_searches_per_tenant):
            assert begun.acquire(timeout=LONG)
        for what in ("/search?q=house", CONFIGS, "/healthz", "/readyz", "/metrics"):
            assert api.ask("GET", what, "globex").status_code == 200
        let_go.set()
        assert {one.result().status_code for one in hanging} <= {200, 503}


def test_a_burst_waits_a_little_and_is_answered(opened: Open) -> None:
    api = opened()
    with ThreadPoolExecutor(12) as callers:
        answers = list(
            callers.map(lambda _: api.ask("GET", "/search?q=house", "globex"), range(12))
        )
    assert [answer.status_code for answer in answers].count(200) > 2


def test_a_preview_ends_at_its_deadline_whichever_page_hangs(
    opened: Open, store: HangingStore
) -> None:
    api = opened(activekg_api_request_seconds=8.0, activekg_api_source_requests_per_tenant=1)
    path = f"{CONFIGS}/{api.register('acme_corp', store.url)}/preview"
    assert_problem(api.ask("POST", path, "acme_corp"), 502, "source_unavailable")
    assert store.left.wait(LONG)
    # Its slot is free again.
    store.let_go.set()
    _until(lambda: api.ask("POST", path, "acme_corp").status_code == 200)


def test_a_connection_test_ends_at_its_deadline(opened: Open, store: HangingStore) -> None:
    api = opened(activekg_api_request_seconds=8.0)
    path = f"{CONFIGS}/{api.register('acme_corp', store.url)}/test"
    answer = api.ask("POST", path, "acme_corp")
    assert (answer.status_code, answer.json()["error_type"]) == (200, "source_unavailable")
    assert store.left.wait(LONG)


def test_what_is_asked_of_a_store_ends_when_the_caller_hangs_up(
    opened: Open, store: HangingStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(preview, "_LISTING_SECONDS", 300.0)
    api = opened()
    path = f"{CONFIGS}/{api.register('acme_corp', store.url)}/preview"
    with api.begin("POST", path, "acme_corp"):
        assert store.asked.acquire(timeout=LONG)
    assert store.left.wait(LONG)


def test_a_statement_ends_when_the_caller_hangs_up(opened: Open) -> None:
    api = opened()
    api.services.search = _sleeping(api.services)
    with api.begin("GET", "/search?q=house", "acme_corp"):
        _until(lambda: _asleep(api.services) == 1)
    _until(lambda: _asleep(api.services) == 0)


def test_a_statement_ends_at_the_deadline_of_its_request(opened: Open) -> None:
    api = opened(activekg_api_search_seconds=2.0)
    api.services.search = _sleeping(api.services)
    answer = api.ask("GET", "/search?q=house", "acme_corp")
    assert_problem(answer, 503, "deadline_exceeded")
    assert int(answer.headers["retry-after"]) >= 1
    _until(lambda: _asleep(api.services) == 0)


def test_work_that_does_not_end_is_answered_in_time_and_keeps_its_slot(opened: Open) -> None:
    api = opened(activekg_api_search_seconds=1.0, activekg_api_searches_per_tenant=1)
    let_go = threading.Event()

    def search(*_: object) -> list[SearchHit]:
        assert let_go.wait(LONG)
        return []

    api.services.search = search
    ask = "GET", "/search?q=house", "acme_corp"
    assert_problem(api.ask(*ask), 503, "deadline_exceeded")
    assert_problem(api.ask(*ask), 503, "too_many_in_flight")
    let_go.set()
    _until(lambda: api.ask(*ask).status_code == 200)


def test_probes_and_scrapes_need_no_connection_of_the_pool(opened: Open) -> None:
    api = opened(activekg_pool_size=2)
    with api.services.database.transaction(), api.services.database.transaction():
        assert api.ask("GET", "/readyz").status_code == 200
        assert api.ask("GET", "/metrics", "globex").status_code == 200
        assert api.ask("GET", "/healthz").status_code == 200


def test_all_who_ask_at_the_same_time_share_one_answer(
    opened: Open, orchestrator: RecordingOrchestrator, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, made = threading.Event(), []

    def health() -> list[Check]:
        made.append(1)
        assert let_go.wait(LONG)
        return orchestrator.checks

    monkeypatch.setattr(orchestrator, "health", health)
    monkeypatch.setattr("activekg_pipelines.api.monitoring._SECONDS", LONG)
    api = opened()
    with ThreadPoolExecutor(40) as callers:
        probes = [callers.submit(api.ask, "GET", "/readyz") for _ in range(20)]
        probes += [callers.submit(api.ask, "GET", "/metrics", "globex") for _ in range(20)]
        _until(lambda: len(made) == 2)
        # All of them are there: the last one has connected, and this comes after it.
        for _ in range(20):
            assert api.ask("GET", "/healthz").status_code == 200
        let_go.set()
        assert {one.result().status_code for one in probes} == {200}
    # Those that came late, if any, share one more.
    assert len(made) <= 4


def test_half_open_connections_hurt_nobody_and_are_cut(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 2.0)
    api = opened()
    with ExitStack() as connections:
        half_open = []
        for _ in range(600):
            connection = connections.enter_context(socket.create_connection(api.address))
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: a")
            half_open.append(connection)
        for path in ("/healthz", CONFIGS, "/search?q=house"):
            assert api.ask("GET", path, "globex").status_code == 200
        for connection in half_open:
            assert _is_cut(connection)


def test_a_head_that_trickles_is_cut(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 1.0)
    api = opened()
    with socket.create_connection(api.address) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: ")
        began = time.monotonic()
        with suppress(ConnectionError):
            while time.monotonic() - began < LONG:
                connection.sendall(b"a")
                time.sleep(0.1)
        assert time.monotonic() - began < LONG


def test_an_answer_that_nobody_reads_is_cut(opened: Open, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "HEAD_SECONDS", 1.0)
    monkeypatch.setattr(serving, "_READING_SECONDS", 1.0)
    api = opened(activekg_api_request_seconds=5.0)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect(api.address)
        connection.setblocking(False)
        # More answers than the buffers between hold.
        head = f"Host: api\r\nAuthorization: Bearer {api.token('acme_corp')}"
        asked = f"GET {OPENAPI_PATH} HTTP/1.1\r\n{head}\r\n\r\n".encode() * 100
        with suppress(BlockingIOError):
            connection.sendall(asked)
        client = connection.getsockname()

        def is_served() -> bool:
            # The kernel tells the client of the end only once it reads.
            return any(client == one.raddr for one in psutil.Process().net_connections())

        _until(is_served)
        _until(lambda: not is_served())


def test_a_body_that_does_not_come_is_given_up(
    opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(in_flight, "BODY_SECONDS", 1.0)
    api = opened()
    with socket.create_connection(api.address) as connection:
        connection.sendall(
            f"POST {CONFIGS} HTTP/1.1\r\nHost: api\r\nContent-Length: 100\r\n"
            "Content-Type: application/json\r\n"
            f"Authorization: Bearer {api.token('acme_corp')}\r\n\r\n{{".encode()
        )
        connection.settimeout(LONG)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b'"code": "body_too_slow"' in answer


def test_only_named_proxies_say_who_calls(opened: Open) -> None:
    def statuses(api: Api) -> list[int]:
        return [
            api.ask("GET", CONFIGS, headers={"X-Forwarded-For": f"203.0.113.{number}"}).status_code
            for number in range(4)
        ]

    assert statuses(opened(activekg_api_rate_limit="3/minute")) == [401, 401, 401, 429]
    named = opened(activekg_api_rate_limit="3/minute", activekg_api_trusted_proxies=("127.0.0.1",))
    assert statuses(named) == [401] * 4


def _sleeping(services: Services) -> Callable[[str, str, int], list[SearchHit]]:
    def search(*_: object) -> list[SearchHit]:
        with services.database.transaction() as conn:
            conn.execute("SELECT pg_sleep(600)")
        return []

    return search


def _asleep(services: Services) -> int:
    """How many statements sleep in this test's database."""
    with services.monitoring_database.transaction() as conn:
        row = conn.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            " AND state = 'active' AND query = 'SELECT pg_sleep(600)'"
        ).fetchone()
    return int(row[0]) if row else 0


def _is_cut(connection: socket.socket) -> bool:
    connection.settimeout(LONG)
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
