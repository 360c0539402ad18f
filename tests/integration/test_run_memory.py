"""What a run's process takes is bounded, whatever lies in the bucket."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.pipeline.batching import Batching
from activekg_pipelines.pipeline.text_room import TextRoom
from activekg_pipelines.services import Services
from tests.integration.syncing import drain, query, scan
from tests.s3_bucket import Bucket

MEBIBYTE = 1024**2
# These two took 200 MiB before texts were chunked in parts, and take 80 since.
# It stands for ten logs and ten tables of 20,000,000 characters each, in chunks of 512
# tokens: all are indexed, and the process takes 596 MiB at most.
CHARACTERS = 2_000_000
ROOM = 150 * MEBIBYTE


def log(characters: int) -> str:
    line = "2026-11-28T10:{:02}:{:02}.{:03} INFO  [worker-{}] GET /objects/{} 200 {}ms\n"
    return filled(characters, lambda n: line.format(n % 60, n % 59, n % 997, n % 16, n, n % 350))


def table(characters: int) -> str:
    return filled(characters, lambda n: f"{n}.5\t{n * 7 % 1000}.25\t{n * 13 % 997}\t{n % 7}\n")


def filled(characters: int, line: Callable[[int], str]) -> str:
    lines: list[str] = []
    length = 0
    while length < characters:
        lines.append(line(len(lines)))
        length += len(lines[-1])
    return "".join(lines)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc to measure by")
@pytest.mark.timeout(600)
def test_a_bucket_of_large_logs_and_tables_is_indexed_in_bounded_memory(
    services: Services,
    bucket: Bucket,
    project_root: Path,
    record_property: Callable[[str, object], None],
) -> None:
    # Long chunks and no vector index: the database is not what is measured.
    query(services, "DROP INDEX idx_nodes_embedding_hnsw")
    connector = bucket.register(services)
    bucket.put_many({"a.log": log(CHARACTERS), "b.txt": table(CHARACTERS)})
    command = (sys.executable, "-m", "tests.integration.measured_run", connector.partition_key)
    done = subprocess.run(
        [*command, "4096"], check=True, capture_output=True, text=True, cwd=project_root
    )
    taken = json.loads(done.stdout.splitlines()[-1])
    growth = taken["peak"] - taken["before"]
    record_property("growth in MiB", growth // MEBIBYTE)
    record_property("peak in MiB", taken["peak"] // MEBIBYTE)
    assert taken["indexed"] == 2
    assert growth < ROOM


def test_documents_of_many_tokens_are_indexed_as_others_are(
    services: Services, bucket: Bucket, connector: Connector
) -> None:
    small = Batching(extract_characters=300, index_tokens=20)
    bucket.put_many({f"{n:02}.txt": table(50 + 400 * (n % 3)) for n in range(12)})
    scan(services, connector)
    counts = drain(services, connector, batching=small)
    assert (counts.extracted, counts.indexed) == (12, 12)
    # Three different texts; what the swap before has written is not computed again.
    assert counts.chunks == sum(chunks for _, chunks in indexed(services))
    assert counts.embeddings_computed == counts.chunks // 4


def indexed(services: Services) -> list[tuple[str, int]]:
    return query(services, "SELECT key, chunks FROM connectors.objects WHERE state = 'indexed'")


def test_a_text_waits_until_those_before_it_are_written() -> None:
    room = TextRoom(10)
    room.take(8)
    taken = threading.Event()
    thread = threading.Thread(target=lambda: (room.take(5), taken.set()))
    thread.start()
    while not room.is_wanted:
        time.sleep(0.01)
    assert not taken.is_set()
    room.give_back(8)
    assert taken.wait(30)
    thread.join()
    # A text that turns out longer takes what it needs, once no other one is held.
    room.take(50, instead_of=5)
    room.give_back(50)
    room.take(1000)


def test_nobody_waits_for_room_once_the_run_ends() -> None:
    room = TextRoom(10)
    room.take(10)
    thread = threading.Thread(target=lambda: room.take(5))
    thread.start()
    room.close()
    thread.join(30)
    assert not thread.is_alive()
