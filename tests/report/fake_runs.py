"""Run directories as the tool writes them, with made-up scores of a known shape. Used by this folder's tests.

`python tests/report/fake_runs.py OUT` renders a report of them to look at.
"""

import json
import struct
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

ARMS = ("simclr", "dcgan", "scratch", "random", "pixels", "supervised")
AMOUNTS: tuple[int | None, ...] = (1, 10, 100, None)
# Accuracy by arm at 1, 10, 100 and all labels per class, about as a minute on MNIST digits gives them.
MEANS = {
    "simclr": (0.39, 0.83, 0.94, 0.95),
    "dcgan": (0.29, 0.50, 0.72, 0.79),
    "scratch": (0.32, 0.66, 0.91, 0.95),
    "random": (0.28, 0.49, 0.70, 0.78),
    "pixels": (0.38, 0.71, 0.87, 0.90),
    "supervised": (0.89, 0.95, 0.96, 0.97),
}
TRAINED = {"simclr": "pretrain-ssl", "dcgan": "train-gan", "sngan": "train-gan", "supervised": "pretrain-ssl"}
N_TEST = 1000


def png(seed: int, side: int = 8, cell: int = 18) -> bytes:
    """A grey grid of blobs, as a PNG made by hand: the tests need no image library."""
    rng = np.random.default_rng(seed)
    yy, xx = np.mgrid[0:cell, 0:cell] / cell - 0.5
    rows = []
    for _ in range(side):
        tiles = []
        for _ in range(side):
            cx, cy, r = rng.uniform(-0.15, 0.15, 2).tolist() + [rng.uniform(0.12, 0.3)]
            ring = np.exp(-(((np.hypot(xx - cx, (yy - cy) * rng.uniform(0.6, 1.4)) - r) / 0.07) ** 2))
            tiles.append((255 * ring).astype(np.uint8))
        rows.append(np.hstack(tiles))
    image = np.vstack(rows)
    h, w = image.shape

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    raw = b"".join(b"\0" + line.tobytes() for line in image)
    head = struct.pack(">IIBBBBB", w, h, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


def environment() -> dict[str, Any]:
    return {
        "schema": "gssl.environment/1",
        "gssl": "0.1.0",
        "revision": "0123456789ab",
        "python": "3.11.9",
        "torch": "2.14.1",
        "platform": "Linux-6.1-x86_64",
        "cpu": "Example CPU 9000",
        "cores": 2,
        "threads": 2,
        "gpu": None,
        "command": ["/usr/bin/gssl", "pretrain-ssl", "experiment=demo"],
    }


def status(path: Path, command: str, state: str = "finished", error: str | None = None) -> None:
    write(
        path / "status.json",
        {
            "schema": "gssl.status/1",
            "command": command,
            "state": state,
            "step": 264,
            "started": "2025-01-02T03:04:05",
            "ended": "2025-01-02T03:05:08",
            "error": error,
            "config_hash": "c0ffee00c0ffee00",
            "pid": 1,
        },
    )
    write(path / "environment.json", environment())


def part(path: Path, arm: str, seed: int, stage: str, command: str, depends: Sequence[Path] = ()) -> None:
    write(
        path / "part.json",
        {
            "schema": "gssl.part/1",
            "arm": arm,
            "seed": seed,
            "stage": stage,
            "command": command,
            "hash": "beef",
            "depends": [str(p) for p in depends],
        },
    )


def data() -> dict[str, Any]:
    return {"hash": "d" * 16, "train": 3200, "val": 800, "test": N_TEST, "classes": 10, "warnings": []}


def config(path: Path, text: str) -> None:
    path.mkdir(parents=True, exist_ok=True)
    (path / "config.yaml").write_text(text, encoding="utf-8")


def pretrain(root: Path, arm: str, seed: int, state: str = "finished", parts: bool = True, text: str = "") -> Path:
    """A pretraining run directory; `text` is more YAML for its configuration."""
    path = root / f"{arm}-{seed}"
    command = TRAINED.get(arm, "pretrain-ssl")
    family = "gan" if command == "train-gan" else "ssl"
    status(path, command, state, "FloatingPointError: loss is nan at step 41" if state == "failed" else None)
    method = "" if text else f"{family}: {{name: {arm}}}\n"
    config(path, f"seed: {seed}\ndata: {{name: mnist5k, size: 32}}\n{method}{text}")
    if parts:
        shown = f"gssl {command} {family}={arm} seed={seed} budget.seconds=60"
        part(path, arm, seed, "pretrain", shown)
    rng = np.random.default_rng(seed)
    steps = np.arange(0, 264, 4) if command != "train-gan" else np.arange(0, 1380, 20)
    with (path / "metrics.jsonl").open("w", encoding="utf-8") as file:
        for i, step in enumerate(steps):
            t = i / len(steps)
            row: dict[str, Any] = {"step": int(step), "images": int(step) * 256, "seconds": 60 * t, "lr": 0.1}
            if command == "train-gan":
                row |= {
                    "loss_d": 1.2 - 0.3 * t + 0.1 * rng.normal(),
                    "loss_g": 0.8 + t + 0.2 * rng.normal(),
                    "loss": 2.0,
                }
            else:
                row["loss"] = 5.5 * np.exp(-3 * t) + 1.5 + 0.08 * rng.normal()
            if i % 8 == 7 or i == len(steps) - 1:
                top = {"simclr": 0.9, "dcgan": 0.75, "supervised": 0.96}.get(arm, 0.8)
                row["val_knn"] = top - 0.3 * np.exp(-4 * t) + 0.01 * rng.normal()
            file.write(json.dumps(row) + "\n")
        file.write('{"step": 1380, "lo')  # what a kill leaves
    if command == "train-gan":
        (path / "samples").mkdir()
        (path / "samples" / "step-00000690.png").write_bytes(png(seed, side=2))
        (path / "samples" / "step-00001380.png").write_bytes(png(seed))
    if state != "finished":
        return path
    write(
        path / "result.json",
        {
            "schema": "gssl.result/2",
            "command": command,
            "method": arm,
            "seed": seed,
            "objective": {"name": "val_knn", "value": 0.81, "direction": "max"},
            "spent": {
                "steps": int(steps[-1]),
                "images": int(steps[-1]) * 256,
                "epochs": 20.1,
                "seconds": 61.5 + seed,
                "flops": 3.2e12 * (1.004 if arm == "dcgan" else 1),
                "flops_per_step": 1.2e10,
                "peak_memory_bytes": 612_000_000,
                "images_per_second": 1104.0,
            },
            "weights": {"backbone": {"file": "weights/backbone.safetensors", "sha256": f"{arm}{seed}".ljust(64, "a")}},
            "data": data(),
            "backbone": {"name": "convnet", "norm": "batch", "width": 16, "patch": 4, "size": 32},
        },
    )
    return path


def scores(
    arm: str,
    seed: int,
    probes: Sequence[str],
    label_budgets: Sequence[int | None],
    shift: float = 0.0,
    draws: int = 3,
) -> list[dict[str, Any]]:
    """One entry per probe, amount and label draw."""
    out = []
    shift += float(np.random.default_rng([seed, sum(map(ord, arm))]).normal(0, 0.008))
    for probe in probes:
        for label_budget in label_budgets:
            mean = MEANS.get(arm, MEANS["random"])[AMOUNTS.index(label_budget)]
            for draw in range(draws if label_budget else 1):
                # Seed, draw and arm move a score; the label draws are shared by the arms, hence paired.
                shared = np.random.default_rng([seed, draw, label_budget or 0]).normal(0, 0.01)
                own = np.random.default_rng([seed, draw, label_budget or 0, sum(map(ord, arm + probe))]).normal(
                    0, 0.006
                )
                value = float(np.clip(mean + shift + shared + own - 0.02 * (probe == "knn"), 0, 1))
                correct = round(value * N_TEST)
                out.append(
                    {
                        "probe": probe,
                        "labels_per_class": label_budget,
                        "fraction": None if label_budget else 1.0,
                        "draw": draw,
                        "n_train": 10 * label_budget if label_budget else 4000,
                        "n_val": 800,
                        "n_test": N_TEST,
                        "correct": correct,
                        "accuracy": correct / N_TEST,
                        "balanced_accuracy": correct / N_TEST,  # classes of one size
                        "val_accuracy": correct / N_TEST + 0.006,
                        "chosen": {"l2": 0.01},
                    }
                )
    return out


def transfer(
    root: Path,
    arm: str,
    seed: int,
    source: Path | None = None,
    parts: bool = True,
    shift: float = 0.0,
    probes: Sequence[str] | None = None,
    label_budgets: Sequence[int | None] = AMOUNTS,
) -> Path:
    """A transfer run directory of `arm`; `source` is its pretraining run where it has one."""
    path = root / f"transfer-{source.name if source else arm}-{seed}"
    probes = probes or ["knn", "linear"]
    kind = "run" if source else "pixels" if arm == "pixels" else "random"
    status(path, "transfer")
    config(path, f"seed: {seed}\ndata: {{name: mnist5k, size: 32}}\nweights: {source or kind}\n")
    if parts:
        shown = f"gssl transfer weights={source or kind} seed={seed} probe.use=[{','.join(probes)}]"
        part(path, arm, seed, "transfer", shown, [source] if source else [])
    sha = f"{arm}{seed}".ljust(64, "a") if source else None
    write(
        path / "result.json",
        {
            "schema": "gssl.result/2",
            "command": "transfer",
            "seed": seed,
            "source": {
                "kind": kind,
                "path": str(source) if source else None,
                "method": arm if source else None,
                "sha256": sha,
            },
            "load_report": {"loaded": 24, "missing": [], "unexpected": []} if source else None,
            "scores": (found := scores(arm, seed, probes, label_budgets, shift)),
            "predictions": "predictions.npz",
            "test_openings": 1,
            "spent": {"seconds": 4.2},
            "data": data(),
            "objective": {"name": f"val_{probes[-1]}", "value": 0.9, "direction": "max"},
        },
    )
    answer(path, found)
    return path


def answer(path: Path, found: Sequence[dict[str, Any]]) -> None:
    """predictions.npz with as many right answers as each score has: images differ in how hard they are for all."""
    labels = np.arange(N_TEST) % 10
    hard = np.random.default_rng(0).random(N_TEST)
    guess = []
    for row, score in enumerate(found):
        rng = np.random.default_rng([row, score["correct"]])
        order = np.argsort(hard + 0.35 * rng.random(N_TEST))
        right = np.zeros(N_TEST, dtype=bool)
        right[order[: score["correct"]]] = True
        guess.append(np.where(right, labels, (labels + 1) % 10))
    np.savez_compressed(path / "predictions.npz", labels=labels.astype(np.int16), guess=np.array(guess, dtype=np.int16))


def make(
    root: Path,
    seeds: int = 3,
    arms: Sequence[str] = ARMS,
    parts: bool = True,
    shift: dict[str, float] | None = None,
    fail: Sequence[tuple[str, int]] = (),
) -> list[Path]:
    """All runs of a comparison; returns the directories that `compare` would hand to the report.

    `shift` moves an arm's accuracies; `fail` names (arm, seed) whose pretraining died, so nothing judged it.
    """
    paths = []
    for seed in range(seeds):
        for arm in arms:
            dead = (arm, seed) in fail
            source = None
            if arm not in ("scratch", "random", "pixels"):
                source = pretrain(root, arm, seed, "failed" if dead else "finished", parts)
            if dead and source:
                paths.append(source)
            else:
                # without a part.json only fine-tuning tells scratch from a random network
                probes = ["finetune"] if arm == "scratch" and not parts else None
                paths.append(transfer(root, arm, seed, source, parts, (shift or {}).get(arm, 0.0), probes))
    return paths


def plan(seeds: int = 3, arms: Sequence[str] = ARMS, **more: Any) -> dict[str, Any]:
    shown = f"gssl compare arms=[{','.join(arms)}] seeds={seeds} experiment=demo"
    return {
        "probe": "linear",
        "labels_per_class": 10,
        "arms": list(arms),
        "seeds": seeds,
        "command": shown,
        **more,
    }


if __name__ == "__main__":
    from gssl.report.collect import read_runs
    from gssl.report.document import build
    from gssl.report.page import write as write_report

    out = Path(sys.argv[1])
    n = int(sys.argv[2]) if len(sys.argv) > 2 else 3
    lost = [("dcgan", n - 1)] if len(sys.argv) > 3 else []
    made = make(out / "runs", seeds=n, fail=lost)
    print(write_report(build(read_runs(made), plan(n)), out))
