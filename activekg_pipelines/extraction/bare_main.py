"""Keeps workers from importing the main module of the process that owns the sandbox.

The fork server imports this module first. Workers need nothing of the main module:
importing it takes seconds, and a script without a main guard would run again.
"""

from __future__ import annotations

import multiprocessing.spawn


def _leave_main_alone(*_: object) -> None:
    """Replaces multiprocessing's own function in the fork server and its workers."""


multiprocessing.spawn._fixup_main_from_name = _leave_main_alone  # type: ignore[attr-defined]
multiprocessing.spawn._fixup_main_from_path = _leave_main_alone  # type: ignore[attr-defined]
