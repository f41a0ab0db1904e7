"""Which pretraining pays for what: gains over sources and targets of any tasks, with few labels and with many.

Of each target one probe is shown: the one that carries a verdict by its name (`gssl.config.menus.shared`), never by its
scores. Of its label budgets it is the smallest and the largest.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gssl.config.menus import beside, shared
from gssl.figures.matrix import STRONGEST, Cell, Column, figure
from gssl.report.curve import LEVEL
from gssl.report.curve_tables import against, axis, budget, ends, ordered, tested
from gssl.report.wording import in_percent, shown
from gssl.words import PROBES, count, listed, title


def columns(cells: Sequence[dict[str, Any]], base: Mapping[str, str | None]) -> list[dict[str, Any]]:
    """What stands side by side: a target, the probe that its sources are shown by, a label budget. base: target → the
    source that gains are over."""
    found = []
    for target in dict.fromkeys(c["target"] for c in cells):
        mine = [c for c in cells if c["target"] == target and c["label_budget"] != "0"]
        others = [c for c in mine if c["source"] != base.get(target)] or mine
        if not others:
            continue
        probe, _ = shared([(c["source"], c["probe"], c["label_budget"]) for c in others])
        here = [c for c in others if c["probe"] == probe]
        budgets = ordered(here)
        for label_budget in dict.fromkeys((budgets[0], budgets[-1])):
            one = next(c for c in here if c["label_budget"] == label_budget)
            same = (
                *("target", "task", "metric", "unit", "direction", "probe", "label_budget"),
                *("n_train", "n_test", "groups"),
            )
            found.append({key: one[key] for key in same if key in one} | {"baseline": base.get(target)})
    return found


def _at(text: dict[str, Any], source: str, column: dict[str, Any]) -> dict[str, Any] | None:
    """The cell of a source in a column: of the baseline that of the probe that others are compared with."""
    where = (source, column["target"], column["label_budget"])
    mine = {c["probe"]: c for c in text["cells"] if (c["source"], c["target"], c["label_budget"]) == where}
    probe = beside(column["probe"], mine) if source == column["baseline"] else column["probe"]
    return mine.get(str(probe))


def _rows(text: dict[str, Any]) -> list[tuple[str, str]]:
    """(source, how it is shown): of those that have learnt from a target's own labels it is said."""
    found, evaluated = [], {c["source"] for c in text["cells"]}
    for name in (source["name"] for source in text["sources"] if source["name"] in evaluated):
        reads = [c["target"] for c in text["cells"] if c["source"] == name and c["reads_labels"]]
        said = f" (trained with all labels of {listed(list(dict.fromkeys(reads)))})" if reads else ""
        found.append((name, title(name) + said))
    return found


def strength(c: dict[str, Any]) -> float | None:
    """Of a cell: its gain ÷ how far its interval reaches towards 0; beyond 1 and −1 it does not contain 0."""
    if c["gain"] is None:
        return None
    gain: float = c["gain"]
    towards = gain - c["gain_low"] if gain > 0 else c["gain_high"] - gain
    if gain == 0 or towards <= 0:  # nothing, or an interval of no width
        return (gain > 0) * STRONGEST - (gain < 0) * STRONGEST
    return max(-STRONGEST, min(STRONGEST, gain / towards))


def markdown(text: dict[str, Any]) -> str:
    """A table of the gains; "" with one target."""
    if not text["matrix"]:
        return ""
    heads, unders = ["source"], [""]
    for column in text["matrix"]:
        heads.append(f"{column['target']}: {budget(column)}")
        metric, n = column["metric"], tested(column)
        better = "" if column["direction"] == "max" else ", low is good"
        unders.append(f"{axis(metric)}{better}; {PROBES.get(column['probe'], column['probe'])}; n = {n}")
    lines = ["## Which pretraining pays for what", ""]
    lines += [f"| {' | '.join(heads)} |", f"|---|{'--:|' * len(text['matrix'])}", f"| {' | '.join(unders)} |"]
    for source, name in _rows(text):
        lines.append(f"| {name} | {' | '.join(_written(text, source, column) for column in text['matrix'])} |")
    return "\n".join([*lines, "", _caption(text), "", ""])


def _written(text: dict[str, Any], source: str, column: dict[str, Any]) -> str:
    c = _at(text, source, column)
    if c is None:
        return "–"
    score = shown(c["metric"], c["mean"])
    if c["gain"] is None:
        return f"score {score}"
    said = f"{shown(c['metric'], c['gain'], sign=True)} ({ends(c['metric'], c['gain_low'], c['gain_high'])})"
    return f"{f'**{said}**' if abs(strength(c) or 0) > 1 else said}; {score}"


def _caption(text: dict[str, Any]) -> str:
    """What the numbers are, and what they are not."""
    names = [column["baseline"] for column in text["matrix"] if column["baseline"]]
    over = f" over {against(text, names)} on the same labels" if names else ""
    points = " in points" if all(in_percent(column["metric"]) for column in text["matrix"]) else ""
    gains = [c for column in text["matrix"] for name, _ in _rows(text) if (c := _at(text, name, column)) and
              c["gain"] is not None]  # fmt: skip
    luck = (1 - LEVEL) * len(gains)
    over_draws = [c["gain_interval"].startswith("t ") for c in gains]
    kinds = "over draws of labels, and with one draw over what is tested on" if any(over_draws) else "over test items"
    return (
        f"Gain{over}{points} with its {LEVEL:.0%} interval ({kinds}), and the score itself. Above 0 is better; the more"
        " colour, the larger the gain beside its interval; grey: the interval contains 0."
        f" Of {count(len(gains), 'gain')}, about {luck:.2g} would have colour by luck alone. One network per source:"
        " other seeds of the pretraining are not covered."
    )


def draw(text: dict[str, Any], path: Path) -> bool:
    """matrix.png; whether there is anything to draw."""
    if not text["matrix"]:
        return False
    rows = _rows(text)
    found = {}
    for i, (source, _) in enumerate(rows):
        for j, column in enumerate(text["matrix"]):
            if (c := _at(text, source, column)) is not None:
                found[i, j] = _drawn(c, source == column["baseline"])
    heads = []
    for column in text["matrix"]:
        n = tested(column)
        better = "" if column["direction"] == "max" else ", low is good"
        about = [f"{axis(column['metric'])}{better}; n = {n}", PROBES.get(column["probe"], column["probe"])]
        heads.append(Column(column["target"], about, budget(column)))
    figure([name for _, name in rows], heads, found, _caption(text), "Which pretraining pays for what").save(path)
    return True


def _drawn(c: dict[str, Any], baseline: bool) -> Cell:
    metric, score = c["metric"], shown(c["metric"], c["mean"])
    if c["gain"] is None:
        return Cell(f"score {score}", about="baseline" if baseline else "")
    interval = ends(metric, c["gain_low"], c["gain_high"])
    return Cell(f"score {score}", shown(metric, c["gain"], sign=True), interval, strength(c))
