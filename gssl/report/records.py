"""What the runs recorded, as the document shows it: curves, samples, compute, provenance, failures."""

import base64
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from gssl.report.collect import Run

CURVE_POINTS = 200  # of each curve kept in the document
MOST_SAMPLES = 12
LARGEST_SAMPLE = 400_000  # bytes of one PNG; larger ones are only named


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
            rows = [r for r in run.metrics if isinstance(r.get(key), int | float) and r.get("step") is not None]
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
                    "value": [float(f"{r[key]:.6g}") for r in rows],
                }
            )
    return curves


def alarms(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """What the runs' own watches found: collapsed features and the like. Failed runs count too."""
    return [
        {"arm": run.arm, "seed": run.seed, "step": entry.get("step"), "alarm": entry["alarm"]}
        for run in runs
        for entry in run.metrics
        if entry.get("alarm")
    ]


def samples(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """The last picture of each run that made some, seeds of one arm side by side: generated images (`samples`) or what
    a pretext task made of validation images (`reconstructions`)."""
    with_samples = [r for r in runs if r.samples and r.stage == "pretrain"]
    out = []
    for run in sorted(with_samples, key=lambda r: r.seed or 0)[:MOST_SAMPLES]:
        last = max(run.samples, key=lambda p: (_step(p), p.name))
        raw = last.read_bytes()
        if raw[:8] != b"\x89PNG\r\n\x1a\n":
            continue
        small = len(raw) <= LARGEST_SAMPLE
        out.append(
            {
                "arm": run.arm,
                "seed": run.seed,
                "kind": "reconstructions" if "ssl" in run.config else "samples",
                "file": last.name,
                "step": _step(last) if _step(last) >= 0 else None,
                "width": int.from_bytes(raw[16:20], "big"),
                "height": int.from_bytes(raw[20:24], "big"),
                "png": base64.b64encode(raw).decode() if small else None,
            }
        )
    return sorted(out, key=lambda s: s["arm"])


def _step(path: Path) -> int:
    numbers = re.findall(r"\d+", path.stem)
    return int(numbers[-1]) if numbers else -1


def spent(run: Run) -> dict[str, Any]:
    keys = ("seconds", "flops", "images", "steps", "epochs", "peak_memory_bytes", "images_per_second")
    spent = run.result.get("spent") or {}
    return {"arm": run.arm, "seed": run.seed, "stage": run.stage, **{k: spent.get(k) for k in keys}}


def _data_hash(run: Run) -> str | None:
    data = run.result.get("data") or {}
    found = data.get("hash") or data.get("hashes")
    return str(found) if found else None


def data_name(runs: Sequence[Run], plan: dict[str, Any]) -> str:
    names = {str((r.config.get("data") or {}).get("name")) for r in runs if isinstance(r.config.get("data"), dict)}
    return str(plan.get("data") or (names.pop() if len(names) == 1 else "") or "")


def provenance(runs: Sequence[Run], plan: dict[str, Any]) -> dict[str, Any]:
    environments: list[dict[str, Any]] = []
    for run in runs:
        told = {k: v for k, v in run.environment.items() if k not in ("schema", "command")}
        known = next((e for e in environments if e["values"] == told), None)
        if told and known:
            known["runs"] += 1
        elif told:
            environments.append({"values": told, "runs": 1})
    data: list[dict[str, Any]] = []
    for run in runs:
        summary = run.result.get("data")
        known = next((d for d in data if d["summary"] == summary), None)
        if summary and known:
            known["runs"] += 1
        elif summary:
            data.append({"summary": summary, "runs": 1})
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
                "data_hash": _data_hash(run),
            }
        )
    return {"command": plan.get("command"), "environments": environments, "data": data, "runs": entries}


def failed(runs: Sequence[Run], plan: dict[str, Any]) -> list[dict[str, Any]]:
    """Every part that did not finish, once; what was never started has the state "missing"."""
    told = {(p.get("arm"), p.get("seed"), p.get("stage")): p for p in plan.get("failed") or []}
    seen = [
        {
            "arm": r.arm,
            "seed": r.seed,
            "stage": r.stage,
            # A worker that was killed leaves "running" behind; `compare` knows better.
            "state": "failed" if r.state == "running" and (r.arm, r.seed, r.stage) in told else r.state,
            "error": r.error or told.get((r.arm, r.seed, r.stage), {}).get("error"),
            "path": str(r.path),
        }
        for r in runs
        if not r.finished
    ]
    known = {(f["arm"], f["seed"], f["stage"]) for f in seen}
    for key, part in told.items():
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
