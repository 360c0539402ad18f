"""Loads SQL that lies in a ``.sql`` file beside the module that runs it.

``-- name: <name>`` starts each query. ``-- part: <name>`` starts a part that several
queries share; ``{<name>}`` in a query stands for it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import LiteralString

_HEADING = re.compile(r"^-- (name|part): (\w+)\n", re.MULTILINE)


def load_queries(path: Path, parts: Mapping[str, str] | None = None) -> dict[str, LiteralString]:
    """Queries by name.

    Args:
        path: the ``.sql`` file.
        parts: SQL by name that the queries share with code, beside the file's own
            parts. Never built from input.
    """
    known = dict(parts or {})
    # Shipped with the package and never built from input: as literal as a string in the
    # code.
    queries: dict[str, LiteralString] = {}
    _, *found = _HEADING.split(path.read_text(encoding="utf-8"))
    for kind, name, sql in zip(found[::3], found[1::3], found[2::3], strict=True):
        (queries if kind == "name" else known)[name] = sql.strip()
    for name, part in known.items():
        queries = {query: sql.replace(f"{{{name}}}", part) for query, sql in queries.items()}
    return queries
