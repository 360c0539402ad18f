"""Keeps workers from importing the main module of the process that owns the sandbox.
The fork server imports it first.

Workers need nothing of it: importing it takes seconds, and a script without a main
guard would run again. It stands apart from the parsers' imports so that a parser that
cannot be imported does not undo it.
"""

from __future__ import annotations

import multiprocessing.spawn


def _leave_main_alone(*_: object) -> None:
    """Stands in for multiprocessing's own function, in the fork server and its workers
    only.
    """


multiprocessing.spawn._fixup_main_from_name = _leave_main_alone  # type: ignore[attr-defined]
multiprocessing.spawn._fixup_main_from_path = _leave_main_alone  # type: ignore[attr-defined]
