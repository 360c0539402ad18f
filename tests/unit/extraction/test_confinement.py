"""What a worker can reach once a hostile document has taken it over."""

from __future__ import annotations

import ctypes
import json
import platform
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from activekg_pipelines.errors import ParserCrashed, TextTooLarge
from activekg_pipelines.extraction import Limits, Sandbox
from tests.hostile.watched import REACHES, reaching, reaching_while_watched
from tests.unit.extraction.test_sandbox import run_script

FILES = {"a file", "the surroundings of its process"}
CHANGES = {"a new file", "its own file", "a deletion"}
CALLS = {"a socket", "a local socket", "a program", "a process"}
MORE_CALLS = REACHES.keys() - FILES - CHANGES - CALLS
"""What no event of Python's own tells of, and no Landlock forbids on every kernel."""

_LANDLOCK_CREATE = 444


def landlock() -> int:
    """The version of Landlock that this kernel has; below 1 for none."""
    return (
        int(ctypes.CDLL(None).syscall(_LANDLOCK_CREATE, None, 0, 1))
        if sys.platform.startswith("linux")
        else 0
    )


needs_landlock = pytest.mark.skipif(landlock() < 1, reason="the kernel has no Landlock")
needs_seccomp = pytest.mark.skipif(
    not sys.platform.startswith("linux") or platform.machine() not in ("x86_64", "aarch64"),
    reason="the filter of calls is made for Linux on x86_64 and aarch64",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("confinement") / "documents"
    folder.mkdir()
    return folder


@pytest.fixture
def document(folder: Path) -> Path:
    # The folder itself stays: the kernel knows it by what it is, not by its name.
    for left in folder.iterdir():
        left.unlink()
    path = folder / "document"
    path.write_text("a text")
    return path


@pytest.fixture(scope="module")
def confined(folder: Path) -> Iterator[Sandbox]:
    """One for all tests: what is refused changes nothing."""
    with Sandbox(workers=1, documents=folder, extractor=reaching) as sandbox:
        yield sandbox


def outcome(sandbox: Sandbox, document: Path, what: str) -> str:
    return sandbox.submit(document, what, None).result(timeout=60).text


@pytest.mark.parametrize(
    "what",
    [
        *(pytest.param(what, marks=needs_landlock) for what in sorted(FILES | CHANGES)),
        *(pytest.param(what, marks=needs_seccomp) for what in sorted(CALLS | MORE_CALLS)),
    ],
)
def test_a_worker_reaches_nothing_but_its_documents(
    confined: Sandbox, document: Path, what: str
) -> None:
    assert outcome(confined, document, what) == "PermissionError"
    assert [path.read_text() for path in document.parent.iterdir()] == ["a text"]


@needs_landlock
@pytest.mark.parametrize("what", sorted(CHANGES))
def test_without_a_folder_of_documents_it_can_read_but_not_change(
    document: Path, what: str
) -> None:
    with Sandbox(workers=1, extractor=reaching) as sandbox:
        assert outcome(sandbox, document, "a file") == "done"
        assert outcome(sandbox, document, what) == "PermissionError"


@pytest.mark.parametrize("what", sorted(FILES | CHANGES | CALLS))
def test_the_watch_of_the_hostile_documents_catches_each_reach(document: Path, what: str) -> None:
    with Sandbox(workers=1, extractor=reaching_while_watched) as sandbox:
        assert type(sandbox.submit(document, what, None).exception(timeout=60)) is ParserCrashed


@needs_seccomp
def test_calls_are_refused_by_kernels_without_landlock(document: Path) -> None:
    answers = reached(
        document,
        sorted(CALLS | MORE_CALLS),
        # No kernel knows a call of this number.
        "confinement._LANDLOCK_CREATE = 100_000",
        f"confinement.confine(Path({str(document.parent)!r}), 'tests.hostile.watched')",
    )
    assert set(answers.values()) == {"PermissionError"}, answers


@needs_seccomp
def test_a_process_that_is_not_confined_reaches_all_of_it(document: Path) -> None:
    """So each of these would be reached if it were not refused."""
    answers = reached(document, sorted(REACHES), "")
    assert {what for what, answer in answers.items() if answer != "done"} <= NOT_EVERYWHERE
    assert all(answer != "PermissionError" for answer in answers.values()), answers


NOT_EVERYWHERE = {"a file's rights the new way", "a key ring", "a key"}
"""Not in every kernel."""


def reached(document: Path, what: list[str], *before: str) -> dict[str, str]:
    """How each of these ends, one after the other, in a new process."""
    script = [
        "import json",
        "from pathlib import Path",
        "from activekg_pipelines.extraction import Limits, confinement",
        "from tests.hostile.watched import reaching",
        f"path = Path({str(document)!r})",
        *before,
        "def answer(each):",
        "    if not path.exists():",
        "        path.write_text('a text')",
        "    return reaching(path, each, None, Limits()).text",
        f"print(json.dumps({{each: answer(each) for each in {what!r}}}))",
    ]
    return dict(json.loads(run_script(document.parent.parent, "\n".join(script)).stdout))


def test_a_line_of_100_megabytes_is_refused_and_one_of_20_is_read(tmp_path: Path) -> None:
    path = tmp_path / "line"
    with Sandbox(Limits(), workers=1, documents=tmp_path) as sandbox:
        path.write_bytes(b"word " * 20 * 1024**2)
        assert type(sandbox.submit(path, "line.txt", None).exception(timeout=120)) is TextTooLarge
        path.write_bytes(b"word " * 4_000_000)
        assert len(sandbox.submit(path, "line.txt", None).result(timeout=120).text) == 19_999_999
