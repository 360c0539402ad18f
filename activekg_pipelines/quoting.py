"""Makes what others said fit for sentences, rows and logs of ours: bounded and plain.

A store, a library or a database may say anything, of any length.
"""

from __future__ import annotations

from typing import Final

# Control characters, line and paragraph separators, and characters that change the
# direction of the text after them. Postgres refuses NUL and lone surrogates.
_INVISIBLE: Final = (*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F)
_DIRECTIONAL: Final = (*range(0x2028, 0x202F), *range(0x2066, 0x206A))
_SURROGATES: Final = range(0xD800, 0xE000)
ESCAPES: Final = {
    code: chr(code).encode("unicode_escape").decode()
    for code in (*_INVISIBLE, *_DIRECTIONAL, *_SURROGATES)
}
"""For ``str.translate``: each such character becomes its escape, as Python writes it."""


def printable(text: str, most: int) -> str:
    """``text`` on one line, without characters that control a terminal or a direction.

    Args:
        most: characters at most; what is longer ends with an ellipsis.
    """
    # Cut first, so that a megabyte is not escaped for its first words.
    escaped = text[: most + 1].translate(ESCAPES)
    return escaped if len(escaped) <= most else escaped[: most - 1] + "…"
