"""Makes names that other systems accept from any text."""

from __future__ import annotations

import hashlib
import re


def slug(value: str, limit: int, allowed: str = "A-Za-z0-9_.-", digits: int = 8) -> str:
    """``value`` with other characters replaced.

    A hash distinguishes values that would become equal.

    Args:
        limit: characters at most.
        allowed: characters that stay, as inside a regular expression's brackets.
        digits: hexadecimal digits of the hash.
    """
    cleaned = re.sub(rf"[^{allowed}]+|\.\.+", "_", value)
    # A value that looks like another value's slug with hash gets a hash of its own.
    if (
        cleaned == value
        and len(value) <= limit
        and not re.search(rf"_[0-9a-f]{{{digits}}}$", value)
    ):
        return value
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:digits]
    return f"{cleaned[: limit - digits - 1]}_{digest}"
