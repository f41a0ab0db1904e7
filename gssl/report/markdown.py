"""report.md: the verdict and its tables for a pull request."""

import re
from typing import Any

from gssl.report.document import probe_for
from gssl.report.words import amount_text, count, p_text, points, span

ROLE = {"contestant": "", "control": " (control)", "reference": " (reference, not ranked)"}


def render(report: dict[str, Any]) -> str:
    """The report as Markdown (GitHub's dialect); everything that came from a run is escaped."""
    verdict, primary = report["verdict"], report["primary"]
    names = {a["name"]: escape(a["title"]) for a in report["arms"]}
    lines = [f"# {escape(report['question'])}", "", f"**{escape(verdict['headline'])}**", ""]
    lines += [f"> {escape(text)}" for text in verdict["cannot"]] + [""] * bool(verdict["cannot"])
    lines += [f"- {escape(text)}" for text in verdict["sentences"]]
    lines += [f"- **Note:** {escape(text)}" for text in verdict["cautions"]]
    lines += [f"- Exploratory, {amount_text(primary['amount'])}: {escape(t)}" for t in verdict["exploratory"]]

    lines += ["", f"## Test accuracy, % ({escape(primary['probe'])} probe; scratch by fine-tuning)", ""]
    lines += _table(["arm", *(a["label"] for a in report["amounts"]), "seeds"], _score_rows(report, names))
    kinds = {r["interval"]["kind"] for r in report["table"] if r["interval"]}
    if kinds:
        over = "t over seeds" if "t" in kinds else "Wilson over test images, one seed"
        lines += ["", f"In brackets: 95% intervals ({over})."]

    found = [d for d in report["differences"] if d["family"] == "primary" and d["mean"] is not None]
    if found:
        lines += ["", f"## Paired differences, points ({amount_text(primary['amount'])})", ""]
        lines += _table(
            ["pair", "difference", "95% interval", "p", "p, adjusted", "seeds"],
            [
                [
                    f"{names[d['a']]} − {names[d['b']]}",
                    points(d["mean"], sign=True),
                    span(d["interval"]),
                    _p(d["p"]),
                    _p(d["p_adjusted"]),
                    str(d["n_seeds"]),
                ]
                for d in found
            ],
        )

    if report["failed"] or report["missing"]:
        lines += ["", "## Failed and missing parts", ""]
        lines += [
            f"- {escape(f['arm'])}, seed {f['seed']}, {f['stage']}: {f['state']}"
            + (f" ({escape(f['error'])})" if f["error"] else "")
            for f in report["failed"]
        ]
        lines += [f"- {names[m['arm']]}, seed {m['seed']}: no finished judgement" for m in report["missing"]]

    lines += ["", "## What this does not show", ""] + [f"- {escape(text)}" for text in report["limitations"]]
    if report["provenance"]["command"]:
        fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", report["provenance"]["command"])), default=2))
        lines += ["", f"{fence}sh", report["provenance"]["command"], fence]
    runs = count(len(report["provenance"]["runs"]), "run")
    lines += [
        "",
        f"<sub>gssl {report['gssl']}, {report['created']}, {runs}; all figures in report.json.</sub>",
        "",
    ]
    return "\n".join(lines)


def escape(text: Any) -> str:
    """Text that Markdown shows as it is: on one line, with no markup, no HTML, no table cell's end."""
    flat = " ".join(str(text).split())
    return re.sub(r"([\\`*_|\[\]<>#])", r"\\\1", flat)


def _p(value: float | None) -> str:
    return p_text(value).removeprefix("= ") if value is not None else "–"


def _score_rows(report: dict[str, Any], names: dict[str, str]) -> list[list[str]]:
    rows = {(r["arm"], r["probe"], r["amount"]): r for r in report["table"]}
    out = []
    for arm in report["arms"]:
        own = probe_for(arm["name"], report["primary"]["probe"])
        cells = [rows.get((arm["name"], own, a["key"])) for a in report["amounts"]]
        told = [c for c in cells if c]
        if told:
            texts = [f"{points(c['mean'])} ({span(c['interval'])})" if c else "–" for c in cells]
            out.append([names[arm["name"]] + ROLE[arm["role"]], *texts, str(max(c["n_seeds"] for c in told))])
    return out


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    align = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (head, align, *rows)]
