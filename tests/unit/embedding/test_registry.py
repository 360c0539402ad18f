"""What a new backend needs, and what the registry promises of all of them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from activekg_pipelines.chunking import chunk_document
from activekg_pipelines.embedding import (
    BACKENDS,
    DEFAULT_MODEL,
    EncoderConfig,
    Precision,
    encode_resiliently,
    encoder_version,
    load_encoder,
)
from activekg_pipelines.errors import EncoderFailed, ModelError
from tests import remote_encoder
from tests.remote_encoder import MAX_TOKENS, VERSION, Remote


@pytest.fixture
def remote(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EncoderConfig:
    """A process that uses an encoder without any folder of weights."""
    monkeypatch.setitem(BACKENDS, "remote", remote_encoder.BACKEND)
    return EncoderConfig(remote_encoder.MODEL, tmp_path / "models", backend="remote")


def test_a_backend_needs_no_folder_of_weights(remote: EncoderConfig) -> None:
    assert encoder_version(remote) == VERSION
    encoder = load_encoder(remote)
    assert isinstance(encoder, Remote)
    vectors = encoder.encode(["one text", "another text"])
    assert vectors.shape == (2, 384)
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1)
    assert not remote.cache_dir.exists()


def test_its_tokenizer_may_come_from_anywhere(remote: EncoderConfig) -> None:
    encoder = load_encoder(remote)
    text = "\n\n".join(f"Paragraph {n} says something, and then stops there." for n in range(20))
    chunks = chunk_document(text, encoder.tokenizer, encoder.max_tokens)
    assert len(chunks) > 5
    for chunk in chunks:
        assert text[chunk.start : chunk.end] == chunk.text
        assert chunk.tokens == len(encoder.tokenizer.encode(chunk.text).ids) <= MAX_TOKENS
        assert chunk.text.startswith("Paragraph")
        assert chunk.text.endswith(".")


def test_a_text_that_its_service_refuses_fails_alone(remote: EncoderConfig) -> None:
    texts = ["good", "forbidden", "fine"]
    vectors, failures = encode_resiliently(load_encoder(remote), texts)
    assert list(failures) == [1]
    assert isinstance(failures[1], EncoderFailed)
    assert np.isnan(vectors).any(axis=1).tolist() == [False, True, False]


def test_a_service_that_does_not_answer_is_no_fault_of_the_texts(remote: EncoderConfig) -> None:
    encoder = load_encoder(remote)
    assert isinstance(encoder, Remote)
    encoder.answers = False
    with pytest.raises(ModelError, match="does not answer"):
        encode_resiliently(encoder, ["one", "two"])


def test_auto_takes_the_first_backend_that_suits(
    remote: EncoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = encoder_version(EncoderConfig(DEFAULT_MODEL, remote.cache_dir))
    asked: list[str] = []

    def stand_in(name: str, *, suits: bool) -> None:
        def answer(config: EncoderConfig) -> bool:
            asked.append(name)
            return suits

        monkeypatch.setitem(
            BACKENDS,
            name,
            replace(BACKENDS[name], suits=answer, open=lambda _: Remote(version=version)),
        )

    stand_in("onnx", suits=False)
    stand_in("openvino", suits=True)
    stand_in("torch", suits=True)
    config = EncoderConfig(DEFAULT_MODEL, remote.cache_dir)
    assert load_encoder(config).version == version
    assert asked == ["onnx", "openvino"]


def test_the_version_does_not_depend_on_which_backend_runs_the_model(tmp_path: Path) -> None:
    versions = {
        encoder_version(EncoderConfig(DEFAULT_MODEL, tmp_path, backend=name, precision=precision))
        for name in ("auto", "onnx", "openvino", "torch")
        for precision in (Precision.AUTO, Precision.FLOAT32, Precision.BFLOAT16, Precision.FLOAT16)
    }
    assert versions == {"all-MiniLM-L6-v2@53aa5117/float32"}


def test_an_encoder_of_another_version_than_promised_is_refused(
    remote: EncoderConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = replace(remote_encoder.BACKEND, open=lambda _: Remote(version="other"))
    monkeypatch.setitem(BACKENDS, "remote", wrong)
    with pytest.raises(ModelError, match=f"of other, not of {VERSION}"):
        load_encoder(remote)


def test_a_backend_that_is_not_registered_is_refused_with_the_names_of_those_that_are(
    tmp_path: Path,
) -> None:
    config = EncoderConfig(DEFAULT_MODEL, tmp_path, backend="remote")
    for ask in (load_encoder, encoder_version):
        with pytest.raises(ModelError, match="remote, only auto, onnx, openvino, torch"):
            ask(config)
