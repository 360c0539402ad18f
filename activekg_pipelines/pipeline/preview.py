"""Says what a sync would do.

It compares the source's listing with the ledger, and writes nothing.
"""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from psycopg import Connection
from psycopg.rows import TupleRow

from activekg_pipelines.connectors.models import Connector
from activekg_pipelines.database.queries import load_queries
from activekg_pipelines.deadline import give_up_at
from activekg_pipelines.errors import ListingOutOfOrder, SourceError
from activekg_pipelines.ledger import planner
from activekg_pipelines.ledger.conditions import OBJECT_CONDITIONS
from activekg_pipelines.pipeline.scan import needs_no_download
from activekg_pipelines.services import Services
from activekg_pipelines.sources.ordered import Ordered
from activekg_pipelines.sources.source import Page, Source
from activekg_pipelines.sources.turns import in_turns

_SQL = load_queries(Path(__file__).with_name("preview.sql"), OBJECT_CONDITIONS)

SAMPLE_KEYS: Final = 20
"""Keys shown of each class at most."""

# A person waits for the answer: an endpoint that hangs must not take longer, whichever
# page it hangs at.
_LISTING_SECONDS: Final = 20.0

_EXTENSION: Final = re.compile(r"\.([A-Za-z0-9]{1,10})$")


class Change(StrEnum):
    """What a sync would do with an object."""

    ADD = "add"
    """New in the source: fetched and indexed."""
    UPDATE = "update"
    """Another version than the ledger's, or restored from an archive: fetched, and indexed
    where its text changed.
    """
    DELETE = "delete"
    """Gone from the source: its document leaves the graph."""
    SKIP = "skip"
    """New or changed, but the listing says that it is not indexed.

    A document of its last version is removed, except where the object is archived.
    """
    WAITING = "waiting"
    """Found before and not done yet, or failed and due again."""
    OUTDATED = "outdated"
    """Made by another version of extractor, chunker or model: done again."""
    UNCHANGED = "unchanged"
    """Nothing to do; what was skipped or archived, and dead letters, stay as they are."""


_WORK: Final = (Change.ADD, Change.UPDATE, Change.WAITING, Change.OUTDATED)


class Basis(StrEnum):
    """Whose history an estimate comes from."""

    CONNECTOR = "connector"
    TENANT = "tenant"
    """The connector has none yet; its tenant's other connectors do."""


@dataclass(slots=True)
class ChangeTotals:
    """Objects of one class.

    Attributes:
        bytes: their sizes together, as listed; of deleted ones as the ledger has them.
        sample: keys, the first ones in the order of keys.
    """

    objects: int = 0
    bytes: int = 0
    sample: list[str] = field(default_factory=list)

    def add(self, objects: int, size: int, keys: list[str]) -> None:
        """Count more objects of the class."""
        self.objects += objects
        self.bytes += size
        self.sample += keys[: SAMPLE_KEYS - len(self.sample)]


@dataclass(frozen=True, slots=True)
class Estimate:
    """What the work would amount to, judged by what was done before.

    Attributes:
        chunks: None where no document was indexed before.
        seconds: of one run after the other; None where no run indexed anything before.
        basis: None where there is no history.
        documents, runs: how many the estimate comes from.
    """

    chunks: int | None
    seconds: float | None
    basis: Basis | None
    documents: int
    runs: int


@dataclass(frozen=True, slots=True)
class Preview:
    """What a sync would do.

    Attributes:
        complete: the listing was read to its end; otherwise the counts are lower
            bounds, and nothing would be deleted before a listing is complete.
        deletions_held_back: whether the delete-storm guard would wait for a
            confirmation; None when not complete.
        bytes_to_fetch: sizes of what would be downloaded, as listed.
    """

    complete: bool
    pages: int
    listed: int
    changes: dict[Change, ChangeTotals]
    deletions_held_back: bool | None
    bytes_to_fetch: int
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class _History:
    """What indexing gave and cost before.

    Attributes:
        density: chunks of a byte, by kind of file.
    """

    basis: Basis | None
    documents: int
    density: Mapping[str, float]
    mean_density: float | None
    runs: int
    seconds_a_chunk: float | None

    def estimate(self, bytes_by_kind: Mapping[str, int]) -> Estimate:
        chunks = seconds = None
        if not bytes_by_kind:
            chunks, seconds = 0, 0.0
        elif self.mean_density is not None:
            chunks = round(
                sum(
                    size * self.density.get(kind, self.mean_density)
                    for kind, size in bytes_by_kind.items()
                )
            )
            if self.seconds_a_chunk is not None:
                seconds = round(chunks * self.seconds_a_chunk, 1)
        return Estimate(chunks, seconds, self.basis, self.documents, self.runs)


def preview_sync(services: Services, connector: Connector, *, max_pages: int) -> Preview:
    """Compare the connector's source with the ledger, page by page. Nothing is written.

    Args:
        max_pages: pages of 1,000 keys that are listed at most.

    Raises:
        SourceError: the source cannot be listed.
        EncryptionError, InvalidConnector: its credentials or its endpoint cannot be
            used.
        ModelError: the configured model cannot be found. So it is not known what is
            outdated.
    """
    source = services.source(connector)
    deadline = time.monotonic() + _LISTING_SECONDS
    try:
        pages = in_turns(_in_time(source.pages(deadline=deadline), deadline), deadline)
        return _preview(services, connector, source, pages, max_pages)
    except ListingOutOfOrder:
        # No sync has met this listing yet, so that nobody has noted its order.
        ordered = _in_time(Ordered(source).pages(deadline=deadline), deadline)
        pages = in_turns(ordered, deadline)
        return _preview(services, connector, source, pages, max_pages)


def _in_time(pages: Generator[Page], deadline: float) -> Generator[Page]:
    """The pages that come before the deadline.

    Raises:
        SourceError: not even one does.
    """
    came = False
    with closing(pages):
        while True:
            try:
                with give_up_at(deadline):
                    page = next(pages, None)
            except SourceError:
                if came and time.monotonic() >= deadline:
                    return
                raise
            if page is None:
                return
            came = came or bool(page.entries)
            yield page


def _preview(
    services: Services,
    connector: Connector,
    source: Source,
    pages: Generator[Page],
    max_pages: int,
) -> Preview:
    history = _history(services, connector)
    comparison = _Comparison(services, connector, source, history.density)
    is_last = False
    # Closed, so that no connection stays checked out when max_pages ends the loop.
    with closing(pages):
        for page in pages:
            if not (page.entries or page.is_last):
                # The listing is still being read, to be sorted.
                continue
            comparison.read(page)
            is_last = page.is_last
            if comparison.pages >= max_pages:
                break
    return Preview(
        complete=is_last,
        pages=comparison.pages,
        listed=comparison.listed,
        changes=comparison.changes,
        deletions_held_back=comparison.deletions_held_back() if is_last else None,
        bytes_to_fetch=comparison.bytes_to_fetch,
        estimate=history.estimate(comparison.work_bytes),
    )


class _Comparison:
    """The totals of the pages read so far. Its size does not grow with the source."""

    def __init__(
        self,
        services: Services,
        connector: Connector,
        source: Source,
        kinds: Mapping[str, float],
    ) -> None:
        self._services = services
        self._connector = connector
        self._tokens_tell_bytes = source.tokens_tell_bytes
        self._kinds = kinds
        self._versions = {
            "extractor": services.versions.extractor,
            "chunker": services.versions.chunker,
            "encoder": services.versions.encoder,
        }
        self._start_after = ""
        self._new = 0
        self.pages = 0
        self.listed = 0
        self.bytes_to_fetch = 0
        self.changes = {change: ChangeTotals() for change in Change}
        self.work_bytes: Counter[str] = Counter()
        with services.database.transaction(tenant_id=connector.tenant_id) as conn:
            row = conn.execute(
                _SQL["is_upgraded"], self._versions | {"connector_id": connector.id}
            ).fetchone()
        self._upgraded = bool(row and row[0])

    def read(self, page: Page) -> None:
        """Add one page."""
        max_bytes = self._services.settings.activekg_max_file_bytes
        parameters: dict[str, Any] = self._versions | {
            "connector_id": self._connector.id,
            "keys": [entry.key for entry in page.entries],
            "etags": [entry.etag for entry in page.entries],
            "sizes": [entry.size for entry in page.entries],
            "modified": [entry.modified_at for entry in page.entries],
            "archived": [entry.archived for entry in page.entries],
            "distrusted": not self._connector.trusts_etags
            or (self._tokens_tell_bytes and page.shares_tokens),
            "kinds": [self._kind(entry.key) for entry in page.entries],
            "skips": [needs_no_download(entry, max_bytes) is not None for entry in page.entries],
            "upgraded": self._upgraded,
            "sample": SAMPLE_KEYS,
            "start_after": self._start_after,
            "upto": page.entries[-1].key if page.entries else self._start_after,
            "is_last": page.is_last,
        }
        with self._services.database.transaction(tenant_id=self._connector.tenant_id) as conn:
            conn.execute("SET TRANSACTION READ ONLY")
            rows = conn.execute(_SQL["compare_page"], parameters).fetchall()
            missing = conn.execute(_SQL["missing_in_range"], parameters).fetchone()
        # A class comes in several rows, each with its own first keys. They are sorted
        # when they are together.
        keys: dict[Change, list[str]] = {}
        for name, kind, fetched, objects, size, new, sample in rows:
            change = Change(name)
            self.changes[change].add(objects, size, [])
            keys.setdefault(change, []).extend(sample)
            self._new += new
            self.bytes_to_fetch += size if fetched else 0
            if change in _WORK:
                self.work_bytes[kind] += size
        for change, sample in keys.items():
            self.changes[change].add(0, 0, sorted(sample, key=str.encode))
        if missing is not None:
            self.changes[Change.DELETE].add(*missing)
        self.pages += 1
        self.listed += len(page.entries)
        self._start_after = parameters["upto"]

    def deletions_held_back(self) -> bool:
        """Whether the delete-storm guard would hold back the deletions of this listing."""
        with self._services.database.transaction(tenant_id=self._connector.tenant_id) as conn:
            known = conn.execute(
                _SQL["count_known"], {"connector_id": self._connector.id}
            ).fetchone()
        return planner.deletions_held_back(
            self.changes[Change.DELETE].objects,
            # A scan counts its deletions after it has added new objects.
            (known[0] if known else 0) + self._new,
            share=self._services.delete_guard_share(self._connector),
            min_objects=self._services.settings.activekg_delete_guard_min_objects,
            confirmed=self._connector.deletions_confirmed,
        )

    def _kind(self, key: str) -> str:
        found = _EXTENSION.search(key)
        kind = found.group(1).lower() if found else ""
        return kind if kind in self._kinds else ""


def _history(services: Services, connector: Connector) -> _History:
    """The connector's own history, or else its tenant's.

    Another tenant's is never used: it would show that this tenant has a history.
    """
    with services.database.transaction(tenant_id=connector.tenant_id) as conn:
        for basis, connector_id in ((Basis.CONNECTOR, connector.id), (Basis.TENANT, None)):
            history = _history_of(conn, basis, connector.tenant_id, connector_id)
            if history.documents:
                return history
    return _History(None, 0, {}, None, 0, None)


def _history_of(
    conn: Connection[TupleRow], basis: Basis, tenant_id: str, connector_id: UUID | None
) -> _History:
    parameters = {"tenant_id": tenant_id, "connector_id": connector_id}
    kinds = conn.execute(_SQL["chunk_density"], parameters).fetchall()
    documents = sum(row[1] for row in kinds)
    if not documents:
        return _History(None, 0, {}, None, 0, None)
    pace = conn.execute(_SQL["pace"], parameters).fetchone()
    runs, seconds, chunks = pace or (0, None, None)
    return _History(
        basis,
        documents,
        {
            kind: chunks_of_kind / size
            for kind, _, size, chunks_of_kind in kinds
            if kind is not None
        },
        sum(row[3] for row in kinds) / sum(row[2] for row in kinds),
        runs,
        seconds / chunks if runs else None,
    )
