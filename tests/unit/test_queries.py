"""Files of queries: names, and parts that several queries share."""

from __future__ import annotations

from pathlib import Path

from activekg_pipelines.database.queries import load_queries


def test_queries_are_found_by_name_with_their_comments(tmp_path: Path) -> None:
    path = tmp_path / "queries.sql"
    path.write_text("-- name: one\n-- Why.\nSELECT 1\n\n-- name: two\nSELECT '{Chunk}'\n")
    assert load_queries(path) == {"one": "-- Why.\nSELECT 1", "two": "SELECT '{Chunk}'"}


def test_a_part_stands_where_it_is_named(tmp_path: Path) -> None:
    path = tmp_path / "queries.sql"
    path.write_text(
        "-- part: source\nFROM {table}\n\n-- name: all\nSELECT *\n{source}\n\n"
        "-- name: some\nSELECT {columns}\n{source}\nLIMIT 1\n"
    )
    assert load_queries(path, {"columns": "a, b", "table": "t"}) == {
        "all": "SELECT *\nFROM t",
        "some": "SELECT a, b\nFROM t\nLIMIT 1",
    }
