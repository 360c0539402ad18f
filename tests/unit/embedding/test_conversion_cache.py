from __future__ import annotations

import json
import multiprocessing
import shutil
import time
from pathlib import Path

import pytest

from activekg_pipelines.embedding import DEFAULT_MODEL, EncoderConfig, load_encoder
from activekg_pipelines.embedding.artifacts import DamagedArtifact, load_or_build
from activekg_pipelines.errors import ModelError

from .conftest import Converted, finish_loading, start_loading


def test_two_processes_that_start_at_once_convert_once_and_agree(converted: Converted) -> None:
    assert converted.loads[0].vector == converted.loads[1].vector
    assert (
        len([path for path in (converted.cache_dir / "openvino").iterdir() if path.is_dir()]) == 1
    )


def test_converting_looks_up_no_host(converted: Converted) -> None:
    assert {load.looked_up for load in converted.loads} == {"[]"}


def test_a_later_start_imports_no_torch_and_looks_up_no_host(cache_dir: Path) -> None:
    load = finish_loading(start_loading(cache_dir))
    assert (load.torch_imported, load.looked_up) == ("False", "[]")


def test_a_damaged_conversion_is_made_again(cache_dir: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(cache_dir, tmp_path / "models")
    (weights,) = (copy / "openvino").glob("*/model.bin")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000] + b"?" * 5000 + whole[6000:])
    encoder = load_encoder(EncoderConfig(DEFAULT_MODEL, copy, backend="openvino", threads=1))
    assert encoder.encode(["text"]).shape == (1, 384)
    assert weights.read_bytes() == whole


def build(folder: Path) -> None:
    with (folder.parent / "builds").open("a") as log:
        log.write("built\n")
    time.sleep(0.2)
    (folder / "data").write_text("whole")


def load(folder: Path) -> str:
    text = (folder / "data").read_text()
    if text != "whole":
        raise DamagedArtifact(text)
    return text


def load_cached(folder: Path) -> str:
    return load_or_build(folder, build, load)


def builds(folder: Path) -> int:
    return len((folder.parent / "builds").read_text().splitlines())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "artifact"


def test_files_are_built_once(folder: Path) -> None:
    assert [load_cached(folder), load_cached(folder)] == ["whole", "whole"]
    assert builds(folder) == 1


def test_processes_wait_for_the_one_that_builds(folder: Path) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert pool.map(load_cached, [folder] * 4) == ["whole"] * 4
    assert builds(folder) == 1


def test_a_copy_with_other_times_is_not_built_again(folder: Path) -> None:
    load_cached(folder)
    text = (folder / "data").read_text()
    time.sleep(0.01)
    (folder / "data").write_text(text)
    assert load_cached(folder) == "whole"
    assert builds(folder) == 1


@pytest.mark.parametrize("file", ["data", "manifest.json"])
@pytest.mark.parametrize("content", [None, "", "other", "{}}"])
def test_missing_and_damaged_files_are_built_again(
    folder: Path, file: str, content: str | None
) -> None:
    load_cached(folder)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    assert load_cached(folder) == "whole"
    assert builds(folder) == 2


def test_intact_files_that_cannot_be_loaded_are_built_again(folder: Path) -> None:
    load_or_build(
        folder, lambda draft: Path(draft / "data").write_text("old") and None, lambda _: ""
    )
    assert load_cached(folder) == "whole"


def test_files_that_stay_unloadable_are_a_model_error(folder: Path) -> None:
    with pytest.raises(ModelError, match="cannot be loaded"):
        load_or_build(folder, lambda draft: Path(draft / "data").write_text("bad") and None, load)


def test_a_failed_build_leaves_nothing_and_says_why(folder: Path) -> None:
    def fail(draft: Path) -> None:
        (draft / "data").write_text("half")
        raise OSError("disk full")

    with pytest.raises(ModelError, match="disk full"):
        load_or_build(folder, fail, load)
    assert [path.name for path in folder.parent.iterdir() if path.is_dir()] == []
    assert load_cached(folder) == "whole"


def test_the_manifest_lists_every_file(folder: Path) -> None:
    load_cached(folder)
    assert list(json.loads((folder / "manifest.json").read_text())) == ["data"]
