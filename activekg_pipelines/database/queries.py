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
        parts: further parts by name, for SQL that derives from declarations in code.
            They may stand in the file's own parts, too. Never built from input.
    """
    # Shipped with the package and never built from input: as literal as a string in the
    # code.
    queries: dict[str, LiteralString] = {}
    own_parts: dict[str, str] = {}
    _, *found = _HEADING.split(path.read_text(encoding="utf-8"))
    for kind, name, sql in zip(found[::3], found[1::3], found[2::3], strict=True):
        (queries if kind == "name" else own_parts)[name] = sql.strip()
    for name, part in [*own_parts.items(), *(parts or {}).items()]:
        queries = {query: sql.replace(f"{{{name}}}", part) for query, sql in queries.items()}
    return queries
