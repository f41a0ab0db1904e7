"""A comparison with everything that a report can show: fake_runs' directories and what other commands leave in them.

`python tests/report/complete.py OUT` renders a report of it to look at.
"""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

ARMS = ("simclr", "dcgan", "sngan", "torchvision", "scratch", "random", "pixels", "supervised")
DIVERGED = ("dcgan", 2)
BUDGET = {"unit": "flops", "value": 3.2e12, "text": "3.2 TFLOPs of training per run"}
SEARCH = {
    "arm": "simclr",
    "trials": 4,
    "chosen": ["ssl.temperature=0.2"],
    "objective": "val_knn",
    "flops": 1.28e13,
    "seconds": 240.0,
    "uncounted": 0,
    "rows": [
        {"overrides": [f"ssl.temperature={t}"], "value": 0.7 - (t - 0.2) ** 2, "state": "finished"}
        for t in (0.1, 0.2, 0.5, 1.0)
    ],
}
PLAN = {
    "state": "changed",
    "text": "The plan was changed after some of its runs were judged.",
    "changes": [{"kind": "seeds_added", "text": "Seeds were added after scores were there: 2 then, 3 now."}],
    "looks": 2,
    "seeds_at_look": [2, 3],
    "level": 0.009,
    "attainable": 0.0,
    "exploratory": True,
    "first": "2025-01-02T03:00:00",
    "recorded": "2025-01-03T03:00:00",
    "when_scored": "2025-01-02T04:00:00",
    "record": "runs/parts/preregistration.jsonl",
    "hash": "ab" * 32,
}
OPENINGS = {
    "runs": 41,
    "settings": 7,
    "openings": 43,
    "first": "2025-01-01T00:00:00",
    "last": "2025-01-03T04:00:00",
    "text": "These test images have been opened by 41 runs with 7 settings.",
}
FINDING = {
    "kind": "near_duplicates",
    "text": "3 of 1,000 test images (0.3%) look like copies of images among the labelled training images (data.train).",
    "part": "train",
    "images": 3,
    "fraction": 0.003,
    "mirrored": 1,
    "examples": ["7 = 12"],
}
FLOOR = {"kid": 0.0004, "fd": 1.1, "coverage": 0.96, "copied": 0.05}


def make(fake: ModuleType, root: Path, seeds: int = 3) -> list[Path]:
    """Run directories: one GAN's run diverged, another one collapsed, a network from elsewhere does not quite fit."""
    paths = fake.make(root, seeds=seeds, arms=[a for a in ARMS if a != "torchvision"], fail=[DIVERGED])
    for seed in range(seeds):
        for arm in ("simclr", "dcgan", "sngan"):
            if (arm, seed) != DIVERGED:
                paths.append(milestones(fake, root, arm, seed))
        for arm in ("dcgan", "sngan"):
            if (arm, seed) != DIVERGED:
                generate(fake, root / f"{arm}-{seed}", arm, seed)
        paths.append(elsewhere(fake, root, seed))
    change(root / "dcgan-2" / "status.json", error="diverged: the loss is nan at step 41")
    with (root / "dcgan-0" / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write(
            '\n{"step": 700, "alarm": "samples are alike (mean distance 0.2 of real images\'; healthy is near 1)"}\n'
        )
    for path in root.iterdir():
        change(path / "environment.json", determinism={"algorithms": True, "cudnn_benchmark": False})
    judged(fake, root)
    return paths


def plan(fake: ModuleType, seeds: int = 3) -> dict[str, Any]:
    pairs = [["simclr", "dcgan"], ["simclr", "scratch"], ["dcgan", "random"]]
    more = {"budget": BUDGET, "searches": [SEARCH], "preregistration": PLAN, "openings": OPENINGS}
    return fake.plan(seeds, ARMS, pairs=pairs, **more)


def change(path: Path, **values: Any) -> None:
    """Set keys of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values), encoding="utf-8")


def milestones(fake: ModuleType, root: Path, arm: str, seed: int) -> Path:
    """What judging checkpoints on the way leaves: accuracy on validation images against compute."""
    path, rng = root / f"milestones-{arm}-{seed}", np.random.default_rng([seed, len(arm)])
    fake.status(path, "milestones")
    shown = f"gssl transfer weights={root / f'{arm}-{seed}'} milestones"
    fake.part(path, arm, seed, "milestones", shown, [root / f"{arm}-{seed}"])
    top = 0.83 if arm == "simclr" else 0.5
    points = [
        {"step": 2**i, "flops": 1.2e10 * 2**i, "images": 256 * 2**i, "seconds": 0.25 * 2**i}
        | {"accuracy": float(top - 0.35 * np.exp(-i / 3) + 0.01 * rng.normal())}
        for i in range(9)
    ]
    told = {"probe": "linear", "labels_per_class": 10, "fraction": None, "split": "val", "points": points}
    fake.write(path / "result.json", {"schema": "gssl.result/2", "command": "milestones", "seed": seed, **told})
    return path


def generate(fake: ModuleType, path: Path, arm: str, seed: int) -> None:
    """An evaluation of the generator on test images, and its samples beside their nearest training images."""
    rng = np.random.default_rng([seed, len(arm)])
    better = 0.8 if arm == "sngan" else 1.0
    figures = {"kid": 0.031 * better, "fd": 41.0 * better, "coverage": 0.61 / better, "copied": 0.05}
    figures = {k: v * float(1 + 0.05 * rng.normal()) for k, v in figures.items()}
    told = {"evaluator": {"name": "own-classifier", "hash": "1" * 16}, "split": "test", "n": 1000}
    fake.write(
        path / "evaluations" / "test-1.json",
        {"schema": "gssl.evaluation/3", "figures": figures, "baseline": {"train_real": FLOOR}, **told},
    )
    if seed == 0:
        (path / "samples" / "neighbours.png").write_bytes(fake.png(seed + 10, side=5))


def elsewhere(fake: ModuleType, root: Path, seed: int) -> Path:
    """The arm `torchvision`: weights that nobody trained here, with keys that did not fit."""
    path = fake.transfer(root, "torchvision", seed, probes=["knn", "linear"])
    source = {
        "kind": "torchvision",
        "path": "resnet18.IMAGENET1K_V1",
        "method": None,
        "sha256": "f37072fd".ljust(64, "0"),
    }
    keys = {"loaded": 120, "missing": ["stem.scale"], "unexpected": ["fc.weight", "fc.bias"]}
    change(path / "result.json", source=source, load_report=keys)
    return path


def judged(fake: ModuleType, root: Path) -> None:
    """Hashes of the labelled images beside every score, the same for all arms of a seed; adapted scores with 10 labels
    per class, which are those of the linear probe; what was found in the images; maps of features."""
    for path in root.glob("transfer-*/result.json"):
        result = json.loads(path.read_text("utf-8"))
        scores = result["scores"]
        with np.load(path.with_name("predictions.npz")) as found:
            labels, guess = found["labels"], found["guess"]
        rows = [i for i, s in enumerate(scores) if (s["probe"], s["labels_per_class"]) == ("linear", 10)]
        for row in rows:
            way = "finetune" if scores[row]["draw"] == 2 and "pixels" not in str(path) else "linear"
            scores.append(scores[row] | {"probe": "adapted", "chosen": {"probe": way, "l2": 0.01}})
        np.savez_compressed(path.with_name("predictions.npz"), labels=labels, guess=np.vstack([guess, guess[rows]]))
        for s in scores:
            s["subset"] = f"{s['labels_per_class']}-{s['draw']}".encode().hex()[:16]
        change(path, scores=scores, data=result["data"] | {"findings": [FINDING]})
    for arm in ("simclr", "dcgan"):
        path = root / f"transfer-{arm}-0-0" / "pictures" / "map.png"
        path.parent.mkdir()
        path.write_bytes(fake.png(20, side=4))


if __name__ == "__main__":
    import importlib

    from gssl.report.collect import read_runs
    from gssl.report.document import build
    from gssl.report.page import write

    runs = importlib.import_module("fake_runs")
    out = Path(sys.argv[1])
    print(write(build(read_runs(make(runs, out / "runs")), plan(runs)), out))
