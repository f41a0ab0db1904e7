"""report.tex: the figures of the report, and nothing that LaTeX could stumble over whatever the names are."""

import copy
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gssl.words import points
from tests.report.documents import tex

Reports = Callable[..., dict[str, Any]]
NASTY = [
    r"a_b%c&d",
    r"100% \textbf{x}",
    "[1]{2",
    "$x^2~y#",
    "*star",
    "Ωé|<x>`\"'",
    "naïve — “x”…",
    "a\nb\\",
    "−1 ± 2 × 3",
]
COMMANDS = r"\\(textbackslash|textasciitilde|textasciicircum|textless|textgreater|textbar|textasciigrave|ldots)\{\}"


def clean(text: str) -> str:
    """`text` without what the escaping itself writes; what is left must hold no character that LaTeX reads."""
    text = re.sub(COMMANDS, "", text)
    for made in (r"$\pm$", r"$\times$", "$-$", "{[}", "{*}"):
        text = text.replace(made, "")
    return re.sub(r"\\[{}$&#_%]", "", text)


def test_whatever_is_escaped_holds_nothing_that_latex_reads() -> None:
    rng = np.random.default_rng(0)
    letters = [chr(c) for c in [*range(32, 127), *range(0xA1, 0x180), 0x3A9, 0x65E5, 0x1F600, 0x200B, 0, 9]] + list(
        "−±×–…"
    )
    texts = NASTY + ["".join(rng.choice(letters, 40)) for _ in range(500)]
    for text in texts:
        found = tex.escape(text)
        left = clean(found)
        assert not set(left) & set("\\{}$&#_%~^<>|[*\n"), (text, left)
        assert all(ord(c) <= tex.LATIN for c in found)
    assert tex.escape("SimCLR (ssl.temperature=0.2)") == "SimCLR (ssl.temperature=0.2)"
    assert tex.escape("ï−1") == "ï$-$1"


def balanced(text: str) -> bool:
    depth = 0
    for brace in re.findall(r"(?<!\\)(?:\\\\)*([{}])", re.sub(r"\\[{}]", "", text)):
        depth += 1 if brace == "{" else -1
        if depth < 0:
            return False
    return depth == 0


def body(text: str) -> list[list[str]]:
    """Cells of every row between the rules."""
    inside = text.split(r"\begin{tabular}")[1].split(r"\end{tabular}")[0]
    rows = [line.strip().removesuffix(r"\\").strip() for line in inside.splitlines() if line.endswith(r"\\")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)&", row)] for row in rows]


def named(report: dict[str, Any]) -> dict[str, Any]:
    """The report with names that LaTeX would stumble over."""
    report = copy.deepcopy(report)
    for arm, title in zip(report["arms"], NASTY, strict=False):
        arm["title"] = title
    return report | {"data": r"my_data{%"}


@pytest.mark.parametrize("seeds", [1, 3])
def test_it_is_a_table_with_the_reports_figures(report_of: Reports, seeds: int) -> None:
    report = report_of(seeds)
    text = tex.render(report)
    assert balanced(text) and balanced(tex.render(named(report)))
    for name in ("table", "tabular"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") == 1
    head, *rows = body(text)
    assert len({len(cells) for cells in (head, *rows)}) == 1
    columns = text.split(r"\begin{tabular}{")[1].split("}")[0]
    assert len(columns) == len(head) == len(report["label_budgets"]) + 2
    assert [row[0] for row in rows] == [a["title"] for a in report["arms"]]
    assert [row[-1] for row in rows] == [str(seeds)] * len(rows)
    simclr = {r["label_budget"]: r for r in report["table"] if (r["arm"], r["probe"]) == ("simclr", "linear")}
    for cell, label_budget in zip(rows[0][1:-1], report["label_budgets"], strict=True):
        row = simclr[label_budget["key"]]
        assert cell == f"{points(row['mean'])} ({points(row['interval']['low'])}--{points(row['interval']['high'])})"
    assert all(len(cells) == len(head) for cells in body(tex.render(named(report))))


def test_the_three_groups_stand_apart(report_of: Reports) -> None:
    inside = tex.render(report_of(3)).split(r"\begin{tabular}")[1]
    groups = inside.split(r"\midrule")[1:]
    assert len(groups) == 3
    assert "SimCLR" in groups[0] and "random features" in groups[1] and "supervised" in groups[2]
    assert inside.count(r"\toprule") == inside.count(r"\bottomrule") == 1


def test_the_footnote_says_what_the_intervals_are_and_the_primary_differences(report_of: Reports) -> None:
    report = report_of(6)
    text = tex.render(report)
    assert r"In brackets: 95\% intervals over 6 seeds and 1,000 test images." in text
    told = [d for d in report["differences"] if d["family"] == "primary"]
    for d in told:
        assert f"${points(d['mean'], sign=True)}$".replace("−", "-") in text
    assert text.count("adjusted $p") == text.count("(98.3\\% interval") == len(told) == 3
    one = tex.render(report_of(1))
    assert r"95\% intervals over 1,000 test images" in one and "$p" not in one


def test_answer_advice_and_cautions_are_with_the_table(report_of: Reports) -> None:
    report = report_of(6)
    text = tex.render(report)
    assert f"{tex.escape(report['verdict']['headline'])}}}" in text
    assert tex.escape(report["advice"]["sentences"][0]) in text
    assert all(tex.escape(told) in text for told in report["verdict"]["cautions"]) and report["verdict"]["cautions"]


@pytest.mark.skipif(not shutil.which("pdflatex"), reason="no pdflatex here")
def test_it_compiles(report_of: Reports, tmp_path: Path) -> None:
    for i, report in enumerate((report_of(3), named(report_of(1)))):
        page = (
            "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n" + tex.render(report) + "\\end{document}"
        )
        (tmp_path / f"{i}.tex").write_text(page, encoding="utf-8")
        words = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", f"{i}.tex"]
        done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout[-2000:]
