from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import psutil
import pytest

from activekg_pipelines.errors import (
    Corrupt,
    EmptyObject,
    Encrypted,
    ObjectError,
    ParserCrashed,
    ParserDeadline,
    ParserMemory,
    ParserUnavailable,
    UnsupportedType,
)
from activekg_pipelines.extraction import ExtractedDocument, Limits, Sandbox
from activekg_pipelines.extraction.fork_server import fork_server
from tests.unit.extraction.documents import PNG_HEADER, lines, pdf
from tests.unit.extraction.misbehaving import misbehave

LIMITS = Limits(timeout_seconds=1.5, memory_bytes=1_500_000_000)


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    """One for all tests: a document that breaks it breaks the next test."""
    with Sandbox(LIMITS, workers=2, extractor=misbehave) as sandbox:
        yield sandbox


@pytest.fixture
def note(tmp_path: Path) -> Path:
    path = tmp_path / "note"
    path.write_text("a note")
    return path


def error_of(future: Future[ExtractedDocument]) -> ObjectError:
    error = future.exception(timeout=30)
    assert isinstance(error, ObjectError)
    return error


@pytest.mark.parametrize(
    ("behaviour", "expected", "message"),
    [
        ("hang", ParserDeadline, "The parser did not finish this document in 1.5 seconds."),
        ("stuck", ParserDeadline, "The parser did not finish this document in 1.5 seconds."),
        ("abort", ParserCrashed, "The parser's process died on this document (SIGABRT)."),
        ("exit", ParserCrashed, "The parser's process died on this document."),
        ("hog", ParserMemory, "The parser needed more memory than allowed for this document."),
        (
            "lxml memory",
            ParserMemory,
            "The parser needed more memory than allowed for this document.",
        ),
        ("odd error", Corrupt, "The document cannot be read: OddError: said this"),
        ("system exit", ParserCrashed, "The parser's process died on this document."),
        ("own error", Encrypted, "A message of its own."),
        (
            "no parser",
            ParserCrashed,
            "A parser cannot be loaded: ImportError: No module named 'parser'",
        ),
    ],
)
def test_a_bad_document_costs_only_itself(
    sandbox: Sandbox, note: Path, behaviour: str, expected: type[ObjectError], message: str
) -> None:
    bad = sandbox.submit(note, behaviour, None)
    good = [sandbox.submit(note, "fine", None) for _ in range(4)]
    error = error_of(bad)
    assert type(error) is expected
    assert error.message == message
    assert [future.result(timeout=30).text for future in good] == ["a note"] * 4


def test_many_crashes_at_once_leave_a_working_sandbox(sandbox: Sandbox, note: Path) -> None:
    futures = [sandbox.submit(note, "abort", None) for _ in range(6)]
    assert {type(error_of(future)) for future in futures} == {ParserCrashed}
    assert sandbox.submit(note, "fine", None).result(timeout=30).text == "a note"


def test_a_worker_killed_between_documents_leaves_a_working_sandbox(
    sandbox: Sandbox, note: Path
) -> None:
    pids = {int(sandbox.submit(note, "process", None).result(timeout=30).text) for _ in range(10)}
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    time.sleep(0.5)
    assert sandbox.submit(note, "fine", None).result(timeout=30).text == "a note"


def test_documents_given_to_workers_that_were_killed_before_are_read_by_the_next_ones(
    sandbox: Sandbox, note: Path
) -> None:
    for _ in range(3):
        pids = {
            int(sandbox.submit(note, "process", None).result(timeout=30).text) for _ in range(10)
        }
        for pid in pids:
            # One of them may have been replaced after its share of documents.
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        futures = [sandbox.submit(note, "x" * 500, None) for _ in range(400)]
        assert {future.result(timeout=60).text for future in futures} == {"a note"}


def test_the_parsers_are_loaded_before_the_first_document_is_there(tmp_path: Path) -> None:
    script = textwrap.dedent("""
        import time
        import psutil
        from activekg_pipelines.extraction import Sandbox
        with Sandbox(workers=1):
            while not psutil.Process().children():
                time.sleep(0.01)
        print("started")
    """)
    assert run_script(tmp_path, script).stdout == "started\n"


def test_a_sandbox_survives_its_fork_server(note: Path) -> None:
    with Sandbox(LIMITS, workers=1, extractor=misbehave) as sandbox:
        first = psutil.Process(int(sandbox.submit(note, "process", None).result(timeout=30).text))
        server = first.parent()
        assert server is not None
        assert server.pid != os.getpid()
        server.kill()
        _, alive = psutil.wait_procs([first], timeout=30)
        assert alive == [], "it dies with its parent"
        second = int(sandbox.submit(note, "process", None).result(timeout=60).text)
        assert psutil.Process(second).ppid() != server.pid


@pytest.mark.parametrize("python", ["/bin/false", "/no/python"])
def test_a_process_that_does_not_start_is_no_fault_of_a_document(
    note: Path, python: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", python)
    # Another search path asks for another process.
    monkeypatch.syspath_prepend(note.parent)
    with Sandbox(LIMITS, workers=1, extractor=misbehave) as sandbox:
        error = sandbox.submit(note, "fine", None).exception(timeout=60)
    assert type(error) is ParserUnavailable
    assert "does not start" in error.message


def test_a_process_that_hangs_at_its_start_is_not_waited_for(
    note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    python = note.with_name("python")
    # What it has started outlives it, with all its open files.
    python.write_text('#!/bin/sh\nsleep 600 &\necho $! >> "$0.children"\nwait\n')
    python.chmod(0o755)
    monkeypatch.setattr("activekg_pipelines.extraction.fork_server._START_SECONDS", 1.0)
    monkeypatch.setattr("activekg_pipelines.extraction.fork_server._END_SECONDS", 0.1)
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.syspath_prepend(note.parent)
    try:
        with Sandbox(LIMITS, workers=1, extractor=misbehave) as sandbox:
            error = sandbox.submit(note, "fine", None).exception(timeout=60)
        assert type(error) is ParserUnavailable
    finally:
        for child in note.with_name("python.children").read_text().split():
            os.kill(int(child), signal.SIGKILL)


def test_libraries_that_add_to_the_search_path_start_no_other_process(
    note: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = note.with_name("added")
    added.mkdir()
    (added / "added_extractor.py").write_text(
        "from tests.unit.extraction.misbehaving import misbehave as extract_so\n"
    )
    before = fork_server()
    monkeypatch.setattr(sys, "path", [*sys.path, str(added)])
    extractor = import_module("added_extractor").extract_so
    with Sandbox(LIMITS, workers=1, extractor=extractor) as sandbox:
        assert sandbox.submit(note, "fine", None).result(timeout=30).text == "a note"
    assert fork_server() is before


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_neither_files_nor_processes_stay_of_workers_and_of_servers_that_died(note: Path) -> None:
    script = textwrap.dedent(f"""
        import json, os, threading
        from pathlib import Path
        import psutil
        from activekg_pipelines.extraction import Sandbox, fork_server
        from tests.unit.extraction.misbehaving import misbehave
        note, me = Path({str(note)!r}), psutil.Process()

        def held():
            return len(os.listdir("/proc/self/fd")), len(me.children(recursive=True))

        def read(sandbox):
            for _ in range(100):
                assert sandbox.submit(note, "fine", None).result().text == "a note"

        fork_server.fork_server()
        before = held()
        with Sandbox(workers=2, documents_per_worker=3, extractor=misbehave) as sandbox:
            for _ in range(3):
                threads = [threading.Thread(target=read, args=[sandbox]) for _ in range(2)]
                for each in threads:
                    each.start()
                me.children()[0].kill()
                for each in threads:
                    each.join()
        fork_server.fork_server()
        print(json.dumps([before, held()]))
    """)
    before, after = json.loads(run_script(note.parent, script).stdout)
    assert before == after


@pytest.mark.parametrize("uses", ["pass", "sandbox_of_its_own()"])
def test_a_forked_child_neither_uses_nor_keeps_its_parents_processes(note: Path, uses: str) -> None:
    script = textwrap.dedent(f"""
        import os, time
        from pathlib import Path
        from activekg_pipelines.extraction import Sandbox
        from tests.unit.extraction.misbehaving import misbehave

        def process(sandbox):
            return sandbox.submit(Path({str(note)!r}), "process", None).result().text

        def sandbox_of_its_own():
            with Sandbox(workers=1, extractor=misbehave) as sandbox:
                process(sandbox)

        sandbox = Sandbox(workers=1, extractor=misbehave)
        worker = process(sandbox)
        child = os.fork()
        if child == 0:
            {uses}
            os.kill(os.getppid(), 9)
            time.sleep(600)
        print(worker, child, flush=True)
        os.waitpid(child, 0)
    """)
    path = note.parent / "main.py"
    path.write_text(script)
    with subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        cwd=Path.cwd(),
        env=script_environment(),
    ) as owner:
        assert owner.stdout is not None
        worker, child = map(psutil.Process, map(int, owner.stdout.readline().split()))
        server = worker.parent()
        try:
            assert server is not None
            _, alive = psutil.wait_procs([server, worker], timeout=60)
            assert alive == []
            assert child.is_running()
        finally:
            child.kill()


def test_a_worker_that_cannot_be_prepared_is_no_fault_of_a_document(note: Path) -> None:
    def moved(path: Path, key: str, content_type: str | None, limits: Limits) -> ExtractedDocument:
        return misbehave(path, key, content_type, limits)

    moved.__module__ = "no_such_module"
    with Sandbox(workers=1, extractor=moved) as sandbox:
        error = sandbox.submit(note, "fine", None).exception(timeout=60)
    assert type(error) is ParserUnavailable
    assert "No module named 'no_such_module'" in error.message


def test_a_closed_sandbox_takes_nothing_more(note: Path) -> None:
    with Sandbox(LIMITS, workers=1, extractor=misbehave) as sandbox:
        pass
    with pytest.raises(RuntimeError, match="closed"):
        sandbox.submit(note, "fine", None)


def test_workers_are_replaced_after_their_share_of_documents(note: Path) -> None:
    with Sandbox(LIMITS, workers=1, documents_per_worker=3, extractor=misbehave) as sandbox:
        futures = [sandbox.submit(note, "process", None) for _ in range(9)]
        pids = [future.result(timeout=30).text for future in futures]
    assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 3]


def test_an_unguarded_main_script_is_not_run_again_by_workers(note: Path) -> None:
    script = textwrap.dedent(f"""
        print("main runs", flush=True)
        from pathlib import Path
        from activekg_pipelines.extraction import Sandbox
        with Sandbox(workers=2) as sandbox:
            print(sandbox.submit(Path({str(note)!r}), "a.txt", None).result().text)
    """)
    assert run_script(note.parent, script).stdout.splitlines() == ["main runs", "a note"]


def test_workers_die_with_their_parent_even_in_the_middle_of_a_document(note: Path) -> None:
    script = textwrap.dedent(f"""
        from pathlib import Path
        from activekg_pipelines.extraction import Sandbox
        from tests.unit.extraction.misbehaving import misbehave
        sandbox = Sandbox(workers=2, extractor=misbehave)
        print(sandbox.submit(Path({str(note)!r}), "process", None).result().text, flush=True)
        futures = [sandbox.submit(Path({str(note)!r}), "hang", None) for _ in range(2)]
        futures[0].result()
    """)
    path = note.parent / "main.py"
    path.write_text(script)
    process = subprocess.Popen(
        [sys.executable, str(path)],
        stdout=subprocess.PIPE,
        cwd=Path.cwd(),
        env=script_environment(),
    )
    assert process.stdout is not None
    process.stdout.readline()
    family: list[psutil.Process] = []
    while len(family) < 3:
        time.sleep(0.05)
        family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    gone, alive = psutil.wait_procs(family, timeout=10)
    for survivor in alive:
        survivor.kill()
    assert len(gone) == len(family), alive


def test_cancelling_stops_the_extraction(sandbox: Sandbox, note: Path) -> None:
    futures = [sandbox.submit(note, "hang", None) for _ in range(2)]
    time.sleep(0.3)
    assert all(future.cancel() for future in futures)
    started = time.monotonic()
    assert sandbox.submit(note, "fine", None).result(timeout=30).text == "a note"
    assert time.monotonic() - started < LIMITS.timeout_seconds


def test_closing_cancels_what_has_not_finished(note: Path) -> None:
    with Sandbox(LIMITS, workers=1, extractor=misbehave) as sandbox:
        futures = [sandbox.submit(note, "hang", None) for _ in range(3)]
    for future in futures:
        with pytest.raises((CancelledError, ParserCrashed)):
            future.result(timeout=5)


def test_a_deadline_counts_from_the_start_of_the_document(note: Path) -> None:
    with Sandbox(LIMITS, workers=1, extractor=misbehave) as sandbox:
        futures = [sandbox.submit(note, "sleep", None) for _ in range(8)]
        assert [future.result(timeout=30).text for future in futures] == ["a note"] * 8


def test_real_documents_go_through(tmp_path: Path) -> None:
    picture = tmp_path / "picture"
    picture.write_bytes(PNG_HEADER)
    empty = tmp_path / "empty"
    empty.touch()
    page = tmp_path / "page"
    page.write_text("<html><body><p>A page")
    with Sandbox(workers=1) as sandbox:
        as_text = sandbox.submit(
            pdf(tmp_path / "object", lines("A PDF")), "called.txt", "text/plain"
        )
        as_pdf = sandbox.submit(page, "called.pdf", "application/pdf")
        unsupported = sandbox.submit(picture, "a", None)
        nothing = sandbox.submit(empty, "a.pdf", None)
        assert (as_text.result().text, as_text.result().mime_type) == ("A PDF", "application/pdf")
        assert (as_pdf.result().text, as_pdf.result().mime_type) == ("A page", "text/html")
        assert (
            error_of(unsupported).message
            == UnsupportedType("A PNG image holds no text this system reads.").message
        )
        assert type(error_of(nothing)) is EmptyObject


def script_environment(**variables: str) -> dict[str, str]:
    path = os.pathsep.join(filter(None, [str(Path.cwd()), os.environ.get("PYTHONPATH")]))
    return {"PATH": os.environ["PATH"], "PYTHONPATH": path, **variables}


def run_script(folder: Path, script: str, **variables: str) -> subprocess.CompletedProcess[str]:
    path = folder / "main.py"
    path.write_text(script)
    return subprocess.run(
        [sys.executable, str(path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        cwd=Path.cwd(),
        env=script_environment(**variables),
    )
