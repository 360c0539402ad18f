"""How a run's extraction and indexing wait for each other.

The texts lie in the ledger. Here is only how many of them wait.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

from activekg_pipelines.pipeline.batching import DEFAULT, Batching


class Backlog:
    """Texts that a run has extracted and not yet taken up for indexing.

    The threads of both steps use it.

    Args:
        extracts: this run extracts. Otherwise only texts come that are stored already.
        indexes: this run indexes. Otherwise no text is taken out, and the backlog has
            no bound.
        batching: says how many texts may wait.
    """

    def __init__(self, *, extracts: bool, indexes: bool, batching: Batching = DEFAULT) -> None:
        self._batching = batching
        self._changed = threading.Condition()
        self._changes = 0
        self._extracting = extracts
        self._indexing = indexes
        self._begun = False
        self._starved = False
        self._waiting: dict[int, int] = {}

    # Extraction's side

    def begin(self) -> None:
        """Say that there is something to extract: the model is loaded meanwhile."""
        with self._changing():
            self._begun = True

    def add(self, characters: Mapping[int, int]) -> None:
        """Count texts that were stored: length by object."""
        with self._changing():
            self._waiting |= characters

    def end_extraction(self) -> None:
        """Say that no further text comes."""
        with self._changing():
            self._extracting = False

    @property
    def has_room(self) -> bool:
        """Whether to extract more: always, once the run does not index any more."""
        with self._changed:
            return self._has_room()

    @property
    def starved(self) -> bool:
        """Whether indexing waits for a text."""
        with self._changed:
            return self._starved

    def wait_for_room(self, seconds: float) -> None:
        """Wait until there is room, this long at most."""
        with self._changed:
            self._changed.wait_for(self._has_room, seconds)

    # Indexing's side

    def observe(self) -> tuple[int, bool]:
        """The state for :meth:`wait`, and whether more texts may come.

        To be read before the ledger is searched for texts.
        """
        with self._changed:
            return self._changes, self._extracting

    def remove(self, objects: Iterable[int]) -> None:
        """Count texts that were taken up for indexing."""
        with self._changing():
            for object_id in objects:
                self._waiting.pop(object_id, None)

    def wait(self, seen: int) -> None:
        """Wait until something changes after ``seen``; the ledger held no text for this run.

        So the texts that counted as waiting are not there any more: another run holds
        them, or their objects changed in the source.
        """
        with self._changed:
            if self._changes == seen:
                self._waiting.clear()
                self._changed.notify_all()
                self._starved = True
            self._changed.wait_for(lambda: self._changes != seen)
            self._starved = False

    @property
    def begun(self) -> bool:
        """Whether there is something to extract."""
        with self._changed:
            return self._begun

    def end_indexing(self) -> None:
        """Say that no further text is taken up."""
        with self._changing():
            self._indexing = False

    @contextmanager
    def _changing(self) -> Iterator[None]:
        with self._changed:
            yield
            self._changes += 1
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return not self._indexing or (
            len(self._waiting) < self._batching.backlog_objects
            and sum(self._waiting.values()) < self._batching.backlog_characters
        )
