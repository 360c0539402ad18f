"""What splitting needs of a tokenizer, and what may be concluded from its kind."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Protocol

from activekg_pipelines.errors import EncoderFailed

# Only these: other characters that Python calls space (form feed, 0x1C to 0x1F, 0x85)
# are deleted by BERT's normalizer, which joins the words around them.
BLANKS: Final = " \t\r\n"


class Encoding(Protocol):
    """The tokens of one text. Each property may build its list anew at every access."""

    @property
    def ids(self) -> list[int]: ...
    @property
    def offsets(self) -> list[tuple[int, int]]:
        """Code points ``[start, end)`` of each token in the text."""

    @property
    def word_ids(self) -> list[int | None]:
        """The word that each token belongs to. Cuts inside a word are avoided."""


class Tokenizer(Protocol):
    """The part of :class:`tokenizers.Tokenizer` that splitting needs.

    Any object with these members serves, wherever it comes from. It must be the
    tokenizer of the model that embeds the chunks, or count at least as many tokens.
    """

    @property
    def truncation(self) -> object | None:
        """``None``: a tokenizer that truncates would lose text unnoticed."""

    @property
    def padding(self) -> object | None:
        """``None``: a tokenizer that pads would count tokens that are not there."""

    def encode(self, sequence: str, *, add_special_tokens: bool = True) -> Encoding: ...
    def encode_batch(
        self, input: Sequence[str], *, add_special_tokens: bool = True
    ) -> Sequence[Encoding]: ...
    def num_special_tokens_to_add(self, is_pair: bool) -> int:
        """How many tokens the model's input has beside those of the text."""


def encode_all(tokenizer: Tokenizer, texts: Sequence[str]) -> Sequence[Encoding]:
    """Encode ``texts`` without special tokens.

    Raises:
        EncoderFailed: the tokenizer refuses a text (lone surrogates).
    """
    try:
        if len(texts) == 1:
            # A batch wakes the tokenizer's threads, which take as much time as a
            # document of a few pages.
            return [tokenizer.encode(texts[0], add_special_tokens=False)]
        return tokenizer.encode_batch(texts, add_special_tokens=False)
    except TypeError as error:  # what the tokenizer makes of a lone surrogate
        raise EncoderFailed("The text holds characters that are not valid Unicode.") from error


def is_word_piece(tokenizer: Tokenizer) -> bool:
    """Whether a part of a text has the same tokens alone as within it.

    BERT's do: it splits at blanks and punctuation before it looks for word pieces.
    Byte-level and SentencePiece models spell a word differently at the start of a text.
    Of a tokenizer that does not tell its kind nothing is assumed.
    """
    from tokenizers.models import WordPiece
    from tokenizers.pre_tokenizers import BertPreTokenizer

    return isinstance(getattr(tokenizer, "model", None), WordPiece) and isinstance(
        getattr(tokenizer, "pre_tokenizer", None), BertPreTokenizer
    )


def blanks_separate(tokenizer: Tokenizer) -> bool:
    """Whether what stands between blanks has the same tokens alone as within a text.

    BERT's normalizer keeps blanks, and looks at one character after the other. A token
    that was added may take the blanks beside it along, as MPNet's ``<mask>`` does.
    """
    from tokenizers.normalizers import BertNormalizer

    return (
        is_word_piece(tokenizer)
        and isinstance(getattr(tokenizer, "normalizer", None), BertNormalizer)
        and not any(
            token.lstrip or token.rstrip or set(token.content) & set(BLANKS)
            for token in getattr(tokenizer, "get_added_tokens_decoder", dict)().values()
        )
    )
