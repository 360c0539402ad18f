"""Chromium without a window, steered over WebDriver."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from tests.e2e.conftest import free_port

T = TypeVar("T")

_SECONDS = 90.0
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@dataclass(frozen=True)
class Browser:
    """One window."""

    session: httpx.Client

    def open(self, url: str) -> None:
        """Go to a page and wait until it is loaded."""
        self._post("url", url=url)

    @property
    def url(self) -> str:
        """Where the window is."""
        return str(self._get("url"))

    @property
    def text(self) -> str:
        """What a person reads on the page."""
        return str(self.run("return document.body.innerText"))

    def run(self, script: str) -> Any:
        """Run JavaScript in the page; returns what it returns."""
        return self._post("execute/sync", script=script, args=[])

    def fill_in(self, selector: str, text: str) -> None:
        """Type into a field and send its form."""
        found = self._post("element", using="css selector", value=selector)
        self._post(f"element/{found[_ELEMENT]}/value", text=text)
        self._post(f"element/{found[_ELEMENT]}/value", text="\ue007")

    def network(self) -> list[dict[str, Any]]:
        """What went over the network since the last call: events of DevTools."""
        entries = self._post("se/log", type="performance")
        return [json.loads(entry["message"])["message"] for entry in entries]

    def wait(self, what: str, condition: Callable[[], T]) -> T:
        """Wait until something is so; returns what it returned."""
        deadline = time.monotonic() + _SECONDS
        while not (result := condition()):
            assert time.monotonic() < deadline, f"{what}. The page says:\n{self.text}"
            time.sleep(0.2)
        return result

    def _get(self, path: str) -> Any:
        return self.session.get(path).raise_for_status().json()["value"]

    def _post(self, path: str, **body: Any) -> Any:
        answer = self.session.post(path, json=body)
        assert answer.is_success, answer.text
        return answer.json()["value"]


@contextmanager
def browser(folder: Path) -> Iterator[Browser]:
    """A new window with an empty profile.

    Args:
        folder: for the profile and the log.
    """
    programs = {name: shutil.which(name) for name in ("chromium", "chromedriver")}
    if None in programs.values():
        pytest.skip("Chromium is not installed here: apt-get install chromium chromium-driver.")
    port = free_port()
    with (folder / "chromedriver.log").open("wb") as log:
        driver = subprocess.Popen(
            [str(programs["chromedriver"]), f"--port={port}"], stdout=log, stderr=log
        )
    capabilities = {
        "goog:chromeOptions": {
            "binary": programs["chromium"],
            "args": [*_ARGUMENTS, f"--user-data-dir={folder / 'profile'}"],
        },
        "goog:loggingPrefs": {"performance": "ALL"},
    }
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}", timeout=_SECONDS, trust_env=False
    ) as client:
        try:
            _wait_for(client, driver)
            answer = client.post("/session", json={"capabilities": {"alwaysMatch": capabilities}})
            assert answer.is_success, answer.text
            client.base_url = client.base_url.join(
                f"/session/{answer.json()['value']['sessionId']}/"
            )
            yield Browser(client)
            client.delete("")
        finally:
            driver.terminate()
            driver.wait(timeout=60)


def _wait_for(client: httpx.Client, driver: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + _SECONDS
    while True:
        try:
            if client.get("/status").json()["value"]["ready"]:
                return
        except httpx.HTTPError:
            assert driver.poll() is None, "chromedriver did not start."
        assert time.monotonic() < deadline, "chromedriver does not answer."
        time.sleep(0.2)
