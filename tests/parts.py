"""Services in which a test has put parts of its own."""

from __future__ import annotations

from copy import copy
from typing import Any

from activekg_pipelines.services import Services


def with_parts(services: Services, **parts: Any) -> Services:
    """Services with these parts in place of their own; the database is shared."""
    changed = copy(services)
    for name, part in {"database": services.database, **parts}.items():
        setattr(changed, name, part)
    return changed
