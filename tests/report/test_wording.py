"""Words of the report: found where they are used, explained once per section, never inside what is no prose."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from gssl.report import wording
from tests.report.documents import page

Reports = Callable[..., dict[str, Any]]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("six seeds", ["seed"]),
        ("10 labels per class", ["label budget"]),
        ("balanced accuracy", ["balanced accuracy"]),
        ("the sign-flip p of the primary family", ["primary", "sign-flip"]),
        ("FLOPs, KID and fine-tuned", ["fine-tuning", "FLOP", "KID"]),
        ("simclr.linear@10 seed=3 arms=[a] kid", []),
        ("harmful alarm, drawing, SSLKEY", []),
    ],
)
def test_words_are_found_as_they_are_written(text: str, words: list[str]) -> None:
    assert wording.used(text) == words


def test_a_word_is_marked_once_in_a_section_and_in_prose_only() -> None:
    text = (
        "<section><h2>Seeds</h2><p title='seeds > 1'>Two seeds, one seed.</p><svg><text>seed</text></svg>"
        "<table><tr><th>seed</th><td>seed</td></tr></table><script>if (seed < 1) {}</script><pre>seed</pre></section>"
        "<section><th><button>KID</button></th><p>seed &amp; arm</p></section>"
    )
    marked, words = wording.mark(text)
    assert re.sub(r"</?a\b[^>]*>|</?span[^>]*>", "", marked) == text  # nothing else is touched
    assert marked.count('href="#term-seed"') == 2  # one in each section
    assert '<p title=\'seeds > 1\'>Two <a class="term" href="#term-seed">seeds</a>, one seed.' in marked
    assert '<button><span class="term" data-term="term-kid">KID</span></button>' in marked
    assert words == ["arm", "KID", "seed"]


def test_only_metrics_of_the_report_are_explained() -> None:
    text = "<section><p>pixel accuracy, accuracy and mean IoU of a seed</p></section>"
    metrics = {"mean_iou", "pixel_accuracy"}
    assert wording.used(text, metrics) == ["mean IoU", "pixel accuracy", "seed"]
    marked, words = wording.mark(text, metrics)
    assert words == ["mean IoU", "pixel accuracy", "seed"] and ", accuracy and" in marked


def test_hostile_text_stays_text() -> None:
    marked, _ = wording.mark("<p>&lt;script&gt; seed &lt;/script&gt;</p>")
    assert marked == '<p>&lt;script&gt; <a class="term" href="#term-seed">seed</a> &lt;/script&gt;</p>'


def test_every_word_that_a_page_marks_is_in_its_glossary_and_no_other(
    report_of: Reports, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page, "figures", lambda report: {})
    out = page.render(report_of(3))
    marked = set(re.findall(r'href="#(term-[\w-]+)"', out)) | set(re.findall(r'data-term="(term-[\w-]+)"', out))
    entries = re.findall(r'<dt id="(term-[\w-]+)">', out)
    assert set(entries) == marked and len(entries) == len(set(entries))
    for word in ("seed", "label budget", "linear probe", "interval", "control", "reference", "primary", "exploratory"):
        assert wording.slug(word) in marked, word
    assert wording.slug("KID") not in entries  # no generator was judged
    assert page.GLOSSARY not in out


def test_every_explanation_is_short_and_ends() -> None:
    assert all(text.endswith(".") and len(text) < 260 for text in wording.TERMS.values())
    assert len({wording.slug(word) for word in wording.TERMS}) == len(wording.TERMS)
