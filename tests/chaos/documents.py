"""Documents whose text and fate are known beforehand.

Each sentence carries its version's marker and its number.
"""

from __future__ import annotations

import hashlib
import html
import io
import random
import re
import textwrap
from dataclasses import dataclass

import docx
from reportlab.lib import pdfencrypt
from reportlab.pdfgen.canvas import Canvas

SENTENCE = re.compile(r"\b(mk[0-9a-f]{10}x) (\d{3})of(\d{3})\b")
"""A sentence's marker, number and count; no chunk of a document is without one."""

MAX_FILE_BYTES = 600_000
"""The system's limit, so that a document may be too large without being large."""

FORMATS = (".txt", ".md", ".html", ".docx", ".pdf")

_WORDS = """
pump valve turbine ledger harvest orchard glacier violin printer contract invoice lantern
harbour compass bridge quarry tunnel engine kitchen library archive meadow falcon salmon
copper marble velvet timber anchor beacon inspects repairs delivers measures describes
replaces records cleans paints carries northern silent heavy early
""".split()  # noqa: SIM905 - forty of them read better so


@dataclass(frozen=True, slots=True)
class Version:
    """One version of an object.

    Attributes:
        marker: in every sentence; None for a document without text.
        sentences: the text, in order.
        state: where the ledger must end with it.
        error_code: why, where that is not ``indexed``.
        wording: seed of its words; versions of one wording and length are equally long.
    """

    body: bytes
    marker: str | None
    sentences: tuple[str, ...]
    state: str
    error_code: str | None = None
    wording: int = 0

    @property
    def etag(self) -> str:
        """S3's ETag of an object that was not uploaded in parts."""
        return hashlib.md5(self.body).hexdigest()


def good(rng: random.Random, suffix: str) -> Version:
    """A new document of a format with one to three chunks."""
    return _written(rng, suffix, rng.randrange(1 << 30), rng.randint(4, 14))


def reworded(rng: random.Random, suffix: str, before: Version) -> Version:
    """A new version that says the same under a new marker.

    It has as many bytes, where the format is plain.
    """
    return _written(rng, suffix, before.wording, len(before.sentences))


def bad(rng: random.Random, suffix: str) -> Version:
    """A document without a text that can be had, for a stated reason."""
    salt = f"{rng.randrange(1 << 40):x}"
    if suffix == ".pdf":
        return rng.choice([_corrupt_pdf, _scanned_pdf, _locked_pdf])(salt)
    if suffix == ".docx":
        body = f"PK\x03\x04 this was a Word document once {salt}".encode("latin-1")
        return Version(body, None, (), "dead", "corrupt")
    if rng.random() < 0.5:
        return Version(b"", None, (), "skipped", "empty")
    return Version(
        f"{salt} ".encode() * (MAX_FILE_BYTES // len(salt)), None, (), "skipped", "too_large"
    )


def picture() -> Version:
    """An object of a type that is not indexed."""
    return Version(b"\x89PNG\r\n\x1a\n" + b"\x00" * 64, None, (), "skipped", "unsupported_type")


def folder() -> Version:
    """What the S3 console makes for a folder.

    It is known by its key, for its content is any empty object's.
    """
    return Version(b"", None, (), "skipped", "empty")


def _written(rng: random.Random, suffix: str, wording: int, count: int) -> Version:
    marker = f"mk{rng.randrange(1 << 40):010x}x"
    words = random.Random(wording)
    sentences = tuple(
        f"Report {marker} {number:03}of{count:03}: the "
        f"{' '.join(words.choices(_WORDS, k=words.randint(9, 16)))}."
        for number in range(count)
    )
    write = {".txt": _txt, ".md": _md, ".html": _html, ".docx": _docx, ".pdf": _pdf}[suffix]
    return Version(write(sentences), marker, sentences, "indexed", wording=wording)


def _paragraphs(sentences: tuple[str, ...]) -> list[str]:
    return [" ".join(sentences[start : start + 4]) for start in range(0, len(sentences), 4)]


def _txt(sentences: tuple[str, ...]) -> bytes:
    return "\n\n".join(_paragraphs(sentences)).encode()


def _md(sentences: tuple[str, ...]) -> bytes:
    return "\n\n".join(_paragraphs(sentences)).encode()


def _html(sentences: tuple[str, ...]) -> bytes:
    body = "".join(f"<p>{html.escape(paragraph)}</p>\n" for paragraph in _paragraphs(sentences))
    return f"<!doctype html><html><body><article>\n{body}</article></body></html>".encode()


def _docx(sentences: tuple[str, ...]) -> bytes:
    document = docx.Document()
    for paragraph in _paragraphs(sentences):
        document.add_paragraph(paragraph)
    file = io.BytesIO()
    document.save(file)
    return file.getvalue()


def _pdf(sentences: tuple[str, ...]) -> bytes:
    file = io.BytesIO()
    canvas = Canvas(file)
    top = 800
    for sentence in sentences:
        # Each sentence begins a line, so that no line end falls between its marker and
        # its number.
        for line in textwrap.wrap(sentence, 90, break_on_hyphens=False):
            if top < 60:
                canvas.showPage()
                top = 800
            canvas.drawString(50, top, line)
            top -= 15
    canvas.save()
    return file.getvalue()


def _corrupt_pdf(salt: str) -> Version:
    return Version(
        f"%PDF-1.7 and nothing that follows is one {salt}".encode(), None, (), "dead", "corrupt"
    )


def _scanned_pdf(salt: str) -> Version:
    file = io.BytesIO()
    canvas = Canvas(file)
    canvas.setAuthor(salt)
    canvas.rect(100, 100, 300, 300, fill=1)
    canvas.save()
    return Version(file.getvalue(), None, (), "dead", "no_text_layer")


def _locked_pdf(salt: str) -> Version:
    file = io.BytesIO()
    canvas = Canvas(
        file,
        encrypt=pdfencrypt.StandardEncryption(
            salt or "secret", ownerPassword="owner", strength=128
        ),
    )
    canvas.drawString(50, 800, "Nobody reads this without the password.")
    canvas.save()
    return Version(file.getvalue(), None, (), "dead", "encrypted")
