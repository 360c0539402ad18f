"""Reads a page's text tag by tag, for pages whose elements nest too deeply for a tree.

libxml2 stops at 256 levels. Pages with hundreds of unclosed tags reach that by
accident, bombs on purpose.
"""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Final

from activekg_pipelines.extraction import markdown_writer

_INVISIBLE: Final = frozenset({"script", "style", "template", "title"})
_INLINE: Final = frozenset(
    [
        "a",
        "abbr",
        "b",
        "bdi",
        "bdo",
        "cite",
        "code",
        "del",
        "dfn",
        "em",
        "font",
        "i",
        "ins",
        "kbd",
        "label",
        "mark",
        "q",
        "s",
        "samp",
        "small",
        "span",
        "strike",
        "strong",
        "sub",
        "sup",
        "time",
        "tt",
        "u",
        "var",
        "wbr",
    ]
)


def flat_text(markup: str) -> str:
    """Return the visible text of ``markup``, with a paragraph between block tags."""
    reader = _TextReader()
    reader.feed(markup)
    reader.close()
    return "\n\n".join(
        line
        for paragraph in reader.paragraphs
        if (line := markdown_writer.one_line("".join(paragraph)))
    )


class _TextReader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.paragraphs: list[list[str]] = [[]]
        self._hidden_by: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        del attrs
        if tag in _INVISIBLE and self._hidden_by is None:
            self._hidden_by = tag
        self._break_at(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag == self._hidden_by:
            self._hidden_by = None
        self._break_at(tag)

    def handle_data(self, data: str) -> None:
        if self._hidden_by is None:
            self.paragraphs[-1].append(data)

    def _break_at(self, tag: str) -> None:
        if tag not in _INLINE and self.paragraphs[-1]:
            self.paragraphs.append([])
