"""Reads documents with their chunks all the time, as applications do.

It says where one was not whole.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import psycopg

from tests.chaos.documents import SENTENCE, Version

# One statement: one snapshot.
_DOCUMENTS = """
SELECT d.props ->> 'external_id', d.props ->> 'etag', (d.props ->> 'total_chunks')::int,
    (e.props ->> 'chunk_index')::int, (e.props ->> 'total_chunks')::int,
    c.props ->> 'text', c.embedding IS NULL
FROM public.nodes d
LEFT JOIN public.edges e ON e.dst = d.id AND e.rel = 'DERIVED_FROM'
LEFT JOIN public.nodes c ON c.id = e.src
WHERE d.tenant_id = %s AND 'Document' = ANY(d.classes)
"""


class Reader:
    """A thread that looks for half documents.

    Args:
        connect: opens a connection.
        tenants: every version of each tenant's objects by ETag, growing meanwhile.
    """

    def __init__(
        self, connect: Callable[[], psycopg.Connection[Any]], tenants: dict[str, dict[str, Version]]
    ) -> None:
        self._connect = connect
        self._tenants = tenants
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, name="reader", daemon=True)
        self._lock = threading.Lock()
        self._broken: list[str] = []
        self.looks = 0
        self.error: BaseException | None = None

    def start(self) -> None:
        """Begin reading."""
        self._thread.start()

    def stop(self) -> None:
        """End reading."""
        self._stop.set()
        self._thread.join(timeout=60)

    def take(self) -> list[str]:
        """What was found since the last call; raises what ended the reader."""
        if self.error is not None:
            raise self.error
        with self._lock:
            found, self._broken = self._broken, []
        return found

    def _read(self) -> None:
        try:
            while not self._stop.is_set():
                # The database goes away now and then; whoever reads it asks again.
                try:
                    with self._connect() as conn:
                        while not self._stop.wait(0.3):
                            self._look(conn)
                except psycopg.OperationalError:
                    time.sleep(0.2)
        except BaseException as error:  # noqa: BLE001 - the test shows it
            self.error = error

    def _look(self, conn: psycopg.Connection[Any]) -> None:
        for tenant_id, versions in self._tenants.items():
            documents = defaultdict(list)
            for external_id, *row in conn.execute(_DOCUMENTS, (tenant_id,)):
                documents[external_id].append(row)
            conn.rollback()
            self.looks += 1
            for external_id, rows in documents.items():
                if problem := _problem(rows, versions):
                    with self._lock:
                        self._broken.append(f"{time.strftime('%H:%M:%S')} {external_id}: {problem}")


def _problem(rows: list[Any], versions: dict[str, Version]) -> str | None:
    etag, total = rows[0][:2]
    if rows[0][2] is None:
        return f"a document of {total} chunks has none"
    if sorted(row[2] for row in rows) != list(range(total)) or {row[3] for row in rows} != {total}:
        return f"a document of {total} chunks has these: {sorted((row[2], row[3]) for row in rows)}"
    if any(row[4] is None for row in rows):
        return "an edge leads to no chunk"
    if any(row[5] for row in rows):
        return "a chunk has no vector"
    version = versions.get(etag)
    if version is None or version.marker is None:
        return f"its version {etag} was never written, or has no text"
    found = [SENTENCE.findall(row[4]) for row in rows]
    if not all(found):
        return "a chunk without a sentence"
    markers = {marker for chunk in found for marker, _, _ in chunk}
    if markers != {version.marker}:
        return f"chunks of versions {markers} in a document of version {version.marker}"
    numbers = {int(number) for chunk in found for _, number, _ in chunk}
    if numbers != set(range(len(version.sentences))):
        return (
            f"{len(version.sentences) - len(numbers)} of {len(version.sentences)} sentences "
            "are missing"
        )
    return None
