"""How a run's extraction and indexing wait for each other. The texts lie in the ledger;
here is only how many wait.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

# A few swaps: enough that neither waits for the other's batches, and little to hold
# while many runs work at once.
_MAX_OBJECTS = 256
_MAX_CHARACTERS = 8_000_000


class Backlog:
    """Texts that a run has extracted and not yet taken up for indexing; used from the
    threads of both.

    Args:
        extracts: this run extracts; else no text comes that is not stored already.
        indexes: this run indexes; else nobody takes texts out, and the backlog has no
            bound.
    """

    def __init__(self, *, extracts: bool, indexes: bool) -> None:
        self._changed = threading.Condition()
        self._changes = 0
        self._extracting = extracts
        self._indexing = indexes
        self._begun = False
        self._starved = False
        self._waiting: dict[int, int] = {}

    # Extraction's side

    def begin(self) -> None:
        """Say that there is something to extract, so that the model is loaded
        meanwhile.
        """
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
        """Whether to extract more; always, once nobody indexes."""
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

    def look(self) -> tuple[int, bool]:
        """What to remember before looking for texts in the ledger: the state for
        :meth:`wait`, and if more may come.
        """
        with self._changed:
            return self._changes, self._extracting

    def remove(self, objects: Iterable[int]) -> None:
        """Count texts that were taken up for indexing."""
        with self._changing():
            for object_id in objects:
                self._waiting.pop(object_id, None)

    def wait(self, seen: int) -> None:
        """Wait until something changed since ``seen``, when the ledger held no text for
        this run.

        What waited until then is in other hands: another run's, or changed in the
        bucket.
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
            len(self._waiting) < _MAX_OBJECTS and sum(self._waiting.values()) < _MAX_CHARACTERS
        )
