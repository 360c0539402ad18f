"""Markdown documents of any number, made up from the sentences of the shipped ones."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

_EXAMPLES = Path(__file__).parents[1] / "examples" / "documents"
_SENTENCE = re.compile(r"[A-Z][^.!?|#\n]{30,250}[.!?]")


def markdown(number: int, *, words: int = 1650) -> str:
    """A document of headings, paragraphs and lists.

    1,650 words are about 15 chunks of all-MiniLM-L6-v2. Lengths vary as those of real
    documents do: most are shorter than the mean, and a few several times longer.

    Args:
        number: the same number gives the same text.
        words: of a document on average.
    """
    chance = random.Random(number)
    length = int(words * min(6.0, chance.lognormvariate(-0.32, 0.8)))
    parts = [f"# Handbook {number}"]
    written = 0
    while written < length:
        section = [f"## {number}.{len(parts)} {_title(chance)}"]
        for _ in range(chance.randint(1, 4)):
            sentences = [_sentence(chance) for _ in range(chance.randint(2, 6))]
            is_list = chance.random() < 0.2
            section.append(
                "\n".join(f"- {one}" for one in sentences) if is_list else " ".join(sentences)
            )
        parts += section
        written += sum(len(part.split()) for part in section)
    return "\n\n".join(parts) + "\n"


def _title(chance: random.Random) -> str:
    return " ".join(_sentence(chance).rstrip(".!?").split()[:4])


def _sentence(chance: random.Random) -> str:
    """A shipped sentence with another number in it, so that hardly two are the same."""
    sentence = chance.choice(_sentences())
    return (
        f"{sentence[:-1]} ({chance.randint(100, 99_999)})." if chance.random() < 0.5 else sentence
    )


@cache
def _sentences() -> list[str]:
    texts = [path.read_text(encoding="utf-8") for path in sorted(_EXAMPLES.rglob("*.md"))]
    return sorted({" ".join(found.split()) for text in texts for found in _SENTENCE.findall(text)})
