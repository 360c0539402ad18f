from __future__ import annotations

import json
from pathlib import Path

import pytest

from activekg_pipelines.errors import NoTextLayer
from activekg_pipelines.extraction import ExtractedDocument, Limits, extract_file

SENTENCE = (
    "The committee met on Tuesday and agreed that the harbour wall should be rebuilt "
    "before the winter storms. "
)
ARTICLE = f"""<!DOCTYPE html><html><head>
<title> Harbour &amp; wall </title><style>p {{}}</style></head><body>
<nav><ul><li><a href="/">Home page link</a></li><li><a href="/news">News link</a></li></ul></nav>
<main><article><h1>Harbour wall</h1><p>{SENTENCE * 4}</p><h2>Costs</h2><p>{SENTENCE * 4}</p>
<table><tr><th>Year</th><th>Cost</th></tr>
<tr><td>2023</td><td>5 | 6</td></tr><tr><td>2024</td><td>7</td></tr></table>
<ul><li>first point of the plan</li><li>second point of the plan</li></ul>
<p>{SENTENCE * 4}</p></article></main>
<footer>Copyright notice of the harbour</footer><script>var tracking = 1;</script></body></html>"""


def read(folder: Path, page: str | bytes) -> ExtractedDocument:
    path = folder / "object"
    path.write_bytes(page if isinstance(page, bytes) else page.encode())
    return extract_file(path, "a.html", "text/html", Limits())


def body(content: str) -> str:
    return f"<html><head><title>T</title></head><body>{content}</body></html>"


def test_an_article_is_read_without_its_surroundings(tmp_path: Path) -> None:
    document = read(tmp_path, ARTICLE)
    assert document.facts["engine"] == "trafilatura"
    assert document.title == "Harbour & wall"
    assert document.mime_type == "text/html"
    assert document.text.count(SENTENCE.strip()) == 12
    assert "## Costs" in document.text
    assert "- first point of the plan" in document.text
    for noise in ("Home page link", "Copyright notice", "tracking"):
        assert noise not in document.text


def test_an_article_s_table_is_markdown(tmp_path: Path) -> None:
    document = read(tmp_path, ARTICLE)
    assert "| Year | Cost |\n| --- | --- |\n| 2023 | 5 \\| 6 |\n| 2024 | 7 |" in document.text
    assert document.facts["tables"] == 1


def test_a_page_that_is_no_article_keeps_all_its_text(tmp_path: Path) -> None:
    rows = "".join(
        f"<div><a href='/{i}'>Product {i}</a><span>Price {i} EUR</span></div>" for i in range(200)
    )
    document = read(
        tmp_path,
        body(f"<nav>Menu entry</nav><header>Site name</header>{rows}<aside>Advert</aside>"),
    )
    for index in (0, 99, 199):
        assert f"Product {index}" in document.text
    assert "Menu entry" not in document.text
    assert "Advert" not in document.text


def test_a_page_of_nothing_but_navigation_keeps_that(tmp_path: Path) -> None:
    assert "Only this" in read(tmp_path, body("<nav>Only this</nav>")).text


def test_structure_of_a_short_page(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        body(
            "<h1>Top</h1>one <b>bold</b>er<br>two<ul><li>a<ul><li>b</li></ul></li><li>c</li></ul>"
            "<pre>x = 1\n  y</pre><h3>Low\n er</h3>"
            "<div hidden>gone</div><p style='display:none'>gone</p>"
        ),
    )
    assert (
        document.text
        == "# Top\n\none bolder\ntwo\n\n- a\n  - b\n- c\n\n```\nx = 1\n  y\n```\n\n### Low er"
    )


def test_merged_cells_stand_once(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        body(
            "<table><caption>Sales</caption><tr><th rowspan=2>A</th><th colspan=2>B</th></tr>"
            "<tr><td>b1</td><td>b2</td></tr><tr><td>a3</td><td>b3</td><td>c3</td></tr></table>"
        ),
    )
    assert (
        document.text
        == "Sales\n\n| A | B |  |\n| --- | --- | --- |\n|  | b1 | b2 |\n| a3 | b3 | c3 |"
    )


def test_a_layout_table_is_text_and_the_table_in_it_a_table(tmp_path: Path) -> None:
    inner = "<table><tr><td>k</td><td>v</td></tr><tr><td>1</td><td>2</td></tr></table>"
    document = read(tmp_path, body(f"<table><tr><td>left</td><td>right {inner}</td></tr></table>"))
    assert document.text == "left\n\nright\n\n| k | v |\n| --- | --- |\n| 1 | 2 |"


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ('<meta charset="windows-1251"><p>Привет, мир'.encode("cp1251"), "Привет, мир"),
        (
            '<meta http-equiv="Content-Type" content="text/html; charset=shift_jis"><p>日本'.encode(
                "shift_jis"
            ),
            "日本",
        ),
        (
            "<?xml version='1.0' encoding='ISO-8859-1'?><html><p>café</p></html>".encode("latin-1"),
            "café",
        ),
        ("<p>Grüße".encode("utf-16"), "Grüße"),
        ("<p>Grüße aus München".encode("cp1252"), "Grüße aus München"),
        ('<meta charset="iso-8859-1"><p>Grüße'.encode(), "Grüße"),
    ],
)
def test_encodings(tmp_path: Path, page: bytes, expected: str) -> None:
    assert read(tmp_path, page).text == expected


@pytest.mark.parametrize("tag", ["div", "b", "table><tr><td", "font"])
def test_deeply_nested_tags_cost_structure_but_no_text(tmp_path: Path, tag: str) -> None:
    document = read(tmp_path, body("<p>start" + f"<{tag}>x " * 5_000 + "<p>deep end"))
    assert document.text.startswith("start")
    assert document.text.endswith("deep end")
    assert "too deeply" in str(document.facts["warnings"])


def test_a_page_that_scripts_build_has_no_text(tmp_path: Path) -> None:
    with pytest.raises(NoTextLayer):
        read(tmp_path, body("<div id=app></div><script>render('text')</script>"))


def test_the_title_falls_back_to_the_first_heading(tmp_path: Path) -> None:
    assert read(tmp_path, "<h1>Heading <i>one</i></h1><p>text").title == "Heading one"


def test_text_around_what_is_left_out_stays(tmp_path: Path) -> None:
    page = body(
        "<p>one<img src=x> two<select><option>no</option></select>"
        " three<script>no</script> four<aside>no</aside> five"
    )
    assert read(tmp_path, page).text.split() == ["one", "two", "three", "four", "five"]


def test_an_article_s_own_header_and_footer_stay_where_the_page_is_no_article_to_trafilatura(
    tmp_path: Path,
) -> None:
    document = read(
        tmp_path,
        body(
            "<footer>Imprint</footer>"
            "<article><header>By Ada</header><p>Short.</p><footer>Filed</footer>"
        ),
    )
    assert document.text == "By Ada\n\nShort.\n\nFiled"


def test_an_article_that_only_its_description_holds_is_read(tmp_path: Path) -> None:
    described = json.dumps(
        {"@context": "https://schema.org", "@type": "NewsArticle", "articleBody": SENTENCE * 6}
    )
    document = read(
        tmp_path,
        body(f"<div id=app>Loading</div><script type='application/ld+json'>{described}</script>"),
    )
    assert document.text.count(SENTENCE.strip()) == 6


def test_a_table_that_would_grow_out_of_bounds_is_read_cell_by_cell(tmp_path: Path) -> None:
    wide = "<tr>" + "".join(f"<td>w{column}</td>" for column in range(2_000)) + "</tr>"
    long = "".join(f"<tr><td>row {row}</td></tr>" for row in range(2_000))
    document = read(tmp_path, body(f"<table>{wide}{long}</table>"))
    assert document.facts["engine"] == "lxml"
    assert document.facts["tables"] == 0
    assert {"w0", "w1999", "row 0", "row 1999"} <= set(document.text.split("\n\n"))
