"""Reads the pages of a PDF with PDFium.

PDFium is not thread-safe: one process, one document. Importing this module loads it, so
only the extractor does, on the way to a document.
"""

from __future__ import annotations

import ctypes
import re
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import pypdfium2

from activekg_pipelines.errors import Corrupt, Encrypted
from activekg_pipelines.extraction.document import check_length
from activekg_pipelines.extraction.document_limits import Limits
from activekg_pipelines.extraction.pdf import calls
from activekg_pipelines.extraction.pdf.annotations import Annotations, read_annotations
from activekg_pipelines.extraction.pdf.blocks import Block, Page
from activekg_pipelines.extraction.pdf.hidden import hidden_texts
from activekg_pipelines.extraction.pdf.layers import Layers
from activekg_pipelines.extraction.pdf.objects import PageObjects, Text, read_objects
from activekg_pipelines.extraction.pdf.page import read_page, visible_area
from activekg_pipelines.extraction.pdf.pages import PdfPages, header_first
from activekg_pipelines.extraction.pdf.readable import (
    is_unreadable,
    may_be_known,
    visible_characters,
)
from activekg_pipelines.extraction.pdf.rescue import Rescue
from activekg_pipelines.extraction.pdf.xfa import xfa_text
from activekg_pipelines.extraction.warnings import DocumentWarning, WarningKind

_MAX_FILE_NAMES: Final = 1_000
# Of a page of more, or of a drawing, the other engine may take longer than a document may.
_MAX_RESCUED_TEXTS: Final = 10_000
# PDFium has glyphs of its own for these, so that only a space of theirs is without width.
_LATIN: Final = re.compile(
    "(Times|Arial|Helvetica|Courier|Verdana|Calibri|Cambria|Georgia|Tahoma|Trebuchet|Symbol"
    "|Garamond|Bookman|Palatino|Century|Segoe|Zapf|Wingdings)",
    re.IGNORECASE,
)
_PLACEHOLDER: Final = re.compile(
    r"\s*(please wait|bitte warten|veuillez patienter|espere|attendere|aguarde|even geduld"
    r"|to view the full contents of this document)\b",
    re.IGNORECASE,
)
_MAX_PLACEHOLDER: Final = 1_000
_MAX_FONT_NAME: Final = 128
_DAMAGE: Final = (pypdfium2.PdfiumError, ValueError, OverflowError, ArithmeticError)


def read_pages(path: Path, limits: Limits) -> PdfPages:
    """Read the PDF at ``path`` up to the limit of pages.

    Raises:
        Encrypted, Corrupt, TextTooLarge: as
            :func:`activekg_pipelines.extraction.pdf.extractor.extract`.
    """
    with header_first(path) as source, closing(_open(source)) as pdf:
        form_type = pdf.get_formtype()
        if form_type != pypdfium2.raw.FORMTYPE_NONE:
            pdf.init_forms()
        with closing(Rescue(source)) as rescue:
            reader = _Reader(pdf, limits, rescue, Layers(source))
            for index in range(min(len(pdf), limits.max_pages)):
                reader.read(index)
        found = reader.finished()
        if form_type == pypdfium2.raw.FORMTYPE_XFA_FULL or (
            form_type == pypdfium2.raw.FORMTYPE_XFA_FOREGROUND and _is_placeholder(found.pages)
        ):
            found.form_text = xfa_text(pdf, limits)
        return found


def _is_placeholder(pages: list[Page]) -> bool:
    """Tell whether a form's only page asks for another program to show it."""
    return (
        len(pages) == 1 and _PLACEHOLDER.match(pages[0].plain_text[:_MAX_PLACEHOLDER]) is not None
    )


def _metadata_title(pdf: Any) -> str | None:
    try:
        return str(pdf.get_metadata_value("Title"))
    except UnicodeDecodeError:
        # Half a surrogate pair, as cutting to a length leaves it, is no reason to lose
        # the text.
        return None


def _open(source: Path | bytes) -> Any:
    try:
        return pypdfium2.PdfDocument(source)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (pypdfium2.raw.FPDF_ERR_PASSWORD, pypdfium2.raw.FPDF_ERR_SECURITY):
            raise Encrypted("The PDF is protected by a password.") from error
        raise Corrupt(f"The PDF is damaged or has no pages: {error}") from error


class _Reader:
    """Reads page after page, and gathers what is said about them all."""

    def __init__(self, pdf: Any, limits: Limits, rescue: Rescue, layers: Layers) -> None:
        self._pdf = pdf
        self._limits = limits
        self._rescue = rescue
        self._layers = layers
        self._found = PdfPages(len(pdf), _metadata_title(pdf))
        self._files: list[str] = []
        self._hidden: Counter[str] = Counter()

    def read(self, index: int) -> None:
        """Read a page; one that is broken counts as such."""
        try:
            page = self._page(index)
        except _DAMAGE as error:
            self._found.add_broken(index + 1, error)
        else:
            self._found.add(page, self._limits)

    def finished(self) -> PdfPages:
        """What was read, with what was left out of it."""
        found = self._found
        count = self._pdf.count_attachments()
        names = [self._file_name(index) for index in range(min(count, _MAX_FILE_NAMES))]
        count += len(self._files)
        if count:
            first = next(filter(None, names + self._files), "one without a name")
            found.warnings.append(
                DocumentWarning(WarningKind.ATTACHMENTS_NOT_READ, count, detail=first)
            )
        if self._hidden.total():
            found.warnings.append(
                DocumentWarning(
                    WarningKind.HIDDEN_TEXT_LEFT_OUT,
                    self._hidden.total(),
                    detail=", ".join(+self._hidden),
                )
            )
        return found

    def _file_name(self, index: int) -> str:
        try:
            return str(self._pdf.get_attachment(index).get_name())
        except _DAMAGE:
            return ""

    def _page(self, index: int) -> Page:
        page, annotations = self._opened(index)
        with closing(page):
            objects = read_objects(page)
            self._leave_out_hidden(page, objects)
            with closing(page.get_textpage()) as textpage:
                check_length(self._found.characters + textpage.count_chars(), self._limits)
                read = read_page(page, textpage, objects, self._found.warnings)
            read = self._rescued(index, read, objects)
            read.picture_share = objects.picture_share(visible_area(page))
            read.shows_something = objects.shows_something
        if annotations.texts:
            text = "\n".join(annotations.texts)
            read.blocks.append(Block(f"\n{text}\n", 0.5, 0.5))
        return read

    def _opened(self, index: int) -> tuple[Any, Annotations]:
        """Open a page with its annotations and form fields made part of it, in memory.

        PDFium's text leaves them out otherwise.
        """
        page = self._pdf[index]
        if pypdfium2.raw.FPDFPage_GetAnnotCount(page) <= 0:
            return page, Annotations()
        annotations = read_annotations(page)
        self._files += annotations.files[: _MAX_FILE_NAMES - len(self._files)]
        if not annotations.are_drawn:
            return page, annotations
        with closing(page):
            pypdfium2.raw.FPDFPage_Flatten(page, pypdfium2.raw.FLAT_NORMALDISPLAY)
        return self._pdf[index], annotations

    def _leave_out_hidden(self, page: Any, objects: PageObjects) -> None:
        off = self._layers.texts_off(objects.texts)
        are_off = {text.handle for text, _ in off}
        hidden = hidden_texts(page, objects, visible_area(page))
        hidden = off + [found for found in hidden if found[0].handle not in are_off]
        if not hidden:
            return
        with closing(page.get_textpage()) as textpage:
            # What is painted again at the same place is seen.
            gone = {text.handle for text, _ in hidden}
            seen = {_place(text) for text in objects.texts if text.handle not in gone}
            lengths = _lengths(textpage, gone)
            for text, why in hidden:
                if _place(text) not in seen:
                    self._hidden[why] += lengths.get(text.handle, 0)
        # Nothing may be left that refers to a text when it goes.
        for text, _ in hidden:
            if text.form:
                removed = calls.remove_from_form(text.form, text.handle)
            else:
                removed = calls.remove_from_page(calls.address(page), text.handle)
            if removed:
                calls.destroy(text.handle)
        objects.texts = [text for text in objects.texts if text.handle not in gone]

    def _rescued(self, index: int, read: Page, objects: PageObjects) -> Page:
        """The page as another engine reads it, where PDFium cannot and that one can."""
        text = read.plain_text
        # Letters that stand for others do so in every engine.
        other = None
        is_small = len(objects.texts) <= _MAX_RESCUED_TEXTS and not objects.is_drawing
        if is_small and (_has_lost(objects, text) or may_be_known(text)):
            other = self._rescue.page(index, text)
        if other is not None:
            read, text = other, other.plain_text
        if is_unreadable(text):
            read.unreadable = visible_characters(text)
        return read


def _has_lost(objects: PageObjects, text: str) -> bool:
    """Tell whether texts that are painted gave no characters.

    PDFium skips a text without width, as a single glyph of a font has that is neither in
    the file nor on the machine.
    """
    if not text.strip() and any(each.area[2] > each.area[0] for each in objects.texts):
        return True
    thin = [each for each in objects.texts if each.area[2] <= each.area[0]]
    if not thin:
        return False
    known = {
        calls.font_of(each.handle)
        for each in objects.texts
        if each.area[2] > each.area[0] and each.area[3] > each.area[1]
    }
    fonts = {calls.font_of(each.handle) for each in thin} - known
    return any(
        font and not calls.is_embedded(font) and not _LATIN.match(_font_name(font))
        for font in fonts
    )


def _font_name(font: int) -> str:
    buffer = ctypes.create_string_buffer(_MAX_FONT_NAME)
    calls.font_name(font, ctypes.addressof(buffer), _MAX_FONT_NAME)
    return buffer.value.decode("ascii", "replace")


def _place(text: Text) -> tuple[int, ...]:
    return tuple(round(side) for side in text.area)


def _lengths(textpage: Any, wanted: set[int]) -> dict[int, int]:
    """How many characters of each of some texts are seen by those who see it.

    PDFium looks at all of a page for each text that it is asked for.
    """
    handle = calls.address(textpage)
    found: dict[int, list[str]] = {}
    for index in range(textpage.count_chars()):
        text = calls.text_at(handle, index)
        if text in wanted:
            found.setdefault(text, []).append(chr(calls.character_code(handle, index)))
    return {text: len("".join(characters).strip()) for text, characters in found.items()}
