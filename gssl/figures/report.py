"""The report's figures over labels and compute, and the list of all of them."""

import statistics
from typing import Any

from gssl.figures.dots import differences, generation, primary, primary_rows
from gssl.figures.svg import MUTED, PAPER, Data, Figure, Mark, draw, name_lines, styles
from gssl.figures.training import losses, validation
from gssl.report import tables
from gssl.report.units import big
from gssl.words import count, judge, label_budget_text, metric_text, points, shortened


def figures(report: dict[str, Any]) -> dict[str, Figure]:
    """Every figure the data allow, by name: primary, labels, labels-<probe>, progress, progress-<n>, generation,
    differences, validation, losses."""
    drawn = [
        primary(report),
        *_labels(report),
        *_progress(report),
        generation(report),
        differences(report),
        validation(report),
        losses(report),
    ]
    return {f.name: f for f in drawn if f}


def _titles(report: dict[str, Any]) -> dict[str, str]:
    return {a["name"]: shortened(a["title"], 26) for a in report["arms"]}


# ── accuracy against labels ──────────────────────────────────────────────────────────────────────


def _labels(report: dict[str, Any]) -> list[Figure]:
    """Scores against labels, one figure per probe, the primary one first."""
    first = report["primary"]["probe"]
    others = [p for p in report["probes"] if p != first]
    drawn = [
        _label_curve(report, probe, "labels" if probe == first else f"labels-{probe}") for probe in [first, *others]
    ]
    return [f for f in drawn if f]


def _label_curve(report: dict[str, Any], probe: str, name: str) -> Figure | None:
    rows = primary_rows(report, probe)
    own = [a for a in rows if any(r["probe"] == probe for r in rows[a])]
    ticks = {r["x"]: r["label_budget"] for found in rows.values() for r in found}
    if len(own) < 2 or len(ticks) < 2:
        return None
    look, titles = styles(report["arms"]), _titles(report)
    role = {a["name"]: a["role"] for a in report["arms"]}
    metric = metric_text(report["primary"]["metric"])

    def paint(fig: Any, narrow: bool) -> list[Mark]:
        ax, marks = fig.add_subplot(), []
        ax.set_xscale("log")
        for arm, found in rows.items():
            style, main = look[arm], role[arm] == "contestant"
            x, y = [r["x"] for r in found], [100 * r["mean"] for r in found]
            low = [100 * (r["interval"] or {"low": r["mean"]})["low"] for r in found]
            high = [100 * (r["interval"] or {"high": r["mean"]})["high"] for r in found]
            ax.fill_between(x, low, high, color=style.colour, alpha=0.15 if main else 0.09, linewidth=0)
            ax.plot(
                x,
                y,
                color=style.colour,
                linestyle=style.dashes,
                marker=style.marker,
                markersize=4.2 if main else 0,
                markeredgecolor=PAPER,
                markeredgewidth=0.8,
                linewidth=1.9 if main else 1.2,
                zorder=3 if main else 2,
            )
            marks += [Mark(ax, r["x"], 100 * r["mean"], _said(titles[arm], r)) for r in found]
        lo, hi = ax.get_ylim()
        ax.set_ylim(max(lo, 0), min(hi, 101))
        name_lines(ax, {a: 100 * f[-1]["mean"] for a, f in rows.items()}, rows, look, titles, role, narrow, True)
        ax.set_xticks(sorted(ticks), [_tick(ticks[x], x) for x in sorted(ticks)])
        ax.minorticks_off()
        ax.grid(False, axis="x")
        unit = "labels per class" if any(t.isdigit() for t in ticks.values()) else "labelled images"
        ax.set_xlabel(f"{unit} (log scale)")
        ax.set_title(f"test {metric}, %", color=MUTED, loc="left")
        return marks

    said = "; ".join(_best(rows, key, titles, role) for key in ticks.values())
    return draw(
        name,
        paint,
        (3.7, 3.9),
        f"Test {metric} in percent against the number of labels, {judge(probe)}, one line per arm. {said}.",
        f"Judged by {judge(probe)}. Bands: {tables.intervals(report, [r for found in rows.values() for r in found])}.",
        Data(
            ["arm", "probe", "labels", "labelled images", "mean %", "low %", "high %", "seeds"],
            [
                [titles[arm], r["probe"], r["label_budget"], r["x"], 100 * r["mean"], *_ends(r), r["n_seeds"]]
                for arm, found in rows.items()
                for r in found
            ],
        ),
    )


def _said(title: str, row: dict[str, Any]) -> str:
    i = row["interval"]
    spread = f", 95% interval {points(i['low'])} to {points(i['high'])}" if i else ""
    return f"{title}, {label_budget_text(row['label_budget'])}: {points(row['mean'])}%{spread}, {count(row['n_seeds'], 'seed')}"


def _ends(row: dict[str, Any]) -> list[float | None]:
    i = row["interval"]
    return [100 * i["low"], 100 * i["high"]] if i else [None, None]


def _best(
    rows: dict[str, list[dict[str, Any]]], label_budget: str, titles: dict[str, str], role: dict[str, str]
) -> str:
    """ "10 labels per class: highest SimCLR 83.1", the reference line aside."""
    here = [(r["mean"], a) for a, found in rows.items() for r in found if r["label_budget"] == label_budget]
    here = [(mean, a) for mean, a in here if role[a] != "reference"]
    if not here:
        return f"{label_budget_text(label_budget)}: only the reference line"
    mean, arm = max(here)
    return f"{label_budget_text(label_budget)}: highest {titles[arm]} {points(mean)}"


def _tick(label_budget: str, n_train: float) -> str:
    return f"all ({n_train:,.0f})" if label_budget == "all" else label_budget


# ── accuracy against compute ─────────────────────────────────────────────────────────────────────


def _progress(report: dict[str, Any]) -> list[Figure]:
    """Accuracy on validation images against training compute, one figure per probe and label budget; the
    primary one first, else the one with most runs."""
    games: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for run in report["progress"]:
        games.setdefault((run["probe"], run["label_budget"]), []).append(run)
    own = (report["primary"]["probe"], report["primary"]["label_budget"])
    order = sorted(games, key=lambda game: (game != own, -len(games[game])))
    drawn = [
        _compute_curve(report, games[game], game, "progress" if i == 0 else f"progress-{i}")
        for i, game in enumerate(order)
    ]
    return [f for f in drawn if f]


def _compute_curve(
    report: dict[str, Any], runs: list[dict[str, Any]], game: tuple[str, str], name: str
) -> Figure | None:
    look, titles = styles(report["arms"]), _titles(report)
    role = {a["name"]: a["role"] for a in report["arms"]}
    lines = {a["name"]: _over_seeds([r for r in runs if r["arm"] == a["name"]]) for a in report["arms"]}
    lines = {arm: found for arm, found in lines.items() if found}
    if not lines:
        return None
    floor = next((r for r in report["table"] if (r["arm"], r["probe"], r["label_budget"]) == ("random", *game)), None)
    still = floor["validation"] if floor else None

    def paint(fig: Any, narrow: bool) -> list[Mark]:
        ax, marks = fig.add_subplot(), []
        ax.set_xscale("log")
        for arm, found in lines.items():
            style = look[arm]
            x, y = [p["x"] for p in found], [100 * p["mean"] for p in found]
            band = [100 * p["low"] for p in found], [100 * p["high"] for p in found]
            ax.fill_between(x, *band, color=style.colour, alpha=0.15, linewidth=0)
            ax.plot(x, y, color=style.colour, linestyle=style.dashes, marker=".", markersize=4, linewidth=1.8)
            # the end of training: what every table is about
            ax.plot(x[-1:], y[-1:], style.marker, color=style.colour, markersize=7, mec=PAPER, mew=1, zorder=4)
            marks += [Mark(ax, p["x"], 100 * p["mean"], _spoken(titles[arm], p, p is found[-1])) for p in found]
        ends, places = {a: 100 * f[-1]["mean"] for a, f in lines.items()}, dict(lines)
        if still is not None:
            ax.axhline(100 * still, color=look["random"].colour, linestyle=look["random"].dashes, linewidth=1.2)
            ends["random"], places["random"] = 100 * still, [{"x": max(f[-1]["x"] for f in lines.values())}]
        name_lines(ax, ends, places, look, titles, role, narrow, True)
        ax.xaxis.set_major_formatter(lambda x, _: big(x))
        ax.minorticks_off()
        ax.set_xlabel("training compute, FLOPs (log scale)")
        ax.set_title(f"accuracy on {_split(runs)} images, %", color=MUTED, loc="left")
        return marks

    said = "; ".join(
        f"{titles[a]} ends at {points(f[-1]['mean'])} after {big(f[-1]['x'], 'FLOP')}" for a, f in lines.items()
    )
    probe, label_budget = game
    line = " Broken line: a network that was never trained." if still is not None else ""
    return draw(
        name,
        paint,
        (3.3, 3.7),
        f"Accuracy on {_split(runs)} images in percent against training compute, {judge(probe)}, with"
        f" {label_budget_text(label_budget)}, one line per arm. {said}.",
        f"Judged by {judge(probe)} with {label_budget_text(label_budget)}, from checkpoints; no test image was opened for it."
        f" Line: mean over seeds. Band: lowest to highest seed. Large marker: the end of training.{line}",
        Data(
            ["arm", "step", "FLOP", "images", "mean %", "lowest seed %", "highest seed %", "seeds"],
            [
                [titles[arm], p["step"], p["x"], p["images"], 100 * p["mean"], 100 * p["low"], 100 * p["high"], p["n"]]
                for arm, found in lines.items()
                for p in found
            ],
        ),
    )


def _split(runs: list[dict[str, Any]]) -> str:
    return "validation" if all(r["split"] == "val" for r in runs) else runs[0]["split"]


def _over_seeds(runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The mean over seeds at each step that was judged; step 0 spent nothing and has no place on a log axis."""
    at: dict[int, list[dict[str, Any]]] = {}
    for run in runs:
        for p in run["points"]:
            if p["accuracy"] is not None and p["flops"]:
                at.setdefault(p["step"], []).append(p)
    found = []
    for step, here in at.items():
        shares = [p["accuracy"] for p in here]
        found.append(
            {
                "step": step,
                "x": statistics.fmean(p["flops"] for p in here),
                "images": here[0]["images"],
                "mean": statistics.fmean(shares),
                "low": min(shares),
                "high": max(shares),
                "n": len(here),
            }
        )
    return sorted(found, key=lambda p: p["x"])


def _spoken(title: str, p: dict[str, Any], last: bool) -> str:
    end = ", end of training" if last else ""
    return (
        f"{title}, step {p['step']:,}, {big(p['x'], 'FLOP')}: {points(p['mean'])}%, seeds {points(p['low'])} to"
        f" {points(p['high'])}, {count(p['n'], 'seed')}{end}"
    )
