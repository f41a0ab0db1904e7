"""report.md: the answer and its tables for a pull request. What it leaves out is in report.html and report.json."""

import re
from typing import Any

from gssl.names import printable
from gssl.report import scores, views, wording
from gssl.report.model import Report
from gssl.report.model_records import CostRow, GenerationRow
from gssl.words import by_probe, count, label_budget_text, listed, points, span, upper

ROLE = {"contestant": "", "control": " (control)", "reference": " (reference, not ranked)"}
MOST_FAILURES = 20


def render(report: Report) -> str:
    """The report as Markdown (GitHub's dialect); everything that came from a run is escaped."""
    names = {a.name: escape(a.title) for a in report.arms}
    lines = _answer(report)
    sections = (
        _scores,
        _adapting,
        _components,
        _differences,
        _needed,
        _generation,
        _spent,
        _searches,
        _stability,
        _lost,
        _registered,
    )
    for section in sections:
        found = section(report, names)
        lines += ["", *found] if found else []
    lines += ["", "## What this does not show", ""] + [f"- {escape(text)}" for text in report.limitations]
    words = wording.used("\n".join(lines), report.metric_names)
    listed_words = [f"- **{word}**: {escape(wording.TERMS[word])}" for word in words]
    lines = [*map(report.said, lines), *_command(report.provenance.command)]
    if words:
        lines += ["", "## Words", "", *map(report.said, listed_words)]
    runs = count(len(report.provenance.runs), "run")
    made = f"gssl {report.gssl}, {report.created}, {runs}; figures in report.html, all numbers in report.json."
    return "\n".join([*lines, "", f"<sub>{made}</sub>", ""])


def escape(text: Any) -> str:
    """Text that Markdown shows as it is: on one line, with no markup, no HTML, no table cell's end."""
    flat = printable(" ".join(str(text).split()))
    return re.sub(r"([\\`*_|\[\]<>#~])", r"\\\1", flat)


# ── the answer ───────────────────────────────────────────────────────────────────────────────────


def _answer(report: Report) -> list[str]:
    """Who reads five lines has the question, the answer and what to do; then what it rests on and what weakens it."""
    verdict = report.verdict
    todo = views.advice(report)
    lines = [f"# {escape(report.question)}", "", f"**{escape(verdict.headline)}**", ""]
    lines += [f"**What to do:** {escape(todo[0])}", ""] if todo else []
    if text := views.confidence(report):
        lines += [f"**Confidence:** {escape(text)}", ""]
    lines += [f"{'; '.join(f'{what}: {escape(text)}' for what, text in views.facts(report))}.", ""]
    lines += [f"- {escape(text)}" for text in views.lead(report)[1:]]
    lines += [f"- **{g.title}:** {escape(text)}" for g in views.groups(report) for text in g.sentences]
    lines += [f"- **Caution:** {escape(text)}" for text in verdict.cautions]
    lines += ["", "## The comparisons behind the answer", ""]
    lines += [f"> {escape(text)}" for text in verdict.cannot] + [""] * bool(verdict.cannot)
    lines += [f"- {escape(text)}" for text in verdict.sentences]
    label_budget = label_budget_text(report.primary.label_budget)
    lines += [f"- Exploratory, {label_budget}: {escape(text)}" for text in verdict.exploratory]
    if report.budget:
        lines.append(f"- Budget: {escape(report.budget.text)}. {escape(views.deviation(report))}".rstrip())
    return lines


def _scores(report: Report, names: dict[str, str]) -> list[str]:
    metric, probe = wording.metric_title(report.primary.metric), by_probe(report.primary.probe)
    lines = [f"## Test {metric}, % ({escape(probe)})", ""]
    lines += _table(["arm", *(a.label for a in report.label_budgets), "seeds"], _score_rows(report, names))
    return [*lines, "", f"In brackets: {views.intervals(report)}."]


def _adapting(report: Report, names: dict[str, str]) -> list[str]:
    """Each way of adapting side by side, at the primary label budget."""
    found = scores.adapting(report)
    if found is None:
        return []
    rows = []
    for row in found["rows"]:
        texts = [f"{points(c.mean)} ({span(c.interval)})" if c else "–" for c in row["cells"]]
        rows.append([names[row["arm"]], *texts, *([escape(row["by"])] if found["chosen"] else [])])
    head = ["arm", *found["ways"], *(["chosen"] if found["chosen"] else [])]
    label_budget = label_budget_text(report.primary.label_budget)
    return [f"## What each way of adapting gives, % ({label_budget})", "", *_table(head, rows)]


def _components(report: Report, names: dict[str, str]) -> list[str]:
    """The primary metric class by class."""
    found = scores.components(report)
    if found is None:
        return []
    rows = [[escape(r["name"]), *("–" if v is None else points(v) for v in r["values"])] for r in found["rows"]]
    head = f"## {found['called']} per class, % ({label_budget_text(report.primary.label_budget)})"
    return [head, "", *_table(["class", *(names[arm] for arm in found["arms"])], rows)]


def _score_rows(report: Report, names: dict[str, str]) -> list[list[str]]:
    out = []
    for arm in report.arms:
        cells = [report.row(arm.name, None, a.key) for a in report.label_budgets]
        known = [c for c in cells if c]
        if known:
            texts = [f"{points(c.mean)} ({span(c.interval)})" if c else "–" for c in cells]
            out.append([names[arm.name] + ROLE[arm.role], *texts, str(max(c.n_seeds for c in known))])
    return out


def _differences(report: Report, names: dict[str, str]) -> list[str]:
    if not report.family:
        return []
    rows = []
    for d in report.family:
        shown = views.difference(d, report)
        level = f" ({shown['level']})" if shown["level"] else ""
        texts = [points(d.gap, sign=True), span(d.interval), span(d.simultaneous) + level]
        texts += [
            escape(shown["called"]),
            escape(shown["size"]),
            wording.p_cell(d.p),
            wording.p_cell(d.p_adjusted),
            shown["images"],
        ]
        rows.append([f"{names[d.a]} − {names[d.b]}", *texts, str(d.n_seeds)])
    against = f"against {100 * report.primary.margin:.3g} points"
    head = ["pair", "difference", "95% interval", "for all together", "outcome", against, "p", "p, adjusted"]
    head += ["from test images", "seeds"]
    label_budget = label_budget_text(report.primary.label_budget)
    return [f"## Paired differences, points ({label_budget})", "", *_table(head, rows)]


def _needed(report: Report, names: dict[str, str]) -> list[str]:
    """Confidence, and what would increase it."""
    rows = [
        [
            f"{names[n['a']]} − {names[n['b']]}",
            points(n["mean"], sign=True),
            points(n["now"]),
            points(n["half"]),
            f"{100 * n['item_share']:.0f}%",
            n["seeds_text"],
            n["items_text"],
        ]
        for n in views.needed(report)
    ]
    if not rows:
        return []
    head = ["pair", "difference", "known to ±", "asked for ±", "from test images", "seeds it takes", "or test images"]
    note = (
        "From the variance of these runs. Asked for: the difference that was found, at least the smallest of interest."
    )
    return ["## Confidence, and what would increase it", "", *_table(head, rows), "", note]


# ── beside it ────────────────────────────────────────────────────────────────────────────────────


def _generation(report: Report, names: dict[str, str]) -> list[str]:
    """Generated images by their evaluator, with what real training images get in their place."""
    if not report.generation:
        return []
    found = views.generation(report)
    heads = [
        f"{escape(h['label'])}{', %' if wording.in_percent(h['metric']) else ''} {h['arrow']}" for h in found["heads"]
    ]
    rows = _cells(found["rows"], names)
    baselines = [
        listed(list(dict.fromkeys(wording.shown(h["metric"], v) for v in values))) or "–"
        for h, values in zip(found["heads"], found["baselines"], strict=True)
    ]
    rows.append(["real-vs-real baseline", *baselines])
    brackets = "In brackets: 95% intervals. " if any(r.interval for r in report.generation) else ""
    note = f"{brackets}{upper(escape(found['settings']))}."
    said = [f"{names[q.arm]}: {escape(' '.join([q.text, *q.notes]))}" for q in report.generation_quality]
    said = [line for text in said for line in (text, "")]
    return ["## Generated images", "", *said, *_table(["arm", *heads], rows), "", note]


def _spent(report: Report, names: dict[str, str]) -> list[str]:
    """What training took, over all stages of an arm."""
    if not report.cost:
        return []
    found = views.cost(report)
    heads = [escape(h["label"]) for h in found["heads"]]
    table = _table(["arm", *heads], _cells(found["rows"], names))
    return ["## Spent on training, per run", "", *table, "", "Over all stages of an arm, without its evaluation."]


def _cells(rows: list[dict[str, Any]], names: dict[str, str]) -> list[list[str]]:
    return [[names[row["arm"]], *(_cell(cell) for cell in row["cells"])] for row in rows]


def _cell(row: GenerationRow | CostRow | None) -> str:
    """ "0.031 (0.027 to 0.035)"; without an interval, or with one as wide as a point, the value alone."""
    if row is None or row.mean is None:
        return "–"
    text, i = wording.shown(row.metric, row.mean), row.interval
    return f"{text} ({wording.reach(row.metric, i)})" if i and i.low < i.high else text


def _searches(report: Report, names: dict[str, str]) -> list[str]:
    if not report.searches:
        return []
    rows = []
    for s in report.searches:
        chosen = ", ".join(escape(text) for text in s.chosen) or "as configured"
        spent = [wording.shown(key, v) if v else "–" for key, v in (("flops", s.flops), ("seconds", s.seconds))]
        rows.append([names.get(s.arm, escape(s.arm)), str(s.trials), chosen, escape(s.objective), *spent])
    head = ["arm", "trials", "chosen", "by", "FLOPs", "time"]
    return ["## Searches before the comparison", "", *_table(head, rows)]


def _stability(report: Report, names: dict[str, str]) -> list[str]:
    """One sentence, and a table of the arms in which something went wrong."""
    if not report.stability:
        return []
    keys = ("runs", "finished", "diverged", "collapsed", "failed", "alarms")
    lines = ["## Stability", "", escape(views.stability(report))]
    bad = [s for s in report.stability if any(getattr(s, key) for key in keys[2:])]
    if bad:
        rows = [[names.get(s.arm, escape(s.arm)), *(str(getattr(s, key)) for key in keys)] for s in bad]
        lines += ["", *_table(["arm", *keys], rows)]
    return lines


def _lost(report: Report, names: dict[str, str]) -> list[str]:
    if not (report.failed or report.missing):
        return []
    lines = [
        f"- {escape(f.arm)}, seed {f.seed}, {f.stage}: {f.state}" + (f" ({escape(f.error)})" if f.error else "")
        for f in report.failed
    ]
    lines += [f"- {names[m.arm]}, seed {m.seed}: no finished evaluation" for m in report.missing]
    more = len(lines) - MOST_FAILURES
    shown = lines[:MOST_FAILURES] + ([f"- and {more} more, in report.json"] if more > 0 else [])
    return ["## Failed and missing parts", "", *shown]


def _registered(report: Report, names: dict[str, str]) -> list[str]:
    """What was on record when, and what was changed afterwards."""
    found = views.registered(report)
    return ["## Plan on record", "", *(f"- {escape(k)}: {escape(v)}" for k, v in found)] if found else []


def _command(command: str | None) -> list[str]:
    """The command in a fence longer than any in it."""
    if not command:
        return []
    fence = "`" * (1 + max((len(run) for run in re.findall(r"`+", command)), default=2))
    return ["", "## The command", "", f"{fence}sh", command, fence]


def _table(head: list[str], rows: list[list[str]]) -> list[str]:
    align = ["---", *["---:"] * (len(head) - 1)]
    return ["| " + " | ".join(cells) + " |" for cells in (head, align, *rows)]
