"""What the runs recorded, as the document has it: curves, pictures, cost, provenance, failures."""

import base64
import hashlib
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from gssl.config.menus import trains
from gssl.report import consistency
from gssl.report.collect import Run, flatten
from gssl.report.consistency import Trained, data_hash
from gssl.report.generation import deaths
from gssl.schemas.label_budgets import label_budget_of
from gssl.statistics import paired
from gssl.statistics.metric import METRICS
from gssl.words import ONE_SETTING, title

CURVE_POINTS = 200  # of each curve kept in the document
MOST_SAMPLES = {"samples": 12, "neighbours": 6, "reconstructions": 6, "map": 8}  # of each kind
MOST_KEYS = 24  # of the configuration, in which runs differ
LARGEST_SAMPLE = 400_000  # bytes of one PNG; larger ones are only named
# metric: its key in a run's `spent`, how stages of a chain are combined, its title
COSTS: dict[str, tuple[str, Any, str]] = {
    "flops": ("flops", sum, "FLOPs of training"),
    "images": ("images", sum, "images read"),
    "seconds": ("seconds", sum, "wall time of training, s"),
    "cpu_seconds": ("cpu_seconds", sum, "processor time of training, s"),
    "memory": ("peak_memory_bytes", max, "peak memory, bytes"),
    "steps": ("steps", sum, "steps of training"),
}
AXES = ("flops", "images", "seconds")


def curves(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Losses and validation scores of pretraining, thinned to at most CURVE_POINTS each."""
    curves = []
    for run in runs:
        if run.stage != "pretrain":
            continue
        keys = dict.fromkeys(k for row in run.metrics for k, v in row.items() if isinstance(v, int | float))
        chosen = [k for k in keys if "loss" in k.lower() or k.startswith("val")]
        if sum("loss" in k.lower() for k in chosen) > 1:
            chosen = [k for k in chosen if k != "loss"]  # the sum of its parts says nothing beside them
        for key in chosen:
            # null is what a run writes of a number that is not finite: a gap of the line
            rows = [
                r
                for r in run.metrics
                if key in r and isinstance(r[key], int | float | None) and r.get("step") is not None
            ]
            keep = np.unique(np.linspace(0, len(rows) - 1, min(len(rows), CURVE_POINTS)).round().astype(int))
            rows = [rows[i] for i in keep]
            curves.append(
                {
                    "arm": run.arm,
                    "seed": run.seed,
                    "metric": key,
                    "kind": "validation" if key.startswith("val") else "loss",
                    "step": [r["step"] for r in rows],
                    "images": [r.get("images") for r in rows],
                    "value": [None if r[key] is None else float(f"{r[key]:.6g}") for r in rows],
                }
            )
    return curves


def alarms(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What the runs' own monitors found, such as collapsed features, and generators that are dead by their evaluation
    on test images. Failed runs count too."""
    dead = [
        {"arm": run.arm, "seed": run.seed, "step": None, "alarm": f"on test images: {reason}"}
        for run, reason, _ in deaths(runs)
    ]
    return dead + [
        {"arm": run.arm, "seed": run.seed, "step": entry.get("step"), "alarm": entry["alarm"]}
        for run in runs
        for entry in run.metrics
        if entry.get("alarm")
    ]


def samples(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Pictures, the last of each kind from each run, nobody picked: what a GAN made (`samples`), samples beside their
    nearest training images (`neighbours`), what a pretext task made of validation images (`reconstructions`), the
    features of test images in two dimensions (`map`). Seeds of one arm side by side; few seeds where there are many.
    """
    out = []
    for kind, most in MOST_SAMPLES.items():
        found = [(run, picture) for run in runs for picture in _pictures(run).get(kind, [])[-1:]]
        seeds = sorted({run.seed or 0 for run, _ in found})
        arms = len({run.arm for run, _ in found})
        kept = seeds[: max(1, most // max(1, arms))]
        shown = [(run, picture) for run, picture in found if (run.seed or 0) in kept]
        for run, picture in sorted(shown, key=lambda pair: (pair[0].arm, pair[0].seed or 0))[:most]:
            if entry := _picture(run, picture, kind):
                out.append(entry)
    return out


def _pictures(run: Run) -> dict[str, list[Path]]:
    """kind → files, the last step last."""
    out: dict[str, list[Path]] = {}
    for path in sorted(run.samples, key=lambda p: (_step(p), p.name)):
        own = "reconstructions" if "ssl" in run.config else "samples"
        out.setdefault({"neighbours": "neighbours", "map": "map"}.get(path.stem, own), []).append(path)
    return out


CAPTIONS = {
    "samples": "images that it made, not picked",
    "neighbours": "each left image was made, the four beside it are the training images nearest to it by the evaluator",
    "reconstructions": "a row is what the network was given, what it made of it and, where that differs, the original",
    "map": "test images by the similarity of their features, coloured by class, in two dimensions",
}
ALTS = {
    "samples": "Grid of images generated by",
    "neighbours": "Generated images beside their nearest training images, by",
    "reconstructions": "Reconstructions by",
    "map": "Map of test images in two dimensions by the features of",
}


def _picture(run: Run, path: Path, kind: str) -> dict[str, Any] | None:
    raw = path.read_bytes()
    if raw[:8] != b"\x89PNG\r\n\x1a\n":
        return None
    step = _step(path) if _step(path) >= 0 else None
    return {
        "arm": run.arm,
        "seed": run.seed,
        "kind": kind,
        "file": path.name,
        "step": step,
        "width": int.from_bytes(raw[16:20], "big"),
        "height": int.from_bytes(raw[20:24], "big"),
        "png": base64.b64encode(raw).decode() if len(raw) <= LARGEST_SAMPLE else None,
        "caption": CAPTIONS[kind],
        "alt": f"{ALTS[kind]} {title(run.arm)}, seed {run.seed}",
    }


def _step(path: Path) -> int:
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else -1


def spent(run: Run) -> dict[str, Any]:
    keys = ("seconds", "flops", "images", "steps", "epochs", "peak_memory_bytes", "images_per_second")
    spent = run.result.get("spent") or {}
    return {"arm": run.arm, "seed": run.seed, "stage": run.stage, **{k: spent.get(k) for k in keys}}


def findings(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What was found in the data that the arms were evaluated on, each once (copies, conflicts, small classes), and in
    which the runs differ (`consistency.notes`)."""
    out: list[dict[str, Any]] = []
    for run in runs:
        if run.stage == "transfer":
            out += [f for f in (run.result.get("data") or {}).get("findings") or [] if f not in out]
    return out + consistency.notes(runs)


def data_name(runs: Sequence[Run], plan: dict[str, Any]) -> str:
    names = {str((r.config.get("data") or {}).get("name")) for r in runs if isinstance(r.config.get("data"), dict)}
    return str(plan.get("data") or (names.pop() if len(names) == 1 else "") or "")


def note(described: dict[str, Any], runs: Sequence[Run]) -> str:
    """What a reader must know of an arm: what its plan says, and a grid of one setting for fine-tuning."""
    notes = [described["note"]] if described.get("note") else []
    for run in runs:
        tuned = [score["probe"] for score in run.result.get("scores") or [] if trains(score["probe"])]
        grid = ((run.config.get("probe") or {}).get(tuned[0]) or {}) if tuned else {}
        lrs, decays = grid.get("lrs") or [], grid.get("weight_decays") or []
        if len(lrs) * len(decays) == 1:
            values = f"learning rate {lrs[0]:g}, weight decay {decays[0]:g}"
            notes.append(f"{ONE_SETTING} ({values}): no other was tried for it")
            break
    return "; ".join(notes)


def provenance(runs: Sequence[Run], plan: dict[str, Any]) -> dict[str, Any]:
    environments: list[dict[str, Any]] = []
    for run in runs:
        values = {k: v for k, v in run.environment.items() if k not in ("schema", "command")}
        known = next((e for e in environments if e["values"] == values), None)
        if values and known:
            known["runs"] += 1
        elif values:
            environments.append({"values": values, "runs": 1})
    data: list[dict[str, Any]] = []
    for run in runs:
        summary = run.result.get("data")
        known = next((d for d in data if d["summary"] == summary), None)
        if summary and known:
            known["runs"] += 1
        elif summary:
            data.append({"summary": summary, "runs": 1})
    flat = {run.path: flatten(run.config) for run in runs}
    differing = {
        stage: _differing([flat[r.path] for r in runs if r.stage == stage]) for stage in {r.stage for r in runs}
    }
    entries = []
    for run in runs:
        weights = run.result.get("weights") or {}
        source = run.result.get("source") or {}
        hashes = {k: v.get("sha256") for k, v in weights.items() if isinstance(v, dict)}
        entries.append(
            {
                "arm": run.arm,
                "seed": run.seed,
                "stage": run.stage,
                "state": run.state,
                "path": str(run.path),
                "command": run.command,
                "config_hash": run.status.get("config_hash") or run.part.get("hash"),
                "started": run.status.get("started"),
                "ended": run.status.get("ended"),
                "weights": hashes or ({"source": source["sha256"]} if source.get("sha256") else {}),
                "source": source or None,
                "load_report": run.result.get("load_report"),
                "objective": run.result.get("objective"),
                "test_openings": run.result.get("test_openings"),
                "data_hash": data_hash(run),
                "config": {k: v for k, v in flat[run.path].items() if k in differing[run.stage]},
                "git": run.environment.get("revision"),
                "wall": _wall(run),
            }
        )
    parts = {"environments": environments, "data": data, "runs": entries, "subsets": subsets(runs)}
    return {"command": plan.get("command"), **parts}


def _wall(run: Run) -> float | None:
    """Seconds from start to end, evaluation and all; None where that is not on record."""
    try:
        start, end = (datetime.fromisoformat(run.status[key]) for key in ("started", "ended"))
    except (KeyError, TypeError, ValueError):
        return None
    return (end - start).total_seconds()


def _differing(flat: Sequence[dict[str, Any]]) -> list[str]:
    """The keys in which the configurations differ, but for those that only say where things lie."""
    keys = dict.fromkeys(key for one in flat for key in one)
    aside = ("engine.", "weights", "generated.run", "run", "seed", "experiment")
    return [key for key in keys if not key.startswith(aside) and len({str(one.get(key)) for one in flat if one}) > 1][
        :MOST_KEYS
    ]


def subsets(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Which images were labelled, by label budget and seed: one hash over all draws, and whether all arms agree."""
    found: dict[tuple[str, int], dict[str, list[str]]] = {}
    for run in runs:
        if run.stage != "transfer":
            continue
        for score in run.result.get("scores") or []:
            if score.get("subset"):
                label_budget = label_budget_of(score)
                hashes = found.setdefault((label_budget, run.seed or 0), {}).setdefault(run.arm, [])
                if (draw := f"{score['draw']}:{score['subset']}") not in hashes:
                    hashes.append(draw)
    out = []
    for (label_budget, seed), by_arm in sorted(found.items()):
        most = max(by_arm.values(), key=len)
        digest = hashlib.sha256(" ".join(most).encode()).hexdigest()[:16]
        same = all(hashes == most[: len(hashes)] for hashes in by_arm.values())  # fine-tuning has fewer draws
        out.append({"label_budget": label_budget, "seed": seed, "draws": len(most), "hash": digest, "same": same})
    return out


def failed(runs: Sequence[Run], plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Every part that did not finish, once; what was never started has the state "missing"."""
    planned = {(p.get("arm"), p.get("seed"), p.get("stage")): p for p in plan.get("failed") or []}
    seen = [
        {
            "arm": r.arm,
            "seed": r.seed,
            "stage": r.stage,
            # A worker that was killed leaves "running" behind; `compare` knows better.
            "state": "failed" if r.state == "running" and (r.arm, r.seed, r.stage) in planned else r.state,
            "error": r.error or planned.get((r.arm, r.seed, r.stage), {}).get("error"),
            "path": str(r.path),
        }
        for r in runs
        if not r.finished
    ]
    known = {(f["arm"], f["seed"], f["stage"]) for f in seen}
    for key, part in planned.items():
        if key not in known:
            keys = ("arm", "seed", "stage", "error", "path")
            seen.append({k: part.get(k) for k in keys} | {"state": part.get("state") or "failed"})
    return seen


def missing(runs: Sequence[Run], plan: dict[str, Any], names: list[str]) -> list[dict[str, Any]]:
    """Arms and seeds that the plan names, that no finished transfer run covers and that no failure explains."""
    done = {(r.arm, r.seed) for r in runs if r.stage == "transfer" and r.finished}
    done |= {(f["arm"], f["seed"]) for f in failed(runs, plan)}
    return [
        {"arm": a, "seed": s}
        for a in plan.get("arms") or []
        for s in plan.get("seeds") or []
        if a in names and (a, s) not in done
    ]


# ── cost ─────────────────────────────────────────────────────────────────────────────────────────


def cost(runs: Sequence[Run], arms: Sequence[str]) -> list[dict[str, Any]]:
    """Per arm and metric: mean over seeds of what all its stages of training spent."""
    trained = Trained(runs)
    rows = []
    for arm in arms:
        spent: dict[str, dict[str, float]] = {metric: {} for metric in COSTS}
        for run in runs:
            if run.arm != arm or run.stage != "transfer" or not run.finished:
                continue
            stages = [other.result.get("spent") or {} for other in trained.behind(run) if other.finished]
            for metric, (key, together, _) in COSTS.items():
                values = [float(stage[key]) for stage in stages if stage.get(key) is not None]
                if values:
                    spent[metric][str(run.seed)] = float(together(values))
        for metric, (_, _, label) in COSTS.items():
            if spent[metric]:
                rows.append({"arm": arm, "metric": metric, "label": label, **over_seeds(spent[metric])})
    return rows


def over_seeds(per_seed: dict[str, float]) -> dict[str, Any]:
    """mean, interval (t over seeds of the logarithm, for nothing costs less than nothing), per_seed, n_seeds."""
    values = list(per_seed.values())
    found = paired.positive_interval(values)
    interval = None
    if found:
        ends = {"low": found.low, "high": found.high}
        interval = {"kind": "log_t", "over": "seeds", "n": len(values), "level": 0.95, **ends}
    return {"mean": float(np.mean(values)), "interval": interval, "per_seed": per_seed, "n_seeds": len(values)}


def progress(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Validation scores at each milestone of the last stage; what earlier stages spent is added."""
    trained = Trained(runs)
    out = []
    for run in runs:
        if run.stage != "milestones" or not run.finished:
            continue
        last = trained.by_path.get(run.depends[0].resolve()) if run.depends else None
        before = [other for other in trained.behind(run) if other is not last and other.finished]
        spent = {key: sum((other.result.get("spent") or {}).get(key) or 0.0 for other in before) for key in AXES}
        metric = run.result.get("metric") or next((name for name in METRICS if name in run.result["points"][0]), "")
        points = [
            {"step": point["step"], "value": point.get("value", point.get(metric))}
            | {key: None if point.get(key) is None else point[key] + spent[key] for key in AXES}
            for point in run.result["points"]
        ]
        points = [point for point in points if point["value"] is not None]  # as of validation images without an object
        if not points:
            continue
        label_budget = label_budget_of(run.result)
        entry = {"arm": run.arm, "seed": run.seed, "probe": run.result["probe"], "label_budget": label_budget}
        out.append(entry | {"metric": metric, "split": run.result["split"], "points": points})
    return out


def stability(runs: Sequence[Run], arms: Sequence[str]) -> list[dict[str, Any]]:
    """Per arm that was trained: how many runs finished, diverged, collapsed, failed otherwise. None is dropped.

    Collapsed: finished, with an alarm of its own or a generator that is dead by its evaluation on test images.
    """
    trained = Trained(runs)
    dead = {path for _, _, path in deaths(runs)}
    rows = []
    for arm in arms:
        mine = trained.of_arm(runs, arm)
        if not mine:
            continue
        alarmed = [run for run in mine if run.path.resolve() in dead or any(e.get("alarm") for e in run.metrics)]
        diverged = [run for run in mine if not run.finished and "diverged" in (run.error or "")]
        failed = [run for run in mine if run.state == "failed" and run not in diverged]
        rows.append(
            {
                "arm": arm,
                "runs": len(mine),
                "finished": sum(run.finished for run in mine),
                "diverged": len(diverged),
                "collapsed": sum(run.finished for run in alarmed),
                "failed": len(failed),
                "alarms": len(alarmed),
            }
        )
    return rows
