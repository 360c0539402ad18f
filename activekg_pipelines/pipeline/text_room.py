"""How many characters of extracted texts a run holds before they are written."""

from __future__ import annotations

import threading


class TextRoom:
    """A bound on the texts that threads have extracted and nobody has written yet.

    One text always has room, however long it is.

    Args:
        most: characters.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._held = 0
        self._waiting = 0
        self._closed = False
        self._changed = threading.Condition()

    @property
    def is_wanted(self) -> bool:
        """Whether a thread waits for room."""
        with self._changed:
            return self._waiting > 0

    def take(self, characters: int, *, instead_of: int = 0) -> None:
        """Wait until there is room for a text, and take it.

        Args:
            characters: of the text, or so many as it may have.
            instead_of: characters that were taken for the same text before.
        """
        with self._changed:
            self._waiting += 1
            self._changed.wait_for(lambda: self._has_room(characters, instead_of))
            self._waiting -= 1
            self._held += characters - instead_of

    def give_back(self, characters: int) -> None:
        """Give back the room of texts that were written, or that came to nothing."""
        with self._changed:
            self._held -= characters
            self._changed.notify_all()

    def close(self) -> None:
        """Let nobody wait any longer: the run ends."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _has_room(self, characters: int, instead_of: int) -> bool:
        others = self._held - instead_of
        return self._closed or others <= 0 or others + characters <= self._most
