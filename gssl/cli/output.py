"""What a command prints on stdout when it ends: words and tables for people, one JSON document for `--json`.

Only rich, and only where there is a table. No torch.
"""

import json
import sys
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from gssl.config.job import Record


def say(text: str) -> None:
    """One line on stderr."""
    print(text, file=sys.stderr, flush=True)


def emit(document: Any) -> None:
    """The one JSON document of `--json`."""
    print(json.dumps(document, indent=2, ensure_ascii=False))


def read_json(path: Path) -> Any:
    """The JSON document at `path`, or None where there is no readable one."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


# ── how jobs ended ───────────────────────────────────────────────────────────────────────────────


def report(records: list["Record"], multirun: bool, as_json: bool) -> int:
    """Print what the jobs of one call ended with; returns the exit code.

    The document of a finished job is its result.json with the key `run`; of another one what went wrong, also
    where the directory holds an earlier run's result.
    """
    documents = [_document(r) for r in records]
    if not multirun and records[0].state == "usage":  # as for one that is found before anything starts
        pass
    elif as_json:
        emit(documents if multirun else documents[0])
    elif multirun:
        rows = [
            [r.job, " ".join(r.overrides), r.state, objective(d), r.dir]
            for r, d in zip(records, documents, strict=True)
        ]
        table(["job", "overrides", "state", "objective", "run"], rows)
    elif documents[0]["schema"] != "gssl.job/1":
        print_result(Path(records[0].dir), documents[0])
    elif records[0].state == "finished":
        print(f"run: {records[0].dir}")
    return _complain(records, multirun)


def _document(r: "Record") -> dict[str, Any]:
    folder = Path(r.dir)
    # a comparison whose claim does not hold has failed, and has a result all the same
    if r.state == "finished" or (r.state == "failed" and r.judged):
        result = read_json(folder / "result.json")
        state = (read_json(folder / "status.json") or {}).get("state", r.state)
        if result and state == "finished":
            return {"run": r.dir, **result}
    return {"run": r.dir, "schema": "gssl.job/1", "state": r.state, "error": r.message or None}


def _complain(records: list["Record"], multirun: bool) -> int:
    """One line on stderr where something went wrong; returns the exit code."""
    stopped = [r for r in records if r.state == "interrupted"]
    bad = [r for r in records if r.code and r.state != "interrupted"]
    if stopped:
        r = stopped[-1]
        if not multirun and not Path(r.dir).is_dir():
            say("interrupted before the run began; nothing was kept")
            return r.code
        key = "the same hydra.sweep.dir" if multirun else f"resume=auto hydra.run.dir={r.dir}"
        say(f"interrupted: {r.dir}; call it again with {key} to go on")
        return r.code
    if not bad:
        return 0
    if not multirun:
        r = bad[0]
        log = Path(r.dir) / "log.txt"
        say(f"error: {r.message}" + (f" (log: {log})" if r.code == 1 and log.is_file() else ""))
        return r.code
    named = [f"{r.job} ({' '.join(r.overrides)}): {r.message} (log: {r.dir}/log.txt)" for r in bad[:4]]
    more = [f"and {len(bad) - 4} more"] if len(bad) > 4 else []
    say(f"error: {len(bad)} of {len(records)} jobs failed: " + "; ".join([*named, *more]))
    return 1


# ── words and tables ─────────────────────────────────────────────────────────────────────────────


def number(value: Any) -> str:
    """A figure with four significant digits; a dash for None."""
    if isinstance(value, bool) or value is None:
        return "–" if value is None else str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def objective(result: dict[str, Any]) -> str:
    """`val_knn 0.81`, or a dash."""
    found = result.get("objective") or {}
    return "–" if found.get("value") is None else f"{found['name']} {number(found['value'])}"


def table(columns: list[str], rows: list[list[str]]) -> None:
    """A table on stdout: columns as wide as they need where stdout is no terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(width=400, highlight=False)
    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in columns:
        made.add_column(name, overflow="fold")
    for row in rows:
        made.add_row(*(Text(cell) for cell in row))
    console.print(made)


def print_result(run: Path, result: dict[str, Any]) -> None:
    """What a finished run tells on stdout: verdict or figure, compute spent, where the files are."""
    for line in _lines(result.get("verdict")):
        print(line)
    if objective(result) != "–":
        print(objective(result))
    for line in _judged(result):
        print(line)
    scores = result.get("scores") or []
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for score in scores:
        groups.setdefault((score["probe"], _amount(score)), []).append(score)
    if groups:
        from gssl.statistics.metric import METRICS
        from gssl.words import PROBES

        metrics = [METRICS[name] for name in scores[0].get("metrics") or ("accuracy", "balanced_accuracy")]
        rows = []
        for (probe, label_budget), found in groups.items():
            values = [mean(s.get("metrics", s)[m.name] for s in found) for m in metrics]
            shown = [f"{v:.1%}" if m.percent else f"{v:.4g}" for v, m in zip(values, metrics, strict=True)]
            rows.append([PROBES.get(probe, probe), label_budget, *shown, str(len(found))])
        table(["probe", "labels", *(f"test {m.title}" for m in metrics), "draws"], rows)
    if result.get("curve"):
        _curve(result["curve"])
    if result.get("generated_gain"):
        _gains(result["generated_gain"], result["generated"])
    spent = {k: v for k, v in (result.get("spent") or {}).items() if isinstance(v, int | float)}
    words = [f"{number(spent[k])} {k}" for k in ("steps", "images", "epochs", "seconds") if k in spent]
    if "flops" in spent:
        words.append(f"{spent['flops']:.3g} FLOPs")
    if words:
        print("spent: " + ", ".join(words))
    print(f"run: {run}")
    if result.get("report"):  # last: what one opens next
        print(f"report: {result['report']}")


def _curve(found: dict[str, Any]) -> None:
    """A row per target, probe and label budget, a column per source, in percent."""
    from gssl.words import PROBES, label_budget_text, title

    sources = list(dict.fromkeys(c["source"] for c in found["cells"]))
    rows: dict[tuple[str, str, str], dict[str, str]] = {}
    for c in found["cells"]:
        cell = f"{100 * c['mean']:.1f} ({100 * c['low']:.1f}–{100 * c['high']:.1f})"
        rows.setdefault((c["target"], c["probe"], c["label_budget"]), {})[c["source"]] = cell
    several = len(found["targets"]) > 1
    lines = [
        [
            *([target] if several else []),
            PROBES.get(probe, probe),
            label_budget_text(label_budget),
            *(row.get(s, "–") for s in sources),
        ]
        for (target, probe, label_budget), row in rows.items()
    ]
    table([*(["target"] if several else []), "probe", "labels", *map(title, sources)], lines)


def _gains(gains: list[dict[str, Any]], generated: dict[str, Any]) -> None:
    """What generated images added: a table, and in words the row that comparisons are about by default."""
    from gssl.words import between, count, points

    rows = [
        [
            g["probe"],
            _amount(g),
            f"{g['accuracy']:.1%}",
            f"{g['accuracy_generated']:.1%}",
            points(g["gain"], sign=True),
            between(g["low"], g["high"]),
            count(g["draws"], "draw") if g["interval"].startswith("t ") else count(g["n_test"], "test image"),
        ]
        for g in gains
    ]
    table(["probe", "labels", "real only", "with generated", "points", "95% interval", "over"], rows)
    # the linear probe and 10 labels per class where they are among them, else the first
    told = min(gains, key=lambda g: (g["probe"] != "linear", g["labels_per_class"] != 10))
    per_class = told["labels_per_class"]
    labels = f"{count(per_class, 'label')} per class" if per_class else f"{_amount(told)} of the labels"
    labels = "all labels" if told["fraction"] == 1 else labels
    over = count(told["draws"], "draw")
    over += "" if told["interval"].startswith("t ") else f", {count(told['n_test'], 'test image')}"
    probe = "fine-tuning" if told["probe"] == "finetune" else f"{told['probe']} probe"
    print(
        f"generated images: {points(told['gain'], sign=True)} points (95% interval {between(told['low'], told['high'])}, {over})"
        f" with {labels}, {probe}; {generated['caution']}"
    )
    if generated["same_images"] is False:
        print("the generator was trained with another data split: it may have seen images of this test set")


def _judged(result: dict[str, Any]) -> list[str]:
    """Of a GAN: by whom and on what its distance was measured, beside what, and which of its weights are exported."""
    prober, best, last = (result.get(key) for key in ("prober", "best", "last"))
    if not (prober and best and last):
        return []
    floor = result["kid_baseline"]["train_real"]
    named = f"{prober['name']}@{prober['hash'][:8]}, d {prober['dim']}, n {prober['n']:,}, {prober['split']} images"
    marks = [
        f"{name}: step {found['step']:,}, val_kid {number(found['val_kid'])}"
        f" ({number(found['figures']['kid_low'])} to {number(found['figures']['kid_high'])}),"
        f" coverage {number(found['figures']['coverage'])}"
        for name, found in (("best", best), ("last", last))
    ]
    beside = f"floor {number(floor['kid'])} (real training images, n {floor['n_fake']:,})"
    return [
        f"judge: {named}, seed {result['seed']}; {beside}",
        f"{'; '.join(marks)}; exported: {result['exported']['which']}",
    ]


def _lines(verdict: Any) -> list[str]:
    if isinstance(verdict, dict):
        verdict = verdict.get("sentences") or verdict.get("text") or []
    return [verdict] if isinstance(verdict, str) else [str(v) for v in verdict or []]


def _amount(score: dict[str, Any]) -> str:
    if score.get("labels_per_class") is not None:
        return f"{score['labels_per_class']} per class" if score["labels_per_class"] else "none"
    if score.get("images_labelled") is not None:
        return f"{score['images_labelled']} images"
    return "all" if score.get("fraction") == 1 else f"{100 * score['fraction']:g}%"
