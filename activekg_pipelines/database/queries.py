"""Loads SQL that lies in a ``.sql`` file beside the module that runs it: ``-- name:
<name>`` starts each query.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (\w+)\n", re.MULTILINE)


def load_queries(path: Path) -> dict[str, LiteralString]:
    """Queries by name.

    Args:
        path: the ``.sql`` file; every query in it starts with a line ``-- name:
            <name>``.
    """
    _, *parts = _NAME.split(path.read_text(encoding="utf-8"))
    # Shipped with the package and never built from input: as literal as a string in the
    # code.
    return {
        name: cast(LiteralString, sql.strip())
        for name, sql in zip(parts[::2], parts[1::2], strict=True)
    }
