"""The lock installs what ``pyproject.toml`` asks for, and names a hash for all of it."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# Its build differs from machine to machine, so it is pinned by version, in the
# Makefile.
UNHASHED = {"torch"}


def locked() -> dict[str, list[tuple[str, list[str]]]]:
    """Versions with their hashes by package.

    There is more than one where the platform or Python decides.
    """
    entries = re.split(r"\n(?=\S)", (ROOT / "requirements.lock").read_text())
    packages: dict[str, list[tuple[str, list[str]]]] = {}
    for entry in entries:
        if match := re.match(r"([A-Za-z0-9._-]+)==(\S+)", entry):
            hashes = re.findall(r"--hash=sha256:([0-9a-f]{64})", entry)
            packages.setdefault(canonicalize_name(match[1]), []).append((match[2], hashes))
    return packages


def requirements() -> Iterator[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"].values()
    for line in [*project["dependencies"], *(line for extra in extras for line in extra)]:
        requirement = Requirement(line)
        if requirement.name != project["name"]:
            yield requirement


def test_every_dependency_is_locked_at_a_version_that_the_range_allows() -> None:
    versions = {name: [version for version, _ in entries] for name, entries in locked().items()}
    versions["torch"] = re.findall(
        r"^TORCH := torch==(\S+)$", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    unmet = [
        f"{requirement}: {versions.get(canonicalize_name(requirement.name))}"
        for requirement in requirements()
        if not (found := versions.get(canonicalize_name(requirement.name)))
        or not all(requirement.specifier.contains(version) for version in found)
    ]
    assert not unmet, "run make lock"


def test_every_locked_package_has_a_hash_and_no_gpu_build_slips_in() -> None:
    packages = locked()
    assert len(packages) > 150
    assert all(hashes for entries in packages.values() for _, hashes in entries)
    assert not packages.keys() & UNHASHED
    assert not [name for name in packages if name.startswith(("nvidia-", "cuda-", "triton"))]
