from __future__ import annotations

import random
from typing import Any, cast

import pytest
from pdfplumber import table as pdfplumber_table

from activekg_pipelines.extraction.pdf.grid import Box, Grid, find_grids
from activekg_pipelines.extraction.pdf.lines import Line, Lines, TooManyLinesError

Rows = tuple[tuple[Box | None, ...], ...]


@pytest.mark.parametrize("seed", range(200))
def test_grids_are_those_of_pdfplumber(seed: int) -> None:
    lines = scattered_lines(random.Random(seed))
    assert [rounded(grid.rows) for grid in find_grids(lines)] == [
        rounded(rows) for rows in by_pdfplumber(lines)
    ]


def test_some_of_the_scattered_lines_do_form_grids() -> None:
    assert sum(len(find_grids(scattered_lines(random.Random(seed)))) for seed in range(200)) > 50


def test_a_merged_cell_leaves_gaps_in_rows_and_columns() -> None:
    vertical = [(0.0, 0.0, 40.0), (50.0, 20.0, 40.0), (100.0, 0.0, 40.0)]
    horizontal = [(0.0, 0.0, 100.0), (20.0, 0.0, 100.0), (40.0, 0.0, 100.0)]
    assert find_grids(Lines(vertical, horizontal)) == [
        Grid(
            box=(0, 0, 100, 40),
            cells=((0, 0, 100, 20), (0, 20, 50, 40), (50, 20, 100, 40)),
            rows=(((0, 0, 100, 20), None), ((0, 20, 50, 40), (50, 20, 100, 40))),
        )
    ]


@pytest.mark.parametrize("count", [80, 1_500])
def test_more_crossings_than_a_table_has_are_refused(count: int) -> None:
    lines = [(10.0 * place, 0.0, 10.0 * count) for place in range(count)]
    with pytest.raises(TooManyLinesError):
        find_grids(Lines(lines, lines))


def test_a_staircase_of_cells_is_no_table() -> None:
    # Its rows, filled up with gaps, would be as many as its cells squared.
    steps = range(400)
    lines = [(10.0 * step, 10.0 * (step - 1), 10.0 * (step + 1)) for step in steps]
    with pytest.raises(TooManyLinesError):
        find_grids(Lines(lines, lines))


def scattered_lines(chance: random.Random) -> Lines:
    """Lines at few positions, some a little off: many cross or nearly coincide."""
    positions = [
        chance.randint(0, 60) * chance.choice([1, 4]) for _ in range(chance.randint(2, 12))
    ]

    def some() -> list[Line]:
        return [
            (
                chance.choice(positions) + chance.choice([0, 0, 1, 2.5]),
                *cast(tuple[float, float], tuple(map(float, sorted(chance.sample(range(240), 2))))),
            )
            for _ in range(chance.randint(3, 40))
        ]

    return Lines(some(), some())


def by_pdfplumber(lines: Lines) -> list[Rows]:
    """The grids of two by two cells and more that pdfplumber itself finds."""
    edges = [edge("v", x, x, top, bottom) for x, top, bottom in lines.vertical]
    edges += [edge("h", left, right, y, y) for y, left, right in lines.horizontal]
    merged = [
        edge
        for edge in pdfplumber_table.merge_edges(edges, 3, 3, 3, 3)
        if edge["width"] + edge["height"] >= 3
    ]
    cells = pdfplumber_table.intersections_to_cells(
        pdfplumber_table.edges_to_intersections(merged, 3, 3)
    )
    tables = [
        pdfplumber_table.Table(cast(Any, None), found)
        for found in pdfplumber_table.cells_to_tables(cells)
    ]
    found = [cast(Rows, tuple(tuple(row.cells) for row in table.rows)) for table in tables]
    return [rows for rows in found if len(rows) >= 2 and len(rows[0]) >= 2]


def edge(orientation: str, x0: float, x1: float, top: float, bottom: float) -> dict[str, Any]:
    sizes = {"width": x1 - x0, "height": bottom - top}
    return {"orientation": orientation, "x0": x0, "x1": x1, "top": top, "bottom": bottom, **sizes}


def rounded(rows: Rows) -> Rows:
    """Means of positions are added up in another order."""
    return tuple(
        tuple(cell and cast(Box, tuple(round(place, 6) for place in cell)) for cell in row)
        for row in rows
    )
