from __future__ import annotations

from pathlib import Path

import pytest

from activekg_pipelines.extraction import Limits, extract_file


@pytest.mark.parametrize(
    ("markdown", "title"),
    [
        ("intro\n\n# The *Title* #\n\n## Other", "The *Title*"),
        ("A title\n=======\n\n# Later", "A title"),
        ("---\ntitle: 'Front matter'\ndate: 2024\n---\n# Heading", "Front matter"),
        ("---\r\ndate: 2024\r\n---\r\n# Heading\r\n", "Heading"),
        ("```\n# a comment\n```\n\n# Heading", "Heading"),
        ("no heading", None),
    ],
)
def test_markdown_keeps_its_text_and_names_itself(
    tmp_path: Path, markdown: str, title: str | None
) -> None:
    path = tmp_path / "object"
    path.write_bytes(markdown.encode())
    document = extract_file(path, "a.md", None, Limits())
    assert document.text == markdown.replace("\r\n", "\n").rstrip("\n")
    assert document.title == title
    assert document.mime_type == "text/markdown"
