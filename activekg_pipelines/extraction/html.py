"""Reads HTML pages: the main content where a page has one, else all that is not navigation."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from activekg_pipelines.errors import EmptyObject, NoTextLayer
from activekg_pipelines.extraction.decode import Decoded, decode
from activekg_pipelines.extraction.detect import Format
from activekg_pipelines.extraction.document import ExtractedDocument, finish
from activekg_pipelines.extraction.html_flat import flat_text
from activekg_pipelines.extraction.html_tree import Rendered, render
from activekg_pipelines.extraction.limits import Limits
from activekg_pipelines.extraction.text import encoding_warnings

# trafilatura takes some pages that are no article (lists, forums, tables) for empty; a quarter is where the measured
# loss of good pages and the boilerplate of bad ones balance.
_LEAST_SHARE: Final = 0.25
# As its last resort trafilatura hands back the text as one paragraph; then the page as a whole is better structured.
_ONE_PARAGRAPH_SHARE: Final = 0.6
# Longer pages are exports and lists; trafilatura would take a minute to find no article in them.
_MAX_ARTICLE_CHARS: Final = 5_000_000
_DEPTH_ERROR: Final = "Excessive depth"


def extract(path: Path, limits: Limits) -> ExtractedDocument:
    """Read the HTML page at ``path``.

    Raises:
        EmptyObject: the file holds nothing but white space.
        NoTextLayer: the page shows no text, as when scripts build it.
        TextTooLarge: see :func:`~activekg_pipelines.extraction.document.finish`.
    """
    decoded = _decode(path.read_bytes())
    if not decoded.text.strip():
        raise EmptyObject
    warnings = encoding_warnings(decoded)
    root, is_whole = _parse(decoded.text)
    if is_whole:
        chosen, engine = _content(root, is_article=len(decoded.text) <= _MAX_ARTICLE_CHARS)
    else:
        chosen, engine = Rendered(flat_text(decoded.text), 0), "html.parser"
        warnings.append("The page nests its elements too deeply to keep its structure; the text is complete.")
    document = finish(
        chosen.text,
        title=_title(root),
        mime_type=Format.HTML.value,
        limits=limits,
        engine=engine,
        warnings=warnings,
        encoding=decoded.encoding,
        encoding_guessed=decoded.guessed,
        tables=chosen.tables,
    )
    if not document.text.strip():
        raise NoTextLayer("The HTML page shows no text; scripts may build it in the browser.")
    return document


def _decode(data: bytes) -> Decoded:
    from bs4.dammit import EncodingDetector, UnicodeDammit

    decoded = decode(data)
    # A byte order mark or valid UTF-8 is stronger evidence than what the page says of itself.
    if not decoded.guessed or EncodingDetector.find_declared_encoding(data, is_html=True) is None:
        return decoded
    page = UnicodeDammit(data, is_html=True)
    if page.unicode_markup is None or page.original_encoding is None:
        return decoded
    return Decoded(
        page.unicode_markup, page.original_encoding, guessed=False, damaged=page.contains_replacement_characters
    )


def _parse(markup: str) -> tuple[Any, bool]:
    """Return the root element and whether it holds the whole page."""
    from lxml import html

    parser = html.HTMLParser(encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=False)
    root = html.document_fromstring(markup.encode("utf-8", "ignore"), parser=parser, ensure_head_body=True)
    return root, not any(_DEPTH_ERROR in entry.message for entry in parser.error_log)


def _content(root: Any, is_article: bool) -> tuple[Rendered, str]:
    body = root.find("body")
    everything = render(body, skip_noise=True)
    if not everything.text:
        return render(body, skip_noise=False), "lxml"
    if not is_article:
        return everything, "lxml"
    article = _article(root)
    share = len(article.text) / len(everything.text)
    is_lump = "\n\n" not in article.text
    if share < _LEAST_SHARE or (is_lump and share < 1 / _ONE_PARAGRAPH_SHARE):
        return everything, "lxml"
    return article, "trafilatura"


def _article(root: Any) -> Rendered:
    from trafilatura import bare_extraction

    found = bare_extraction(
        root, fast=True, include_comments=False, include_tables=True, include_formatting=True, with_metadata=False
    )
    body = getattr(found, "body", None)
    return Rendered("", 0) if body is None else render(body, skip_noise=False)


def _title(root: Any) -> str | None:
    for found in (
        root.xpath("string(//head/title)"),
        root.xpath("string(//meta[@property='og:title']/@content)"),
        root.xpath("string(//h1)"),
    ):
        if found.strip():
            return str(found)
    return None
