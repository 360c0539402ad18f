"""The page of the settings is what its generator makes of this version's settings."""

from __future__ import annotations

import re
from pathlib import Path

from docs.make_configuration import PAGE, configuration

ROOT = Path(__file__).parents[2]
FOLDERS = ("activekg_pipelines", "deploy", "docs")


def test_the_page_is_up_to_date() -> None:
    made = configuration()
    assert PAGE.read_text(encoding="utf-8") == made, "run: python docs/make_configuration.py"


def test_every_variable_says_what_it_means_in_a_sentence() -> None:
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \| (.+) \| (.+) \|$", configuration(), re.MULTILINE)
    assert len(rows) > 50
    for name, default, values, meaning in rows:
        assert default and values, name
        assert re.fullmatch(r"[A-Z`].*\.", meaning), name


def test_the_page_knows_every_variable_that_anything_here_names() -> None:
    files = [
        *ROOT.glob("*.*"),
        *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.*")),
    ]
    named = {
        name
        for file in files
        if file.suffix in {".md", ".py", ".sql", ".yaml", ".yml"}
        for name in re.findall(
            r"\b(?:ACTIVEKG|CONNECTOR_KEK|JWT)_[A-Z0-9_]*[A-Z0-9]\b",
            file.read_text(encoding="utf-8"),
        )
    }
    assert len(named) > 50
    # Keys are numbered, and the page writes the number as <n>.
    missing = {
        name
        for name in named
        if f"`{re.sub(r'^CONNECTOR_KEK_V[0-9]*$', 'CONNECTOR_KEK_V<n>', name)}`"
        not in configuration()
    }
    assert not missing
