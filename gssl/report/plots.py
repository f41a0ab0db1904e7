"""The report's figures: the primary comparison, label curves, validation scores and losses over training."""

import math
from collections.abc import Sequence
from typing import Any

from gssl.report.document import probe_for
from gssl.report.svg import GRID, INK, MUTED, PAPER, Figure, draw, name_lines, styles, thousands
from gssl.report.words import amount_text, points, shortened


def figures(report: dict[str, Any]) -> dict[str, Figure]:
    """Every figure the data allow, by name: primary, labels, labels-<probe>, validation, losses."""
    drawn = [_primary(report), *_labels(report), _validation(report), _losses(report)]
    return {f.name: f for f in drawn if f}


def _titles(report: dict[str, Any]) -> dict[str, str]:
    """Names that leave room for the figure."""
    return {a["name"]: shortened(a["title"], 26) for a in report["arms"]}


def _rows(report: dict[str, Any], probe: str) -> dict[str, list[dict[str, Any]]]:
    """Each arm's rows for a figure of `probe`, by amount of labels; `scratch` speaks by fine-tuning."""
    size = {a["key"]: a["n_train"] for a in report["amounts"]}
    out: dict[str, list[dict[str, Any]]] = {}
    for arm in report["arms"]:
        rows = [r for r in report["table"] if r["arm"] == arm["name"] and r["probe"] == probe_for(arm["name"], probe)]
        rows = [r | {"x": size.get(r["amount"])} for r in rows if size.get(r["amount"])]
        if rows:
            out[arm["name"]] = sorted(rows, key=lambda r: r["x"])
    return out


def _primary(report: dict[str, Any]) -> Figure | None:
    """One line per arm at the primary amount: a dot per seed, the mean, the interval."""
    probe, amount = report["primary"]["probe"], report["primary"]["amount"]
    rows = {arm: next((r for r in found if r["amount"] == amount), None) for arm, found in _rows(report, probe).items()}
    shown = [(a, row) for a in report["arms"] if (row := rows.get(a["name"]))]
    if not shown:
        return None
    look, titles = styles(report["arms"]), _titles(report)

    def paint(fig: Any, narrow: bool) -> None:
        ax = fig.add_subplot()
        for y, (arm, row) in enumerate(reversed(shown)):
            style, interval = look[arm["name"]], row["interval"]
            if interval:
                ends = [100 * interval["low"], 100 * interval["high"]]
                ax.plot(ends, [y, y], color=style.colour, linewidth=7, alpha=0.22, solid_capstyle="butt")
            seeds = [100 * v for v in row["per_seed"].values()]
            if len(seeds) > 1:
                ax.plot(seeds, [y] * len(seeds), "o", color=style.colour, markersize=3.6, alpha=0.75, mew=0)
            ax.plot([100 * row["mean"]] * 2, [y - 0.3, y + 0.3], color=style.colour, linewidth=2.4)
            right = 100 * max([interval["high"] if interval else row["mean"], *row["per_seed"].values()])
            ax.annotate(
                points(row["mean"]),
                (right, y),
                (6, 0),
                textcoords="offset points",
                va="center",
                color=INK if arm["role"] == "contestant" else MUTED,
            )
        names = [titles[a["name"]] for a, _ in reversed(shown)]
        ax.set_yticks(range(len(shown)), names)
        for label, (arm, _) in zip(ax.get_yticklabels(), reversed(shown), strict=True):
            label.set_color(INK if arm["role"] == "contestant" else MUTED)
        firsts = [i for i in range(1, len(shown)) if shown[i][0]["role"] != shown[i - 1][0]["role"]]
        for i in firsts:  # a hair line between contestants, controls and the reference line
            ax.axhline(len(shown) - i - 0.5, color=GRID, linewidth=0.8)
        ax.set_ylim(-0.6, len(shown) - 0.4)
        low, high = ax.get_xlim()
        ax.set_xlim(max(low, -2), min(high + 0.09 * (high - low), 112))
        ax.grid(False, axis="y")
        ax.spines["left"].set_visible(False)
        ax.set_xlabel("test accuracy, %" if narrow else f"test accuracy with {amount_text(amount)}, %")

    said = [f"{a['title']} {points(r['mean'])}" for a, r in shown]
    height = 0.75 + 0.34 * len(shown)
    n = max(r["n_seeds"] for _, r in shown)
    spread = "95% t intervals over seeds" if n > 1 else "95% Wilson intervals over test images"
    dots = "Dots: seeds. " if n > 1 else ""
    return draw(
        "primary",
        paint,
        (height, height),
        f"Test accuracy in percent with {amount_text(amount)}, {probe} probe: {', '.join(said)}.",
        f"{dots}Line: mean. Bar: {spread}. Judged by the {probe} probe; scratch by fine-tuning.",
    )


def _labels(report: dict[str, Any]) -> list[Figure]:
    """Accuracy against labels, one figure per probe, the primary one first."""
    first = report["primary"]["probe"]
    others = [p for p in report["probes"] if p != first]
    drawn = [
        _label_curve(report, probe, "labels" if probe == first else f"labels-{probe}") for probe in [first, *others]
    ]
    return [f for f in drawn if f]


def _label_curve(report: dict[str, Any], probe: str, name: str) -> Figure | None:
    rows = _rows(report, probe)
    own = [a for a in rows if any(r["probe"] == probe for r in rows[a])]
    ticks = {r["x"]: r["amount"] for found in rows.values() for r in found}
    if len(own) < 2 or len(ticks) < 2:
        return None
    look, titles = styles(report["arms"]), _titles(report)
    role = {a["name"]: a["role"] for a in report["arms"]}

    def paint(fig: Any, narrow: bool) -> None:
        ax = fig.add_subplot()
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
        lo, hi = ax.get_ylim()
        lo, hi = max(lo, 0), min(hi, 101)
        ax.set_ylim(lo, hi)
        name_lines(ax, {a: 100 * f[-1]["mean"] for a, f in rows.items()}, rows, look, titles, role, narrow, True)
        ax.set_xticks(sorted(ticks), [_tick(ticks[x], x) for x in sorted(ticks)])
        ax.minorticks_off()
        ax.grid(False, axis="x")
        unit = "labels per class" if any(t.isdigit() for t in ticks.values()) else "labelled images"
        ax.set_xlabel(f"{unit} (log scale)")
        ax.set_title("test accuracy, %", color=MUTED, loc="left")

    best = {
        k: max(
            (
                (points(r["mean"]), titles[a], r["mean"])
                for a, f in rows.items()
                for r in f
                if r["amount"] == k and role[a] != "reference"
            ),
            key=lambda t: t[2],
        )
        for k in ticks.values()
    }
    said = "; ".join(f"{amount_text(k)}: highest {t} {p}" for k, (p, t, _) in best.items())
    return draw(
        name,
        paint,
        (3.7, 3.9),
        f"Test accuracy in percent against the number of labels, {probe} probe, one line per arm. {said}.",
        f"{probe.capitalize()} probe; scratch by fine-tuning. Bands: 95% intervals.",
    )


def _tick(amount: str, n_train: float) -> str:
    return f"all ({n_train:,.0f})" if amount == "all" else amount


def _clean(values: Sequence[float | None]) -> list[float]:
    return [math.nan if v is None else v for v in values]


def _validation(report: dict[str, Any]) -> Figure | None:
    """The validation scores that pretraining logged, all arms on one axis."""
    curves = [c for c in report["curves"] if c["kind"] == "validation" and len(c["value"]) > 1]
    if not curves:
        return None
    metric = _shared_metric(curves)
    curves = [c for c in curves if c["metric"] == metric]
    arms = list(dict.fromkeys(c["arm"] for c in curves))
    look, titles = styles(report["arms"]), _titles(report)
    role = {a["name"]: a["role"] for a in report["arms"]}
    by_images = all(None not in c["images"] for c in curves)

    def paint(fig: Any, narrow: bool) -> None:
        ax = fig.add_subplot()
        last: dict[str, list[dict[str, Any]]] = {}
        for c in curves:
            x = c["images"] if by_images else c["step"]
            ax.plot(
                x,
                [100 * v for v in _clean(c["value"])],
                color=look[c["arm"]].colour,
                linewidth=1.4,
                alpha=0.8,
            )
            last.setdefault(c["arm"], []).append({"x": x[-1], "y": 100 * c["value"][-1]})
        ends = {a: sum(e["y"] for e in found) / len(found) for a, found in last.items()}
        rows = {a: [max(found, key=lambda e: e["x"])] for a, found in last.items()}
        name_lines(ax, ends, rows, look, titles, role, narrow, False)
        thousands(ax)
        ax.set_xlabel("real images seen in training" if by_images else "steps")
        ax.set_title(f"{metric}, %", color=MUTED, loc="left")

    said = "; ".join(f"{titles[a]} ends at {points(_last(curves, a))}" for a in arms)
    return draw(
        "validation",
        paint,
        (2.9, 3.1),
        f"Validation score {metric} in percent during pretraining, one line per seed. {said}.",
        f"{metric} on the validation split, one line per seed. No choice was made on test images.",
    )


def _shared_metric(curves: list[dict[str, Any]]) -> str | None:
    """One metric on one axis: the validation measure that most arms logged."""
    names = dict.fromkeys(c["metric"] for c in curves if c["kind"] == "validation" and len(c["value"]) > 1)
    return max(names, key=lambda m: len({c["arm"] for c in curves if c["metric"] == m}), default=None)


def _last(curves: list[dict[str, Any]], arm: str) -> float:
    ends = [c["value"][-1] for c in curves if c["arm"] == arm and c["value"][-1] is not None]
    return sum(ends) / len(ends) if ends else math.nan


def _losses(report: dict[str, Any]) -> Figure | None:
    """Small panels, one per arm and loss: their scales have nothing to do with each other.

    A validation measure that the shared figure leaves out (a GAN's KID beside kNN) has its panel here.
    """
    shared = _shared_metric(report["curves"])
    curves = [c for c in report["curves"] if c["metric"] != shared and len(c["value"]) > 1]
    panels = list(dict.fromkeys((c["arm"], c["metric"]) for c in curves))[:12]
    if not panels:
        return None
    look, titles = styles(report["arms"]), _titles(report)

    def paint(fig: Any, narrow: bool) -> None:
        columns = across(narrow)
        axes = fig.subplots(math.ceil(len(panels) / columns), columns, squeeze=False).ravel()
        for ax in axes[len(panels) :]:
            ax.set_visible(False)
        for ax, (arm, metric) in zip(axes, panels, strict=False):
            for c in curves:
                if (c["arm"], c["metric"]) == (arm, metric):
                    ax.plot(c["step"], _clean(c["value"]), color=look[arm].colour, linewidth=1.0, alpha=0.75)
            ax.set_title(f"{titles[arm]} · {metric}" if not narrow else f"{titles[arm]}\n{metric}", color=INK)
            ax.locator_params(axis="x", nbins=3)
            ax.locator_params(axis="y", nbins=4)
            thousands(ax)
            ax.set_xlabel("steps")

    def across(narrow: bool) -> int:
        """Panels side by side: four where that leaves no hole, else three; two on a phone."""
        return min(len(panels), 2 if narrow else 4 if len(panels) % 4 == 0 else 3)

    def height(narrow: bool) -> float:
        return 0.2 + 1.65 * math.ceil(len(panels) / across(narrow))

    said = ", ".join(f"{titles[a]} {m}" for a, m in panels)
    return draw(
        "losses",
        paint,
        (height(False), height(True)),
        f"Training curves over steps, one panel each: {said}.",
        "One line per seed; val_… is measured on the validation split. Scales cannot be compared across panels.",
    )
