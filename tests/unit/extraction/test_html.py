from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from activekg_pipelines.errors import NoTextLayer
from activekg_pipelines.extraction import ExtractedDocument, Limits, extract_file
from activekg_pipelines.extraction.warnings import DocumentWarning, WarningKind

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


def warnings(document: ExtractedDocument) -> list[DocumentWarning]:
    told = document.facts["warnings"]
    assert isinstance(told, list)
    return [DocumentWarning.from_json(each) for each in told]


def body(content: str) -> str:
    return f"<html><head><title>T</title></head><body>{content}</body></html>"


def test_an_article_is_read_without_its_surroundings(tmp_path: Path) -> None:
    document = read(tmp_path, ARTICLE)
    assert document.title == "Harbour & wall"
    assert document.mime_type == "text/html"
    assert document.text.count(SENTENCE.strip()) == 12
    assert "## Costs" in document.text
    assert "- first point of the plan" in document.text
    for noise in ("Home page link", "Copyright notice", "tracking"):
        assert noise not in document.text
    (warning,) = warnings(document)
    assert warning.kind is WarningKind.SHARE_LEFT_OUT
    assert warning.sentence == "4% of the page look like navigation and were left out."


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
    for index in range(200):
        assert f"Product {index} Price {index} EUR" in document.text
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
        " three<script>no</script> four<nav>no</nav> five"
    )
    assert read(tmp_path, page).text.split() == ["one", "two", "three", "four", "five"]


def test_an_article_s_own_header_and_footer_stay(tmp_path: Path) -> None:
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
    assert document.facts["tables"] == 0
    assert {"w0", "w1999", "row 0", "row 1999"} <= set(document.text.split("\n\n"))


@pytest.mark.parametrize(
    "part",
    [
        "<div>Torque 50 Nm in a plain element.</div>",
        "<section><h2>Drawing</h2>See drawing NW-4711 for the torque of 50 Nm.</section>",
        "<aside class='note-danger'><p>Torque 50 Nm while the boiler is hot.</p></aside>",
        "<figure><img src=x><figcaption>Torque 50 Nm, as shown here.</figcaption></figure>",
        "<div class='answer'><p>I would use a torque of 50 Nm for that.</p></div>",
        "<div id='comments'><p>We used 50 Nm, a torque that held.</p></div>",
        "<details><summary>How tight?</summary><p>The torque is 50 Nm.</p></details>",
        "<div role='tabpanel' hidden><p>The torque is 50 Nm.</p></div>",
        "<div class='accordion-body' style='display: none'><p>The torque is 50 Nm.</p></div>",
        "<a href='#more'>More</a><div id='more' style='display:none'><p>Torque: 50 Nm.</p></div>",
        "<table><tr><td>Torque</td><td><ul><li>50 Nm</li><li>36 lbf ft</li></ul></td></tr>"
        "<tr><td>Bolts</td><td>4</td></tr></table>",
    ],
)
def test_what_stands_beside_an_article_s_paragraphs_stays(tmp_path: Path, part: str) -> None:
    document = read(tmp_path, ARTICLE.replace("<h2>Costs</h2>", part))
    assert "orque" in document.text
    assert "50 Nm" in document.text
    assert "Home page link" not in document.text


@pytest.mark.parametrize(
    "name",
    [
        "post",
        "entry-content",
        "td-post-content",
        "story-body",
        "sidebar-layout",
        "header-offset",
        "page-footer-fixed",
        "widget",
        "related-wrapper",
        "promo",
        "share-enabled",
        "menu-open",
        "comments",
        "teaser",
        "hero",
        "modal-content",
    ],
)
def test_an_article_in_many_blocks_is_whole_whatever_they_are_called(
    tmp_path: Path, name: str
) -> None:
    sentences = [
        f"Step {number} of the service sets pump {number} to {number * 7} litres a minute, "
        f"as sheet {number * 31} of the manual asks for."
        for number in range(44)
    ]
    blocks = "".join(
        f"<div class='{name}'><p>{' '.join(sentences[start : start + 4])}</p></div>"
        for start in range(0, 44, 4)
    )
    document = read(tmp_path, body(f"<nav><a href=/>Home</a></nav><div>{blocks}</div>"))
    assert [sentence for sentence in sentences if sentence not in document.text] == []


def test_what_a_list_s_cards_are_called_stays_with_their_text(tmp_path: Path) -> None:
    cards = "".join(
        f"<div class=x><a href=/{n}>Pump NW-{n}</a>"
        f"<p>It moves {n} litres a minute at {n + 3} bar, and is kept in stock.</p></div>"
        for n in range(300)
    )
    text = read(tmp_path, body(cards)).text
    assert [n for n in range(300) if f"Pump NW-{n}\n" not in text] == []


def test_a_warning_beside_the_content_of_a_short_page_stays(tmp_path: Path) -> None:
    page = "<h1>Valve</h1><p>Close it.</p><aside><p>Never open D-7 while hot.</p></aside>"
    assert read(tmp_path, body(page)).text.endswith("Never open D-7 while hot.")
    form = f"<form id=page><nav>Menu</nav>{page}</form>"
    assert read(tmp_path, body(form)).text.endswith("Never open D-7 while hot.")


def test_menus_and_links_to_other_pages_are_left_out(tmp_path: Path) -> None:
    links = "".join(f"<li><a href='/{n}'>Department {n}</a></li>" for n in range(40))
    others = "".join(
        f"<div class='card'><a href='/s{n}'>Another story of the town, part {n}</a></div>"
        for n in range(8)
    )
    page = ARTICLE.replace("<main>", f"<div class='mega-menu'><ul>{links}</ul></div><main>")
    page = page.replace(
        "</main>",
        f"</main><div class='related-posts'><h3>Related stories</h3>{others}</div>",
    )
    document = read(tmp_path, page)
    assert document.text.count(SENTENCE.strip()) == 12
    assert "Department 7" not in document.text
    assert "Another story" not in document.text
    (warning,) = warnings(document)
    assert warning.kind is WarningKind.SHARE_LEFT_OUT
    assert warning.count is not None
    assert warning.count > 800


def test_items_have_the_numbers_that_a_browser_shows(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        body(
            "<ol start=3><li>Open valve</li><li>Start pump<ol type=a><li>main</li><li>reserve"
            "</li></ol></li><li value=9>Close</li><li>Lock</li></ol>"
            "<ol type=I start=4><li>four</li></ol><ol reversed><li>two</li><li>one</li></ol>"
            "<ol type=A start=27><li>twenty-seven</li></ol><ol start=x><li>plain</li></ol>"
        ),
    )
    assert document.text == (
        "3. Open valve\n4. Start pump\n   a. main\n   b. reserve\n9. Close\n10. Lock\n"
        "IV. four\n2. two\n1. one\nAA. twenty-seven\n1. plain"
    )


def test_lists_in_cells_keep_their_items(tmp_path: Path) -> None:
    document = read(
        tmp_path,
        body(
            "<table><tr><th>Team</th><th>Contacts</th></tr><tr><td>Pumps</td><td><ul>"
            "<li>Petra 112</li><li>Jan 113</li></ul></td></tr><tr><td>Order</td><td>"
            "<ol><li>stop</li><li>drain</li></ol></td></tr></table>"
        ),
    )
    assert document.text.splitlines()[2:] == [
        "| Pumps | - Petra 112 - Jan 113 |",
        "| Order | 1. stop 2. drain |",
    ]


def test_spanning_cells_keep_the_columns_below_them_in_line(tmp_path: Path) -> None:
    rows = "".join(f"<tr><td>v{n}</td></tr>" for n in range(1, 70))
    document = read(
        tmp_path,
        body(
            "<table><tr><th>Group</th><th>Value</th></tr>"
            f"<tr><td rowspan=0>all of them</td><td>v0</td></tr>{rows}</table>"
        ),
    )
    lines = document.text.splitlines()
    assert lines[2] == "| all of them | v0 |"
    assert lines[3] == "|  | v1 |"
    assert lines[-1] == "|  | v69 |"


@pytest.mark.parametrize(
    ("formula", "expected"),
    [
        ("<mfrac><mi>V</mi><mi>t</mi></mfrac>", "V/t"),
        (
            "<mfrac><mrow><mi>a</mi><mo>+</mo><mi>b</mi></mrow><mn>2</mn></mfrac>",
            "(a+b)/2",
        ),
        ("<msup><mi>x</mi><mn>2</mn></msup>", "x^2"),
        ("<msub><mi>v</mi><mi>max</mi></msub>", "v_max"),
        ("<msqrt><mi>a</mi><mi>b</mi></msqrt>", "√ab"),
        ("<mroot><mi>x</mi><mn>3</mn></mroot>", "x^(1/3)"),
        (
            "<munderover><mo>∑</mo><mi>i</mi><mi>n</mi></munderover><mi>i</mi>",
            "∑_i^ni",
        ),
        (
            "<semantics><mi>q</mi><annotation encoding='application/x-tex'>q</annotation>"
            "</semantics>",
            "q",
        ),
    ],
)
def test_formulas_stay_formulas(tmp_path: Path, formula: str, expected: str) -> None:
    page = body(f"<p>Flow <math><mrow>{formula}</mrow></math> is set.</p>")
    assert read(tmp_path, page).text == f"Flow {expected} is set."


def test_a_formula_that_is_hidden_behind_its_picture_is_read(tmp_path: Path) -> None:
    page = body(
        "<p>Flow <span style='display: none'><math><mi>Q</mi></math></span><img src=q> is set.</p>"
    )
    document = read(tmp_path, page)
    assert document.text == "Flow Q is set."
    assert warnings(document) == []


def test_powers_and_notes_stand_apart_from_what_they_stand_behind(tmp_path: Path) -> None:
    page = body(
        "<p>10<sup>6</sup> Pa, the contract<sup><a href=#n>2</a></sup>, the 1<sup>st</sup>, "
        "CO<sub>2</sub></p><h2>10<sup>-3</sup> m</h2>"
    )
    assert read(tmp_path, page).text == "10^6 Pa, the contract^2, the 1st, CO2\n\n## 10^-3 m"


@pytest.mark.parametrize(
    "hidden",
    [
        "<p hidden>secret</p>",
        "<p style='display:none'>secret</p>",
        "<p style='visibility: hidden'>secret</p>",
        "<p style='font-size:0'>secret</p>",
        "<p style='color:#fff'>secret</p>",
        "<p class='gone'>secret</p>",
        "<p id='away'>secret</p>",
        "<dialog>secret</dialog>",
    ],
)
def test_what_nobody_sees_is_left_out_and_counted(tmp_path: Path, hidden: str) -> None:
    sheet = "<style>.gone, #away { display: none } .shown { color: red }</style>"
    document = read(tmp_path, sheet + body(f"<p>{SENTENCE}</p>{hidden}<p>{SENTENCE}</p>"))
    assert "secret" not in document.text
    (warning,) = warnings(document)
    assert warning.kind is WarningKind.HIDDEN_TEXT_LEFT_OUT
    assert warning.count == len("secret")


@pytest.mark.parametrize(
    ("sheet", "shown"),
    [
        ("@media print { .x { display: none } }", "<p class=x>shown</p>"),
        (".x { display: none } .x.open { display: block }", "<p class=x>shown</p>"),
        (".menu .x { display: none }", "<p class=x>shown</p>"),
        ("div.x { display: none }", "<p class=x>shown</p>"),
        ("p { background: navy }", "<p style='color: white'>shown</p>"),
        ("", "<div style='background: #000'><p style='color: white'>shown</p></div>"),
        ("", "<p style='font-size: 0'><b style='font-size: 12px'>shown</b></p>"),
        ("", "<p hidden=until-found>shown</p>"),
        ("", "<p style='background-color:#fff'>shown</p>"),
        ("} .x { display: none", "<p class=x>shown</p>"),
    ],
)
def test_what_is_only_hidden_at_times_stays(tmp_path: Path, sheet: str, shown: str) -> None:
    document = read(tmp_path, f"<style>{sheet}</style>" + body(f"<p>{SENTENCE}</p>{shown}"))
    assert "shown" in document.text
    assert warnings(document) == []


@pytest.mark.parametrize("how", ["hidden", "style='display:none'"])
def test_a_page_that_scripts_show_is_read(tmp_path: Path, how: str) -> None:
    document = read(tmp_path, body(f"<p>Loading</p><div {how}><p>{SENTENCE * 3}</p></div>"))
    assert document.text.count(SENTENCE.strip()) == 3


def test_a_page_that_scripts_build_is_read_as_without_them(tmp_path: Path) -> None:
    posts = "".join(f"<div class=post><p>Answer {n}: {SENTENCE}</p></div>" for n in range(5))
    built = read(tmp_path, body(f"<div id=app>Loading</div><noscript>{posts}</noscript>"))
    assert built.text.count(SENTENCE.strip()) == 5
    whole = read(tmp_path, body(f"{posts}<noscript>Enable scripts</noscript>"))
    assert whole.text.count(SENTENCE.strip()) == 5
    assert "Enable scripts" not in whole.text


@pytest.mark.parametrize(
    ("label", "codec", "text"),
    [
        ("Shift_JIS", "cp932", "①契約書の保証期間は㈱ノルド、\uff5e二十四か月"),
        ("iso-8859-1", "cp1252", "Preis 20 € \u2013 “Größe”"),
        ("us-ascii", "cp1252", "Preis 20 € \u2013 “Größe”"),
        ("gb2312", "gb18030", "合同编号镕\uff0c价格€"),
        ("ks_c_5601-1987", "cp949", "계약서 똠방각하"),
        ("iso-8859-9", "cp1254", "şirket sözleşmesi “ek”"),
        ("tis-620", "cp874", "สัญญา “ฉบับ”"),
    ],
)
def test_labels_are_read_as_browsers_read_them(
    tmp_path: Path, label: str, codec: str, text: str
) -> None:
    for meta in (
        f"<meta charset='{label}'>",
        f"<meta http-equiv=Content-Type content='text/html; charset={label}'>",
    ):
        page = f"<html><head>{meta}</head><body><p>".encode() + text.encode(codec)
        document = read(tmp_path, page)
        assert document.text == text
        assert document.facts["encoding_guessed"] is False


def test_a_label_that_the_bytes_contradict_is_not_believed(tmp_path: Path) -> None:
    page = b"<meta charset=shift_jis><p>" + "Größe, Länge und Höhe prüfen".encode("cp1252")
    document = read(tmp_path, page)
    assert document.text == "Größe, Länge und Höhe prüfen"
    assert document.facts["encoding_guessed"] is True


ARCHIVE = (
    "From: <Saved by Blink>\r\nSubject: Valve\r\nMIME-Version: 1.0\r\n"
    'Content-Type: multipart/related;\r\n\ttype="text/html";\r\n\tboundary="b1"\r\n\r\n'
    "--b1\r\nContent-Type: text/html{charset}\r\nContent-ID: <f@mhtml.blink>\r\n"
    "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
    "<html><head><title>Valve</title></head><body><p>Gr=F6=DFe 50=\r\n Nm</p></body></html>\r\n"
    "--b1\r\nContent-Type: image/png\r\nContent-Transfer-Encoding: base64\r\n\r\niVBORw0KGgo=\r\n"
    "{frame}--b1--\r\n"
)
FRAME = "--b1\r\nContent-Type: text/html\r\n\r\n<p>Advert in a frame</p>\r\n"


@pytest.mark.parametrize("key", ["a.html", "a.mht", "a.mhtml", "a"])
def test_a_web_archive_is_its_page(tmp_path: Path, key: str) -> None:
    path = tmp_path / "object"
    path.write_text(
        ARCHIVE.format(charset="; charset=iso-8859-1", frame=FRAME), "ascii", newline=""
    )
    document = extract_file(path, key, None, Limits())
    assert document.text == "Größe 50 Nm"
    assert document.title == "Valve"
    assert [(each.kind, each.count) for each in warnings(document)] == [
        (WarningKind.ATTACHMENTS_NOT_READ, 1)
    ]


def test_a_letter_is_no_web_archive_unless_it_is_called_one(tmp_path: Path) -> None:
    path = tmp_path / "object"
    letter = "To: Ann Example <ann@example.com>\n" + ARCHIVE.format(charset="", frame="")
    path.write_text(letter, "ascii")
    assert "Ann Example" in extract_file(path, "a.txt", None, Limits()).text
    assert "Ann Example" in extract_file(path, "a", None, Limits()).text
    assert extract_file(path, "a.mht", None, Limits()).mime_type == "text/html"


def test_a_web_archive_without_a_label_is_decoded_as_a_page_is(tmp_path: Path) -> None:
    document = read(tmp_path, ARCHIVE.format(charset="", frame="").encode())
    assert document.text == "Größe 50 Nm"


@pytest.mark.parametrize(
    "page",
    [
        "<div " + " ".join(f"a{n}=x" for n in range(300_000)) + "><p>end of page</p></div>",
        "<div class='" + "menu nav " * 100_000 + "'><p>end of page</p></div>",
        "<style>" + ".a{display:none}" * 100_000 + "</style><p>end of page</p>",
        "<style>" + "{" * 500_000 + "</style><p>end of page</p>",
        "<p>" + "<a href=#a>a</a><sup>1</sup>" * 50_000 + "<p>end of page</p>",
        "<ol>" * 200 + "<li>x" * 20_000 + "</ol>" * 200 + "<p>end of page</p>",
        "<table><tr>" + "<td rowspan=65534 colspan=1000>x" * 2_000 + "</table><p>end of page</p>",
        "<table><tr><td>" * 200 + "x" + "</table>" * 200 + "<p>end of page</p>",
        "<p>" + "<span style='font-size:0'>" * 200 + "</span>" * 200 + "end of page</p>",
        "<math>" + "<mfrac><mi>a</mi>" * 200 + "</math><p>end of page</p>",
    ],
    ids=range(10),
)
def test_outsized_pages_end(tmp_path: Path, page: str) -> None:
    assert read(tmp_path, body(page)).text.endswith("end of page")


@pytest.mark.parametrize(
    "content",
    [
        # ASP.NET puts every page into a form.
        "<form action='a.aspx'><h1>kept1</h1><table><tr><td>kept2</td><td>kept3</td></tr>"
        "<tr><td>kept4</td><td>kept5</td></tr></table><ul><li>kept6</li></ul>"
        "<p>One sentence.</p><aside><a href='/'>Menu link</a></aside></form>",
        "<header><h1>kept1</h1><p>By kept2</p><p>kept3, lead text</p></header>"
        "<p>One sentence.</p><p>kept4 kept5 kept6</p>",
        "<p>One sentence.</p><aside><h3>kept1</h3><ul><li>kept2 kept3</li><li>kept4</li></ul>"
        "<p>kept5 kept6</p></aside>",
        "<button aria-expanded='false'>kept1?</button><div hidden><p>kept2, kept3.</p></div>"
        "<div><button aria-expanded='false'>kept4?</button></div>"
        "<div style='display:none'><p>kept5, kept6.</p></div><p>One sentence is shown here.</p>",
    ],
    ids=["form", "header", "aside", "button"],
)
def test_marks_that_say_little_cost_a_short_page_no_words(tmp_path: Path, content: str) -> None:
    menu = "".join(f"<li><a href='/{each}'>Menu link {each}</a></li>" for each in range(9))
    document = read(tmp_path, body(f"<nav><ul>{menu}</ul></nav>{content}"))
    for number in range(1, 7):
        assert f"kept{number}" in document.text
    assert "Menu link" not in document.text


@pytest.mark.parametrize(
    "content",
    [
        "<style>" + "/*" * 200_000 + "</style>",
        "<p style='font-size:0" + " " * 200_000 + "x'>a</p>",
        "<p style='font-size:" + "0" * 200_000 + "x'>a</p>",
        "<script type='application/ld+json'>\"@type\":" + " " * 190_000 + "x</script>",
    ],
    ids=["comments", "spaces", "zeros", "description"],
)
def test_no_style_and_no_description_costs_the_square_of_its_length(
    tmp_path: Path, content: str
) -> None:
    started = time.process_time()
    assert "said" in read(tmp_path, body(content + "<p>said</p>")).text
    assert time.process_time() - started < 5


def test_a_listing_of_very_many_lines_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activekg_pipelines.extraction.html.content._MOST_BLOCKS", 50)
    rows = "".join(f"<div><a href='/{each}'>entry{each}</a></div>" for each in range(51))
    document = read(tmp_path, body(f"<nav>first</nav>{rows}"))
    assert "first" in document.text
    assert "entry50" in document.text
    assert warnings(document) == []


def test_an_article_s_references_and_tables_of_links_stay(tmp_path: Path) -> None:
    paragraphs = "".join(f"<p>{SENTENCE * 2}</p>" for _ in range(30))
    links = "".join(f"<li><a href='/{n}'>source{n} of the wall</a></li>" for n in range(30))
    rows = "".join(
        f"<tr><td><a href='/{n}'>file{n}</a></td><td><a href='/d'>load</a></td></tr>"
        for n in range(99)
    )
    content = f"<article><h1>Wall</h1>{paragraphs}<h2>References</h2><ul>{links}</ul></article>"
    menu = "<nav><ul><li><a href='/'>Menu link</a></li></ul></nav>"
    text = read(tmp_path, body(f"{menu}{content}<table>{rows}</table>")).text
    assert [n for n in range(30) if f"source{n} " not in text] == []
    assert [n for n in range(99) if f"file{n} " not in text] == []
    assert "Menu link" not in text
