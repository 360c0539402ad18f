from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import truth
from benchmarks.words import Score, markdown_score, markdown_words, mean, score, words


def test_words_are_compared_without_case_and_compatibility_forms() -> None:
    assert words("Straße \uff21\uff22\uff23 \ufb01ne, fine: x² a_b") == {
        "strasse": 1,
        "abc": 1,
        "fine": 2,
        "x2": 1,
        "a_b": 1,
    }


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("[the page](https://example.com/a_(b) 'title') ends", "the page ends"),
        ("[![alt](a.png)](b.html)", "alt"),
        ("one <!-- image --> two <!-- a\ncomment --> three", "one two three"),
        ("a &lt;tag&gt; \\_under \\* x", "a tag _under x"),
        ("| a | b |\n| :--- | - |\n| c\\|d | e |", "a b c d e"),
    ],
)
def test_what_is_no_word_of_a_markdown_text(markdown: str, text: str) -> None:
    assert markdown_words(markdown) == words(text)


def test_a_spanned_cell_has_to_be_found_once_and_may_be_found_twice() -> None:
    markdown = "| Both | Both | c |\n| - | - | - |\n| d | e | c |\n\n| d |\n| - |"
    assert markdown_words(markdown) == words("both c d e d")
    assert markdown_score("both c d e d", markdown) == Score(1.0, 1.0)
    assert markdown_score("both both c c d e d", markdown) == Score(1.0, 1.0)
    assert markdown_score("both both both c d e d", markdown).noise == pytest.approx(1 / 7)


def test_scores_and_their_mean() -> None:
    one = score(words("a b x"), words("a b c d"))
    assert (one.recall, one.noise) == (0.5, pytest.approx(1 / 3))
    assert one.f1 == pytest.approx(4 / 7)
    nothing = score(words(""), words("a"))
    assert (nothing.recall, nothing.noise, nothing.f1) == (0.0, 0.0, 0.0)
    assert mean([one, nothing]).recall == 0.25
    assert mean([one, nothing]).files == 2


def test_a_folder_of_documents_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "html").mkdir()
    (tmp_path / "html" / "a.html").write_text("<p>one two</p>")
    (tmp_path / "html" / "a.html.truth.md").write_text("one two three four")
    (tmp_path / "b.pdf").write_bytes(b"%PDF-1.4 and nothing else")
    (tmp_path / "b.pdf.truth.md").write_text("lost")
    monkeypatch.setattr("sys.argv", ["truth", "--files", str(tmp_path)])
    truth.main()
    assert capsys.readouterr().out.splitlines()[-3:] == [
        "| html | 1 | 0.500 | 0.000 | 1.000 | 0.667 |",
        "| pdf | 1 | 0.000 | 0.000 | 1.000 | 0.000 |",
        "| all | 2 | 0.250 | 0.000 | 1.000 | 0.333 |",
    ]
