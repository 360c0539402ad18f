from __future__ import annotations

import hashlib
import random
import re
import subprocess
import sys
import tracemalloc
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, processors, trainers

from activekg_pipelines.chunking import Chunk, chunk_document
from activekg_pipelines.embedding import DEFAULT_MODEL, resolve_model
from activekg_pipelines.errors import EncoderFailed

LIMIT = 256
WORDS = re.findall(
    r"\w+",
    "the ledger holds every object that was ever listed and a scan compares it with the bucket "
    "while workers claim rows under a lease which ends when their process dies so that another "
    "one may continue where it stopped",
)


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Tokenizer:
    source = resolve_model(DEFAULT_MODEL, tmp_path_factory.mktemp("cache"))
    tokenizer = Tokenizer.from_file(str(source.path / "tokenizer.json"))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def prose(rng: random.Random, sentences: int) -> str:
    return " ".join(
        " ".join(rng.choices(WORDS, k=rng.randint(5, 18))).capitalize() + rng.choice(".!?.")
        for _ in range(sentences)
    )


def article(seed: int = 7, sections: int = 12) -> str:
    rng = random.Random(seed)
    return "\n\n".join(
        f"## Section {number} {rng.choice(WORDS)}\n\n"
        + "\n\n".join(prose(rng, rng.randint(2, 7)) for _ in range(6))
        for number in range(sections)
    )


def plain(seed: int = 3, paragraphs: int = 120) -> str:
    rng = random.Random(seed)
    return "\n\n".join(prose(rng, rng.randint(2, 6)) for _ in range(paragraphs))


def python_code(functions: int) -> str:
    return "\n\n".join(
        f"def function_{n}(value: int) -> int:\n    # adds {n}\n"
        f"    total = value + {n}\n    return total"
        for n in range(functions)
    )


def table(rows: int) -> str:
    head = "| name | value | remark |\n|---|---|---|\n"
    return head + "\n".join(
        f"| row {n} | {n * 37 % 101} | a remark on number {n} |" for n in range(rows)
    )


TEXTS = {
    "markdown": article(),
    "plain paragraphs": plain(),
    "one paragraph": prose(random.Random(1), 300),
    "no punctuation": " ".join(random.Random(2).choices(WORDS, k=5000)),
    "code": python_code(150),
    "fenced code": "\n\n".join(f"Text.\n\n```python\n{python_code(12)}\n```" for _ in range(6)),
    "fence that never closes": "```\n" + plain(4, 30),
    "table": table(300),
    "wide table row": "| " + " | ".join(f"cell {n}" for n in range(900)) + " |",
    "crlf": article(8).replace("\n", "\r\n"),
    "carriage returns": plain(5, 40).replace("\n", "\r"),
    "chinese": "知识图谱是一种结构化的语义知识库。它用于描述物理世界中的概念及其相互关系！" * 200,  # noqa: RUF001
    "japanese": "これはテストです。カタカナとひらがなと漢字が混ざっています。" * 150,
    "korean": "한국어 문장은 띄어쓰기가 있습니다. 음절은 자모로 나뉩니다. " * 150,
    "thai without spaces": "ภาษาไทยไม่มีการเว้นวรรคระหว่างคำ" * 300,
    "arabic": "هذه جملة باللغة العربية؟ وهذه جملة أخرى طويلة قليلا. " * 200,
    "hebrew": "זה משפט בעברית. וזה עוד משפט קצת יותר ארוך! " * 200,
    "emoji": "👩‍👩‍👧‍👦 family 🏳️‍🌈 flag 👍🏽 thumb. " * 300,
    "accents": "naïve café déjà vu Ångström e\u0301te\u0301. " * 300,
    "base64 line": hashlib.sha512(b"x").hexdigest() * 400,
    "url": "https://example.org/" + "/".join(f"part-{n}?q={n}" for n in range(2000)),
    "form feeds": "\x0c".join(prose(random.Random(n), 4) for n in range(60)),
    "control characters": "one\x1ctwo\x85three\x00four " * 500,
    "wide blanks": "\n".join(f"left{' ' * 300}right {n}" for n in range(60)),
    "blank megabyte inside": "before" + " " * 1_000_000 + "after",
    "special tokens spelled out": "[CLS] a [SEP] b [UNK] c [MASK] [PAD] " * 200,
    "headings only": "\n".join(f"# Heading {n}" for n in range(300)),
    "long heading": "# " + " ".join(random.Random(6).choices(WORDS, k=900)) + "\n\nText.",
    "words over the limit": " ".join(
        "z" * length for length in (5_000, 90, 9_000, 50, 4_096, 4_097, 1)
    ),
}


def assert_sound(text: str, chunks: list[Chunk], tokenizer: Tokenizer, limit: int = LIMIT) -> None:
    """Everything a chunk promises about itself, and that no visible text is lost."""
    encodings = tokenizer.encode_batch([chunk.text for chunk in chunks])
    position = 0
    seen: Counter[str] = Counter()
    for index, (chunk, encoding) in enumerate(zip(chunks, encodings, strict=True)):
        assert chunk.index == index
        assert text[chunk.start : chunk.end] == chunk.text == chunk.text.strip() != ""
        assert not text[position : chunk.start].strip()
        assert chunk.tokens == len(encoding.ids) <= limit
        assert len(chunk.text) <= limit * 16
        assert chunk.text_hash == hashlib.sha256(chunk.text.encode()).digest()
        assert chunk.ordinal == seen[chunk.text]
        seen[chunk.text] += 1
        position = chunk.end
    assert not text[position:].strip()


@pytest.mark.parametrize("limit", [LIMIT, 40])
@pytest.mark.parametrize("name", TEXTS)
def test_chunks_are_exact_cover_the_text_and_keep_the_limit(
    name: str, limit: int, tokenizer: Tokenizer
) -> None:
    chunks = chunk_document(TEXTS[name], tokenizer, limit)
    assert chunks
    assert_sound(TEXTS[name], chunks, tokenizer, limit)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a" * 1_000_000, id="one letter"),
        pytest.param(
            "".join(random.Random(1).choices("abcdefghij0123456789-_/", k=1_000_000)),
            id="no spaces",
        ),
        pytest.param("x\u0301\u0302" * 100_000, id="combining marks"),
        pytest.param("가" * 100_000, id="hangul"),
        pytest.param("##" * 200_000, id="punctuation"),
        pytest.param("\n".join(" " * (n % 200) + "." for n in range(10_000)), id="dots and blanks"),
    ],
)
def test_a_huge_text_without_places_to_cut_is_cut_anyway(text: str, tokenizer: Tokenizer) -> None:
    assert_sound(text, chunk_document(text, tokenizer, LIMIT), tokenizer)


@pytest.mark.parametrize(
    "text", ["", " ", "\n\t\r\n  ", "\u200b\u200b", "\x00\x0c", "\ufeff", "\u0301" * 50_000]
)
def test_text_that_the_model_sees_nothing_of_has_no_chunks(text: str, tokenizer: Tokenizer) -> None:
    assert chunk_document(text, tokenizer, LIMIT) == []


def test_short_text_is_one_chunk_without_the_blanks_around_it(tokenizer: Tokenizer) -> None:
    (chunk,) = chunk_document("\n\n  A title\n\nand some text. \n", tokenizer, LIMIT)
    assert (chunk.start, chunk.text) == (4, "A title\n\nand some text.")


def test_the_result_does_not_depend_on_how_the_text_was_sliced_for_the_tokenizer(
    tokenizer: Tokenizer,
) -> None:
    section = article(9, sections=30)  # 100,000 characters, two slices and a rest
    shifted = "# First\n\n" + prose(random.Random(5), 60) + "\n\n" + section
    texts = {chunk.text for chunk in chunk_document(shifted, tokenizer, LIMIT)}
    assert {chunk.text for chunk in chunk_document(section, tokenizer, LIMIT)} <= texts


def test_a_large_enough_section_starts_its_own_chunk(tokenizer: Tokenizer) -> None:
    text = article()
    starts = {chunk.start for chunk in chunk_document(text, tokenizer, LIMIT)}
    headings = {text.index(line) for line in text.splitlines() if line.startswith("## ")}
    assert headings <= starts


def test_small_sections_share_a_chunk(tokenizer: Tokenizer) -> None:
    text = "\n\n".join(f"# Part {n}\n\nOne line." for n in range(8))
    assert len(chunk_document(text, tokenizer, LIMIT)) == 1


@pytest.mark.parametrize("heading", ["## Findings", "Findings\n--------"])
@pytest.mark.parametrize("length", range(10, 60, 7))
def test_a_heading_is_never_left_at_the_end_of_a_chunk(
    heading: str, length: int, tokenizer: Tokenizer
) -> None:
    rng = random.Random(length)
    text = f"{prose(rng, length)}\n\n# Results\n\n{heading}\n\n{prose(rng, 40)}"
    for chunk in chunk_document(text, tokenizer, 64):
        assert not chunk.text.endswith((heading, "# Results"))


def test_hash_signs_in_fenced_code_are_no_headings(tokenizer: Tokenizer) -> None:
    code = "```sh\n" + "\n".join(f"# step {n}\nrun --number {n}" for n in range(10)) + "\n```"
    text = f"{prose(random.Random(1), 9)}\n\n{code}\n\n{prose(random.Random(2), 9)}"
    assert any(code in chunk.text for chunk in chunk_document(text, tokenizer, LIMIT))


def test_fenced_code_and_tables_that_fit_stay_whole(tokenizer: Tokenizer) -> None:
    rng = random.Random(11)
    blocks = [f"```python\n{python_code(4)}\n# {n}\n```" for n in range(5)] + [
        f"{table(9)}\n| {n} | | |" for n in range(5)
    ]
    rng.shuffle(blocks)
    text = "\n\n".join(f"{prose(rng, rng.randint(1, 12))}\n\n{block}" for block in blocks)
    chunks = chunk_document(text, tokenizer, LIMIT)
    assert [block for block in blocks if not any(block in chunk.text for chunk in chunks)] == []


def test_long_tables_are_cut_between_rows(tokenizer: Tokenizer) -> None:
    for chunk in chunk_document(table(200), tokenizer, LIMIT):
        assert all(line.startswith("|") and line.endswith("|") for line in chunk.text.splitlines())


def test_the_head_of_a_table_stays_with_its_first_row(tokenizer: Tokenizer) -> None:
    for length in range(6, 20):
        text = f"{prose(random.Random(length), length)}\n\n{table(60)}"
        (chunk,) = [
            chunk for chunk in chunk_document(text, tokenizer, LIMIT) if "| name |" in chunk.text
        ]
        assert "| row 0 |" in chunk.text


def test_prose_is_cut_at_sentences(tokenizer: Tokenizer) -> None:
    for chunk in chunk_document(prose(random.Random(4), 200), tokenizer, LIMIT):
        assert chunk.text[0].isupper()
        assert chunk.text[-1] in ".!?"


def test_no_tiny_tail_is_left_where_the_last_two_chunks_can_be_balanced(
    tokenizer: Tokenizer,
) -> None:
    for sentences in range(20, 60):
        chunks = chunk_document(prose(random.Random(sentences), sentences), tokenizer, LIMIT)
        assert min(chunk.tokens for chunk in chunks) >= 90


def test_chunks_of_prose_are_mostly_full(tokenizer: Tokenizer) -> None:
    sizes = [chunk.tokens for chunk in chunk_document(plain(), tokenizer, LIMIT)]
    assert sum(sizes) / len(sizes) >= 0.75 * LIMIT


@pytest.mark.parametrize("kind", ["article", "plain", "one paragraph"])
def test_an_edit_leaves_most_other_chunks_as_they_were(kind: str, tokenizer: Tokenizer) -> None:
    text = {
        "article": article(sections=20),
        "plain": plain(),
        "one paragraph": prose(random.Random(1), 600),
    }[kind]
    before = Counter(chunk.text_hash for chunk in chunk_document(text, tokenizer, LIMIT))
    changed = []
    for seed in range(20):
        at = text.index(". ", random.Random(seed).randrange(len(text) - 2000)) + 2
        edited = text[:at] + prose(random.Random(seed), seed % 4 + 1) + " " + text[at:]
        after = Counter(chunk.text_hash for chunk in chunk_document(edited, tokenizer, LIMIT))
        changed.append((after - before).total())
    assert sorted(changed)[10] <= 4
    assert sum(changed) / len(changed) <= before.total() / 5


def test_equal_chunks_are_told_apart_by_their_ordinal(tokenizer: Tokenizer) -> None:
    section = "# Same\n\n" + prose(random.Random(1), 14)
    chunks = chunk_document("\n\n".join([section] * 3), tokenizer, LIMIT)
    assert len({(chunk.text_hash, chunk.ordinal) for chunk in chunks}) == len(chunks)
    assert max(chunk.ordinal for chunk in chunks) == 2


def test_the_character_limit_holds_where_tokens_do_not_bound_a_chunk(tokenizer: Tokenizer) -> None:
    text = "\n".join(f"{n}{' ' * 100}{n}" for n in range(400))
    chunks = chunk_document(text, tokenizer, LIMIT, max_chars=1000)
    assert max(len(chunk.text) for chunk in chunks) <= 1000


def test_a_tokenizer_that_truncates_or_pads_is_refused(tokenizer: Tokenizer) -> None:
    truncating = Tokenizer.from_str(tokenizer.to_str())
    truncating.enable_truncation(128)
    with pytest.raises(ValueError, match="no_truncation"):
        chunk_document("text", truncating, LIMIT)


def test_a_limit_without_room_for_text_is_refused(tokenizer: Tokenizer) -> None:
    with pytest.raises(ValueError, match="no room"):
        chunk_document("text", tokenizer, 2)


def test_text_that_is_not_valid_unicode_is_an_encoder_failure(tokenizer: Tokenizer) -> None:
    with pytest.raises(EncoderFailed):
        chunk_document("lone \ud800 surrogate", tokenizer, LIMIT)


class Opaque:
    """A tokenizer that does not tell its kind, so that nothing is concluded from it."""

    truncation = padding = None

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.encode, self.encode_batch = tokenizer.encode, tokenizer.encode_batch
        self.num_special_tokens_to_add = tokenizer.num_special_tokens_to_add


FRAGMENTS = st.sampled_from(
    [
        *(" ", "\n", "\t", "\r\n", "\x0c", "\x85", "\u00a0", "\u3000"),
        *("[MASK]", "##ing", "walking", "naïve", "e\u0301", "漢字"),
    ]
)


@settings(deadline=None)
@given(
    parts=st.lists(
        FRAGMENTS | st.text(st.characters(exclude_categories=["Cs"]), max_size=4), max_size=60
    )
)
def test_encoding_what_repeats_once_gives_the_chunks_of_the_whole_text(
    tokenizer: Tokenizer, parts: list[str]
) -> None:
    text = "".join(parts) + " " + "".join(parts[::-1])
    assert chunk_document(text, tokenizer, 12) == chunk_document(text, Opaque(tokenizer), 12)


@pytest.mark.parametrize(
    "added",
    [
        AddedToken("<mask>", lstrip=True),
        AddedToken("<mask>", rstrip=True),
        AddedToken("<mask> hello"),
    ],
)
def test_added_tokens_that_take_blanks_along_count_where_they_stand(
    added: AddedToken, tokenizer: Tokenizer
) -> None:
    mpnet = Tokenizer.from_str(tokenizer.to_str())
    mpnet.add_special_tokens([added])
    for text in ("hello " + "<mask> " * 300, "hello <mask> hello hello <mask> hello"):
        chunks = chunk_document(text, mpnet, 50)
        assert chunks == chunk_document(text, Opaque(mpnet), 50)
        assert_sound(text, chunks, mpnet, 50)


@pytest.mark.parametrize(
    "name", ["markdown", "chinese", "table", "no punctuation", "base64 line", "emoji"]
)
def test_the_limit_is_exact_for_byte_level_tokenizers_too(name: str) -> None:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=600,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([plain()], trainer)
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", 1), ("<s>", 0))
    chunks = chunk_document(TEXTS[name], tokenizer, LIMIT)
    assert_sound(TEXTS[name], chunks, tokenizer)


def test_importing_the_package_loads_no_encoder_and_no_heavy_library() -> None:
    code = (
        "import sys, activekg_pipelines.chunking; "
        "print({'activekg_pipelines.embedding', 'numpy', 'tokenizers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize("name", TEXTS)
def test_in_how_many_parts_a_text_is_read_makes_no_difference(
    name: str, tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slices end at line ends, so that they have the same words whatever their size."""
    text = TEXTS[name][:20_000]
    lines = "\n".join(text[at : at + 150] for at in range(0, len(text), 150))
    whole = chunk_document(lines, tokenizer, LIMIT)
    monkeypatch.setattr("activekg_pipelines.chunking.words._SLICE_CHARS", 400)
    monkeypatch.setattr("activekg_pipelines.chunking.words._SLICES_AT_ONCE", 1)
    assert chunk_document(lines, tokenizer, LIMIT) == whole


def test_memory_does_not_grow_with_the_number_of_words(tokenizer: Tokenizer) -> None:
    def peak(rows: int) -> int:
        numbers = "\n".join(f"{n}.5\t{n * 7 % 1000}.25\t{n * 13 % 997}" for n in range(rows))
        tracemalloc.start()
        try:
            chunks = chunk_document(numbers, tokenizer, 4096)
            made = sum(sys.getsizeof(chunk.text) for chunk in chunks)
            return tracemalloc.get_traced_memory()[1] - made
        finally:
            tracemalloc.stop()

    small, large = peak(15_000), peak(90_000)
    assert large < 1.5 * small
