"""Reads HTML pages: the main content, or all but navigation where a page has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from activekg_pipelines.errors import EmptyObject, NoTextLayer
from activekg_pipelines.extraction.decode import Decoded, decode
from activekg_pipelines.extraction.document import ExtractedDocument, finish
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.html.flat import flat_text
from activekg_pipelines.extraction.html.tree import UNSHOWN, Rendered, is_outsized, render
from activekg_pipelines.extraction.warnings import DocumentWarning, WarningKind

MIME_TYPE: Final = "text/html"

# trafilatura takes some pages that are no article (lists, forums, tables) for empty. At
# a quarter the text lost of good pages and the boilerplate of bad ones balance, as
# measured.
_LEAST_SHARE: Final = 0.25
# From this share on an estimate of the whole page's length will do.
_SURE_SHARE: Final = 0.4
# As its last resort trafilatura hands back the text as one paragraph; then the page as
# a whole is better structured.
_ONE_PARAGRAPH_SHARE: Final = 0.6
# Longer pages are exports and lists; trafilatura would take a minute to find no article
# in them.
_MAX_ARTICLE_CHARS: Final = 5_000_000
# trafilatura takes 50 microseconds for each element.
_MAX_ARTICLE_ELEMENTS: Final = 100_000
_DESCRIPTION: Final = "description"
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
        raise EmptyObject("The file holds nothing but white space.")
    warnings = decoded.warnings
    root, is_whole = _parse(decoded.text)
    title = _title(root)
    if is_whole:
        chosen, engine = _content(root, decoded.text)
    else:
        chosen, engine = Rendered(flat_text(decoded.text), 0), "html.parser"
        detail = (
            "The page nests its elements too deeply to keep its structure; the text is complete."
        )
        warnings.append(DocumentWarning(WarningKind.STRUCTURE_LOST, detail=detail))
    document = finish(
        chosen.text,
        title=title,
        mime_type=MIME_TYPE,
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
    # A byte order mark or valid UTF-8 is stronger evidence than what the page says of
    # itself.
    if not decoded.guessed or EncodingDetector.find_declared_encoding(data, is_html=True) is None:
        return decoded
    page = UnicodeDammit(data, is_html=True)
    if page.unicode_markup is None or page.original_encoding is None:
        return decoded
    return Decoded(
        page.unicode_markup,
        page.original_encoding,
        guessed=False,
        damaged=page.contains_replacement_characters,
    )


def _parse(markup: str) -> tuple[Any, bool]:
    """Return the root element and whether it holds the whole page."""
    from lxml import etree, html

    parser = html.HTMLParser(
        encoding="utf-8", remove_comments=True, remove_pis=True, no_network=True, huge_tree=False
    )
    # lxml.html asks Python for the class of each element it hands out; one class serves
    # for reading.
    parser.set_element_class_lookup(etree.ElementDefaultClassLookup(element=html.HtmlElement))
    try:
        root = html.document_fromstring(
            markup.encode("utf-8", "ignore"), parser=parser, ensure_head_body=True
        )
    except etree.ParserError as error:
        raise NoTextLayer("The HTML page holds no element.") from error
    return root, not any(_DEPTH_ERROR in entry.message for entry in parser.error_log)


def _content(root: Any, markup: str) -> tuple[Rendered, str]:
    _drop_what_no_reading_shows(root)
    body = root.find("body")
    article = _article(root) if _may_be_article(root, markup) else Rendered("", 0)
    is_lump = "\n\n" not in article.text
    if not is_lump and len(article.text) > _SURE_SHARE * _shown_characters(body):
        return article, "trafilatura"
    everything = render(body, skip_noise=True)
    if not everything.text:
        return render(_parse(markup)[0].find("body"), skip_noise=False), "lxml"
    share = len(article.text) / len(everything.text)
    if share < _LEAST_SHARE or (is_lump and share < 1 / _ONE_PARAGRAPH_SHARE):
        return everything, "lxml"
    return article, "trafilatura"


def _drop_what_no_reading_shows(root: Any) -> None:
    """Remove some half of a page's elements.

    trafilatura would look at them and copy them several times.
    """
    from lxml import etree

    described = root.xpath("//script[@type='application/ld+json']")
    # trafilatura reads an article's text from them where the page itself holds none.
    for script in described:
        script.tag = _DESCRIPTION
    etree.strip_elements(root, *UNSHOWN, "script", with_tail=False)
    for script in described:
        script.tag = "script"
    for footer in root.xpath("//footer[not(ancestor::article or ancestor::main)]"):
        footer.drop_tree()


def _may_be_article(root: Any, markup: str) -> bool:
    if len(markup) > _MAX_ARTICLE_CHARS or root.xpath("count(//*)") > _MAX_ARTICLE_ELEMENTS:
        return False
    # trafilatura fills up the rows of a table.
    return not any(is_outsized(table) for table in root.iter("table"))


def _article(root: Any) -> Rendered:
    from trafilatura import bare_extraction

    # Any format but its default "python" spares it from writing the text as well.
    found = bare_extraction(
        root,
        output_format="xml",
        fast=True,
        include_comments=False,
        include_tables=True,
        include_formatting=True,
        with_metadata=False,
    )
    body = getattr(found, "body", None)
    return Rendered("", 0) if body is None else render(body, skip_noise=False)


def _shown_characters(body: Any) -> int:
    """About as many as ``body`` rendered without noise has, in a tenth of the time."""
    hidden = body.xpath(".//header[not(ancestor::article or ancestor::main)] | .//*[@hidden]")
    return _characters(body) - sum(map(_characters, hidden))


def _characters(element: Any) -> int:
    return len(" ".join(element.text_content().split()))


def _title(root: Any) -> str | None:
    for path in ("//head/title", "//meta[@property='og:title']/@content", "//h1"):
        found = root.xpath(f"string({path})")
        if found.strip():
            return str(found)
    return None
