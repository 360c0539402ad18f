"""The encoder against sentence-transformers' defaults, and against the cores' limit.

    python -m benchmarks.encoder [--chunks 2000] [--texts FOLDER]

Texts are those of the shipped documents, of the folder's, and made-up ones.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from activekg_pipelines.chunking import Chunk, chunk_document
from activekg_pipelines.embedding import (
    DEFAULT_MODEL,
    Encoder,
    EncoderConfig,
    Precision,
    load_encoder,
    resolve_model,
)
from activekg_pipelines.errors import ModelError
from activekg_pipelines.extraction.clean import clean_text
from benchmarks.measure import Result, interleave, measure, print_results, ratio
from benchmarks.texts import markdown

_REPOSITORY = Path(__file__).parents[1]
EXAMPLES = _REPOSITORY / "examples" / "documents"
ROUNDS = 3
# Layers, width and inner width of all-MiniLM-L6-v2.
_LAYERS, _WIDTH, _INNER = 6, 384, 1536
_FIRST_VECTOR = """
import sys, time
began = time.perf_counter()
from pathlib import Path
from activekg_pipelines.embedding import DEFAULT_MODEL, EncoderConfig, load_encoder
load_encoder(EncoderConfig(DEFAULT_MODEL, Path(sys.argv[1]))).encode(["the first text of a run"])
print(time.perf_counter() - began, "torch" in sys.modules)
"""


def load_texts(folder: Path | None, made_up: int) -> list[str]:
    """Texts of the shipped documents, of a folder's, and so many made-up ones."""
    files = [*sorted(EXAMPLES.rglob("*.md")), *sorted(EXAMPLES.rglob("*.txt"))]
    if folder is not None:
        files += sorted(path for path in folder.rglob("*") if path.is_file())
    texts = [clean_text(path.read_text("utf-8", errors="ignore")[:60_000]) for path in files]
    return texts + [markdown(number) for number in range(made_up)]


def load_chunks(tokenizer_of: Encoder, folder: Path | None, count: int) -> list[Chunk]:
    """``count`` chunks with distinct texts, drawn with a fixed seed."""
    texts = load_texts(folder, count // 12)
    made = [
        chunk
        for text in texts
        for chunk in chunk_document(text, tokenizer_of.tokenizer, tokenizer_of.max_tokens)
    ]
    distinct = list({chunk.text_hash: chunk for chunk in made}.values())
    order = np.random.default_rng(1).permutation(len(distinct))[:count]
    return [distinct[row] for row in order]


def gflops_peak(precision: Precision) -> float:
    """GFLOP/s of one core in float32 or bfloat16.

    It is the best of several large matrix products.
    """
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    left, right = torch.randn(2, 1024, 1024).to(getattr(torch, precision))
    seconds = min(measure(lambda: torch.mm(left, right)).wall for _ in range(20))
    torch.set_num_threads(threads)
    return float(2 * 1024**3 / seconds / 1e9)


def gflop(tokens: Sequence[int]) -> float:
    """GFLOP of encoding texts of these lengths, without any padding.

    The products with weights are counted, and attention's own.
    """
    a_token = 4 * _WIDTH * _WIDTH + 2 * _WIDTH * _INNER
    return sum(_LAYERS * (2 * n * a_token + 4 * n * n * _WIDTH) for n in tokens) / 1e9


def top10_overlap(ours: Any, reference: Any) -> float:
    """Mean share of the ten nearest neighbours of a text that both have in common."""

    def neighbours(vectors: Any) -> Any:
        likeness = vectors @ vectors.T
        np.fill_diagonal(likeness, -2)
        return np.argpartition(-likeness, 10, axis=1)[:, :10]

    pairs = zip(neighbours(ours), neighbours(reference), strict=True)
    return float(np.mean([len(set(mine) & set(theirs)) / 10 for mine, theirs in pairs]))


def padding_waste(encoder: Encoder, texts: Sequence[str]) -> float:
    """Share of the computed tokens that is padding."""
    from activekg_pipelines.embedding.batching import length_sorted_batches

    ids = [encoding.ids for encoding in encoder.tokenizer.encode_batch_fast(list(texts))]
    computed = sum(
        batch.input_ids.size for batch in length_sorted_batches(ids, 0, encoder.max_tokens)
    )
    return 1 - sum(map(len, ids)) / computed


def first_vector_seconds(models: Path) -> tuple[float, bool]:
    """Wall time of a fresh process to its first vector, and whether it imported torch.

    The time is the median of five.
    """
    command = [sys.executable, "-c", _FIRST_VECTOR, str(models)]
    outputs = [
        subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
        for _ in range(5)
    ]
    return float(np.median([float(seconds) for seconds, _ in outputs])), any(
        loaded == "True" for _, loaded in outputs
    )


def chunking_share(encoder: Encoder, texts: Sequence[str]) -> float:
    """Chunking's speed as a share of the bare tokenizer's, in CPU time."""

    def bare() -> None:
        for text in texts:
            encoder.tokenizer.encode(text, add_special_tokens=False)

    def ours() -> None:
        for text in texts:
            chunk_document(text, encoder.tokenizer, encoder.max_tokens)

    samples = interleave({"bare": bare, "ours": ours}, rounds=7)
    return ratio(samples["bare"], samples["ours"])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--chunks", type=int, default=2000)
    corpus = _REPOSITORY.parent / "shared" / "corpus" / "txt"
    parser.add_argument("--texts", type=Path, default=corpus if corpus.is_dir() else None)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        print_results(
            "Encoder and chunker", _results(Path(folder), arguments.texts, arguments.chunks)
        )


def _results(models: Path, folder: Path | None, count: int) -> Iterator[Result]:
    from sentence_transformers import SentenceTransformer

    began = time.perf_counter()
    ours = load_encoder(EncoderConfig(DEFAULT_MODEL, models))
    yield Result("converting the model, once", f"{time.perf_counter() - began:.1f} s")
    first, torch_loaded = first_vector_seconds(models)
    note = ", WITH TORCH" if torch_loaded else ""
    yield Result(
        f"first vector of a fresh process, median of 5{note}", f"{first:.2f} s", "< 1 s", first < 1
    )
    for kind, texts in (
        ("real", load_texts(folder, 0)),
        ("made-up", [markdown(number) for number in range(50)]),
    ):
        share = chunking_share(ours, texts)
        kilobytes = sum(map(len, texts)) / len(texts) / 1000
        size = f"{len(texts)} {kind} texts of {kilobytes:.0f} kB on average"
        yield Result(
            f"chunking {size}, as a share of the bare tokenizer's speed",
            f"{share:.0%}",
            "80 %",
            share >= 0.8,
        )

    chunks = load_chunks(ours, folder, count)
    texts = [chunk.text for chunk in chunks]
    waste = padding_waste(ours, texts)
    yield Result("padding among the computed tokens", f"{waste:.1%}", "< 5 %", waste < 0.05)

    theirs = SentenceTransformer(str(resolve_model(DEFAULT_MODEL, models).path), device="cpu")
    timed = texts[: min(len(texts), 256)]
    samples = interleave(
        {"theirs": lambda: theirs.encode(timed), "ours": lambda: ours.encode(timed)}, ROUNDS
    )
    speedup = ratio(samples["theirs"], samples["ours"])
    mean = np.mean([chunk.tokens for chunk in chunks[: len(timed)]])
    goal = 2.5 if ours.precision is Precision.FLOAT32 else 5.0
    yield Result(
        f"{len(timed)} chunks of {mean:.0f} tokens in {ours.precision}, per CPU second",
        f"{speedup:.2f} x sentence-transformers' defaults",
        f"{goal} x",
        speedup >= goal,
    )
    peak = gflops_peak(ours.precision)
    work = gflop([chunk.tokens for chunk in chunks[: len(timed)]])
    busy = work / min(sample.cpu for sample in samples["ours"]) / peak
    yield Result(
        f"of the cores' measured peak, {peak:,.0f} GFLOP/s in {ours.precision}",
        f"{busy:.0%}",
        "60 %",
        busy >= 0.6,
    )
    limit = peak / (work / len(timed))
    yield Result(
        "the most that peak allows",
        f"{limit:.1f} chunks per CPU second, {limit / _rate(samples, timed):.2f} x theirs",
    )
    reference = theirs.encode(texts, normalize_embeddings=True)
    overlap = top10_overlap(ours.encode(texts), reference)
    yield Result(
        f"top-10 overlap with float32 over {len(texts)} chunks",
        f"{overlap:.4f}",
        "0.98",
        overlap >= 0.98,
    )
    yield from _int8(models, timed, texts, theirs, reference)


def _rate(samples: dict[str, Any], texts: Sequence[str]) -> float:
    return len(texts) / float(np.median([sample.cpu for sample in samples["theirs"]]))


def _int8(
    models: Path, timed: list[str], texts: list[str], theirs: Any, reference: Any
) -> list[Result]:
    try:
        small = load_encoder(EncoderConfig(DEFAULT_MODEL, models, precision=Precision.INT8))
    except ModelError as error:
        return [Result("int8 (opt-in)", error.message)]
    pairs = interleave(
        {"theirs": lambda: theirs.encode(timed), "int8": lambda: small.encode(timed)}, ROUNDS
    )
    vectors = small.encode(texts)
    cosine = np.einsum("ij,ij->i", vectors, reference)
    value = (
        f"{ratio(pairs['theirs'], pairs['int8']):.2f} x sentence-transformers' defaults, "
        f"cosine {cosine.mean():.3f} (worst {cosine.min():.3f}), "
        f"top-10 overlap {top10_overlap(vectors, reference):.3f}"
    )
    return [Result("int8 (opt-in)", value)]


if __name__ == "__main__":
    main()
