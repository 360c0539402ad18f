"""Reads HTML pages: what they say, without navigation."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from activekg_pipelines.errors import EmptyObject, NoTextLayer
from activekg_pipelines.extraction.decode import Decoded
from activekg_pipelines.extraction.document import ExtractedDocument, finish
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.html import mhtml
from activekg_pipelines.extraction.html.encoding import decode_page, read_as
from activekg_pipelines.extraction.html.flat import flat_text
from activekg_pipelines.extraction.html.hidden import Hidden
from activekg_pipelines.extraction.html.tree import Block, Page, read, text_of
from activekg_pipelines.extraction.warnings import DocumentWarning, WarningKind

MIME_TYPE: Final = "text/html"

_DEPTH_ERROR: Final = "Excessive depth"
# libxml2 compares each attribute of an element with all others of it.
_MAX_ATTRIBUTES: Final = 10_000
_LONG_TAG: Final = re.compile(r"<[a-zA-Z][^<>]{20000,}+")
# So much longer than the page's own text is the text of an article that scripts show.
_DESCRIBED_FACTOR: Final = 2
_MAX_DESCRIPTION_CHARS: Final = 2_000_000


def extract(path: Path, limits: Limits) -> ExtractedDocument:
    """Read the HTML page or web archive at ``path``.

    Raises:
        EmptyObject: the file holds nothing but white space.
        NoTextLayer: the page shows no text, as when scripts build it.
        TextTooLarge: see :func:`~activekg_pipelines.extraction.document.finish`.
    """
    decoded, warnings = _decode(path.read_bytes())
    if not decoded.text.strip():
        raise EmptyObject("The file holds nothing but white space.")
    root, is_whole = _parse(decoded.text)
    if is_whole:
        text, tables, missing = _content(root)
        warnings += missing
        engine = "lxml"
    else:
        text, tables, engine = flat_text(decoded.text), 0, "html.parser"
        detail = (
            "The page nests its elements too deeply, or gives one too many attributes, to keep "
            "its structure; the text is complete."
        )
        warnings.append(DocumentWarning(WarningKind.STRUCTURE_LOST, detail=detail))
    document = finish(
        text,
        title=_title(root),
        mime_type=MIME_TYPE,
        limits=limits,
        engine=engine,
        warnings=warnings,
        encoding=decoded.encoding,
        encoding_guessed=decoded.guessed,
        tables=tables,
    )
    if not document.text.strip():
        raise NoTextLayer("The HTML page shows no text; scripts may build it in the browser.")
    return document


def _decode(data: bytes) -> tuple[Decoded, list[DocumentWarning]]:
    archived = mhtml.unpack(data)
    if archived is None:
        decoded = decode_page(data)
        return decoded, decoded.warnings
    named = archived.encoding
    decoded = (read_as(archived.page, named) if named else None) or decode_page(archived.page)
    warnings = decoded.warnings
    if archived.others:
        warnings.append(
            DocumentWarning(
                WarningKind.ATTACHMENTS_NOT_READ, count=archived.others, detail="a page in a frame"
            )
        )
    return decoded, warnings


def _parse(markup: str) -> tuple[Any, bool]:
    """Return the root element and whether it holds the whole page."""
    from lxml import etree, html

    if any(len(tag.split()) > _MAX_ATTRIBUTES for tag in _LONG_TAG.findall(markup)):
        return html.document_fromstring("<html><head></head><body></body></html>"), False
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


def read_page(data: bytes) -> tuple[Any, Page]:
    """The root element and the blocks of a page, navigation included.

    Raises:
        NoTextLayer: the page holds no element.
    """
    root, _ = _parse(_decode(data)[0].text)
    return root, _read(root)


def _content(root: Any) -> tuple[str, int, list[DocumentWarning]]:
    """The page's text, how many tables are in it, and what is not."""
    from activekg_pipelines.extraction.html.content import is_content

    page = _read(root)
    warnings = []
    if page.hidden:
        warnings.append(
            DocumentWarning(
                WarningKind.HIDDEN_TEXT_LEFT_OUT, count=page.hidden, detail="the page hides them"
            )
        )
    kept = [
        block for block, stays in zip(page.blocks, is_content(page, root), strict=True) if stays
    ]
    shown, stays = _letters(page.blocks), _letters(kept)
    if stays < shown:
        warnings.append(
            DocumentWarning(WarningKind.SHARE_LEFT_OUT, count=shown - stays, total=shown)
        )
    text = text_of(kept)
    described = "\n\n".join(_described(root))
    if len(described) > _DESCRIBED_FACTOR * len(text):
        text = f"{text}\n\n{described}"
    return text, sum(block.tag == "table" for block in kept), warnings


def _read(root: Any) -> Page:
    """Read what the page shows, or would show once its scripts ran.

    Where more is hidden than shown, scripts show it; where more is said to browsers
    without scripts, scripts build the page.
    """
    body, is_hidden = root.find("body"), Hidden(root)
    page = read(body, is_hidden)
    shown = _letters(page.blocks)
    if page.hidden > shown:
        return read(body, with_noscript=page.noscript > shown)
    if page.noscript > shown:
        return read(body, is_hidden, with_noscript=True)
    return page


def _letters(blocks: list[Block]) -> int:
    return sum(block.letters for block in blocks)


def _described(root: Any) -> Iterator[str]:
    """Articles that the page holds for machines only."""
    for script in root.xpath("//script[@type='application/ld+json']/text()"):
        if "articleBody" not in script or len(script) > _MAX_DESCRIPTION_CHARS:
            continue
        try:
            value = json.loads(script)
        except (ValueError, RecursionError):
            # What only machines would read may be broken without anybody seeing it.
            continue
        items = value if isinstance(value, list) else [value]
        graphs = [item.get("@graph") for item in items if isinstance(item, dict)]
        for item in [
            *items,
            *(each for graph in graphs if isinstance(graph, list) for each in graph),
        ]:
            body = item.get("articleBody") if isinstance(item, dict) else None
            if isinstance(body, str):
                yield flat_text(body)


def _title(root: Any) -> str | None:
    for path in ("//head/title", "//meta[@property='og:title']/@content", "//h1"):
        found = root.xpath(f"string({path})")
        if found.strip():
            return str(found)
    return None
