"""What the owner of the sandbox makes of the answers of a worker that a document took over."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from activekg_pipelines.errors import Corrupt, ObjectError, ParserCrashed, ParserDeadline
from activekg_pipelines.extraction import ExtractedDocument, Limits, Sandbox
from activekg_pipelines.extraction.protocol import (
    Channel,
    UnexpectedAnswer,
    decode_outcome,
    encode_outcome,
    max_answer_bytes,
)
from tests.hostile.taking_over import ATTACKS, answer, message, take_over, trace_of
from tests.unit.extraction.test_sandbox import script_environment

LIMITS = Limits(timeout_seconds=3, max_text_chars=1000)
TAKEN = "The parser's process wrote {}; the document may have taken it over."
SENTENCES = {
    "a pickle": TAKEN.format("an answer of"),
    "a pickle for a head": TAKEN.format("an answer that is not JSON"),
    "a pickle for a text": TAKEN.format("a text that is not UTF-8"),
    "a giant head": TAKEN.format("an answer of 4,294,967,295 bytes"),
    "a giant text": TAKEN.format("an answer of 4,294,967,395 bytes"),
    "another document's answer": TAKEN.format("an answer to another document"),
    "no object": TAKEN.format("an answer that is no object"),
    "a wrong type": TAKEN.format("facts that are no object"),
    "another error": TAKEN.format("an error that no parser has"),
    "two answers": TAKEN.format("more than one answer"),
    "no end": TAKEN.format("more than one answer"),
    "a byte now and then": "The parser did not finish this document in 3 seconds.",
    "an end at once": "The parser's process died on this document (SIGKILL).",
    "half an answer": "The parser's process died on this document.",
}
SECRETS = {
    "CONNECTOR_KEK_V1": "c29tZS1rZXktdGhhdC1ub2JvZHktbXVzdC1rbm93ISE=",
    "JWT_SECRET_KEY": "a-secret-that-nobody-must-know-either-0123",
    "ACTIVEKG_DSN": "postgresql://somebody:a-first-password@localhost/activekg",
    "ACTIVEKG_DAGSTER_DSN": "postgresql://somebody:a-second-password@localhost/dagster",
}


@pytest.fixture
def note(tmp_path: Path) -> Path:
    folder = tmp_path / "documents"
    folder.mkdir()
    path = folder / "note"
    path.write_text("a note")
    return path


@pytest.fixture
def sandbox(note: Path) -> Iterator[Sandbox]:
    with Sandbox(LIMITS, workers=1, documents=note.parent, extractor=take_over) as sandbox:
        yield sandbox


def test_every_attack_has_a_sentence() -> None:
    assert ATTACKS.keys() == SENTENCES.keys() | {"more when nobody asked"}


@pytest.mark.parametrize("attack", sorted(SENTENCES))
def test_what_a_worker_writes_is_not_run_and_costs_its_own_document_alone(
    sandbox: Sandbox, note: Path, attack: str
) -> None:
    error = sandbox.submit(note, attack, None).exception(timeout=60)
    before, _, after = SENTENCES[attack].partition(" of;")
    assert type(error) is (ParserDeadline if "finish" in before else ParserCrashed)
    assert str(error).startswith(f"{before} of" if after else before)
    assert sandbox.submit(note, "read it", None).result(timeout=60).text == "a note"
    assert not trace_of(note).exists()


def test_a_worker_that_writes_when_nobody_asked_answers_no_other_document(
    sandbox: Sandbox, note: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken = psutil.Process(
        int(sandbox.submit(note, "more when nobody asked", None).result(timeout=60).text)
    )
    note.with_name("go").touch()
    while taken.status() != psutil.STATUS_ZOMBIE:
        time.sleep(0.01)
    with caplog.at_level(logging.WARNING):
        document = sandbox.submit(note, "read it", None).result(timeout=60)
    assert document.text == "a note"
    assert document.facts["process"] != taken.pid
    assert "wrote when it was not asked" in caplog.text


NUMBER = 7
PARTLY_READ: dict[str, object] = {"kind": "partly_read", "count": 9, "total": 10}
DEEP: list[object] = []
for _ in range(20):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("written", "what"),
    [
        (b'{"number": 7, "facts": {"a": NaN}}', "an answer that is not JSON"),
        (b"[" * 100_000, "an answer that is not JSON"),
        (b'{"number": ' + b"1" * 10_000 + b"}", "an answer that is not JSON"),
        (b'{"number": "\xff"}', "an answer that is not JSON"),
        (b'{"number": true}', "an answer to another document"),
        (b"{}", "an answer to another document"),
        (b'{"number": 7}', "an answer with other fields"),
        (answer(7, more=1), "an answer with other fields"),
        (answer(7, title=1), "a title that is no text"),
        (answer(7, mime_type=None), "a type that is none"),
        (answer(7, mime_type="text/plain\nX-Other: header"), "a type that is none"),
        (answer(7, mime_type="a/" + "a" * 200), "a type that is none"),
        (answer(7, facts=None), "facts that are no object"),
        (answer(7, facts={"a": 2**63}), "a fact that cannot be stored"),
        (answer(7, facts={"a": DEEP}), "a fact that cannot be stored"),
        (answer(7, facts={"warnings": {}}), "warnings that are no list of a few"),
        (answer(7, facts={"warnings": [PARTLY_READ] * 21}), "warnings that are no list of a few"),
        (answer(7, facts={"warnings": ["It is whole."]}), "a warning that is none"),
        (answer(7, facts={"warnings": [{"kind": "all_is_well"}]}), "a warning that is none"),
        (answer(7, facts={"warnings": [PARTLY_READ | {"count": -1}]}), "a warning that is none"),
        (answer(7, facts={"warnings": [PARTLY_READ | {"count": True}]}), "a warning that is none"),
        (answer(7, facts={"warnings": [PARTLY_READ | {"more": 1}]}), "a warning that is none"),
        (
            answer(7, facts={"warnings": [PARTLY_READ | {"detail": "x" * 201}]}),
            "a warning that is none",
        ),
        (answer(7, facts={"page_starts": 0}), "pages that start nowhere in the text"),
        (answer(7, facts={"page_starts": [0, "1"]}), "pages that start nowhere in the text"),
        (answer(7, facts={"page_starts": [0, True]}), "pages that start nowhere in the text"),
        (answer(7, facts={"page_starts": [-1]}), "pages that start nowhere in the text"),
        (answer(7, facts={"page_starts": [1, 0]}), "pages that start nowhere in the text"),
        (answer(7, facts={"page_starts": [10**6]}), "pages that start nowhere in the text"),
        (
            json.dumps(answer(7, facts={"a": 1.5})).replace("1.5", "1e999").encode(),
            "a fact that cannot be stored",
        ),
        ({"number": 7, "error": "no_such_error", "message": ""}, "an error that no parser has"),
        ({"number": 7, "error": ["corrupt"], "message": ""}, "an error that no parser has"),
        ({"number": 7, "error": "corrupt", "message": 1}, "an error without a sentence"),
        ({"number": 7, "not_loaded": {}}, "an error without a sentence"),
    ],
)
def test_an_answer_with_a_field_that_cannot_be_is_none(written: object, what: str) -> None:
    with pytest.raises(UnexpectedAnswer, match=f"^{what}$"):
        decoded(message(written, encode=not isinstance(written, bytes)))


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (b"\xff", "a text that is not UTF-8"),
        (b"\xed\xa0\x80", "a text that is not UTF-8"),
        (b"a\0b", "a text with a NUL"),
        (b"x" * 1001, "a text longer than the limit"),
        (b"x" * 4001, "an answer of [0-9,]+ bytes"),
    ],
)
def test_a_text_that_cannot_be_stored_is_none(body: bytes, what: str) -> None:
    with pytest.raises(UnexpectedAnswer, match=f"^{what}$"):
        decoded(message(answer(7), body))


def test_nothing_that_the_database_refuses_or_that_moves_a_cursor_comes_through() -> None:
    written = answer(7, title="a\0 title\ud800\n", facts={"a\0": ["\ud800b\0"]})
    document = decoded(message(written, b"text"))
    assert isinstance(document, ExtractedDocument)
    assert (document.title, document.facts) == ("a title", {"a": ["b"]})
    head = {"number": 7, "error": "corrupt", "message": "a\0b\x1b[2Jc\u202ed\ne" + "x" * 5000}
    error = decoded(message(head))
    assert isinstance(error, Corrupt)
    assert error.message.startswith("a b [2Jc d e")
    assert len(error.message) == 1000


def test_a_document_and_an_error_come_through_as_they_are() -> None:
    document = ExtractedDocument(
        "text \u20ac \U0001f427\n", "title", "text/plain", {"a": [1, 1.5, None, True, {"b": "c"}]}
    )
    for outcome in (document, Corrupt("A sentence.")):
        head, body = encode_outcome(7, outcome)
        came = decoded(message(head, body))
        if isinstance(outcome, ObjectError):
            assert (type(came), str(came)) == (Corrupt, "A sentence.")
        else:
            assert came == outcome


def decoded(written: bytes) -> object:
    """What the owner of the sandbox makes of these bytes as an answer to document 7."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.setblocking(False)
        theirs.send(written)
        theirs.close()
        channel = Channel(ours)
        try:
            head, body = channel.receive(max_body_bytes=max_answer_bytes(LIMITS.max_text_chars))
        except EOFError:
            raise AssertionError(struct.unpack(">II", written[:8])) from None
        return decode_outcome(head, body, NUMBER, LIMITS.max_text_chars)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc is Linux's")
def test_no_process_of_the_sandbox_holds_a_secret_or_an_open_file_of_its_owner(note: Path) -> None:
    script = textwrap.dedent(f"""
        from pathlib import Path
        from activekg_pipelines.extraction import Sandbox
        from activekg_pipelines.settings import Settings
        from tests.hostile.taking_over import take_over
        settings = Settings()
        kept = open({str(note)!r})
        with Sandbox(workers=1, extractor=take_over) as sandbox:
            future = sandbox.submit(Path({str(note)!r}), "read it", None)
            print(future.result().facts["process"], flush=True)
            input()
    """)
    main = note.parent.with_name("main.py")
    main.write_text(script)
    with subprocess.Popen(
        [sys.executable, str(main)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=Path.cwd(),
        env=script_environment(**SECRETS),
    ) as owner:
        assert owner.stdout is not None
        worker = int(owner.stdout.readline())
        family = {child.pid for child in psutil.Process(owner.pid).children(recursive=True)}
        assert worker in family
        assert len(family) == 2
        # Whoever looks finds them where they are.
        assert secrets_in_environment(owner.pid) == secrets_in_memory(owner.pid) == {*SECRETS}
        for process in family:
            assert secrets_in_environment(process) == set()
            assert secrets_in_memory(process) == set()
        assert Path(f"/proc/{worker}/environ").read_bytes().count(b"\0") <= 1
        held = open_files(worker)
        assert held.pop(3).startswith("socket:")
        assert held == {0: os.devnull, 1: os.devnull, 2: os.devnull}
        assert str(note) in open_files(owner.pid).values()
        owner.communicate(b"\n", timeout=60)


def secrets_in_environment(process: int) -> set[str]:
    held = Path(f"/proc/{process}/environ").read_bytes()
    return {name for name, secret in SECRETS.items() if secret.encode() in held}


def secrets_in_memory(process: int) -> set[str]:
    """The secrets in any page that the process may read."""
    found = set()
    try:
        memory = Path(f"/proc/{process}/mem").open("rb", buffering=0)  # noqa: SIM115
    except PermissionError:
        pytest.skip("this kernel lets nobody read the memory of another process (ptrace_scope)")
    with memory:
        for line in Path(f"/proc/{process}/maps").read_text().splitlines():
            addresses, rights, *_ = line.split()
            start, end = (int(address, 16) for address in addresses.split("-"))
            # The last pages belong to the kernel.
            if not rights.startswith("r") or "[v" in line:
                continue
            memory.seek(start)
            held = memory.read(end - start)
            found |= {name for name, secret in SECRETS.items() if secret.encode() in held}
    return found


def open_files(process: int) -> dict[int, str]:
    folder = Path(f"/proc/{process}/fd")
    return {int(entry.name): str(entry.readlink()) for entry in folder.iterdir()}
