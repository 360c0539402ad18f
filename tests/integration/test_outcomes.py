"""Every object ends in its own state, with a sentence that says why.

The run succeeds for the other objects.
"""

from __future__ import annotations

import functools
import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.errors import (
    EncoderFailed,
    EndpointUnreachable,
    ObjectError,
    ParserUnavailable,
)
from activekg_pipelines.extraction import Sandbox
from activekg_pipelines.ledger.states import Mode
from activekg_pipelines.services import Services
from tests.fault_proxy import LIST, FaultProxy, reset, rewrite, status, truncate, undeclared
from tests.integration.syncing import (
    Ended,
    documents,
    drain,
    extract,
    found,
    graph_of,
    make_retries_due,
    outcomes,
    query,
    scan,
    start_run,
    states,
    sync,
    texts,
)
from tests.registry import change
from tests.s3_bucket import Bucket, S3ConfigPatch
from tests.unit.extraction import documents as make
from tests.unit.extraction.misbehaving import misbehave

CODES = {error.code for error in ObjectError.__subclasses__()}
MAX_BYTES = 30_000
MAX_CHARACTERS = 20_000


def picture() -> bytes:
    stream = io.BytesIO()
    Image.new("L", (8, 8), 200).save(stream, "PNG")
    return stream.getvalue()


def pdf(folder: Path, draw: Callable[..., None], **options: object) -> bytes:
    return make.pdf(folder / "made.pdf", draw, **options).read_bytes()


def zip_of_nothing() -> bytes:
    stream = io.BytesIO()
    zipfile.ZipFile(stream, "w").close()
    return stream.getvalue()


def claim_size(key: str, size: int) -> Callable[[bytes], bytes]:
    """Let a listing say another size of an object."""

    def change(listing: bytes) -> bytes:
        pattern = rb"(<Key>%s</Key>.*?<Size>)\d+" % re.escape(key).encode()
        changed, number = re.subn(pattern, rb"\g<1>%d" % size, listing, flags=re.DOTALL)
        assert number == 1
        return changed

    return change


@pytest.fixture
def small(configured: Callable[..., Services]) -> Services:
    """Services with small limits."""
    return configured(activekg_max_file_bytes=MAX_BYTES, activekg_max_text_chars=MAX_CHARACTERS)


def test_every_unreadable_object_gets_its_own_state_and_sentence_and_the_run_goes_on(
    small: Services, bucket: Bucket, proxy: FaultProxy, tmp_path: Path
) -> None:
    expected = {
        "corrupt.pdf": (b"%PDF-1.7\nNothing of a PDF follows.", "dead", "corrupt", "PDF"),
        "encrypted.pdf": (
            pdf(tmp_path, make.lines("Secret"), encrypt=make.encryption("password")),
            "dead",
            "encrypted",
            "password",
        ),
        "locked.docx": (
            b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(1024),
            "dead",
            "encrypted",
            "The Word document is protected by a password.",
        ),
        "hollow.docx": (zip_of_nothing(), "dead", "corrupt", "Word"),
        "scan.pdf": (pdf(tmp_path, make.picture), "dead", "no_text_layer", "scan"),
        "long.txt": ("word " * (MAX_CHARACTERS // 4), "dead", "text_too_large", "20,000"),
        "forbidden.txt": ("Nobody may read this.", "dead", "access_denied", "s3:GetObject"),
        "empty.txt": (b"", "skipped", "empty", "The object is empty (0 bytes)."),
        "blank.txt": (
            b" \n\t \r\n",
            "skipped",
            "empty",
            "The file holds nothing but white space.",
        ),
        "unreadable.txt": (
            "\ue001\ue002 \ue003",
            "dead",
            "no_text_layer",
            "reads none of the text's 4 characters",
        ),
        "photo.png": (picture(), "skipped", "unsupported_type", "An image holds no text"),
        "photo-without-extension": (
            picture(),
            "skipped",
            "unsupported_type",
            "A PNG image holds no text",
        ),
        "unknown.xyz": ("text", "skipped", "unsupported_type", "A .xyz file is not a PDF"),
        "folder/": (b"", "skipped", "folder_marker", "only marks a folder"),
        "large.txt": ("x" * (MAX_BYTES + 1), "skipped", "too_large", "30,001 bytes, limit 30,000"),
        "claims-small.txt": (
            "y" * (MAX_BYTES + 2),
            "skipped",
            "too_large",
            "30,002 bytes, limit 30,000",
        ),
        "hides-its-size.txt": ("z" * (MAX_BYTES * 20), "skipped", "too_large", "limit 30,000"),
        "good.txt": ("A good text about penguins.", "indexed", None, None),
        "good.pdf": (
            pdf(tmp_path, make.lines("A good page about walruses.")),
            "indexed",
            None,
            None,
        ),
        "exactly-large.txt": ("ü " * (MAX_BYTES // 3), "indexed", None, None),
    }
    bucket.put_many({key: body for key, (body, *_) in expected.items()})
    proxy.inject("GET", "forbidden.txt", status(403, "AccessDenied"))
    proxy.inject("GET", "hides-its-size.txt", undeclared())
    lies = [claim_size(key, 5) for key in ("claims-small.txt", "hides-its-size.txt")]
    proxy.inject(LIST, None, rewrite(lambda listing: lies[1](lies[0](listing))))
    connector = bucket.register(small, endpoint_url=proxy.url)

    counts = sync(small, connector)

    ended = outcomes(small, connector)
    assert {key: end[:2] for key, end in ended.items()} == {
        key: (state, code) for key, (_, state, code, _) in expected.items()
    }
    for key, (_, _, code, part) in expected.items():
        message = ended[key].message
        if code is None:
            assert message is None
        else:
            assert message is not None
            assert part in message, f"{key}: {message}"
            assert message.endswith((".", ")")), f"{key}: {message}"
    assert {code for _, _, code, _ in expected.values() if code} <= CODES
    # Names and sizes of the listing settle these without a download.
    assert {key for key in expected if proxy.count("GET", key) == 0} == {
        "empty.txt",
        "photo.png",
        "folder/",
        "large.txt",
    }
    # No attempt is made on what cannot get better, and none is waited for.
    assert query(
        small, "SELECT count(*) FROM connectors.objects WHERE next_attempt_at IS NOT NULL"
    ) == [(0,)]
    assert documents(small) == {
        f"s3://{bucket.name}/{key}"
        for key, (_, state, _, _) in expected.items()
        if state == "indexed"
    }
    assert (counts.indexed, counts.dead, counts.failed) == (3, 7, 0)
    assert proxy.count("GET", "hides-its-size.txt") == 1
    assert counts.bytes_fetched < MAX_BYTES * 3

    before = len(proxy.requests)
    assert (scan(small, connector).counts.changed, drain(small, connector).bytes_fetched) == (0, 0)
    assert len(proxy.requests) == before + 1, "none is looked at again while its ETag stays"


def test_a_store_that_declares_no_length_is_read(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put("a.txt", "A text about penguins.")
    proxy.inject("GET", None, undeclared())
    assert sync(proxied, via_proxy).indexed == 1
    assert texts(proxied) == {"a.txt": "A text about penguins."}


def test_an_object_deleted_after_it_was_listed_waits_for_the_next_scan(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("gone.txt", "Here today.")
    bucket.put("stays.txt", "Here tomorrow.")
    scan(services, connector)
    bucket.delete("gone.txt")
    counts = drain(services, connector)
    assert (counts.indexed, counts.failed, counts.errors) == (1, 1, {"not_found": 1})
    ended = outcomes(services, connector)["gone.txt"]
    assert (ended.state, ended.code) == ("failed", "not_found")
    assert ended.message is not None
    assert ended.message.startswith(f"Failed to fetch s3://{bucket.name}/gone.txt: NoSuchKey")
    assert scan(services, connector).counts.deleted == 1
    assert states(services, connector)["gone.txt"] == ("deleted", None)


def test_an_object_overwritten_after_it_was_listed_is_taken_as_it_is_with_its_own_etag(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    listed = bucket.put("a.txt", "The old text about penguins.")
    scan(services, connector)
    present = bucket.put("a.txt", "The new text, about walruses.")
    assert listed != present
    assert drain(services, connector).indexed == 1
    assert query(services, "SELECT etag, indexed_etag, size FROM connectors.objects") == [
        (present, present, 29)
    ]
    assert query(
        services, "SELECT props ->> 'etag' FROM nodes WHERE 'Document' = ANY(classes)"
    ) == [(present,)]
    assert texts(services) == {"a.txt": "The new text, about walruses."}
    assert scan(services, connector).counts.changed == 0


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (status(500, "InternalError"), "InternalError"),
        (status(503, "SlowDown"), "SlowDown"),
        (truncate(7), "s3://"),
        (reset(), "ConnectionClosedError"),
    ],
    ids=["500", "503", "truncated", "reset"],
)
def test_a_download_that_fails_is_tried_again_when_it_is_due(
    proxied: Services,
    via_proxy: Connector,
    bucket: Bucket,
    proxy: FaultProxy,
    fault: Callable[..., object],
    reason: str,
) -> None:
    bucket.put("flaky.txt", "A text about penguins that arrives late.")
    bucket.put("steady.txt", "A text about walruses.")
    proxy.inject("GET", "flaky.txt", fault)
    counts = sync(proxied, via_proxy)
    assert (counts.extracted, counts.indexed, counts.failed, counts.errors) == (
        1,
        1,
        1,
        {"fetch_failed": 1},
    )
    ended = outcomes(proxied, via_proxy)["flaky.txt"]
    assert ended[:2] == ("failed", "fetch_failed")
    assert ended.attempts == 1
    assert ended.message is not None
    assert ended.message.startswith(f"Failed to fetch s3://{bucket.name}/flaky.txt: ")
    assert reason in ended.message
    ((wait,),) = query(
        proxied,
        "SELECT extract(epoch FROM next_attempt_at - now())::float8 FROM connectors.objects WHERE "
        "key LIKE 'f%%'",
    )
    base = proxied.settings.activekg_retry_base_seconds
    assert base / 2 - 5 < wait <= base

    proxy.heal()
    before = proxy.count("GET", "flaky.txt")
    assert drain(proxied, via_proxy).extracted == 0, "not due yet"
    assert proxy.count("GET", "flaky.txt") == before
    make_retries_due(proxied)
    assert drain(proxied, via_proxy).indexed == 1
    assert outcomes(proxied, via_proxy)["flaky.txt"] == Ended("indexed", None, None, 0)


def test_a_download_that_fails_for_ever_becomes_a_dead_letter_and_leaves_it_by_itself_or_by_replay(
    configured: Callable[..., Services], bucket: Bucket, proxy: FaultProxy
) -> None:
    services = configured(activekg_max_attempts=3)
    connector = bucket.register(services, endpoint_url=proxy.url)
    for key in ("changes.txt", "replayed.txt", "deleted.txt"):
        bucket.put(key, f"The text of {key}.")
    proxy.inject("GET", None, status(500, "InternalError"))
    scan(services, connector)
    for attempt in (1, 2, 3):
        make_retries_due(services)
        drain(services, connector)
        assert {end.attempts for end in outcomes(services, connector).values()} == {attempt}
        assert {end.state for end in outcomes(services, connector).values()} == {
            "dead" if attempt == 3 else "failed"
        }
    make_retries_due(services)
    before = len(proxy.requests)
    drain(services, connector)
    assert len(proxy.requests) == before, "a dead letter is left alone"

    proxy.heal()
    bucket.put("changes.txt", "Another text.")
    bucket.delete("deleted.txt")
    assert sync(services, connector).indexed == 1
    assert states(services, connector) == {
        "changes.txt": ("indexed", None),
        "replayed.txt": ("dead", "fetch_failed"),
        "deleted.txt": ("deleted", None),
    }
    assert drain(services, connector, Mode.FAILED).indexed == 1
    assert outcomes(services, connector)["replayed.txt"] == Ended("indexed", None, None, 0)


def test_a_dead_letter_that_is_replayed_and_fails_again_has_fresh_attempts(
    configured: Callable[..., Services], bucket: Bucket, proxy: FaultProxy
) -> None:
    services = configured(activekg_max_attempts=2)
    connector = bucket.register(services, endpoint_url=proxy.url)
    bucket.put("a.txt", "one")
    proxy.inject("GET", None, status(500, "InternalError"))
    sync(services, connector)
    make_retries_due(services)
    drain(services, connector)
    assert outcomes(services, connector)["a.txt"][::3] == ("dead", 2)
    drain(services, connector, Mode.FAILED)
    assert outcomes(services, connector)["a.txt"][::3] == ("failed", 1)


def test_a_document_that_kills_hangs_or_bloats_its_parser_costs_only_itself(
    configured: Callable[..., Services], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "activekg_pipelines.pipeline.extract.Sandbox",
        functools.partial(Sandbox, extractor=misbehave),
    )
    services = configured(activekg_parse_timeout_seconds=1.5, activekg_parse_memory_bytes=1024**3)
    connector = bucket.register(services)
    for key in ("abort", "hang", "hog", "good-1", "good-2"):
        bucket.put(key, f"The text of {key}.")
    counts = sync(services, connector)
    assert (counts.indexed, counts.failed) == (2, 3)
    ended = outcomes(services, connector)
    assert {
        key: (end.state, end.code, end.message)
        for key, end in ended.items()
        if not key.startswith("good")
    } == {
        "abort": (
            "failed",
            "parser_crash",
            "The parser's process died on this document (SIGABRT).",
        ),
        "hang": (
            "failed",
            "parser_deadline",
            "The parser did not finish this document in 1.5 seconds.",
        ),
        "hog": (
            "failed",
            "parser_memory",
            "The parser needed more memory than allowed for this document.",
        ),
    }
    assert counts.errors == {"parser_crash": 1, "parser_deadline": 1, "parser_memory": 1}


def test_a_document_that_its_parser_does_not_survive_twice_is_dead_until_replayed(
    configured: Callable[..., Services],
    bucket: Bucket,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        "activekg_pipelines.pipeline.extract.Sandbox",
        functools.partial(Sandbox, extractor=misbehave),
    )
    services = configured(activekg_parse_timeout_seconds=1.5, activekg_parse_memory_bytes=1024**3)
    connector = bucket.register(services, endpoint_url=proxy.url)
    for key in ("abort", "hang", "hog"):
        bucket.put(key, f"The text of {key}.")

    def attempts() -> dict[str, tuple[str, int]]:
        ended = outcomes(services, connector)
        return {key: (end.state, end.attempts) for key, end in ended.items()}

    sync(services, connector)
    assert attempts() == dict.fromkeys(("abort", "hang", "hog"), ("failed", 1))
    proxy.inject("GET", "hang", status(500, "InternalError"))
    make_retries_due(services)
    drain(services, connector)
    # A download that fails is no fault of the document.
    assert attempts() == {"abort": ("dead", 2), "hog": ("dead", 2), "hang": ("failed", 2)}
    proxy.heal()
    make_retries_due(services)
    drain(services, connector)
    assert attempts()["hang"] == ("dead", 3)

    drain(services, connector, Mode.FAILED)
    assert attempts() == dict.fromkeys(("abort", "hang", "hog"), ("failed", 1))


def test_a_parser_that_cannot_be_loaded_ends_the_run_and_costs_no_object_an_attempt(
    services: Services,
    bucket: Bucket,
    connector: Connector,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "pypdfium2.py").write_text("raise ImportError('libpdfium.so is damaged')")
    bucket.put("a.txt", "A good text.")
    bucket.put("b.pdf", pdf(tmp_path, make.lines("A good page.")))
    scan(services, connector)
    with monkeypatch.context() as broken:
        broken.syspath_prepend(tmp_path)
        with pytest.raises(ParserUnavailable, match=r"pypdfium2: .*libpdfium.so is damaged.*insta"):
            drain(services, connector)
    ended = outcomes(services, connector)
    assert ended["b.pdf"] == Ended("pending", None, None, 0)
    ((code, message),) = query(
        services,
        "SELECT last_error_code, last_error_message FROM connectors.connectors",
    )
    assert code == "parser_unavailable"
    assert "install the package again" in message

    drain(services, connector)
    assert {state for state, _ in states(services, connector).values()} == {"indexed"}


def test_a_text_that_cannot_be_embedded_costs_only_its_own_document_and_no_second_download(
    services: Services, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(12):
        bucket.put(
            f"{number:02}.txt", f"The text of document number {number}." + " POISON" * (number == 7)
        )
    real_encode = services.encoder.encode
    calls: list[int] = []

    def encode(batch: list[str]) -> object:
        calls.append(len(batch))
        if any("POISON" in text for text in batch):
            raise EncoderFailed("The model cannot embed the text: injected")
        return real_encode(batch)

    monkeypatch.setattr(services.encoder, "encode", encode)
    counts = sync(services, connector)
    assert (counts.extracted, counts.indexed, counts.failed, counts.errors) == (
        12,
        11,
        1,
        {"encoder_failure": 1},
    )
    assert len(calls) <= 9, "halving, not one by one"
    assert graph_of(services) == (11, 11, 11)
    # The text is stored: the next attempt starts from there.
    ended = outcomes(services, connector)["07.txt"]
    assert ended == Ended(
        "extracted", "encoder_failure", "The model cannot embed the text: injected", 1
    )
    assert drain(services, connector).indexed == 0, "not due yet"
    monkeypatch.undo()
    make_retries_due(services)
    counts = drain(services, connector)
    assert (counts.indexed, counts.bytes_fetched) == (1, 0)
    assert outcomes(services, connector)["07.txt"] == Ended("indexed", None, None, 0)


def test_replay_takes_up_a_text_that_could_not_be_embedded_at_once(
    services: Services, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    def encode(_: list[str]) -> object:
        raise EncoderFailed

    bucket.put("a.txt", "A text about penguins.")
    with monkeypatch.context() as broken:
        broken.setattr(services.encoder, "encode", encode)
        sync(services, connector)
    assert outcomes(services, connector)["a.txt"][:2] == ("extracted", "encoder_failure")
    counts = drain(services, connector, Mode.FAILED)
    assert (counts.indexed, counts.bytes_fetched) == (1, 0)


# What search may say of a document whose new version cannot be read


@pytest.mark.parametrize(
    ("body", "state", "code"),
    [
        (b"%PDF-1.7\nbroken", "dead", "corrupt"),
        (b"", "skipped", "empty"),
        (b" \n ", "skipped", "empty"),
        (picture(), "skipped", "unsupported_type"),
        (b"x" * (MAX_BYTES + 1), "skipped", "too_large"),
        (b"word " * MAX_CHARACTERS, "dead", "text_too_large"),
    ],
    ids=["corrupt", "empty", "blank", "unsupported", "too large", "text too large"],
)
def test_a_document_whose_new_version_cannot_be_read_is_gone_from_search(
    configured: Callable[..., Services], bucket: Bucket, body: bytes, state: str, code: str
) -> None:
    limit = MAX_BYTES if code == "too_large" else 10 * MAX_BYTES
    services = configured(activekg_max_file_bytes=limit, activekg_max_text_chars=MAX_CHARACTERS)
    connector = bucket.register(services)
    bucket.put("a.txt", "Penguins live in Antarctica.")
    bucket.put("b.txt", "Walruses live in the Arctic.")
    sync(services, connector)
    assert len(found(services, "Where do they live?")) == 2
    bucket.put("a.txt", body)
    sync(services, connector)
    assert states(services, connector) == {"a.txt": (state, code), "b.txt": ("indexed", None)}
    assert found(services, "Penguins in Antarctica") == {f"s3://{bucket.name}/b.txt"}
    assert graph_of(services) == (1, 1, 1)
    assert set(texts(services)) == {"b.txt"}
    assert query(
        services,
        "SELECT document_id, indexed_etag, indexed_at, chunks FROM connectors.objects WHERE key = "
        "'a.txt'",
    ) == [(None, None, None, 0)]

    bucket.put("a.txt", "Penguins are back in Antarctica.")
    sync(services, connector)
    assert found(services, "Penguins in Antarctica") == {
        f"s3://{bucket.name}/{key}.txt" for key in "ab"
    }


def test_a_text_that_never_reached_the_graph_is_gone_with_the_version_it_came_from(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put("a.txt", "Penguins live in Antarctica.")
    scan(services, connector)
    extract(services, connector, start_run(services, connector))
    assert set(texts(services)) == {"a.txt"}
    bucket.put("a.txt", b"")
    scan(services, connector)
    assert states(services, connector) == {"a.txt": ("skipped", "empty")}
    assert texts(services) == {}


def test_the_old_version_stays_while_the_new_one_cannot_be_fetched(
    proxied: Services, via_proxy: Connector, bucket: Bucket, proxy: FaultProxy
) -> None:
    bucket.put("a.txt", "Penguins live in Antarctica.")
    sync(proxied, via_proxy)
    old = query(proxied, "SELECT indexed_etag FROM connectors.objects")
    bucket.put("a.txt", "Walruses live in the Arctic.")
    proxy.inject("GET", "a.txt", status(503, "SlowDown"))
    sync(proxied, via_proxy)
    assert outcomes(proxied, via_proxy)["a.txt"][:2] == ("failed", "fetch_failed")
    assert found(proxied, "Penguins") == {f"s3://{bucket.name}/a.txt"}
    assert query(proxied, "SELECT indexed_etag FROM connectors.objects") == old
    assert texts(proxied) == {"a.txt": "Penguins live in Antarctica."}
    proxy.heal()
    make_retries_due(proxied)
    drain(proxied, via_proxy)
    assert texts(proxied) == {"a.txt": "Walruses live in the Arctic."}
    assert graph_of(proxied) == (1, 1, 1)


def test_an_unreachable_endpoint_is_the_runs_failure_and_costs_no_object_an_attempt(
    configured: Callable[..., Services], bucket: Bucket, proxy: FaultProxy
) -> None:
    services = configured(activekg_endpoint_allowlist=("127.0.0.1",))
    connector = bucket.register(services, endpoint_url=proxy.url)
    bucket.put("a.txt", "one")
    scan(services, connector)
    # Nothing listens on the discard port.
    away = change(services, connector.id, S3ConfigPatch(endpoint_url="http://127.0.0.1:9"))
    with pytest.raises(EndpointUnreachable):
        drain(services, away)
    assert outcomes(services, connector)["a.txt"] == Ended("pending", None, None, 0)


def test_what_its_name_or_size_settled_is_not_fetched_to_be_settled_again(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    for key, body in {
        "folder/": "",
        "empty.txt": "",
        "photo.jpg": "x",
        "a.txt": "Read me.",
    }.items():
        bucket.put(key, body)
    sync(services, connector)
    before = states(services, connector)
    assert before["folder/"] == ("skipped", "folder_marker")
    assert drain(services, connector, Mode.ALL).extracted == 1
    assert states(services, connector) == before
