"""Documents made to harm: each gets its state, the others are indexed.

Nothing is reached but the document.
"""

from __future__ import annotations

import http.server
import itertools
import shutil
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from activekg_pipelines.errors import ObjectError
from activekg_pipelines.extraction import Limits, Sandbox
from activekg_pipelines.services import Services
from tests.hostile import Canary, HostileFile, hostile_files
from tests.hostile.file import INDEXED
from tests.hostile.watched import watched
from tests.integration.syncing import documents, outcomes, query, sync, texts
from tests.s3_bucket import Bucket
from tests.unit.extraction.documents import lines, paragraph, pdf, word
from tests.unit.extraction.test_sandbox import script_environment

SECRET = "c4n4ry-s3cret"
LIMITS = Limits(
    max_text_chars=40_000,
    max_xml_bytes=2_000_000,
    max_pages=50,
    timeout_seconds=20,
    memory_bytes=768 * 1024**2,
)
PARENT_GROWTH = 150 * 1024**2
RETRIED = {error.code for error in ObjectError.__subclasses__() if error.disposition == "retry"}
SKIPPED = {error.code for error in ObjectError.__subclasses__() if error.disposition == "skip"}


@dataclass
class Listener:
    """An HTTP server that nobody should call."""

    url: str
    calls: list[str] = field(default_factory=list)


@pytest.fixture
def listener() -> Iterator[Listener]:
    calls: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            calls.append(self.path)
            self.send_response(200)
            self.end_headers()
            self.wfile.write(SECRET.encode())

        do_POST = do_HEAD = do_GET  # noqa: N815 - names that http.server looks for

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Listener(f"http://127.0.0.1:{server.server_port}/canary", calls)
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def canary(tmp_path: Path, listener: Listener) -> Canary:
    file = tmp_path / "canary.txt"
    file.write_text(SECRET)
    return Canary(file, listener.url, SECRET)


@dataclass
class Memory:
    """Peak resident bytes of this process and of any one process under it."""

    at_start: int = 0
    own: int = 0
    workers: int = 0


@pytest.fixture
def memory() -> Iterator[Memory]:
    """Measured from here to the end of the test."""
    me = psutil.Process()
    measured = Memory(at_start=me.memory_info().rss)
    ended = threading.Event()

    def measure() -> None:
        while not ended.wait(0.02):
            measured.own = max(measured.own, me.memory_info().rss)
            for child in me.children(recursive=True):
                try:
                    if child.name().startswith("python"):
                        measured.workers = max(measured.workers, child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue

    thread = threading.Thread(target=measure)
    thread.start()
    yield measured
    ended.set()
    thread.join()


def small_sandbox(_: Limits, *, workers: int, documents: Path) -> Sandbox:
    """The sandbox of a run under this module's limits, with its parsers watched."""
    return Sandbox(LIMITS, workers=workers, documents=documents, extractor=watched)


def good_files(folder: Path) -> dict[str, bytes]:
    return {
        "good/a.pdf": pdf(folder / "a.pdf", lines("Good PDF about penguins")).read_bytes(),
        "good/a.docx": word(folder / "a.docx", paragraph("Good Word about penguins")).read_bytes(),
        "good/a.html": b"<!doctype html><p>Good page about penguins",
        "good/a.md": b"# Good Markdown\n\nAbout penguins",
        "good/a.txt": "Good text about penguins, gr\u00fc\u00dfe".encode("cp1252"),
    }


@pytest.mark.timeout(600)
def test_every_hostile_document_gets_its_state_and_the_run_goes_on(
    configured: Callable[..., Services],
    bucket: Bucket,
    canary: Canary,
    listener: Listener,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    """Parsers are watched: one that reaches for anything else ends as a crash."""
    monkeypatch.setattr("activekg_pipelines.pipeline.extract.Sandbox", small_sandbox)
    # Long enough that none is tried again within the run.
    services = configured(activekg_parse_workers=2, activekg_retry_base_seconds=3600.0)
    hostile = {file.key: file for file in hostile_files(canary, LIMITS)}
    good = good_files(tmp_path)
    also = {"good/long.txt": [INDEXED]}
    connector = bucket.register(services)
    # The model takes its working memory at the first full batch.
    bucket.put(
        "good/long.txt", "".join(f"Penguin number {number} swims. " for number in range(1200))
    )
    assert sync(services, connector).indexed == 1
    bucket.put_many({key: file.data for key, file in hostile.items()} | good)
    memory: Memory = request.getfixturevalue("memory")

    counts = sync(services, connector)

    ended = {key: end.code or end.state for key, end in outcomes(services, connector).items()}
    expected = (
        {key: file.ends.split("|") for key, file in hostile.items()}
        | {key: [INDEXED] for key in good}
        | also
    )
    assert {key: end for key, end in ended.items() if end not in expected[key]} == {}
    assert ended.keys() == expected.keys()
    for key, end in outcomes(services, connector).items():
        state = "failed" if end.code in RETRIED else "skipped" if end.code in SKIPPED else "dead"
        assert end.state == (state if end.code else INDEXED), key
        assert end.code is None or (end.message and len(end.message) < 1000), key
    indexed = {f"s3://{bucket.name}/{key}" for key, end in ended.items() if end == INDEXED}
    assert documents(services) == indexed
    settled = counts.indexed + counts.skipped + counts.dead + counts.failed
    assert settled == len(expected) - len(also)

    stored = texts(services)
    lost = [key for key, file in hostile.items() if file.holds not in stored.get(key, file.holds)]
    assert lost == []
    titles = dict(
        query(
            services,
            "SELECT props ->> 'uri', props ->> 'title' FROM nodes WHERE 'Document' = ANY(classes)",
        )
    )
    for key, file in hostile.items():
        if file.title is not None:
            assert titles[f"s3://{bucket.name}/{key}"] == file.title, key
    assert [key for key, text in stored.items() if SECRET in text] == []
    assert listener.calls == []
    record_property("growth of this process in MiB", (memory.own - memory.at_start) >> 20)
    record_property("largest worker in MiB", memory.workers >> 20)
    assert memory.own - memory.at_start < PARENT_GROWTH
    assert memory.workers < LIMITS.memory_bytes


def asking(canary: Canary, tmp_path: Path) -> list[HostileFile]:
    """The files that ask for the canary: they differ when it does."""
    other = Canary(tmp_path / "other.txt", "http://127.0.0.1:9/other", SECRET)
    pairs = zip(hostile_files(canary, LIMITS), hostile_files(other, LIMITS), strict=True)
    return [one for one, two in pairs if one.data != two.data]


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_no_parser_asks_the_kernel_for_another_file_or_an_address(
    canary: Canary, listener: Listener, tmp_path: Path
) -> None:
    folder = tmp_path / "documents"
    folder.mkdir()
    files = asking(canary, tmp_path)
    assert len(files) > 25
    for number, file in enumerate(files):
        (folder / f"{number:03}-{Path(file.key).name}").write_bytes(file.data)
    # Called without the sandbox, whose confinement would answer instead of the parsers'
    # own restraint.
    script = textwrap.dedent("""
        import sys
        from importlib import import_module
        from pathlib import Path
        from activekg_pipelines.errors import ObjectError
        from activekg_pipelines.extraction import FORMATS, Limits, extract_file
        for parser in FORMATS.preload:
            import_module(parser)
        Path("/dev/null").open().close()
        for path in sorted(Path(sys.argv[1]).iterdir()):
            try:
                extract_file(path, path.name, None, Limits())
            except ObjectError as error:
                print(path.name, error)
    """)
    log = tmp_path / "calls"
    subprocess.run(
        [
            *("strace", "-f", "-s", "4096", "-o", str(log)),
            *("-e", "trace=%file,%network,execve,fork,vfork"),
            *(sys.executable, "-c", script, str(folder)),
        ],
        check=True,
        timeout=120,
        cwd=Path.cwd(),
        env=script_environment(),
    )
    calls = log.read_text(errors="replace").splitlines()
    # From the first line on that the parsers stand ready.
    own = list(itertools.dropwhile(lambda call: '"/dev/null"' not in call, calls))
    assert sum(str(folder) in call for call in own) >= len(files)
    assert [call for call in own if str(canary.file) in call] == []
    forbidden = ("socket(", "connect(", "execve(")
    assert [call for call in own if any(name in call for name in forbidden)] == []
    assert listener.calls == []


def test_the_canary_sings_when_it_is_reached(canary: Canary, listener: Listener) -> None:
    import urllib.request

    with urllib.request.urlopen(canary.url) as answer:
        assert answer.read().decode() == canary.file.read_text() == SECRET
    assert listener.calls == ["/canary"]
