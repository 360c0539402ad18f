"""Texts and Markdown: too long, unreadable, or made to let patterns backtrack."""

from __future__ import annotations

from activekg_pipelines.extraction import Limits
from tests.hostile.file import HostileFile


def files(limits: Limits) -> list[HostileFile]:
    return [*_lengths(limits), *_characters(limits), *_markdown(limits)]


def _lengths(limits: Limits) -> list[HostileFile]:
    most = limits.max_text_chars
    return [
        HostileFile("text/one-line-too-long.txt", b"word " * (most // 5 + 1), "text_too_large"),
        HostileFile("text/one-line.txt", b"word " * (most // 5), holds="word word"),
        HostileFile("text/one-letter.txt", b"a" * most, holds="aaa"),
        HostileFile(
            "text/one-letter-of-four-bytes.txt",
            "\N{PILE OF POO}".encode() * most,
            holds="\N{PILE OF POO}",
        ),
        HostileFile("text/spaces-in-a-line.txt", b"a" + b" " * (most - 2) + b"b", holds="a"),
        HostileFile(
            "text/spaces-and-feeds.txt", b"a" + b" \x0c\t" * (most // 3 - 1) + b"b", holds="b"
        ),
        HostileFile("text/empty-lines.txt", b"a" + b"\r\n \n" * (most // 4 - 1) + b"b", holds="b"),
        HostileFile("text/lines-of-one-letter.txt", b"a\n" * (most // 2), holds="a\na"),
        HostileFile("text/full-stops.txt", b". " * (most // 2), holds=". ."),
    ]


def _characters(limits: Limits) -> list[HostileFile]:
    latin = "Half of these bytes are NUL, and still it can be read. " * 100
    return [
        HostileFile(
            "text/combining.txt", "\u0301".encode() * limits.max_text_chars, "no_text_layer"
        ),
        HostileFile(
            "text/white-space.txt",
            " \u3000\u00a0\u2003\t\r\n\x0c\x85".encode() * (limits.max_text_chars // 9),
            "empty",
        ),
        HostileFile(
            "text/zero-width.txt",
            "\u200b\u200d\ufeff\u2060\u00ad".encode() * (limits.max_text_chars // 5),
            "empty",
        ),
        HostileFile("text/controls.txt", b"Text " * 1000 + bytes(range(1, 32)), holds="Text"),
        HostileFile("text/utf-7.txt", b"+AGEAYgBj- in UTF-7, as it stands", holds="UTF-7"),
        HostileFile(
            "text/utf-16-without-mark.txt", latin.encode("utf-16-le"), holds="still it can be read"
        ),
        HostileFile(
            "text/utf-16-be-without-mark.txt",
            latin.encode("utf-16-be"),
            holds="still it can be read",
        ),
        HostileFile(
            "text/utf-16-cut.txt", latin.encode("utf-16")[:-1], holds="still it can be read"
        ),
        HostileFile(
            "text/utf-16-surrogates.txt", b"\xff\xfe" + b"A\0\x00\xd8B\0\x00\xdcC\0" * 10, holds="A"
        ),
        HostileFile("text/utf-32.txt", latin.encode("utf-32"), holds="still it can be read"),
        HostileFile(
            "text/utf-32-beyond-unicode.txt",
            b"\xff\xfe\0\0A\0\0\0\xff\xff\xff\x7fB\0\0\0",
            holds="A",
        ),
        HostileFile("text/half-nul.txt", b"NU\0\0" * 5000, "unsupported_type"),
        HostileFile(
            "text/late-nul.txt",
            b"Text before the NULs. " * 500 + bytes(11_000),
            holds="Text before",
        ),
        HostileFile(
            "text/surrogates.txt",
            b"Lone \xed\xa0\x80 and \xed\xb0\x80 surrogates in WTF-8",
            holds="surrogates",
        ),
        HostileFile(
            "text/cesu-8.txt",
            b"Good text. " * 100 + b"\xed\xa0\xbd\xed\xb2\xa9",
            holds="Good text.",
        ),
        HostileFile(
            "text/overlong.txt",
            b"Good text. " * 100 + b"\xc0\xaf\xe0\x80\xaf\xf8\x88\x80\x80\x80",
            holds="Good text.",
        ),
        HostileFile(
            "text/directions.txt", "\u202e\u2066evil\u2069\u202c text".encode(), holds="evil"
        ),
        HostileFile("text/all-bytes.txt", bytes(range(32, 256)) * 100, holds="ABC"),
        HostileFile(
            "text/escapes.txt",
            b"\x1b[2J\x1b]0;title\x07 terminal escapes, and a text that is long enough" * 20,
            holds="terminal escapes",
        ),
        HostileFile("text/japanese-escapes.txt", b"\x1b$B" * 10_000 + b"\x1b(J text", holds="text"),
    ]


def _markdown(limits: Limits) -> list[HostileFile]:
    most = limits.max_text_chars
    marks = {
        "brackets": "[",
        "bracket-pairs": "[](",
        "backticks": "`",
        "backtick-runs": "``` ` `` ",
        "stars": "*",
        "stars-apart": "* a ",
        "hashes": "#",
        "quotes": "> ",
        "quote-lines": ">\n",
        "items": "- \n",
        "tables": "| - ",
        "rules": "|-\n",
        "fences": "```\n",
        "tildes-and-fences": "~~~\n```\n",
        "setext": "a\n--\n",
        "dashes": "-",
        "entities": "&a",
        "tags": "<a",
        "comments": "<!--",
        "underscores": "_a_ ",
        "numbers": "1. ",
        "backslashes": "\\",
        "stops": ".)]",
        "dash-lines": "---\n",
    }
    found = [
        HostileFile(
            f"markdown/{name}.md", (mark * (most // len(mark))).encode(), holds=mark.strip()[:1]
        )
        for name, mark in marks.items()
    ]
    return [
        *found,
        HostileFile(
            "markdown/title-of-hashes.md", b"# " + b"#" * (most - 20) + b"x\n\nText", holds="Text"
        ),
        HostileFile(
            "markdown/heading-of-a-megabyte.md",
            b"# " + b"T" * (most - 20) + b"\n\nText",
            title="T" * 300,
        ),
        HostileFile(
            "markdown/front-matter.md",
            b"---\ntitle: '" + b"' " * 9000 + b"\nx\n---\nText",
            holds="Text",
        ),
        HostileFile(
            "markdown/front-matter-is-code.md",
            b"---\ntitle: !!python/object/apply:os.system ['id']\n---\nText",
            title="!!python/object/apply:os.system ['id']",
        ),
        HostileFile(
            "markdown/nul-title.md",
            b"# A\0 title\x01 \xed\xa0\x80 of odd characters\n\n" + b"Text " * 50,
            holds="Text",
        ),
        HostileFile(
            "markdown/pages.md",
            b"<!-- a -->\n" * 1000 + b"<script>alert(1)</script> text",
            holds="text",
        ),
    ]
