"""Loading a model's own tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from activekg_pipelines.errors import ModelError

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def load_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a model's folder, without truncation and padding.

    Raises:
        ModelError: the folder has no ``tokenizer.json``.
    """
    from tokenizers import Tokenizer

    file = path / "tokenizer.json"
    if not file.is_file():
        raise ModelError(
            f"There is no tokenizer.json in {path}; only the torch backend can use this model."
        )
    return without_limits(Tokenizer.from_file(str(file)))


def without_limits(tokenizer: Tokenizer) -> Tokenizer:
    """Take truncation and padding off.

    all-MiniLM-L6-v2's own settings cut a text after 128 tokens, without any warning.
    """
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer
