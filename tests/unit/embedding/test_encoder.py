from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from activekg_pipelines.chunking import chunk_document
from activekg_pipelines.embedding import (
    BACKENDS,
    DEFAULT_MODEL,
    Encoder,
    EncoderConfig,
    Precision,
    encode_resiliently,
    encoder_version,
    load_encoder,
    openvino_encoder,
    resolve_model,
    verify_encoder,
)
from activekg_pipelines.embedding.torch_encoder import gpu_batch_size, has_gpu
from activekg_pipelines.errors import EncoderFailed, ModelError
from tests.remote_encoder import Remote

TEXTS = [
    "A query",
    "",
    "CAPITALS, ünïcode and 数字 " * 20,
    "The ledger holds every object that was ever listed. " * 60,
    "👩‍👩‍👧‍👦",
    *(f"Text number {n}: " + "more words " * n for n in range(0, 40, 3)),
]
UNICODE_ERROR = "broken \ud800 text"


def cosines(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return np.einsum("ij,ij->i", left, right)


def test_it_says_what_it_is(encoder: Encoder, torch_encoder: Encoder) -> None:
    for each in (encoder, torch_encoder):
        assert (each.name, each.dimensions, each.max_tokens) == (DEFAULT_MODEL, 384, 256)
        assert each.version == "all-MiniLM-L6-v2@53aa5117/float32"


def test_vectors_are_float32_rows_of_length_one(encoder: Encoder) -> None:
    vectors = encoder.encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors.shape == (len(TEXTS), 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_no_texts_give_no_rows(encoder: Encoder, torch_encoder: Encoder) -> None:
    assert encoder.encode([]).shape == torch_encoder.encode([]).shape == (0, 384)


def test_both_backends_give_the_same_vectors(encoder: Encoder, torch_encoder: Encoder) -> None:
    assert cosines(encoder.encode(TEXTS), torch_encoder.encode(TEXTS)).min() >= 0.9999


def test_vectors_keep_the_order_of_the_texts(encoder: Encoder) -> None:
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    assert cosines(encoder.encode(TEXTS), alone).min() >= 0.9999


def test_threads_may_share_an_encoder(encoder: Encoder) -> None:
    expected = encoder.encode(TEXTS)
    with ThreadPoolExecutor(4) as pool:
        for vectors in pool.map(encoder.encode, [TEXTS] * 4):
            assert cosines(vectors, expected).min() >= 0.9999


def test_long_texts_are_truncated_to_the_model_s_limit(encoder: Encoder) -> None:
    text = "word " * 254
    assert (
        cosines(
            encoder.encode([text]), encoder.encode([text + "and something else altogether " * 50])
        ).min()
        >= 0.9999
    )


def test_a_query_of_megabytes_costs_no_more_than_its_first_tokens(encoder: Encoder) -> None:
    assert encoder.encode(["x " * 5_000_000, "y" * 5_000_000]).shape == (2, 384)


def test_the_tokenizer_splits_documents_and_its_chunks_are_embedded_whole(encoder: Encoder) -> None:
    chunks = chunk_document(TEXTS[3] * 5, encoder.tokenizer, encoder.max_tokens)
    assert len(chunks) > 1
    assert encoder.encode([chunk.text for chunk in chunks]).shape == (len(chunks), 384)


def test_a_text_that_cannot_be_embedded_is_an_encoder_failure(
    encoder: Encoder, torch_encoder: Encoder
) -> None:
    for each in (encoder, torch_encoder):
        with pytest.raises(EncoderFailed):
            each.encode([UNICODE_ERROR])


def test_one_bad_text_does_not_spoil_the_others(encoder: Encoder) -> None:
    texts = [*TEXTS[:7], UNICODE_ERROR, *TEXTS[7:], UNICODE_ERROR]
    vectors, failures = encode_resiliently(encoder, texts)
    assert sorted(failures) == [7, len(texts) - 1]
    assert np.isnan(vectors[7]).all()
    good = [row for row in range(len(texts)) if row not in failures]
    assert cosines(vectors[good], encoder.encode(TEXTS)).min() >= 0.9999


def test_resilient_encoding_of_good_texts_reports_nothing(encoder: Encoder) -> None:
    vectors, failures = encode_resiliently(encoder, TEXTS[:3])
    assert failures == {}
    assert np.isfinite(vectors).all()


class TestVerification:
    def test_stored_vectors_of_the_same_model_pass(
        self, encoder: Encoder, torch_encoder: Encoder
    ) -> None:
        verify_encoder(encoder, TEXTS[:5], torch_encoder.encode(TEXTS[:5]))
        verify_encoder(encoder, TEXTS[:5], 3 * encoder.encode(TEXTS[:5]).astype(np.float16))

    def test_a_single_damaged_row_does_not_condemn_the_index(self, encoder: Encoder) -> None:
        vectors = encoder.encode(TEXTS[:4])
        vectors[1] = -vectors[1]
        verify_encoder(encoder, TEXTS[:4], vectors)
        vectors[:2] *= -1
        vectors[2] *= -1
        with pytest.raises(ModelError, match="made by another model"):
            verify_encoder(encoder, TEXTS[:4], vectors)

    def test_an_empty_index_passes(self, encoder: Encoder) -> None:
        verify_encoder(encoder, [], np.zeros((0, 384)))

    @pytest.mark.parametrize(
        "spoil",
        [
            pytest.param(lambda vectors: vectors[::-1], id="of other texts"),
            pytest.param(
                lambda vectors: vectors + 0.02 * np.sign(vectors[:, ::-1]), id="slightly off"
            ),
            pytest.param(lambda vectors: vectors[:, :200], id="of other dimensions"),
            pytest.param(lambda vectors: vectors * np.nan, id="not finite"),
            pytest.param(lambda vectors: vectors * 0, id="zero"),
        ],
    )
    def test_other_vectors_are_refused(
        self, encoder: Encoder, spoil: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        with pytest.raises(ModelError):
            verify_encoder(encoder, TEXTS[:6], spoil(encoder.encode(TEXTS[:6])))


class TestBackends:
    def test_auto_takes_openvino_on_a_cpu(self, cache_dir: Path) -> None:
        encoder = load_encoder(EncoderConfig(DEFAULT_MODEL, cache_dir, threads=1))
        assert type(encoder).__name__ == "OpenVinoEncoder"

    def test_an_encoder_of_single_texts_makes_the_same_vectors(
        self, cache_dir: Path, encoder: Encoder
    ) -> None:
        alone = load_encoder(
            EncoderConfig(DEFAULT_MODEL, cache_dir, backend="openvino", single_texts=True)
        )
        np.testing.assert_allclose(alone.encode(TEXTS), encoder.encode(TEXTS), atol=1e-5)

    def test_questions_that_are_asked_at_once_get_their_own_vectors(self, cache_dir: Path) -> None:
        alone = load_encoder(
            EncoderConfig(DEFAULT_MODEL, cache_dir, backend="openvino", single_texts=True)
        )
        questions = [text[:length] for text in TEXTS for length in (20, 2000)]
        expected = [alone.encode([question]) for question in questions]
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda question: alone.encode([question]), questions * 5))
        np.testing.assert_allclose(found, expected * 5, atol=1e-5)
        streams = alone._graph.get_property("NUM_STREAMS")  # type: ignore[attr-defined]
        assert streams == min(4, os.cpu_count() or 1), "one question must not wait for another"

    @pytest.mark.parametrize("backend", ["openvino", "onnx"])
    def test_cpu_backends_refuse_a_gpu(self, backend: str, cache_dir: Path) -> None:
        with pytest.raises(ModelError, match="torch backend"):
            load_encoder(EncoderConfig(DEFAULT_MODEL, cache_dir, backend=backend, device="cuda"))

    @pytest.mark.parametrize("backend", ["torch", "auto"])
    def test_a_device_that_does_not_exist_is_a_model_error(
        self, backend: str, cache_dir: Path
    ) -> None:
        with pytest.raises(ModelError):
            load_encoder(EncoderConfig(DEFAULT_MODEL, cache_dir, backend=backend, device="cuda:63"))

    def test_auto_takes_half_precision_exactly_where_the_cpu_has_it(
        self, cache_dir: Path, encoder: Encoder
    ) -> None:
        try:
            half = load_encoder(
                EncoderConfig(
                    DEFAULT_MODEL, cache_dir, backend="openvino", precision=Precision.BFLOAT16
                )
            )
        except ModelError as error:
            assert "bfloat16" in str(error)
            assert encoder.precision is Precision.FLOAT32
        else:
            assert encoder.precision is half.precision is Precision.BFLOAT16

    def test_half_precision_makes_vectors_of_the_same_version(
        self, cache_dir: Path, torch_encoder: Encoder, encoder: Encoder
    ) -> None:
        half = load_encoder(
            EncoderConfig(
                DEFAULT_MODEL,
                cache_dir,
                backend="torch",
                device="cpu",
                precision=Precision.BFLOAT16,
            )
        )
        assert half.version == torch_encoder.version == encoder.version
        assert cosines(half.encode(TEXTS), torch_encoder.encode(TEXTS)).min() >= 0.999

    def test_int8_makes_near_vectors_of_another_version(
        self, cache_dir: Path, encoder: Encoder
    ) -> None:
        small = load_encoder(EncoderConfig(DEFAULT_MODEL, cache_dir, precision=Precision.INT8))
        assert small.version == encoder.version.replace("/float32", "/int8")
        assert 0.9 <= cosines(small.encode(TEXTS), encoder.encode(TEXTS)).min() < 0.9999

    @pytest.mark.parametrize(
        ("backend", "precision"),
        [
            ("torch", Precision.INT8),
            ("openvino", Precision.INT8),
            ("openvino", Precision.FLOAT16),
            ("onnx", Precision.BFLOAT16),
        ],
    )
    def test_a_precision_that_the_backend_lacks_is_refused(
        self, backend: str, precision: Precision, cache_dir: Path
    ) -> None:
        with pytest.raises(ModelError, match=precision.value):
            load_encoder(
                EncoderConfig(
                    DEFAULT_MODEL, cache_dir, backend=backend, device="cpu", precision=precision
                )
            )

    def test_auto_takes_a_gpu_where_there_is_one_and_torch_can_use_it(
        self, cache_dir: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        import torch

        asked: list[str | None] = []

        def open_on_the_gpu(config: EncoderConfig) -> Encoder:
            asked.append(config.device)
            return Remote(version=encoder_version(config))

        device_file = tmp_path / "nvidiactl"

        def suits(config: EncoderConfig) -> bool:
            return openvino_encoder.suits(config, lambda: has_gpu([str(device_file)]))

        openvino = replace(openvino_encoder.BACKEND, suits=suits)
        monkeypatch.setitem(BACKENDS, "openvino", openvino)
        torch_backend = replace(BACKENDS["torch"], open=open_on_the_gpu)
        monkeypatch.setitem(BACKENDS, "torch", torch_backend)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        config = EncoderConfig(DEFAULT_MODEL, cache_dir, threads=1)
        assert not isinstance(load_encoder(config), Remote)
        device_file.touch()
        assert isinstance(load_encoder(config), Remote)
        assert not isinstance(load_encoder(replace(config, device="cpu")), Remote)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
        assert not isinstance(load_encoder(config), Remote)
        assert asked == [None]

    def test_a_gpu_s_batches_follow_its_memory(self, cache_dir: Path) -> None:
        files = resolve_model(DEFAULT_MODEL, cache_dir)
        sizes = [gpu_batch_size(gib << 30, files) for gib in (0, 1, 2, 80)]
        assert sizes[0] == 1
        assert sizes == sorted(sizes)
        assert 32 <= sizes[1] < sizes[-1] == 512

    def test_onnx_without_its_packages_says_what_to_install(
        self, cache_dir: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, "onnxruntime", None)
        with pytest.raises(ModelError, match=r"activekg-pipelines\[onnx\]"):
            load_encoder(EncoderConfig(DEFAULT_MODEL, cache_dir, backend="onnx"))

    def test_onnx_gives_the_same_vectors(self, cache_dir: Path, torch_encoder: Encoder) -> None:
        onnx = load_encoder(EncoderConfig(DEFAULT_MODEL, cache_dir, backend="onnx"))
        assert onnx.version == torch_encoder.version
        assert cosines(onnx.encode(TEXTS), torch_encoder.encode(TEXTS)).min() >= 0.9999
        with pytest.raises(EncoderFailed):
            onnx.encode([UNICODE_ERROR])


def test_importing_the_package_loads_no_heavy_library() -> None:
    code = (
        "import sys, activekg_pipelines.embedding; "
        "print({'torch', 'transformers', 'openvino', 'numpy', 'tokenizers'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
