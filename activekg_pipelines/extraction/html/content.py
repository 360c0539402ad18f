"""Chooses the blocks of a page that are its content; the others are navigation.

Importing it loads numpy and the fitted trees, so it is imported where it is used.
"""

from __future__ import annotations

import re
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from activekg_pipelines.extraction.html import signs
from activekg_pipelines.extraction.html.forest import chances
from activekg_pipelines.extraction.html.tags import HEADINGS
from activekg_pipelines.extraction.html.tree import Page

# A page this short has too little in it to compare: only what its author marked as
# navigation is left out.
_SHORT_PAGE_CHARS: Final = 1_500
_SHORT_BLOCK_CHARS: Final = 40
# The largest page of many is a listing; to measure each line of it takes minutes.
_MOST_BLOCKS: Final = 100_000
# The name, the text and a few more lines of what a list shows as a card.
_CARD_BLOCKS: Final = 6
_LINKED_SHARE: Final = 0.5
# The pages that the trees were fitted to leave such lists out of their main text.
_REFERENCES: Final = re.compile(
    r"\b(?:references|bibliography|sources|works cited|footnotes|further reading|literature"
    r"|attachments|downloads|external links|literatur|quellen|einzelnachweise|anh\u00e4nge"
    r"|r\u00e9f\u00e9rences|bibliographie|referencias|bibliograf\u00eda)\b",
    re.IGNORECASE,
)
# As measured: at 0 the ends of lists are lost, at 1 every paragraph of a page is one.
_TOGETHER: Final = 0.7


def is_content(page: Page, root: Any) -> list[bool]:
    """For each block of ``page`` whether it is content.

    What is left out both looks like navigation by itself and is unlikely to be content
    by how pages are made. If that is everything, nothing is left out.
    """
    if not page.blocks:
        return []
    if len(page.blocks) > _MOST_BLOCKS:
        return [True] * len(page.blocks)
    measured = signs.measure(page, root)
    if sum(block.letters for block in page.blocks) < _SHORT_PAGE_CHARS:
        kept = ~_is_marked(page, measured)
    else:
        words = measured[:, signs.WORDS].astype(np.float64)
        chance = _alike(chances(measured), words, page)
        kept = _likely(chance, words) | ~_looks_like_navigation(measured)
        kept |= _heads_text(measured, kept) | _is_data(page, measured)
    return kept.tolist() if kept.any() else [True] * len(page.blocks)


def _is_marked(page: Page, measured: NDArray[np.float32]) -> NDArray[np.bool_]:
    """The blocks of a short page that its author marked as navigation.

    Some marks say less than they seem to: a form may be the whole page, an aside a
    warning, a header the article's, and a button what opens the text behind it.
    """
    clearly, marked = signs.is_clearly_marked(measured), signs.is_marked(measured)
    unclear = marked & ~clearly
    if not unclear.any():
        return marked
    letters = np.array([block.letters for block in page.blocks])
    linked = np.array([block.linked for block in page.blocks])
    is_link = linked >= _LINKED_SHARE * letters
    is_title = np.array([block.tag == "h1" for block in page.blocks]) & ~is_link
    said = np.where(clearly, 0, letters)
    leaves = np.zeros(len(page.blocks), bool)
    for place in page.places:
        inside = slice(place.start, place.end)
        match place.element.tag:
            case "form":
                leaves[inside] |= 2 * said[inside].sum() < said.sum()
            case "aside":
                is_menu = linked[inside].sum() >= _LINKED_SHARE * letters[inside].sum()
                leaves[inside] |= is_link[inside] | is_menu
            case "header":
                leaves[inside] |= is_link[inside] | (not is_title[inside].any())
            case "button":
                leaves[inside] |= marked[place.end : place.end + 1].all()
    return clearly | (unclear & leaves)


def _alike(
    chance: NDArray[np.float64], words: NDArray[np.float64], page: Page
) -> NDArray[np.float64]:
    """Chances for blocks of one tag and class, moved towards what these have together.

    The rows of a list are one thing; the last ones are not navigation for standing at
    the page's end.
    """
    numbers: dict[object, int] = {}
    groups = [numbers.setdefault(signs.kind(block), len(numbers)) for block in page.blocks]
    sizes = words + 1
    together = np.bincount(groups, sizes * chance) / np.bincount(groups, sizes)
    return (1 - _TOGETHER) * chance + _TOGETHER * together[groups]


def _likely(chance: NDArray[np.float64], words: NDArray[np.float64]) -> NDArray[np.bool_]:
    """The blocks that together have the best F1 to expect.

    Taking blocks by falling chance, F1 is twice the expected content among the taken
    words, over these words and all expected content.
    """
    order = np.argsort(-chance)
    expected = (chance * words)[order]
    scores = expected.cumsum() / (words[order].cumsum() + expected.sum() + 1e-9)
    kept: NDArray[np.bool_] = chance >= chance[order[int(scores.argmax())]]
    return kept


def _looks_like_navigation(measured: NDArray[np.float32]) -> NDArray[np.bool_]:
    """By where it stands, what it is called and says, its links, or as a repetition.

    What is short looks so between what looks so.
    """
    by_itself = (
        signs.is_marked(measured)
        | signs.is_named(measured)
        | signs.says_navigation(measured)
        | (measured[:, signs.LINKED_SHARE] >= _LINKED_SHARE)
        | (measured[:, signs.EARLIER] > 0)
    )
    is_between = np.concatenate([[False], by_itself[:-2] & by_itself[2:], [False]])
    return by_itself | (
        is_between[: len(by_itself)] & (signs.letters(measured) < _SHORT_BLOCK_CHARS)
    )


def _is_data(page: Page, measured: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tables, and an article's list of references, also where they are all links."""
    is_free = ~signs.is_marked(measured) & ~signs.is_named(measured)
    data = np.array([block.tag == "table" for block in page.blocks])
    heads = np.array([block.tag in HEADINGS for block in page.blocks])
    refers = False
    for number, block in enumerate(page.blocks):
        if heads[number]:
            refers = _REFERENCES.search(block.text) is not None
            data[number] = refers
        else:
            data[number] |= refers and bool(block.mark)
    kept: NDArray[np.bool_] = data & is_free
    return kept


def _heads_text(measured: NDArray[np.float32], kept: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The links that name a card whose text, which follows, is kept."""
    is_linked = measured[:, signs.LINKED_SHARE] >= _LINKED_SHARE
    is_text = kept & ~is_linked & (signs.letters(measured) >= _SHORT_BLOCK_CHARS)
    names_card: NDArray[np.bool_] = (
        is_linked
        & np.append(is_text[1:], False)
        & (signs.company(measured) <= _CARD_BLOCKS)
        & ~signs.is_marked(measured)
    )
    return names_card
