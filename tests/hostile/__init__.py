"""Documents made to harm whoever reads them, generated the same at every call."""

from __future__ import annotations

from activekg_pipelines.extraction import Limits
from tests.hostile.file import Canary, HostileFile

__all__ = ["Canary", "HostileFile", "hostile_files"]


def hostile_files(canary: Canary, limits: Limits) -> tuple[HostileFile, ...]:
    """Every hostile file there is.

    Args:
        canary: what no parser may reach. The files ask for it wherever a format can ask
            for something.
        limits: that the files go beyond.
    """
    # They take a third of a second, which every worker that runs an extractor of this
    # package would pay.
    from tests.hostile import names, pages, pdfs, texts, words

    made = [
        *names.files(),
        *words.files(canary, limits),
        *pdfs.files(canary),
        *pages.files(canary, limits),
        *texts.files(limits),
    ]
    assert len({file.key for file in made}) == len(made)
    return tuple(made)
