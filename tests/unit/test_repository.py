"""What the repository says about itself holds: links, floors, hooks, license."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import yaml
from markdown_it import MarkdownIt

ROOT = Path(__file__).parents[2]
PAGES = [
    page
    for pattern in ("*.md", "docs/**/*.md", "benchmarks/*.md", "examples/*.md")
    for page in ROOT.glob(pattern)
]


def links(page: Path) -> Iterator[str]:
    """Targets of the page's links and images."""
    for block in MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8")):
        for token in block.children or []:
            if target := token.attrs.get("href") or token.attrs.get("src"):
                yield unquote(str(target))


def anchors(page: Path) -> set[str]:
    """What a link may name after ``#``, as GitHub makes it from the headings."""
    tokens = MarkdownIt("commonmark").parse(page.read_text(encoding="utf-8"))
    headings = [
        inline.content for opening, inline in pairwise(tokens) if opening.type == "heading_open"
    ]
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def floors() -> list[list[str]]:
    """The rooms of each floor, from the highest floor down."""
    (contract,) = (
        contract
        for contract in project()["tool"]["importlinter"]["contracts"]
        if contract["type"] == "layers"
    )
    return [floor.split(" | ") for floor in contract["layers"]]


def block_below(heading: str) -> str:
    """The first block of code below a heading of the page on the architecture."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    return page.partition(f"\n## {heading}\n")[2].split("```\n")[1]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"https?://", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_that_code_names_is_there() -> None:
    files = [
        *ROOT.glob("*.*"),
        *(
            path
            for folder in ("activekg_pipelines", "benchmarks", "deploy", "docs")
            for path in (ROOT / folder).rglob("*.*")
        ),
    ]
    named = {
        page
        for file in files
        if file.suffix in {".py", ".sql", ".toml", ".yaml", ".yml"}
        for page in re.findall(r"\bdocs/[\w/.-]+\.md\b", file.read_text(encoding="utf-8"))
    }
    assert named
    assert not {page for page in named if not (ROOT / page).is_file()}


def test_each_page_is_found_from_the_readme() -> None:
    found: set[Path] = set()
    waiting = [ROOT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page.suffix == ".md" and page not in found:
            found.add(page)
            waiting += [
                (page.parent / link.partition("#")[0]).resolve()
                for link in links(page)
                if not re.match(r"https?://|#", link)
            ]
    assert set(PAGES) <= found


def test_the_hooks_are_what_make_check_runs() -> None:
    recipe = (ROOT / "Makefile").read_text().partition("\ncheck: ")[2].partition("\n\n")[0]
    checks = [line.strip().replace("$(BIN)", ".venv/bin") for line in recipe.splitlines()[1:]]
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert [hook["entry"] for hook in config["repos"][0]["hooks"]] == checks


def test_the_page_shows_the_floors_that_import_linter_holds() -> None:
    shown = block_below("The floors").splitlines()
    assert [line.split() for line in shown] == floors()


def test_the_page_names_every_room() -> None:
    named = re.findall(r"^  ([\w./]+)", block_below("The rooms"), re.MULTILINE)
    assert {Path(name).stem for name in named} == {room for floor in floors() for room in floor}


def test_the_license_of_the_metadata_is_the_one_in_the_repository() -> None:
    assert project()["project"]["license"] == "Apache-2.0"
    name, _ = project()["project"]["license-files"]
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text


def test_the_notice_credits_what_the_trees_were_fitted_to() -> None:
    """CC BY asks for the author, the license, a link to it and what was changed."""
    _, name = project()["project"]["license-files"]
    text = (ROOT / name).read_text(encoding="utf-8")
    assert "extraction/html/forest.json" in text
    assert "Murrough Foley" in text
    assert "https://creativecommons.org/licenses/by/4.0/" in text
    assert "Changes: " in text
    assert "extraction/html/forest.json" in str(project()["tool"]["setuptools"]["package-data"])
