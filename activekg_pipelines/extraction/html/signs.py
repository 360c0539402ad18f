"""Measures what a block of a page and its surroundings look like.

The columns of :func:`measure` are what the choice between content and navigation goes
by; ``content.py`` reads them in this order.
"""

from __future__ import annotations

import re
from collections import Counter
from math import log
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from activekg_pipelines.extraction.html.tree import Block, Page, Place

# Words in lower-case classes and ids, as the templates of shops, blogs, forums and wikis use them.
_NAMES: Final = {
    "navigation": r"nav|menu|crumb|pag(?:ination|er|inat)|toc\b|skip|tool-?bar|sitemap|languag",
    "foot": r"foot|copyright|legal|imprint|bottom|disclaimer|colophon",
    "head": r"header|masthead|banner|brand|logo|top-?bar",
    "side": r"side|aside|rail\b|widget|secondary|right-?col|left-?col|complementary",
    "consent": r"cookie|consent|gdpr|privacy|onetrust|truste",
    "overlay": r"modal|pop-?up|overlay|dialog|lightbox|drawer|off-?canvas|toast|tooltip|fly-?out"
    r"|drop-?down|mega",
    "related": r"relat|recommend|also|popular|trending|similar|suggest|more-|latest|recent"
    r"|up-?sell|cross-?sell|up-?next|read-?next|teaser|featur|carousel|slider|swiper",
    "share": r"share|social|follow|facebook|twitter|sharing",
    "advert": r"\bads?\b|\bad-|-ad\b|advert|sponsor|promo|outbrain|taboola",
    "account": r"newsletter|subscri|sign-?up|log-?in|sign-?in|register|search|cart\b|basket|wish"
    r"|account|filter|facet|sort",
    "meta": r"meta|byline|author|date\b|time\b|tags?\b|categor|label|badge|avatar|user|rating|vote"
    r"|score|count|action|control|btn|button|profile|bio\b",
    "comment": r"comment|reply|replies|disqus|respond",
    "review": r"review|testimonial|stars\b|quote",
    "article": r"article|entry|story|prose|markdown|wiki|blog|news",
    "post": r"post|message|thread|topic|question|discuss",
    "answer": r"answer|faq|accordion|collaps|tab-|tabs\b|tab\b|panel",
    "content": r"content|main|body|text|primary|center",
    "description": r"descri|detail|summary|overview|about|info|spec|feature",
    "product": r"product|price|shop|store",
    "offer": r"price|stock|qty|quantity|variant|swatch|option|add-to|buy\b|deliver|shipping",
    "card": r"card|tile|grid|listing|result|item\b|column|col\b",
    "hidden": r"hidden|hide\b|visually|sr-only|screen-reader|mobile",
    "section": r"section|block|row\b|container|wrap",
}
# Words in the lower-case text of a block, and in the heading above it.
_WORDS: Final = {
    "consent": r"\bcookies?\b|\bconsent\b|gdpr|privacy policy",
    "account": r"\b(?:sign (?:in|up)|log ?in|subscribe|newsletter|register|your email)\b",
    "rights": r"©|\(c\) \d|copyright|all rights reserved|powered by|terms (?:of|and)",
    "related": r"\b(?:related|you may (?:also )?like|recommended|read (?:more|next)|see also"
    r"|more from|popular|trending|latest|recent(?:ly)?|also (?:viewed|bought|like)|similar)\b",
    "share": r"\b(?:share|follow us|tweet|facebook|twitter|instagram|linkedin|pinterest)\b",
    "comment": r"\b(?:comments?|reply|replies|reviews?|leave a)\b",
    "browser": r"javascript|out of date browser|your browser",
    "buy": r"add to (?:cart|bag|basket)|in stock|quantity|\bcheckout\b|free shipping|[$€£]\s?\d",
    "when": r"\b(?:19|20)\d\d\b|\bago\b|\b\d+ (?:min|hours?|days?)\b|posted|updated",
}
_NAMED_BY: Final = ("class", "id", "itemprop", "aria-label", "data-testid")
_TAGS: Final = (
    "nav",
    "header",
    "footer",
    "aside",
    "main",
    "article",
    "form",
    "ul",
    "table",
    "section",
    "figure",
    "details",
    "dialog",
    "button",
    "blockquote",
    "p",
)
_ROLES: Final = {
    "navigation": 0,
    "menu": 0,
    "menubar": 0,
    "banner": 1,
    "contentinfo": 2,
    "complementary": 3,
    "main": 4,
    "search": 5,
    "dialog": 6,
    "alertdialog": 6,
    "alert": 6,
}
_KINDS: Final = {
    "article": r"\b(?:news|blog|tech|scholarly)?article\b|blogposting|og:article",
    "product": r"\bproduct\b|og:product",
    "forum": r"discussionforumposting|qapage|\bquestion\b",
    "collection": r"collectionpage|itemlist",
    "page": r"\bwebpage\b|\borganization\b|\bservice\b|localbusiness",
}
LINKED_SHARE: Final = 1
WORDS: Final = 3
EARLIER: Final = 10
"""Columns: share of the letters in links, words, and equal blocks before."""
_SENTENCES: Final = 2
_LEVEL: Final = 13
_SAID: Final = 19
_DEPTH: Final = _SAID + 2 * len(_WORDS)
_NAMED: Final = _DEPTH + 1
_TAGGED: Final = _NAMED + len(_NAMES)
_IN_ROLE: Final = _TAGGED + len(_TAGS)
_CONTAINERS: Final = _IN_ROLE + 1 + max(_ROLES.values())
_OF_CONTAINER: Final = 7
_BLOCKS_IN_CONTAINER: Final = 2
_SENTENCE_END: Final = re.compile(r"[.!?\u2026\u3002\uff01\uff1f](?=\s|$)")
_FAR: Final = 40
_LEVELS: Final = 5
_NEIGHBOURS: Final = (-3, -2, -1, 1, 2, 3)
_WINDOWS: Final = (5, 15)
# Text longer than this is told apart by more than its words.
_READ_CHARS: Final = 400


def _compiled(words: dict[str, str]) -> list[re.Pattern[str]]:
    return [re.compile(pattern) for pattern in words.values()]


_NAME_PATTERNS: Final = _compiled(_NAMES)
_WORD_PATTERNS: Final = _compiled(_WORDS)
_KIND_PATTERNS: Final = _compiled(_KINDS)


_NAVIGATION_NAMES: Final = (
    "navigation",
    "foot",
    "head",
    "side",
    "consent",
    "overlay",
    "related",
    "share",
    "advert",
    "account",
)
_NAVIGATION_WORDS: Final = ("consent", "account", "rights", "related", "share", "browser")


class _Traits:
    """What a place says of itself, and at which depth something around it does."""

    __slots__ = ("names", "roles", "tags")

    def __init__(self, names: tuple[int, ...], tags: int, roles: int) -> None:
        self.names = names
        self.tags = tags
        self.roles = roles


def measure(page: Page, root: Any) -> NDArray[np.float32]:
    """Return ``float32[blocks, columns]`` for a page of at least one block."""
    blocks = page.blocks
    own = np.array(_own(blocks), np.float32)
    letters = np.array([block.letters for block in blocks], np.float64)
    linked = np.array([block.linked for block in blocks], np.float64)
    prose = letters * own[:, 4]
    around = _around(page, blocks)
    sums = [np.concatenate([[0.0], np.cumsum(each)]) for each in (letters, linked, prose)]
    sums += [np.concatenate([[0.0], np.cumsum(own[:, column])]) for column in (2, 5)]
    columns: list[NDArray[Any]] = [
        own,
        around,
        _containers(page, sums),
        _neighbours(own, sums),
        _whole(blocks, own, around, letters, linked, prose, root),
    ]
    return np.hstack(columns).astype(np.float32)


def letters(measured: NDArray[np.float32]) -> NDArray[np.float32]:
    """How many characters each block has."""
    return np.exp(measured[:, 0])


def is_marked(measured: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a block stands in what its author marked as navigation.

    A form may hold a whole page, and an aside a warning; a sentence there is text.
    """
    in_content = _in_content(measured)
    is_sentence = measured[:, _SENTENCES] > 0
    return (
        is_clearly_marked(measured)
        | _tagged(measured, "button")
        | (_tagged(measured, "header") & ~in_content)
        | (_tagged(measured, "form") & ~is_sentence)
        | (_tagged(measured, "aside") & ~in_content & ~is_sentence)
    )


def is_clearly_marked(measured: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a block stands in what is navigation whatever it holds."""
    return (
        _tagged(measured, "nav", "dialog")
        | _in_role(measured, "navigation", "banner", "contentinfo", "search", "dialog")
        | (_tagged(measured, "footer") & ~_in_content(measured))
    )


def _in_content(measured: NDArray[np.float32]) -> NDArray[np.bool_]:
    return _tagged(measured, "main", "article") | _in_role(measured, "main")


def is_named(measured: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a class or id around a block is one that navigation has."""
    columns = [_NAMED + list(_NAMES).index(name) for name in _NAVIGATION_NAMES]
    return np.asarray((measured[:, columns] < _FAR).any(axis=1))


def company(measured: NDArray[np.float32]) -> NDArray[np.float32]:
    """How many blocks stand together with a block, as in the card of a list."""
    own, around = (
        np.expm1(measured[:, _CONTAINERS + level * _OF_CONTAINER + _BLOCKS_IN_CONTAINER])
        for level in range(2)
    )
    return np.where(own > 1.5, own, around)


def says_navigation(measured: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Whether a block has words in it that navigation has."""
    columns = [_SAID + list(_WORDS).index(name) for name in _NAVIGATION_WORDS]
    return np.asarray((measured[:, columns] > 0).any(axis=1))


def _tagged(measured: NDArray[np.float32], *tags: str) -> NDArray[np.bool_]:
    return np.asarray((measured[:, [_TAGGED + _TAGS.index(tag) for tag in tags]] > 0).any(axis=1))


def _in_role(measured: NDArray[np.float32], *roles: str) -> NDArray[np.bool_]:
    return np.asarray((measured[:, [_IN_ROLE + _ROLES[role] for role in roles]] > 0).any(axis=1))


def _own(blocks: list[Block]) -> list[list[float]]:
    rows = []
    repeated = Counter(block.text for block in blocks)
    alike = Counter(map(kind, blocks))
    seen: Counter[str] = Counter()
    heading = [0.0] * len(_WORD_PATTERNS)
    since = _FAR
    for block in blocks:
        text, letters = block.text, max(1, block.letters)
        share = block.linked / letters
        level = int(block.tag[1]) if len(block.tag) == 2 and block.tag[1].isdigit() else 0
        sample = text[:_READ_CHARS]
        lowered = sample.lower()
        said = [float(pattern.search(lowered) is not None) for pattern in _WORD_PATTERNS]
        if level:
            heading, since = said, 0
        else:
            since += 1
        sentences = len(_SENTENCE_END.findall(text))
        is_prose = block.tag in ("p", "blockquote", "pre") or letters - block.linked > 80
        rows.append(
            [
                log(letters),
                share,
                sentences,
                text.count(" ") + 1,
                float(is_prose),
                block.links,
                float(text[-1] in ".!?:;"),
                float(text[-1] == ":"),
                sum(map(str.isdigit, sample)) / len(sample),
                sum(map(str.isupper, sample)) / len(sample),
                min(seen[text], 9),
                min(repeated[text], 9),
                log(1 + alike[kind(block)]),
                level,
                float(block.tag == "p"),
                float(bool(block.mark)),
                float(block.tag in ("td", "th", "table")),
                float(block.tag == "div"),
                min(since, _FAR),
                *said,
                *heading,
            ]
        )
        seen[text] += 1
    return rows


def kind(block: Block) -> tuple[str, str | None, str | None]:
    """Its tag, its class and the class around it: alike in the blocks of a list."""
    place = block.place
    above = place.parent
    over = None if above is None else above.element.get("class")
    return block.tag, place.element.get("class"), over


def _around(page: Page, blocks: list[Block]) -> NDArray[np.float64]:
    traits: list[_Traits] = []
    nowhere = _Traits((-_FAR,) * len(_NAMES), 0, 0)
    known: dict[str, int] = {}
    for place in page.places:
        above = nowhere if place.parent is None else traits[place.parent.number]
        traits.append(_traits(place, above, known))
    of_blocks = [traits[block.place.number] for block in blocks]
    depths = np.array([[block.place.depth] for block in blocks], np.float64)
    names = np.minimum(depths - np.array([each.names for each in of_blocks]), _FAR)
    tags = _bits([each.tags for each in of_blocks], len(_TAGS))
    roles = _bits([each.roles for each in of_blocks], 1 + max(_ROLES.values()))
    return np.hstack([depths, names, tags, roles])


def _traits(place: Place, above: _Traits, known: dict[str, int]) -> _Traits:
    element = place.element
    tags = above.tags | (1 << _TAGS.index(element.tag) if element.tag in _TAGS else 0)
    if not element.attrib:
        return _Traits(above.names, tags, above.roles)
    role = _ROLES.get(element.get("role") or "")
    roles = above.roles if role is None else above.roles | 1 << role
    own = 0
    said = [element.get(name) or "" for name in _NAMED_BY]
    for name in " ".join(said).lower().split():
        if name not in known:
            known[name] = sum(
                1 << index
                for index, pattern in enumerate(_NAME_PATTERNS)
                if pattern.search(name) is not None
            )
        own |= known[name]
    names = above.names
    if own:
        names = tuple(
            place.depth if own >> index & 1 else depth for index, depth in enumerate(names)
        )
    return _Traits(names, tags, roles)


def _bits(values: list[int], count: int) -> NDArray[np.float64]:
    return (np.array(values)[:, None] >> np.arange(count) & 1).astype(np.float64)


def _containers(page: Page, sums: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Measure the places around each block, where a place holds more than the last."""
    chains = np.zeros((len(page.places), _LEVELS), np.int64)
    for place in page.places:
        chain = chains[place.number]
        above = place.parent
        if above is None:
            chain[:] = place.number
            continue
        chain[:] = chains[above.number]
        if (above.start, above.end) != (place.start, place.end):
            chain[1:] = chain[:-1].copy()
        chain[0] = place.number
    starts = np.array([place.start for place in page.places])
    ends = np.array([place.end for place in page.places])
    of_blocks = chains[[block.place.number for block in page.blocks]]
    total = max(1.0, float(sums[0][-1]))
    columns = []
    for level in range(_LEVELS):
        first, last = starts[of_blocks[:, level]], ends[of_blocks[:, level]]
        count = np.maximum(last - first, 1)
        letters, linked, prose, sentences, links = (each[last] - each[first] for each in sums)
        columns += [
            np.log1p(letters),
            linked / np.maximum(letters, 1),
            np.log1p(count),
            prose / np.maximum(letters, 1),
            sentences / count,
            letters / total,
            links / count,
        ]
    return np.array(columns).T


def _neighbours(own: NDArray[np.float32], sums: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    count = len(own)
    padded = np.vstack([np.full((3, 5), -1.0), own[:, :5], np.full((3, 5), -1.0)])
    columns = [padded[3 + offset : 3 + offset + count] for offset in _NEIGHBOURS]
    places = np.arange(count)
    for width in _WINDOWS:
        for before, after in ((width, width), (width, 0), (0, width)):
            first = np.maximum(places - before, 0)
            last = np.minimum(places + after + 1, count)
            letters, linked, prose, sentences, _ = (each[last] - each[first] for each in sums)
            size = np.maximum(letters, 1)
            columns.append(np.array([linked / size, prose / size, sentences]).T)
    return np.hstack(columns)


def _whole(
    blocks: list[Block],
    own: NDArray[np.float32],
    around: NDArray[np.float64],
    letters: NDArray[np.float64],
    linked: NDArray[np.float64],
    prose: NDArray[np.float64],
    root: Any,
) -> NDArray[np.float64]:
    count, total = len(blocks), max(1.0, float(letters.sum()))
    places = np.arange(count)
    first_tag = 1 + len(_NAMES)
    roles = first_tag + len(_TAGS)
    is_main = np.maximum(
        around[:, first_tag + _TAGS.index("main")], around[:, roles + _ROLES["main"]]
    )
    is_article = around[:, first_tag + _TAGS.index("article")]
    tops = np.flatnonzero(own[:, _LEVEL] == 1)
    top = int(tops[0]) if len(tops) else -1
    said = np.flatnonzero(prose * (own[:, 2] > 0))
    first_said, last_said = (int(said[0]), int(said[-1])) if len(said) else (0, count)
    page = [
        np.log1p(total),
        np.log1p(count),
        prose.sum() / total,
        linked.sum() / total,
        (letters * is_main).sum() / total,
        (letters * is_article).sum() / total,
        float(top >= 0),
        *_page_kinds(root),
    ]
    own_columns = [
        np.log1p(places),
        places / count,
        np.log1p(count - places),
        (np.cumsum(letters) - letters) / total,
        np.clip(places - top, -99, 99) if top >= 0 else np.full(count, 99),
        np.clip(places - first_said, -99, 99),
        np.clip(places - last_said, -99, 99),
    ]
    return np.hstack([np.array(own_columns).T, np.tile(np.array(page), (count, 1))])


def _page_kinds(root: Any) -> list[float]:
    """What a page says it is, in its description for machines."""
    said = root.xpath("//script[@type='application/ld+json']/text()")
    kinds = " ".join(
        kind
        for script in said
        for kind in re.findall(r'"@type"\s*+:\s*+(?:\[\s*+)?+"(\w+)', script[:200_000])
    )
    kinds += " " + " ".join(root.xpath("//*[@itemtype]/@itemtype")[:50])
    kinds += "".join(f" og:{kind}" for kind in root.xpath("//meta[@property='og:type']/@content"))
    return [float(pattern.search(kinds.lower()) is not None) for pattern in _KIND_PATTERNS]
