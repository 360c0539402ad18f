"""Extraction and indexing of one run at the same time.

Neither waits for the other, and neither outlives the other.
"""

from __future__ import annotations

import ctypes
import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.errors import CredentialsRefused, ModelError
from activekg_pipelines.logs import ContextFields
from activekg_pipelines.pipeline.backlog import Backlog
from activekg_pipelines.pipeline.batching import DEFAULT, Batching
from activekg_pipelines.pipeline.extract import extract_pending
from activekg_pipelines.pipeline.lease import Lease
from activekg_pipelines.pipeline.sync import Taken, extract_and_index
from activekg_pipelines.services import Services
from activekg_pipelines.sources.s3.source import S3Source
from tests.fault_proxy import FaultProxy, status
from tests.integration.syncing import (
    drain,
    graph_of,
    in_transaction,
    outcomes,
    query,
    scan,
    start_run,
)
from tests.s3_bucket import Bucket

# Longer than any step of these tests takes; a step that waits for another one so long
# shows that they do not overlap.
TIMEOUT = 60.0


def work(
    services: Services,
    connector: Connector,
    *,
    max_objects: int = 1000,
    batching: Batching = DEFAULT,
) -> Taken:
    return extract_and_index(
        services,
        connector,
        start_run(services, connector),
        max_objects=max_objects,
        budget_seconds=600,
        batching=batching,
    )


def before_download(monkeypatch: pytest.MonkeyPatch, action: Callable[[str], object]) -> None:
    """Do something with each key before it is downloaded."""

    fetch = S3Source.fetch

    def fetching(source: S3Source, key: str, *arguments: Any, **options: Any) -> Any:
        action(key)
        return fetch(source, key, *arguments, **options)

    monkeypatch.setattr(S3Source, "fetch", fetching)


def before_encoding(
    services: Services, monkeypatch: pytest.MonkeyPatch, action: Callable[[Sequence[str]], object]
) -> None:
    """Do something with each batch before it is encoded."""
    encode = services.encoder.encode

    def encoding(batch: Sequence[str]) -> Any:
        action(batch)
        return encode(batch)

    monkeypatch.setattr(services.encoder, "encode", encoding)


def claims(services: Services) -> set[str | None]:
    return {
        claim for (claim,) in query(services, "SELECT DISTINCT claimed_by FROM connectors.objects")
    }


def put_notes(bucket: Bucket, number: int) -> None:
    bucket.put_many(
        {f"{index:03}.txt": f"Note number {index} is about penguins." for index in range(number)}
    )


def test_documents_become_searchable_while_others_are_still_downloaded(
    services: Services, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_notes(bucket, 20)
    scan(services, connector)
    order: list[str] = []
    encoding, downloaded_meanwhile, swapped = (
        threading.Event(),
        threading.Event(),
        threading.Event(),
    )

    def downloading(key: str) -> None:
        if key == "018.txt":
            encoding.wait(TIMEOUT)
            order.append("the last but one is downloaded")
            downloaded_meanwhile.set()
        if key == "019.txt":
            swapped.wait(TIMEOUT)
            order.append("the last is downloaded")

    def encode(_: Sequence[str]) -> None:
        if not encoding.is_set():
            order.append("the first are encoded")
            encoding.set()
            downloaded_meanwhile.wait(TIMEOUT)

    real_swap = services.graph.swap

    def swap(*arguments: Any) -> None:
        real_swap(*arguments)
        if not swapped.is_set():
            order.append("the first are swapped in")
            swapped.set()

    before_download(monkeypatch, downloading)
    before_encoding(services, monkeypatch, encode)
    monkeypatch.setattr(services.graph, "swap", swap)
    assert work(services, connector) == (20, 20)
    assert order == [
        "the first are encoded",
        "the last but one is downloaded",
        "the first are swapped in",
        "the last is downloaded",
    ]


def test_the_next_batch_is_encoded_while_the_one_before_is_swapped_in(
    services: Services, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_notes(bucket, 15)
    scan(services, connector)
    second_batch, batches = threading.Event(), []

    def encode(batch: Sequence[str]) -> None:
        batches.append(batch)
        if len(batches) == 2:
            second_batch.set()

    real_swap = services.graph.swap

    def swap(*arguments: Any) -> None:
        assert second_batch.wait(TIMEOUT)
        real_swap(*arguments)

    before_encoding(services, monkeypatch, encode)
    monkeypatch.setattr(services.graph, "swap", swap)
    assert work(services, connector, batching=Batching(index_objects=5)) == (15, 15)
    assert graph_of(services) == (15, 15, 15)


def test_a_text_of_several_batches_is_encoded_once(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    bucket.put_many(
        {f"{number}.txt": "Everybody writes the same about penguins." for number in range(12)}
    )
    scan(services, connector)
    counts = drain(services, connector, batching=Batching(index_objects=2))
    assert (counts.indexed, counts.chunks, counts.embeddings_computed) == (12, 12, 1)


@pytest.mark.parametrize(
    ("objects", "characters"), [(10, 10_000_000), (10_000, 10 * 36)], ids=["objects", "text"]
)
def test_extraction_pauses_while_too_much_waits_for_indexing(
    services: Services,
    bucket: Bucket,
    connector: Connector,
    monkeypatch: pytest.MonkeyPatch,
    objects: int,
    characters: int,
) -> None:
    batching = Batching(
        extract_objects=4,
        index_objects=4,
        backlog_objects=objects,
        backlog_characters=characters,
    )
    put_notes(bucket, 100)
    scan(services, connector)
    paused = threading.Event()
    waiting: list[int] = []

    real_wait = Backlog.wait_for_room

    def wait_for_room(self: Backlog, seconds: float) -> None:
        paused.set()
        real_wait(self, seconds)

    def encode(_: Sequence[str]) -> None:
        assert paused.wait(TIMEOUT)
        waiting.append(
            in_transaction(services, services.ledger.progress, connector.id).get("extracted", 0)
        )

    monkeypatch.setattr(Backlog, "wait_for_room", wait_for_room)
    before_encoding(services, monkeypatch, encode)
    assert work(services, connector, batching=batching) == (100, 100)
    # The bound, what the threads worked on when it was reached, and the batches that
    # indexing holds.
    assert 10 <= max(waiting) <= 10 + 2 * 4 + 3 * 4
    assert graph_of(services) == (100, 100, 100)


def test_claims_of_indexing_outlive_the_end_of_extraction(
    services: Services, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_notes(bucket, 5)
    scan(services, connector)
    extracted = threading.Event()
    held: list[set[str | None]] = []
    real_end = Backlog.end_extraction

    def end_extraction(self: Backlog) -> None:
        real_end(self)
        extracted.set()

    def encode(_: Sequence[str]) -> None:
        assert extracted.wait(TIMEOUT)
        held.append(claims(services))

    monkeypatch.setattr(Backlog, "end_extraction", end_extraction)
    before_encoding(services, monkeypatch, encode)
    assert work(services, connector) == (5, 5)
    assert None not in held[0]
    assert claims(services) == {None}


def test_each_step_claims_no_more_objects_than_a_run_may(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    put_notes(bucket, 30)
    scan(services, connector)
    assert work(services, connector, max_objects=10) == (10, 10)
    assert in_transaction(services, services.ledger.progress, connector.id) == {
        "indexed": 10,
        "pending": 20,
    }


def test_texts_that_other_runs_left_do_not_keep_a_run_from_extracting(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    small_backlog = Batching(backlog_objects=1)
    put_notes(bucket, 40)
    scan(services, connector)
    extract_pending(
        services, connector, start_run(services, connector), max_objects=20, budget_seconds=600
    )
    assert work(services, connector, max_objects=10, batching=small_backlog) == (10, 10)
    assert in_transaction(services, services.ledger.progress, connector.id) == {
        "indexed": 10,
        "extracted": 20,
        "pending": 10,
    }
    assert work(services, connector, batching=small_backlog) == (10, 30)


def test_refused_credentials_stop_the_indexing_and_what_was_extracted_stays(
    proxied: Services,
    via_proxy: Connector,
    bucket: Bucket,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put_notes(bucket, 60)
    scan(proxied, via_proxy)
    stopped = threading.Event()
    real_stop = Lease.stop

    def stop(held: Lease, cause: BaseException) -> None:
        real_stop(held, cause)
        stopped.set()

    def encode(_: Sequence[str]) -> None:
        proxy.inject("GET", None, status(403, "InvalidAccessKeyId"))
        assert stopped.wait(TIMEOUT)

    monkeypatch.setattr(Lease, "stop", stop)
    before_encoding(proxied, monkeypatch, encode)
    with pytest.raises(CredentialsRefused, match="InvalidAccessKeyId"):
        work(proxied, via_proxy, batching=Batching(extract_objects=4))
    assert claims(proxied) == {None}
    states = in_transaction(proxied, proxied.ledger.progress, via_proxy.id)
    assert states["extracted"] >= 1
    assert states["pending"] >= 1
    assert sum(states.values()) == 60
    assert {end.attempts for end in outcomes(proxied, via_proxy).values()} == {0}
    proxy.heal()
    monkeypatch.undo()
    assert drain(proxied, via_proxy).indexed == 60 - states.get("indexed", 0)


def test_a_model_that_cannot_be_used_stops_the_extraction_and_what_was_extracted_stays(
    services: Services, bucket: Bucket, connector: Connector, monkeypatch: pytest.MonkeyPatch
) -> None:
    put_notes(bucket, 60)
    scan(services, connector)
    stored, failed = threading.Event(), threading.Event()
    downloads: list[str] = []
    real_add = Backlog.add

    def downloading(key: str) -> None:
        downloads.append(key)
        if key >= "008.txt":
            assert failed.wait(TIMEOUT)

    def add(self: Backlog, characters: dict[int, int]) -> None:
        real_add(self, characters)
        stored.set()

    def dimensions(_: object) -> int:
        assert stored.wait(TIMEOUT)
        failed.set()
        return 768

    with monkeypatch.context() as broken:
        broken.setattr(Backlog, "add", add)
        before_download(broken, downloading)
        broken.setattr(services.graph, "dimensions", dimensions)
        with pytest.raises(ModelError, match=r"the column nodes.embedding takes 768"):
            work(services, connector, batching=Batching(flush_seconds=0.1))
    assert len(downloads) < 60, "the rest was not even begun"
    assert claims(services) == {None}
    states = in_transaction(services, services.ledger.progress, connector.id)
    assert states["extracted"] >= 1
    assert states["pending"] + states["extracted"] == 60
    assert drain(services, connector).indexed == 60


def test_of_two_failures_the_first_is_the_runs_and_the_other_is_logged(
    proxied: Services,
    via_proxy: Connector,
    bucket: Bucket,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put_notes(bucket, 5)
    scan(proxied, via_proxy)
    model_failed = threading.Event()

    def dimensions(_: object) -> int:
        model_failed.set()
        return 768

    def downloading(_: str) -> None:
        assert model_failed.wait(TIMEOUT)

    monkeypatch.setattr(proxied.graph, "dimensions", dimensions)
    before_download(monkeypatch, downloading)
    proxy.inject("GET", None, status(403, "InvalidAccessKeyId"))
    with pytest.raises((ModelError, CredentialsRefused)) as raised:
        work(proxied, via_proxy)
    other = CredentialsRefused if isinstance(raised.value, ModelError) else ModelError
    assert f"The other half of the run failed, too: {other.__name__}" in caplog.text
    assert claims(proxied) == {None}


@pytest.mark.parametrize("where", ["downloading", "encoding"])
def test_a_run_that_is_cancelled_ends_both_steps_and_gives_everything_back(
    services: Services,
    bucket: Bucket,
    connector: Connector,
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    put_notes(bucket, 40)
    scan(services, connector)
    thread = threading.main_thread().ident
    assert thread is not None
    # Every thread calls this. A second signal would interrupt the clean-up that is
    # tested here.
    signals = iter(["SIGINT"])

    def cancel(what: object) -> None:
        if what != "000.txt" and next(signals, None):
            # What a signal does in the thread that works on the run.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(
                ctypes.c_ulong(thread), ctypes.py_object(KeyboardInterrupt)
            )

    if where == "downloading":
        before_download(monkeypatch, cancel)
    else:
        before_encoding(services, monkeypatch, cancel)
    with pytest.raises(KeyboardInterrupt):
        work(services, connector, batching=Batching(index_objects=4))
        # The exception may come a moment late.
        threading.Event().wait(TIMEOUT)
    monkeypatch.undo()
    assert claims(services) == {None}
    left = [
        thread
        for thread in threading.enumerate()
        if thread.name.startswith(("index", "chunk", "swap"))
    ]
    # The run does not wait for them, and they end by themselves and claim nothing.
    for thread in left:
        thread.join(TIMEOUT)
    assert not [thread.name for thread in left if thread.is_alive()]
    assert claims(services) == {None}
    drain(services, connector)
    assert graph_of(services) == (40, 40, 40)


def test_records_of_every_thread_say_whose_they_are(
    services: Services,
    bucket: Bucket,
    connector: Connector,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    put_notes(bucket, 3)
    scan(services, connector)
    # Not the package's: another test may have sent its records elsewhere.
    logger = logging.getLogger("tests.overlap")
    monkeypatch.setattr(logger, "disabled", False)
    caplog.set_level(logging.INFO, logger.name)
    caplog.handler.addFilter(ContextFields())
    real_find, real_swap = services.graph.find_vectors, services.graph.swap

    def find_vectors(*arguments: Any) -> Any:
        logger.info("looking up")
        return real_find(*arguments)

    def swap(*arguments: Any) -> None:
        logger.info("swapping")
        real_swap(*arguments)

    monkeypatch.setattr(services.graph, "find_vectors", find_vectors)
    monkeypatch.setattr(services.graph, "swap", swap)
    before_encoding(services, monkeypatch, lambda _: logger.info("encoding"))
    run = start_run(services, connector)
    extract_and_index(services, connector, run, max_objects=10, budget_seconds=600)
    ours = [record for record in caplog.records if record.name == logger.name]
    assert {record.message for record in ours} == {"looking up", "encoding", "swapping"}
    assert {
        (vars(record)["tenant"], vars(record)["connector"], vars(record)["run"]) for record in ours
    } == {("acme_corp", connector.name, run)}
    assert len({record.threadName for record in ours}) == 3
