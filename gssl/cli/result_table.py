"""What a finished run prints: verdict or objective, scores, what was spent, where the files are."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import mean
from typing import Any

from gssl.cli import captioned_table, comparison_table, dialogue_table, seq2seq_table
from gssl.cli.output import number, objective, table, tell
from gssl.config.menus import primary_probe
from gssl.data.sources import SOURCES, Entry
from gssl.data.targets import of_task
from gssl.engine.documents import expected, find_yaml
from gssl.statistics.metric import METRICS
from gssl.words import FOLDERS, PROBES, between, count, label_budget_text, points, title

FEW = 100  # test images, below which tables warn


def print_result(run: Path, result: dict[str, Any]) -> None:
    """A run's result.json for people. Raises Damaged where it does not hold what is shown of it."""
    with expected(run / "result.json"):
        _print(run, result)


def _print(run: Path, result: dict[str, Any]) -> None:
    if found := data_set(run):
        tell(f"data: {found}")
    for line in _lines(result.get("verdict")):
        tell(line)
    if objective(result) != "–":
        tell(objective(result))
    row = source_of(run).row
    for line in _generator(result):
        tell(re.sub(r"\bimage(s?)\b", rf"{row}\1", line))
    if result.get("scores"):
        _scores(result["scores"])
        goal = of_task(str(result["scores"][0].get("task")))
        primary = [next(iter(s["metrics"])) for s in result["scores"] if s.get("metrics")]
        of_each = all(METRICS[name].per_item_mean for name in primary)
        for line in tested([s.get("n_test") for s in result["scores"]], result.get("folds") or {}, of_each):
            tell(goal.said(line))
    if result.get("dialogues"):
        dialogue_table.show(result["dialogues"])
    if result.get("captioned"):
        captioned_table.show(result["captioned"])
    if result.get("seq2seq"):
        seq2seq_table.show(result["seq2seq"])
    if result.get("curve"):
        _curve(result["curve"])
    if result.get("command") == "compare":
        comparison_table.show(run, result)
    if result.get("generated_gain"):
        _gains(result["generated_gain"], result["generated"])
    spent = {k: v for k, v in (result.get("spent") or {}).items() if isinstance(v, int | float)}
    words = [f"{number(spent[k])} {k}" for k in ("steps", "images", "epochs", "seconds") if k in spent]
    if "flops" in spent:
        words.append(f"{spent['flops']:.3g} FLOPs")
    if words:
        tell("spent: " + ", ".join(words))
    beside = (result.get("spent") or {}).get("beside") or {}
    if beside := {name: seconds for name, seconds in beside.items() if seconds >= 0.05}:
        tell("beside that: " + ", ".join(f"{name} {number(seconds)} seconds" for name, seconds in beside.items()))
    for entry in result.get("extensions") or []:
        tell(f"lengthened at step {entry['step']:,}: {_budget(entry['budget_before'])} → {_budget(entry['budget'])}")
    tell(f"run: {run}")
    if result.get("report"):  # last: what one opens next
        tell(f"report: {result['report']}")


def data_set(run: Path) -> str:
    """Which images a run is about: the name of the data set, or of the user's folder, and their size; "" if unknown."""
    try:
        written = find_yaml(run / "config.yaml")
        data, others, reads = written["data"], written.get("to"), written.get("runs")
        if reads:  # of other runs, whose reports name theirs
            return ""
        size = data["size"]
    except (KeyError, TypeError, AttributeError):
        return ""
    if others:
        return ", ".join(map(str, others))
    folder = data.get("root") or data.get("train") or data.get("pretrain")
    own = data["name"] in FOLDERS and folder
    unit = source_of(run).unit
    return f"{folder if own else data['name']}, {'×'.join(map(str, size)) if isinstance(size, list) else size} {unit}"


def source_of(run: Path) -> Entry:
    """What reads the data of a run; of images where that is not known."""
    try:
        return SOURCES[find_yaml(run / "config.yaml")["data"]["name"]]
    except (KeyError, TypeError):
        return Entry("")


def tested(counts: Iterable[int | None], folds: Mapping[str, Any], of_each: bool, of: str = "") -> list[str]:
    """How many test images the figures above rest on, and a warning where these are few.

    folds: `count` where each labelled image is a test image once. of_each: the metric is a mean over test images. of:
    the name of a data set, where there are several.
    """
    least = min((n for n in counts if n), default=None)
    if least is None:
        return []
    lines = [f"{f'{of}: ' if of else ''}{count(least, 'test image')}"]
    if folds.get("count"):
        k = folds["count"]
        lines[0] += (
            f", each predicted by what learnt from {k - 1} of {k} folds of the labelled images; all labels means"
        )
        lines[0] += f" {k - 1}/{k} of them"
    if folds.get("transductive"):
        lines.append("pretraining has had these images, without labels (transductive)")
    if least < FEW:
        what = f"one of {least} test images is {100 / least:.2g} points" if of_each else f"only {least} test images"
        lines.append(f"warning: {what}: a few points' difference is none")
    return lines


def _budget(budget: dict[str, Any]) -> str:
    return ", ".join(f"{number(value)} {key.replace('_', ' ')}" for key, value in budget.items())


def _scores(scores: list[dict[str, Any]]) -> None:
    """A row per probe and label budget: the means over draws of the metrics of the task."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for score in scores:
        groups.setdefault((score["probe"], _label_budget(score)), []).append(score)
    named = dict.fromkeys(name for score in scores for name in score.get("metrics") or ())  # not all have all
    metrics = [METRICS[name] for name in named or ("accuracy", "balanced_accuracy")]
    rows = []
    for (probe, label_budget), found in groups.items():
        values = [[s["metrics"].get(m.name) if "metrics" in s else s[m.name] for s in found] for m in metrics]
        shown = [_mean(own, m.percent) for own, m in zip(values, metrics, strict=True)]
        rows.append([PROBES.get(probe, probe), label_budget, *shown, str(len(found))])
    table(["probe", "labels", *(f"test {m.title}" for m in metrics), "draws"], rows)


def _mean(values: list[float | None], percent: bool) -> str:
    """Of draws; a dash where a metric is not defined in all of them."""
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return "–"
    return f"{mean(known):.1%}" if percent else f"{mean(known):.4g}"


def _curve(found: dict[str, Any]) -> None:
    """A row per target, probe and label budget, a column per source; fractions in percent. Targets of several tasks
    have metrics of their own, which are named."""
    sources = list(dict.fromkeys(c["source"] for c in found["cells"]))
    metrics = {c["target"]: METRICS[c["metric"]] for c in found["cells"]}
    goals = {name: of_task(str(target.get("task"))) for name, target in found["targets"].items()}
    grouped = {c["target"] for c in found["cells"] if c.get("groups")}
    unlike = len({metric.name for metric in metrics.values()}) > 1
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for c in found["cells"]:
        percent = metrics[c["target"]].percent
        mean, low, high = (f"{100 * c[k]:.1f}" if percent else f"{c[k]:.4g}" for k in ("mean", "low", "high"))
        cell = f"{mean} ({low}–{high})"
        rows.setdefault((c["target"], c["probe"], c["label_budget"]), {})[c["source"]] = cell
    several = len(found["targets"]) > 1
    lines = [
        [
            *([target] if several else []),
            *([metrics[target].title] if unlike else []),
            PROBES.get(probe, probe),
            goals[target].said(label_budget_text(label_budget), [label_budget_text(label_budget)], target in grouped),
            *(row.get(s, "–") for s in sources),
        ]
        for (target, probe, label_budget), row in rows.items()
    ]
    heads = [*(["target"] if several else []), *(["metric"] if unlike else [])]
    table([*heads, "probe", "labels", *map(title, sources)], lines)
    for target in dict.fromkeys(c["target"] for c in found["cells"]):
        own = [c for c in found["cells"] if c["target"] == target]
        folds = {"count": max(c.get("folds") or 0 for c in own), "transductive": any(c.get("seen") for c in own)}
        of_each = metrics[target].per_item_mean
        for line in tested([c["n_test"] for c in own], folds, of_each, target if several else ""):
            tell(goals[target].said(line))


def _gains(gains: list[dict[str, Any]], generated: dict[str, Any]) -> None:
    """What generated images added: a table, and in words the row that comparisons are about by default."""
    rows = [
        [
            g["probe"],
            _label_budget(g),
            f"{g['accuracy']:.1%}",
            f"{g['accuracy_generated']:.1%}",
            points(g["gain"], sign=True),
            between(g["low"], g["high"]),
            count(g["draws"], "draw") if g["interval"].startswith("t ") else count(g["n_test"], "test image"),
        ]
        for g in gains
    ]
    table(["probe", "labels", "real only", "with generated", "points", "95% interval", "over"], rows)
    first = primary_probe([g["probe"] for g in gains])  # and 10 labels per class where they are among them
    shown = min(gains, key=lambda g: (g["probe"] != first, g["labels_per_class"] != 10))
    per_class = shown["labels_per_class"]
    labels = f"{count(per_class, 'label')} per class" if per_class else f"{_label_budget(shown)} of the labels"
    labels = "all labels" if shown["fraction"] == 1 else labels
    over = count(shown["draws"], "draw")
    over += "" if shown["interval"].startswith("t ") else f", {count(shown['n_test'], 'test image')}"
    interval = between(shown["low"], shown["high"])
    tell(
        f"generated images: {points(shown['gain'], sign=True)} points (95% interval {interval}, {over})"
        f" with {labels}, {PROBES.get(shown['probe'], shown['probe'])}; {generated['caution']}"
    )
    if generated["same_images"] is False:
        tell("the generator was trained with another data split: it may have been trained on images of this test set")


def _generator(result: dict[str, Any]) -> list[str]:
    """Of a GAN: how its distance was measured, the baseline beside it, and which weights are exported."""
    evaluator, best, last = (result.get(key) for key in ("evaluator", "best", "last"))
    if not (evaluator and best and last):
        return []
    real = result["kid_baseline"]["train_real"]
    named = f"{evaluator['name']}@{evaluator['hash'][:8]}, d {evaluator['dim']}, n {evaluator['n']:,}"
    marks = [
        f"{name}: step {found['step']:,}, val_kid {number(found['val_kid'])}"
        f" ({number(found['figures']['kid_low'])} to {number(found['figures']['kid_high'])}),"
        f" coverage {number(found['figures']['coverage'])}"
        for name, found in (("best", best), ("last", last))
    ]
    baseline = f"real-vs-real baseline {number(real['kid'])} (real training images, n {real['n_fake']:,})"
    quality = result.get("quality")
    return [
        f"evaluator: {named}, {evaluator['split']} images, seed {result['seed']}; {baseline}",
        f"{'; '.join(marks)}; exported: {result['exported']['which']}",
        *([f"generated images: {quality['text']}", *quality["notes"]] if quality else []),
    ]


def _lines(verdict: Any) -> list[str]:
    if isinstance(verdict, dict):
        verdict = verdict.get("sentences") or verdict.get("text") or []
    return [verdict] if isinstance(verdict, str) else [str(v) for v in verdict or []]


def _label_budget(score: dict[str, Any]) -> str:
    if score.get("labels_per_class") is not None:
        return f"{score['labels_per_class']} per class" if score["labels_per_class"] else "none"
    if score.get("images_labelled") is not None:
        return of_task(str(score.get("task"))).said(f"{score['images_labelled']} labelled images")
    return "all" if score.get("fraction") == 1 else f"{100 * score['fraction']:g}%"
