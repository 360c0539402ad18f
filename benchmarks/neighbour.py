"""What other tenants notice while one attacks the API.

    python -m benchmarks.neighbour [--requests 200] [--chunks 20000] [--checkout FOLDER]
        [--only endless]

Another tenant's list, search and health are asked in turn, while nothing else happens
and during each of five attacks. The API is a process of its own, and so are the
attacker and the stores. An attacker sends each request again half a second after it was
answered, or when ``Retry-After`` says. There is no limit of the rate. ``--checkout``
measures the API of another checkout of this repository.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx
import numpy as np

from activekg_pipelines.administration.tokens import mint_token
from activekg_pipelines.services import Services
from benchmarks.documents import CHUNKS_PER_DOCUMENT, handbook
from benchmarks.measure import Result, print_results
from benchmarks.system import folder, register, server, services

_PORT: Final = 8766
_BATCH: Final = 64
_WORDS_A_CHUNK: Final = 160
_VOCABULARY: Final = 5000
# Long enough for every answer that shall come, so that one that does not come costs
# no more of the benchmark's time.
_PATIENCE_SECONDS: Final = 5.0
_ATTACK_SECONDS: Final = 60.0
_PAUSE_SECONDS: Final = 0.5
_CONFIGS: Final = "/_admin/connectors/configs"
_VICTIM, _ATTACKER = "victim", "attacker"
_PATHS: Final = {"health": "/healthz", "list": _CONFIGS, "search": "/search?q=w7+w11+w300+w1200"}


@dataclass(frozen=True, slots=True)
class Seconds:
    """How long the answers of one path took; those that never came, as long as was waited."""

    each: list[float]

    @property
    def p95(self) -> float:
        return float(np.percentile(self.each, 95))

    @property
    def longest(self) -> float:
        return max(self.each)


def main() -> None:
    """Measure and print, or attack where a child process is told to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--requests", type=int, default=200)
    parser.add_argument("--chunks", type=int, default=20_000)
    parser.add_argument("--checkout", type=Path, default=Path(__file__).parent.parent)
    parser.add_argument("--only", nargs="*", choices=list(_ATTACKS), default=list(_ATTACKS))
    parser.add_argument("--attack", nargs=3, metavar=("NAME", "URL", "TOKEN"), help="for itself")
    parser.add_argument("--configs", nargs="*", default=[], help="for itself")
    arguments = parser.parse_args()
    if arguments.attack:
        asyncio.run(_attack(*arguments.attack, arguments.configs))
        return
    with (
        server("benchmarks.slow_server", "page") as slow,
        server("benchmarks.slow_server", "trickle") as trickling,
        server("benchmarks.listing_server", 10**9) as endless,
        folder() as home,
        services(
            home,
            JWT_SECRET_KEY="a-secret-of-the-benchmark-that-is-long-enough",
            ACTIVEKG_API_PORT=str(_PORT),
            ACTIVEKG_API_RATE_LIMIT="off",
        ) as opened,
    ):
        _fill(opened, _ATTACKER, arguments.chunks)
        _fill(opened, _VICTIM, arguments.chunks // 10)
        register(opened, slow, "bucket", _VICTIM)
        configs = {
            name: str(register(opened, url, name, _ATTACKER).id)
            for name, url in (("slow", slow), ("trickling", trickling), ("endless", endless))
        }
        with _api(arguments.checkout) as url:
            print_results(
                f"One tenant attacks, another asks {arguments.requests} times for each of "
                f"{', '.join(_PATHS)}",
                _results(opened, url, configs, arguments.requests, arguments.only),
            )


def _results(
    opened: Services, url: str, configs: dict[str, str], requests: int, only: list[str]
) -> Iterator[Result]:
    attacker = mint_token(
        opened.settings, "mallory", _ATTACKER, ["connectors:admin", "search:read"], 3600
    )
    victim = mint_token(
        opened.settings, "alice", _VICTIM, ["connectors:admin", "search:read"], 3600
    )
    with httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {victim}"}, timeout=_PATIENCE_SECONDS
    ) as client:
        # The first search loads the model.
        while not all(_ask(client, path) < _PATIENCE_SECONDS for path in _PATHS.values()):
            time.sleep(1)
        quiet = _measure(client, requests)
        yield from _lines("quiet", quiet, quiet)
        for name in only:
            what, config = _ATTACKS[name]
            attack = [sys.executable, "-m", "benchmarks.neighbour", "--attack", name, url, attacker]
            command = [*attack, "--configs", configs.get(config, "")]
            with subprocess.Popen(command) as process:
                time.sleep(3)
                found = _measure(client, requests)
                process.kill()
            yield from _lines(what, found, quiet)
            yield _back(client)


def _measure(client: httpx.Client, requests: int) -> dict[str, Seconds]:
    each: dict[str, list[float]] = {name: [] for name in _PATHS}
    until = time.monotonic() + _ATTACK_SECONDS
    for number in range(requests):
        for name, path in _PATHS.items():
            each[name].append(_ask(client, path))
        if number and time.monotonic() > until:
            break
    return {name: Seconds(seconds) for name, seconds in each.items()}


def _ask(client: httpx.Client, path: str) -> float:
    began = time.perf_counter()
    try:
        answered = client.get(path).status_code == 200
    except httpx.HTTPError:
        answered = False
    return time.perf_counter() - began if answered else _PATIENCE_SECONDS


def _lines(what: str, found: dict[str, Seconds], quiet: dict[str, Seconds]) -> Iterator[Result]:
    for name, seconds in found.items():
        ratio = seconds.p95 / quiet[name].p95
        value = (
            f"p95 {1000 * seconds.p95:.0f} ms ({ratio:.1f} x), longest "
            f"{1000 * seconds.longest:.0f} ms, {len(seconds.each)} asked"
        )
        if found is quiet:
            yield Result(f"{what}: {name}", value)
        elif name == "health":
            met = seconds.p95 <= max(2 * quiet[name].p95, 0.05) and seconds.longest <= 2
            yield Result(f"{what}: {name}", value, "2 x or 50 ms, none above 2 s", met)
        else:
            met = ratio <= 4 and seconds.longest <= 2
            yield Result(f"{what}: {name}", value, "4 x, none above 2 s", met)


def _back(client: httpx.Client) -> Result:
    """How long after an attack everything answers again."""
    ended = time.monotonic()
    while time.monotonic() - ended < 60:
        if all(_ask(client, path) < 1 for path in _PATHS.values()):
            break
    seconds = time.monotonic() - ended
    return Result(
        "- everything answers again after its end", f"{seconds:.1f} s", "5 s", seconds < 5
    )


async def _attack(name: str, url: str, token: str, configs: list[str]) -> None:
    if name == "half-open":
        await asyncio.gather(*[_half_open(url) for _ in range(600)])
        return
    path, method, number = {
        "previews": (f"{_CONFIGS}/{configs[0]}/preview?max_pages=1000", "POST", 44),
        "endless": (f"{_CONFIGS}/{configs[0]}/preview?max_pages=1000", "POST", 44),
        "tests": (f"{_CONFIGS}/{configs[0]}/test", "POST", 170),
        "searches": ("/search?q=" + "+".join(f"w{one}" for one in range(300)), "GET", 120),
    }[name]
    limits = httpx.Limits(max_connections=None)
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=url, headers=headers, limits=limits, timeout=120
    ) as client:

        async def again_and_again() -> None:
            while True:
                pause = _PAUSE_SECONDS
                with suppress(httpx.HTTPError):
                    answer = await client.request(method, path)
                    pause = float(answer.headers.get("retry-after", pause))
                await asyncio.sleep(pause)

        await asyncio.gather(*[again_and_again() for _ in range(number)])


async def _half_open(url: str) -> None:
    parts = urlsplit(url)
    while True:
        with suppress(OSError):
            reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
            writer.write(b"GET /healthz HTTP/1.1\r\nHost: a")
            await reader.read(1)
            writer.close()
        await asyncio.sleep(_PAUSE_SECONDS)


_ATTACKS: Final = {
    "previews": ("44 previews of a store whose pages take 5 s", "slow"),
    "searches": ("120 searches of 300 words", ""),
    "tests": ("170 connection tests of a trickling store", "trickling"),
    "half-open": ("600 half-open connections", ""),
    "endless": ("44 previews of a listing without end", "endless"),
}


@contextmanager
def _api(checkout: Path) -> Iterator[str]:
    url = f"http://127.0.0.1:{_PORT}"
    # In the folder of the checkout, which comes first on the path of modules then.
    environment = os.environ | {"PYTHONPATH": str(checkout)}
    command = [sys.executable, "-m", "activekg_pipelines.api.app"]
    with subprocess.Popen(
        command, cwd=checkout, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            for _ in range(600):
                with suppress(httpx.HTTPError):
                    if httpx.get(f"{url}/healthz").is_success:
                        break
                time.sleep(0.1)
            yield url
        finally:
            process.kill()


def _fill(opened: Services, tenant_id: str, chunks: int) -> None:
    """Documents of words that are as frequent as Zipf's law says, and of random vectors."""
    chance = np.random.default_rng(7)
    words = np.array([f"w{number}" for number in range(_VOCABULARY)])
    frequencies = 1 / np.arange(3, _VOCABULARY + 3)
    frequencies /= frequencies.sum()
    documents = []
    for index in range(max(1, chunks // CHUNKS_PER_DOCUMENT)):
        chosen = chance.choice(words, (CHUNKS_PER_DOCUMENT, _WORDS_A_CHUNK), p=frequencies)
        vectors = chance.normal(size=(CHUNKS_PER_DOCUMENT, 384)).astype(np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        parts = [(number * 1000, " ".join(text)) for number, text in enumerate(chosen)]
        documents.append(handbook(tenant_id, index, parts, vectors))
    for start in range(0, len(documents), _BATCH):
        batch = documents[start : start + _BATCH]
        with opened.database.transaction(tenant_id=tenant_id) as conn:
            opened.graph.swap(conn, tenant_id, batch, opened.encoder.version)


if __name__ == "__main__":
    main()
