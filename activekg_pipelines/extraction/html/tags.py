"""What HTML's elements are to a reader of its text."""

from __future__ import annotations

from typing import Final

HEADINGS: Final = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
LISTS: Final = frozenset({"ul", "ol", "menu", "dir"})
ITEMS: Final = frozenset({"li", "dd"})
BREAKS: Final = frozenset({"br", "hr"})
BLOCKS: Final = frozenset(
    [
        "address",
        "article",
        "aside",
        "blockquote",
        "body",
        "button",
        "caption",
        "center",
        "dd",
        "details",
        "dialog",
        "dir",
        "div",
        "dl",
        "dt",
        "fieldset",
        "figcaption",
        "figure",
        "footer",
        "form",
        "header",
        "hgroup",
        "legend",
        "main",
        "nav",
        "noscript",
        "p",
        "search",
        "section",
        "summary",
        "table",
        "tbody",
        "tfoot",
        "thead",
        "ul",
        "ol",
        "menu",
        "li",
        "tr",
        "td",
        "th",
    ]
)
"""Elements that begin and end on lines of their own."""
OWN_LINE: Final = (BLOCKS - {"button"}) | HEADINGS | BREAKS | {"pre"}
NEVER: Final = frozenset(
    [
        "script",
        "style",
        "template",
        "iframe",
        "object",
        "embed",
        "svg",
        "canvas",
        "audio",
        "video",
        "select",
        "option",
        "datalist",
        "button",
        "input",
        "textarea",
        "title",
        "meta",
        "link",
    ]
)
"""Elements whose text a page does not show, or only to work with it."""
