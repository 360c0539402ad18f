"""The login, where others than this machine can reach Dagster's UI."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

from activekg_pipelines.administration.sessions import Sessions
from activekg_pipelines.administration.tokens import mint_token
from activekg_pipelines.errors import SettingsError
from activekg_pipelines.orchestrator.credential import ServiceCredential, webserver_key
from activekg_pipelines.settings import Settings
from tests.integration.webserver.conftest import LIMIT, Serve, Served
from tests.integration.webserver.test_attacks import LOGS, subscribed

UI = ("super_admin", "dagster:ui")
PAGE = {"Accept": "text/html"}


def token(settings: Settings, *scopes: str, tenant: str | None = None, seconds: int = 600) -> str:
    return mint_token(settings, "alice", tenant, scopes or UI, seconds)


def log_in(
    client: httpx.Client, served: Served, given: str, *, next: str = "", **headers: str
) -> httpx.Response:
    """What a browser sends for the form."""
    return client.post(
        f"{served.listening.prefix}/_login",
        data={"token": given, "next": next},
        headers={"Origin": served.url} | headers,
    )


def test_nothing_is_shown_before_the_login_and_all_of_it_afterwards(
    serve: Serve, app_settings: Settings
) -> None:
    served = serve(activekg_webserver_login="on")
    with served.client() as client:
        for path in ("/", "/runs", "/server_info", "/logs/a/b.err", "/_next/x.js", "/favicon.ico"):
            assert client.get(path).status_code == 401, path
        for path in ("/report_asset_materialization/a", "/report_asset_check/a", "/graphql"):
            assert client.post(path, json={"query": LIMIT}).status_code == 401, path
        with pytest.raises(InvalidStatus), subscribed(served, LOGS):
            pass

        asked = client.get("/runs/1234?x=%2F", headers=PAGE)
        assert asked.status_code == 303
        form = client.get(asked.headers["location"])
        assert form.status_code == 200
        assert 'name="next" value="/runs/1234?x=%2F"' in form.text
        assert "<script" not in form.text

        entered = log_in(client, served, token(app_settings), next="/runs/1234?x=%2F")
        assert (entered.status_code, entered.headers["location"]) == (303, "/runs/1234?x=%2F")
        cookie = entered.headers["set-cookie"]
        assert cookie.startswith(f"activekg_dagster_{served.listening.port}=")
        assert {"HttpOnly", "SameSite=lax", "Path=/"} <= set(cookie.split("; "))
        assert "Secure" not in cookie
        assert token(app_settings) not in cookie

        assert "Dagster" in client.get("/runs/1234", headers=PAGE).text
        answer = client.post("/graphql", json={"query": LIMIT}, headers={"Origin": served.url})
        assert answer.json()["data"]["setConcurrencyLimit"]
        assert served.was_changed
        for headers in ({"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            answer = client.post("/graphql", json={"query": LIMIT}, headers=headers)
            assert answer.status_code == 403, "The cookie alone proves no page."
        with subscribed(served, LOGS, Cookie=cookie.partition(";")[0]) as connection:
            assert json.loads(connection.recv(30))["type"] == "data"


def test_only_a_super_admins_token_for_the_ui_opens_it(
    serve: Serve, app_settings: Settings
) -> None:
    served = serve(activekg_webserver_login="on")
    refused = [
        "nonsense",
        token(app_settings, "super_admin"),
        token(app_settings, "dagster:ui", tenant="acme_corp"),
        token(app_settings, "connectors:admin", "dagster:ui", tenant="acme_corp"),
        ServiceCredential(app_settings).make() or "",
    ]
    with served.client() as client:
        for given in refused:
            answer = log_in(client, served, given)
            assert answer.status_code == 401
            assert "set-cookie" not in answer.headers
            assert given not in answer.text
            headers = {"Authorization": f"Bearer {given}"}
            assert client.get("/server_info", headers=headers).status_code == 401
        assert log_in(client, served, "").status_code == 401
        assert (
            "super_admin and dagster:ui"
            in log_in(client, served, token(app_settings, "super_admin")).text
        )
        headers = {"Authorization": f"Bearer {token(app_settings)}"}
        assert client.get("/server_info", headers=headers).status_code == 200


def test_wrong_tokens_are_limited_and_lock_nobody_out(
    serve: Serve, app_settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    served = serve(activekg_webserver_login="on")
    with served.client() as client:
        statuses = [
            log_in(client, served, "wrong-token", **{"X-Forwarded-For": f"10.0.0.{i}"}).status_code
            for i in range(12)
        ]
        assert statuses == [401] * 10 + [429] * 2
        limited = log_in(client, served, "wrong-token")
        assert int(limited.headers["retry-after"]) > 0
        assert log_in(client, served, token(app_settings)).status_code == 303
    assert len([line for line in caplog.messages if "refused" in line]) == 10
    assert "wrong-token" not in caplog.text


def test_no_other_page_logs_anybody_in_or_out(serve: Serve, app_settings: Settings) -> None:
    served = serve(activekg_webserver_login="on")
    given = {"token": token(app_settings)}
    with served.client() as client:
        for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            answer = client.post("/_login", data=given, headers=headers)
            assert answer.status_code == 403, headers
        answer = client.post("/_login", json=given, headers={"Origin": served.url})
        assert answer.status_code == 403
        large = {"token": "x" * 20_000}
        answer = client.post("/_login", data=large, headers={"Origin": served.url})
        assert answer.status_code == 403
        assert not client.cookies

        log_in(client, served, token(app_settings))
        assert client.post("/_logout").status_code == 403
        assert client.get("/server_info").status_code == 200


def test_a_logout_ends_every_copy_of_the_session(serve: Serve, app_settings: Settings) -> None:
    served = serve(activekg_webserver_login="on")
    with served.client() as client, served.client() as thief:
        log_in(client, served, token(app_settings))
        thief.cookies.update(client.cookies)
        assert "You are logged in as alice" in client.get("/_login").text
        client.post("/_logout", headers={"Origin": served.url})
        assert not client.cookies
        assert thief.get("/server_info").status_code == 401


@pytest.mark.parametrize(
    "wanted",
    [
        "//evil.example",
        "/\\evil.example",
        "https://evil.example/",
        "javascript:alert(1)",
        "/a\r\nSet-Cookie: x=y",
        '"><script>alert(1)</script>',
        "evil",
    ],
)
def test_a_login_leads_nowhere_else(serve: Serve, app_settings: Settings, wanted: str) -> None:
    served = serve(activekg_webserver_login="on")
    with served.client() as client:
        page = client.get("/_login", params={"next": wanted}).text
        assert 'name="next" value="/"' in page
        assert log_in(client, served, token(app_settings), next=wanted).headers["location"] == "/"


def test_behind_tls_and_under_a_prefix(serve: Serve, app_settings: Settings) -> None:
    served = serve(activekg_webserver_hosts=("dagster.example.com",), prefix="/dagster")
    with served.client(Host="dagster.example.com") as client:
        asked = client.get("/dagster/runs", headers=PAGE)
        assert asked.headers["location"] == "/dagster/_login?next=%2Fdagster%2Fruns"
        entered = log_in(client, served, token(app_settings), Origin="https://dagster.example.com")
        assert entered.headers["location"] == "/dagster/"
        assert {"Secure", "Path=/dagster"} <= set(entered.headers["set-cookie"].split("; "))


def test_a_session_is_renewed_while_the_page_is_used_and_ends_its_subscriptions(
    serve: Serve, app_settings: Settings
) -> None:
    served = serve(activekg_webserver_login="on")
    name = f"activekg_dagster_{served.listening.port}"
    key = webserver_key(app_settings, "session")
    assert key
    # Somebody who logged in longer ago, and somebody whose token ends in a moment.
    old = Sessions(key, name, clock=lambda: time.time() - 2000)
    ending = Sessions(key, name)
    with served.client() as client:
        client.cookies.set(name, old.written(old.begin("alice", time.time() + 9999)))
        answer = client.post(
            "/graphql", json={"query": "{ version }"}, headers={"Origin": served.url}
        )
        assert answer.headers["set-cookie"].startswith(f"{name}=")
        again = client.post(
            "/graphql", json={"query": "{ version }"}, headers={"Origin": served.url}
        )
        assert "set-cookie" not in again.headers, "It has the new one."
    cookie = f"{name}={ending.written(ending.begin('alice', time.time() + 8))}"
    bearer = f"Bearer {token(app_settings, seconds=8)}"
    for headers in ({"Cookie": cookie}, {"Authorization": bearer}):
        with pytest.raises(ConnectionClosed), subscribed(served, LOGS, **headers) as connection:
            while True:
                connection.recv(60)
    bearer = f"Bearer {ServiceCredential(app_settings).make()}"
    with pytest.raises(InvalidStatus), subscribed(served, LOGS, Authorization=bearer):
        pass


@pytest.mark.parametrize(
    ("given", "asks"),
    [
        ({}, False),
        ({"host": "0.0.0.0"}, True),
        ({"activekg_webserver_hosts": ("dagster.example.com",)}, True),
        ({"activekg_webserver_url": "http://webserver:3000"}, True),
        ({"activekg_webserver_login": "on"}, True),
        ({"host": "0.0.0.0", "activekg_webserver_login": "proxy"}, False),
    ],
)
def test_who_asks_for_the_login(serve: Serve, given: dict[str, object], asks: bool) -> None:
    with serve(**given).client() as client:
        assert client.get("/server_info").status_code == (401 if asks else 200)


def test_a_login_that_cannot_work_is_a_sentence(serve: Serve) -> None:
    no_key: dict[str, object] = {"host": "0.0.0.0", "jwt_secret_key": None}
    with pytest.raises(SettingsError, match="JWT_SECRET_KEY is not set"):
        serve(**no_key)
