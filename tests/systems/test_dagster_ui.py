"""Dagster's UI behind the guard, in a real browser: what works, and what other pages try."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import quote

import dagster as dg
import httpx
import pytest

from activekg_pipelines.administration.tokens import mint_token
from activekg_pipelines.settings import Settings
from tests.dagster_ui import running_ui
from tests.systems.browser import Browser, browser

LIMIT = 'mutation { setConcurrencyLimit(concurrencyKey: "attack", limit: 1) }'
DEEP_LINK = "/assets/document_embeddings?view=definition"


@pytest.fixture
def window(tmp_path: Path) -> Iterator[Browser]:
    """A browser that has been nowhere."""
    with browser(tmp_path) as opened:
        yield opened


@contextmanager
def other_page(html: str) -> Iterator[str]:
    """A page of another server on this machine; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def attacks(url: str) -> str:
    """A page that tries what a page can do to the UI, and says in its title when it is done."""
    graphql = f"{url}/graphql"
    sent = f"{graphql}?query={quote(LIMIT)}"
    return f"""<!doctype html><title>at work</title>
      <img src="{sent}"><iframe src="{url}/runs"></iframe><iframe name="hidden"></iframe>
      <form method="post" target="hidden" action="{sent}"><input name="a" value="b"></form>
      <script>
        document.forms[0].submit();
        const body = JSON.stringify({{query: {LIMIT!r}}});
        const send = (type) => fetch("{graphql}", {{method: "POST", mode: "no-cors",
          credentials: "include", headers: {{"Content-Type": type}}, body}}).catch(() => 0);
        const socket = new Promise((done) => {{
          const opened = new WebSocket("{graphql.replace("http", "ws")}", "graphql-ws");
          opened.onopen = () => done("opened");
          opened.onerror = () => done("refused");
        }});
        Promise.all([send("text/plain; x=application/json"), send("application/json"),
          fetch("{sent}", {{credentials: "include"}}).catch(() => 0), socket])
          .then((all) => document.title = "done, socket " + all[3]);
      </script>"""


def test_the_ui_works_behind_a_login_and_no_other_page_gets_in(
    window: Browser,
    instance: dg.DagsterInstance,
    app_settings: Settings,
    tmp_path: Path,
    project_root: Path,
) -> None:
    token = mint_token(app_settings, "alice", None, ["super_admin", "dagster:ui"], 600)
    with running_ui(instance, tmp_path, project_root, ACTIVEKG_WEBSERVER_LOGIN="on") as url:
        window.open(url + DEEP_LINK)
        assert "/_login" in window.url
        assert "Log in to Dagster" in window.text
        window.fill_in("#token", "wrong")
        window.wait("A wrong token is a sentence", lambda: "not a valid one" in window.text)
        window.fill_in("#token", token)
        window.wait("The login leads to the deep link", lambda: window.url == url + DEEP_LINK)
        window.wait("Dagster shows the asset", lambda: "Materialize" in window.text)

        seen: list[str] = []

        def subscribed() -> bool:
            for event in window.network():
                if event["method"] == "Network.webSocketFrameReceived":
                    seen.append(event["params"]["response"]["payloadData"])
            return any('"connection_ack"' in frame for frame in seen)

        window.wait("A subscription is open", subscribed)
        assert window.run("return document.cookie") == "", "No script reads the session."

        with other_page(attacks(url)) as evil:
            window.open(evil)
            window.wait(
                "The other page has tried all",
                lambda: window.run("return document.title") == "done, socket refused",
            )
        assert "attack" not in instance.event_log_storage.get_concurrency_keys()

        window.open(f"{url}/runs")
        window.wait("The session is still there", lambda: "Runs" in window.text)
        window.open(f"{url}/_login")
        assert "You are logged in as alice" in window.text
        window.run("document.forms[0].submit()")
        window.wait("It is over after the logout", lambda: "Token" in window.text)
        window.open(f"{url}/runs")
        assert "/_login" in window.url
        assert httpx.get(f"{url}/server_info", trust_env=False).status_code == 401
