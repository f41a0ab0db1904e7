"""What a comparison prints when it ends: each arm's score, what to do, where the model is."""

from pathlib import Path
from typing import Any

from gssl.cli.output import table, tell
from gssl.data.targets import of_task
from gssl.engine.files import read_json
from gssl.statistics.metric import METRICS
from gssl.words import PROBES, tested


def show(run: Path, result: dict[str, Any]) -> None:
    """A row per arm from RUN/report.json, by the probe that carries the verdict; then the advice and the model."""
    report = read_json(run / "report.json") or {}
    if "table" in report and "primary" in report:
        _table(report)
    if sentences := (report.get("advice") or {}).get("sentences"):
        tell(sentences[0])
    model = result.get("model") or {}
    if model.get("folder"):
        tell(f"model: {run / model['folder']} (gssl predict {run} FOLDER)")


def _table(report: dict[str, Any]) -> None:
    primary = report["primary"]
    probe, metric = primary["probe"], METRICS[primary["metric"]]
    titles = {
        arm["name"]: arm["title"] + ("" if arm["role"] == "contestant" else f" ({arm['role']})")
        for arm in report["arms"]
    }
    heads = {found["key"]: found["label"] for found in report["label_budgets"]}
    goal = of_task(primary["task"])
    cells = {(row["arm"], row["label_budget"]): row for row in report["table"] if row["probe"] == probe}
    arms = dict.fromkeys(arm for arm, _ in cells)
    rows = [
        [titles.get(arm, arm), *(_cell(cells.get((arm, budget)), metric.percent) for budget in heads)] for arm in arms
    ]
    unit = " in %" if metric.percent else ""
    table([f"test {metric.title}{unit}, {PROBES.get(probe, probe)}", *heads.values()], rows)
    found = [row["interval"] for row in cells.values() if row.get("interval")]
    counts = [own.get("items") for own in found if own.get("items")]
    counts = counts or [row["n_test"] for row in cells.values() if row.get("n_test")]
    if counts and found:
        seeds = any(own["over"] != "test images" for own in found)  # one seed shows nothing about others
        what = tested(min(counts), any(own.get("grouped") for own in found))
        tell(goal.said(f"in brackets: 95% intervals over {'seeds and ' * seeds}{what}"))


def _cell(row: dict[str, Any] | None, percent: bool) -> str:
    if row is None or row["mean"] is None:
        return "–"
    interval, scale = row.get("interval") or {}, 100 if percent else 1
    mean = f"{scale * row['mean']:.1f}" if percent else f"{row['mean']:.3g}"
    if interval.get("low") is None:
        return mean
    return f"{mean} ({scale * interval['low']:.1f}–{scale * interval['high']:.1f})"
