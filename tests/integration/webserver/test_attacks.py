"""What any web page could do to Dagster's UI, tried against it bare and behind the guard."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Origin, Subprotocol

from activekg_pipelines.orchestrator.credential import ServiceCredential
from activekg_pipelines.orchestrator.orchestrator import Orchestrator
from activekg_pipelines.settings import Settings
from tests.integration.webserver.conftest import LIMIT, Serve, Served

EVIL = "http://evil.example"
JSON = {"Content-Type": "application/json"}
Attack = Callable[[httpx.Client], httpx.Response]


def by_get(client: httpx.Client) -> httpx.Response:
    """An image on any page is enough."""
    return client.get("/graphql", params={"query": LIMIT})


def by_link(client: httpx.Client) -> httpx.Response:
    """A link, whose answer is a page as well."""
    return client.get("/graphql", params={"query": LIMIT}, headers={"Accept": "image/*,text/htm"})


def by_form(client: httpx.Client) -> httpx.Response:
    """A form that a script of the page submits."""
    return client.post("/graphql", params={"query": LIMIT}, data={"a": "b"})


def by_multipart(client: httpx.Client) -> httpx.Response:
    return client.post("/graphql", params={"query": LIMIT}, files={"a": b"b"})


def by_plain_text(client: httpx.Client) -> httpx.Response:
    """Dagster looks for the words anywhere in the type; browsers ask nobody for this one."""
    return client.post(
        "/graphql",
        content=json.dumps({"query": LIMIT}),
        headers={"Content-Type": "text/plain; x=application/json"},
    )


def by_empty_post(client: httpx.Client) -> httpx.Response:
    return client.post("/graphql", params={"query": LIMIT})


def by_rebound_name(client: httpx.Client) -> httpx.Response:
    """A name of the attacker's that leads to this machine: the page is of our origin."""
    host = f"evil.example:{client.base_url.port}"
    return client.post(
        "/graphql",
        json={"query": LIMIT},
        headers={"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"},
    )


def by_foreign_origin(client: httpx.Client) -> httpx.Response:
    return client.post("/graphql", json={"query": LIMIT}, headers={"Origin": EVIL})


def by_no_origin(client: httpx.Client) -> httpx.Response:
    """From a frame in a sandbox."""
    return client.post("/graphql", json={"query": LIMIT}, headers={"Origin": "null"})


def by_other_port(client: httpx.Client) -> httpx.Response:
    """From another server on this machine: the same site, and another origin."""
    return client.post("/graphql", json={"query": LIMIT}, headers={"Origin": "http://127.0.0.1:1"})


def by_other_scheme(client: httpx.Client) -> httpx.Response:
    origin = f"https://127.0.0.1:{client.base_url.port + 1}"
    return client.post("/graphql", json={"query": LIMIT}, headers={"Origin": origin})


def by_fetch_metadata(client: httpx.Client) -> httpx.Response:
    return client.post("/graphql", json={"query": LIMIT}, headers={"Sec-Fetch-Site": "cross-site"})


ATTACKS = [
    by_get,
    by_link,
    by_form,
    by_multipart,
    by_plain_text,
    by_empty_post,
    by_rebound_name,
    by_foreign_origin,
    by_no_origin,
    by_other_port,
    by_other_scheme,
    by_fetch_metadata,
]


def test_no_other_page_changes_anything(serve: Serve) -> None:
    guarded, bare = serve(), serve(bare=True)
    for attack in ATTACKS:
        with guarded.client() as client:
            assert attack(client).is_error, attack.__name__
        assert not guarded.was_changed, attack.__name__
    for attack in ATTACKS:
        with bare.client() as client:
            attack(client)
        assert bare.was_changed, f"{attack.__name__} is no attack: Dagster alone refuses it."
        bare.undo()


def test_no_spelling_of_the_path_gets_around_it(serve: Serve) -> None:
    served = serve()
    query = f"?query={quote(LIMIT)}".encode()
    for path in (
        b"/graphql",
        b"/%67raphql",
        b"//graphql",
        b"/graphql/",
        b"/./graphql",
        b"/a/../graphql",
    ):
        for method in ("GET", "HEAD"):
            with served.client(Accept="text/html") as client:
                url = client.base_url.copy_with(raw_path=path + query)
                client.send(client.build_request(method, url))
            assert not served.was_changed, path


def test_our_own_page_and_other_programs_go_on_as_before(serve: Serve) -> None:
    served = serve()
    with served.client() as client:
        for headers in (
            {},
            {"Origin": served.url, "Sec-Fetch-Site": "same-origin"},
            {"Origin": served.url},
        ):
            answer = client.post("/graphql", json={"query": "{ version }"}, headers=headers)
            assert answer.json()["data"]["version"]
        answer = client.post("/graphql", json={"query": LIMIT}, headers={"Origin": served.url})
        assert answer.json()["data"]["setConcurrencyLimit"]
    assert served.was_changed


UNKNOWN_NAMES = [
    "evil.example",
    "127.0.0.1.evil.example",
    "localhost@evil.example",
    "evil.example#localhost",
    "localhost,evil.example",
    "0.0.0.0",
    "10.0.0.5:3000",
    "",
]


def test_an_unknown_name_gets_nothing(serve: Serve) -> None:
    served = serve()
    for host in UNKNOWN_NAMES:
        for path in ("/", "/runs", "/server_info", "/favicon.ico"):
            with served.client(Host=host) as client:
                answer = client.get(path)
            assert answer.status_code in {400, 403}, host
            assert "Dagster" not in answer.text


def test_names_that_are_set_are_known(serve: Serve) -> None:
    served = serve(
        activekg_webserver_hosts=("Dagster.Example.com",), activekg_webserver_login="proxy"
    )
    for host in ("dagster.example.com", "DAGSTER.example.com:8443", "localhost", "[::1]:3000"):
        with served.client(Host=host, Origin=f"https://{host}") as client:
            answer = client.post("/graphql", json={"query": "{ version }"})
        assert answer.status_code == 200, host


NAVIGATIONS = [
    ("cross-site", "navigate", "document", 200),
    ("cross-site", "navigate", "iframe", 403),
    ("cross-site", "no-cors", "image", 403),
    ("same-site", "cors", "empty", 403),
    ("same-origin", "cors", "empty", 200),
    ("none", "navigate", "document", 200),
]


def test_another_page_may_link_here_and_embed_nothing(serve: Serve) -> None:
    served = serve()
    for site, mode, destination, status in NAVIGATIONS:
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
        with served.client(**headers) as client:
            answer = client.get("/runs/0123")
        assert answer.status_code == status, headers
    with served.client() as client:
        answer = client.get("/runs/0123")
    assert answer.headers["x-frame-options"] == "SAMEORIGIN"
    policies = answer.headers.get_list("content-security-policy")
    assert "frame-ancestors 'self'" in policies
    assert any("script-src" in policy for policy in policies)


@contextmanager
def subscribed(served: Served, query: str, **headers: str | None) -> Iterator[ClientConnection]:
    """A WebSocket as the UI opens it, with one operation started."""
    origin = headers.pop("Origin", served.url)
    with connect(
        f"ws://127.0.0.1:{served.listening.port}{served.listening.prefix}/graphql",
        subprotocols=[Subprotocol("graphql-ws")],
        origin=Origin(origin) if origin else None,
        additional_headers={name: value for name, value in headers.items() if value},
        proxy=None,
    ) as connection:
        connection.send(json.dumps({"type": "connection_init"}))
        assert json.loads(connection.recv(30))["type"] == "connection_ack"
        start = {"type": "start", "id": "1", "payload": {"query": query}}
        connection.send(json.dumps(start))
        yield connection


LOGS = 'subscription { pipelineRunLogs(runId: "none") { __typename } }'
OTHER_PAGES: list[dict[str, str | None]] = [
    {"Origin": EVIL},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
]


def test_subscriptions_go_on(serve: Serve) -> None:
    served = serve()
    for origin in (served.url, None):
        with subscribed(served, LOGS, Origin=origin) as connection:
            answer = json.loads(connection.recv(30))
        assert answer["payload"]["data"]["pipelineRunLogs"]["__typename"]


def test_no_other_page_subscribes(serve: Serve) -> None:
    guarded, bare = serve(), serve(bare=True)
    for headers in OTHER_PAGES:
        with subscribed(bare, LOGS, **headers) as connection:
            assert json.loads(connection.recv(30))["type"] == "data"
        with pytest.raises(InvalidStatus) as refused, subscribed(guarded, LOGS, **headers):
            pass
        assert refused.value.response.status_code == 403, headers


def test_a_websocket_carries_no_mutation(serve: Serve) -> None:
    served = serve()
    with subscribed(served, LIMIT) as connection:
        assert json.loads(connection.recv(30))["type"] == "error"
    assert not served.was_changed


def test_health_is_asked_by_any_name(serve: Serve) -> None:
    with serve(host="0.0.0.0").client(Host="10.1.2.3:3000") as client:
        answer = client.get("/healthz")
    assert (answer.status_code, answer.text) == (200, "ok")


def test_read_only_holds_for_people_and_not_for_the_apis_reload(
    serve: Serve, app_settings: Settings
) -> None:
    served = serve(read_only=True)
    with served.client() as client:
        answer = client.post("/graphql", json={"query": LIMIT}).json()
        assert not served.was_changed, answer
        reload = 'mutation { reloadRepositoryLocation(repositoryLocationName: "x") { __typename } }'
        of_people = client.post("/graphql", json={"query": reload}).json()
        token = ServiceCredential(app_settings).make()
        of_api = client.post(
            "/graphql", json={"query": reload}, headers={"Authorization": f"Bearer {token}"}
        ).json()
    assert of_people["data"]["reloadRepositoryLocation"]["__typename"] == "UnauthorizedError"
    assert of_api["data"]["reloadRepositoryLocation"]["__typename"] == "RepositoryLocationNotFound"


@pytest.mark.parametrize(("login", "read_only"), [("auto", False), ("on", True)])
def test_the_api_asks_with_a_credential_of_its_own(
    serve: Serve, app_settings: Settings, login: str, read_only: bool
) -> None:
    served = serve(activekg_webserver_login=login, read_only=read_only)
    make = ServiceCredential(app_settings).make
    for credential, works in ((make, True), (None, login == "auto")):
        with Orchestrator(served.url, credential=credential) as orchestrator:
            checks = {check.name: check for check in orchestrator.health()}
        assert checks["dagster_webserver"].ok is works
        if not works:
            assert "ACTIVEKG_WEBSERVER_SECRET" in checks["dagster_webserver"].detail


NOT_THE_APIS = [
    LIMIT,
    f"query a {{ version }} {LIMIT}",
    "mutation { reloadWorkspace { __typename } }",
    f'{LIMIT[:-1]} reloadRepositoryLocation(repositoryLocationName: "x") {{ __typename }} }}',
    "mutation { ...a } fragment a on Mutation { reloadWorkspace { __typename } }",
    LOGS,
    "{",
    "",
]


def test_the_apis_credential_opens_nothing_else(serve: Serve, app_settings: Settings) -> None:
    served = serve(activekg_webserver_login="on")
    token = ServiceCredential(app_settings).make()
    with served.client(Authorization=f"Bearer {token}") as client:
        for query in NOT_THE_APIS:
            assert client.post("/graphql", json={"query": query}).status_code == 403, query
        assert client.get("/server_info").status_code == 401
    assert not served.was_changed
