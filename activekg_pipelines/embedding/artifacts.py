"""A cache of files that are expensive to make.

They are built whole or not at all, by one process at a time, and rebuilt when damaged.
"""

from __future__ import annotations

import hashlib
import json
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from activekg_pipelines.errors import ModelError

logger = logging.getLogger(__name__)

Loaded = TypeVar("Loaded")

_MANIFEST: Final = "manifest.json"
# Converting a small model takes 5 s, a large one on a busy machine some minutes.
_LOCK_SECONDS: Final = 900


class DamagedArtifact(Exception):
    """The cached files are intact but cannot be loaded."""


def load_or_build(
    folder: Path, build: Callable[[Path], None], load: Callable[[Path], Loaded]
) -> Loaded:
    """``load(folder)``, once the folder is there and intact.

    Where it is missing or damaged, ``build(draft)`` fills a draft of it first. ``load``
    raises :class:`DamagedArtifact` for files that it cannot use. They are then built
    again, once.

    Raises:
        ModelError: the files cannot be built, or cannot be loaded although freshly
            built, or another process holds the folder for 15 minutes.
    """
    try:
        if _is_intact(folder):
            return load(folder)
    except DamagedArtifact as error:
        logger.warning("%s cannot be loaded and is built again: %s", folder, error)
        _remove(folder)
    _build_once(folder, build)
    try:
        return load(folder)
    except DamagedArtifact as error:
        raise ModelError(f"The files built in {folder} cannot be loaded: {error}") from error


def _build_once(folder: Path, build: Callable[[Path], None]) -> None:
    from filelock import FileLock, Timeout

    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder.with_name(f"{folder.name}.lock"), timeout=_LOCK_SECONDS):
            if _is_intact(folder):
                return
            draft = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
            try:
                _run(build, draft)
                _write_manifest(draft)
                _remove(folder)
                draft.rename(folder)
            finally:
                shutil.rmtree(draft, ignore_errors=True)
    except Timeout as error:
        raise ModelError(
            f"Another process has been building {folder} for {_LOCK_SECONDS // 60} minutes."
        ) from error


def _run(build: Callable[[Path], None], draft: Path) -> None:
    try:
        build(draft)
    except ModelError:
        raise
    except Exception as error:
        raise ModelError(f"{draft.name} cannot be built: {error}") from error


def _remove(folder: Path) -> None:
    """Take the folder away at once. A process that has its files open keeps them."""
    if folder.exists():
        aside = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
        folder.rename(aside / folder.name)
        shutil.rmtree(aside)


def _write_manifest(folder: Path) -> None:
    manifest = {file.name: [_state(file), _checksum(file)] for file in sorted(folder.iterdir())}
    (folder / _MANIFEST).write_text(json.dumps(manifest), "utf-8")


def _is_intact(folder: Path) -> bool:
    """Whether every file is as it was built.

    Contents are read only where size or modification time differ. In a copy the time
    does.
    """
    try:
        manifest = json.loads((folder / _MANIFEST).read_text("utf-8"))
        return all(
            _state(folder / name) == state or _checksum(folder / name) == checksum
            for name, (state, checksum) in manifest.items()
        )
    except FileNotFoundError:
        return False
    except ValueError:
        logger.warning("%s is damaged and is built again", folder)
        return False


def _state(file: Path) -> list[int]:
    status = file.stat()
    return [status.st_size, status.st_mtime_ns]


def _checksum(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
