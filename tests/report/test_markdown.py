"""report.md: the answer in five lines, every section that has something to say, nothing that breaks a table."""

import copy
import re
from collections.abc import Callable
from typing import Any

from gssl.report import wording
from gssl.report.markdown import escape
from gssl.words import points
from tests.report.documents import markdown, views

Reports = Callable[..., dict[str, Any]]
SECTIONS = {
    "generation": "## Generated images",
    "cost": "## Spent on training, per run",
    "searches": "## Searches before the comparison",
    "stability": "## Stability",
    "failed": "## Failed and missing parts",
}


def tables(text: str) -> dict[str, list[list[str]]]:
    """Heading → the rows of its first table, cells apart."""
    out: dict[str, list[list[str]]] = {}
    for part in text.split("\n## ")[1:]:
        heading, _, rest = part.partition("\n")
        lines = rest.split("\n\n")
        table = next((block for block in lines if block.strip().startswith("|")), "")
        out[heading] = [[c.strip() for c in line.strip("|").split(" | ")] for line in table.strip().splitlines()]
    return out


def test_the_first_five_lines_hold_the_answer(report_of: Reports, full_report: dict[str, Any]) -> None:
    for report in (report_of(1), report_of(6), full_report):
        question, _, answer, _, fifth = markdown.render(report).splitlines()[:5]
        assert question == f"# {escape(report['question'])}"
        assert answer == f"**{escape(report['verdict']['headline'])}**"
        assert fifth == f"**What to do:** {escape(report['advice']['sentences'][0])}"


def test_what_it_rests_on_and_what_weakens_it_come_before_any_table(full_report: dict[str, Any]) -> None:
    top = markdown.render(full_report).split("\n## ")[0]
    assert f"**Confidence:** {escape(views.confidence(full_report))}" in top
    assert "Test images: 1,000; Labels: 100 (10 per class); Seeds: 3 (everything repeated 3 times" in top
    assert all(f"- **Caution:** {escape(text)}" in top for text in full_report["verdict"]["cautions"])
    assert not re.search(r"\bp [=<]", top)


def test_the_words_that_are_used_are_explained(report_of: Reports, full_report: dict[str, Any]) -> None:
    for report, there in ((full_report, True), (report_of(1), False)):
        words = markdown.render(report).split("## Words")[1]
        assert "- **seed**: " in words and "- **label budget**: " in words
        assert ("- **KID**: " in words) is there


def test_every_part_that_has_something_to_say_is_there(full_report: dict[str, Any], report_of: Reports) -> None:
    text = markdown.render(full_report)
    for key, heading in SECTIONS.items():
        assert full_report[key] and heading in text
        assert heading not in markdown.render(full_report | {key: [], "missing": []})
    assert f"- Budget: {full_report['budget']['text']}." in text
    assert "- Budget:" not in markdown.render(report_of(3))
    assert f"```sh\n{full_report['provenance']['command']}\n```" in text
    assert "of the labels" not in text.split("## Generated images")[1].split("##")[0]


def test_the_tables_hold_the_reports_figures(full_report: dict[str, Any]) -> None:
    found = tables(markdown.render(full_report))
    titles = {a["name"]: escape(a["title"]) for a in full_report["arms"]}
    parts = (("generation", "Generated images"), ("cost", "Spent on training, per run"))
    for part, heading in parts:
        heads = {h["metric"]: escape(h["label"]) for h in getattr(views, part)(full_report)["heads"]}
        head, _, *rows = found[heading]
        cells = {row[0]: row for row in rows}
        for row in full_report[part]:
            column = next(i for i, name in enumerate(head) if name.startswith(heads[row["metric"]]))
            assert cells[titles[row["arm"]]][column].startswith(wording.shown(row["metric"], row["mean"]))
    floors = found["Generated images"][-1]
    assert floors[0] == "real-vs-real baseline" and len(floors) == len(found["Generated images"][0])
    (search,) = found["Searches before the comparison"][2:]
    assert search[:3] == ["SimCLR", "4", "ssl.temperature=0.2"]
    stability = {row[0]: row for row in found["Stability"][2:]}
    bad = [s for s in full_report["stability"] if s["diverged"] or s["collapsed"] or s["failed"] or s["alarms"]]
    assert set(stability) == {titles[s["arm"]] for s in bad} != set()
    scores = found[next(h for h in found if h.startswith("Test accuracy, %"))]
    mean = next(
        r for r in full_report["table"] if (r["arm"], r["probe"], r["label_budget"]) == ("simclr", "linear", "10")
    )
    assert any(cell.startswith(points(mean["mean"])) for cell in next(r for r in scores if r[0] == "SimCLR"))


def test_no_name_breaks_a_table(full_report: dict[str, Any]) -> None:
    report = copy.deepcopy(full_report)
    for arm in report["arms"]:
        arm["title"] = "a|b `c` <script> _d_ [e](f)\n| g ~h~"
    report["searches"][0]["chosen"] = ["ssl.a=[1|2]"]
    text = markdown.render(report)
    assert "<script>" not in text
    for rows in tables(text).values():
        bars = {len(row) for row in rows}
        assert len(bars) <= 1, rows


def test_many_failures_do_not_bury_the_answer(full_report: dict[str, Any]) -> None:
    lost = {"arm": "simclr", "seed": 0, "stage": "pretrain", "state": "failed", "error": "x", "path": "p"}
    text = markdown.render(full_report | {"failed": [lost] * 50, "missing": []})
    assert text.count("simclr, seed 0, pretrain: failed") == markdown.MOST_FAILURES
    assert "- and 30 more, in report.json" in text
