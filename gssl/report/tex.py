"""report.tex: the main table for a paper, as a LaTeX `table` with booktabs' rules. Text that comes from runs is
escaped, so that it compiles whatever the arms are called.

    \\usepackage{booktabs}
    …
    \\input{report.tex}
"""

import unicodedata
from typing import Any

from gssl.report import views, wording
from gssl.report.model import Difference, Report, Score
from gssl.words import by_probe, count, label_budget_text, p_text, points

ESCAPED = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "_": r"\_",
    "%": r"\%",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": r"\textasciigrave{}",
    '"': "''",  # \\textquotedbl would need the T1 encoding
    "[": "{[}",  # after the end of a row these two would be its options
    "*": "{*}",
    "−": "$-$",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "—": "---",
    "…": r"\ldots{}",
    "’": "'",
    "“": "``",
    "”": "''",
}
LATIN = 0x17F  # the last character that LaTeX typesets without further packages


def escape(text: Any) -> str:
    """Text that LaTeX prints as it is, on one line; letters that need packages of their own become question marks."""
    out = []
    for letter in " ".join(str(text).split()):
        if letter in ESCAPED:
            out.append(ESCAPED[letter])
        elif unicodedata.category(letter).startswith("C") or ord(letter) > LATIN:
            out.append("?")
        else:
            out.append(letter)
    return "".join(out)


def render(report: Report) -> str:
    """The table of `report`: arms by label budgets at the primary probe, the answer in its caption; below it the
    primary differences, what to do and the cautions."""
    primary = report.primary
    label_budgets = [a.key for a in report.label_budgets]
    groups = [_rows(report, role, label_budgets) for role in ("contestant", "control", "reference")]
    body = "\n    \\midrule\n".join("\n".join(f"    {row} \\\\" for row in rows) for rows in groups if rows)
    head = " & ".join(["arm", *(_head(report, key) for key in label_budgets), "seeds"])
    on = f" on {escape(report.data)}" if report.data else ""
    probe, metric = escape(by_probe(primary.probe)), escape(wording.metric_title(primary.metric))
    lines = [
        f"% gssl {report.gssl}, {report.created}; needs \\usepackage{{booktabs}}",
        r"\begin{table}[tb]",
        r"  \centering",
        f"  \\caption{{Test {metric} (\\%){on}: {probe}. {escape(report.verdict.headline)}}}",
        r"  \label{tab:gssl}",
        f"  \\begin{{tabular}}{{l{'r' * len(label_budgets)}r}}",
        r"    \toprule",
        f"    {head} \\\\",
        r"    \midrule",
        *([body] if body else []),
        r"    \bottomrule",
        r"  \end{tabular}",
        r"  \par\smallskip",
        f"  {{\\footnotesize {' '.join(_notes(report))}\\par}}",
        r"\end{table}",
    ]
    return report.said("\n".join(lines)) + "\n"


def _head(report: Report, label_budget: str) -> str:
    if label_budget.endswith("i"):
        return escape(report.said(label_budget_text(label_budget)).replace("labelled ", ""))
    return f"{label_budget}/class" if label_budget.isdigit() else escape(label_budget)


def _rows(report: Report, role: str, label_budgets: list[str]) -> list[str]:
    out = []
    for arm in report.arms:
        found = [report.row(arm.name, None, key) for key in label_budgets]
        seeds = [r.n_seeds for r in found if r]
        if arm.role == role and seeds:
            out.append(" & ".join([escape(arm.title), *map(_cell, found), str(max(seeds))]))
    return out


def _cell(row: Score | None) -> str:
    """ "83.1 (80.6--85.3)": intervals within 0 to 100 are not symmetric; "83.1" without one."""
    if row is None:
        return "--"
    mean, interval = points(row.mean), row.interval
    if interval is None:
        return mean
    return f"{mean} ({points(interval.low)}--{points(interval.high)})"


def _notes(report: Report) -> list[str]:
    """What the brackets are, what the last rows are, and the primary family's differences."""
    intervals = views.intervals(report)
    out = [escape(f"In brackets: {intervals}.")] if intervals != "no intervals" else []
    roles = {a.role for a in report.arms}
    if "reference" in roles:
        out.append("Last: reference lines, which use the labels of all training images and are not ranked.")
    names = {a.name: escape(a.title) for a in report.arms}
    if report.family:
        label_budget = escape(label_budget_text(report.primary.label_budget))
        pairs = "; ".join(_difference(d, names) for d in report.family)
        out.append(f"Paired differences with {label_budget}, in points: {pairs}.")
    out += [escape(text) for text in views.advice(report)[:1]]
    if report.verdict.cautions:
        out.append("Cautions: " + " ".join(escape(text) for text in report.verdict.cautions))
    return out


def _difference(d: Difference, names: dict[str, str]) -> str:
    i, n = d.simultaneous or d.interval, count(d.n_seeds, "seed")
    ends = f"{100 * i.level:.3g}\\% interval {_signed(i.low)} to {_signed(i.high)}, " if i else ""
    p = d.p_adjusted if d.p_adjusted is not None else d.p
    adjusted = " adjusted" if d.p_adjusted is not None else ""
    test = f"{adjusted} $p {p_text(p)}$,".lstrip() + " " if p is not None else ""
    return f"{names[d.a]} $-$ {names[d.b]} {_signed(d.gap)} ({ends}{test}{n})"


def _signed(fraction: float) -> str:
    return "$" + points(fraction, sign=True).replace("−", "-") + "$"
