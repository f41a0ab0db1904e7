"""A ready-made network as it is, its training continued without labels, and distilled into a small network.

    .venv/bin/python scripts/table_continued.py --images CIFAR10 --out runs/table_continued

Takes 500 training and 100 test images per class of CIFAR10/train and CIFAR10/test (class folders), in the order of
their names, at 64 pixels. Every arm of every seed is trained for about the same processor time (its steps stand in
`ARMS`) on those training images without labels, and evaluated on the test images: kNN and linear probe, 10 labels per
class (the mean of three draws) and all. One line is added to OUT/rows.jsonl when an arm of a seed has finished; called
again, only what is missing or was configured differently is run. OUT/table.md is written anew each time: means over
seeds with their 95% t intervals, of one seed Wilson's over test images. `--seeds 3`, `--only NAME` (an arm; may be
repeated).
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

from gssl.statistics.intervals import wilson
from gssl.statistics.paired import t_interval

TRAIN, TEST = 500, 100  # images per class
NETWORK = "efficientnet_lite0"
COMMON = ["data=imagefolder", "data.size=64", "engine.threads=1", "engine.progress=false", "resume=auto"]
PROBING = ["labels_per_class=[10]", "fractions=[1.0]", "draws=3", "probe.use=[knn,linear]", "probe.sizes=[data]"]
PROBING += ["diagnose.pictures=false"]
GO_ON = [f"weights={NETWORK}", "experiment=continued", "ssl.batch_size=64"]


class Arm(NamedTuple):
    """One line of the table. `train`: overrides of pretrain-ssl; where nothing is trained, `weights` instead.

    Which images are labelled is drawn by the seed, so what is not trained has as many seeds.
    """

    name: str
    train: tuple[str, ...] = ()
    weights: str = ""


ARMS = (
    Arm(f"{NETWORK}, as it is", weights=NETWORK),
    Arm("pixels", weights="pixels"),
    Arm("convnet, random", weights="random"),
    Arm("continued by SimCLR", ("ssl=simclr", *GO_ON, "budget.steps=30")),
    Arm("distilled into convnet", ("ssl=distill", "ssl.teacher_size=64", "budget.steps=120", "ssl.colours=true")),
    Arm(
        "distilled into convnet, mild views",
        (
            "ssl=distill",
            "ssl.teacher_size=64",
            "budget.steps=120",
            "data.views.crop_scale=[0.5,1.0]",
        ),
    ),
    Arm("SimCLR on convnet from scratch", ("ssl=simclr", "budget.steps=70")),
    Arm("continued by BYOL", ("ssl=byol", *GO_ON, "budget.steps=22")),
)


class Table:
    """Runs what is missing of every arm and seed."""

    def __init__(self, images: Path, out: Path) -> None:
        self.out, self.file = out, out / "rows.jsonl"
        out.mkdir(parents=True, exist_ok=True)
        self.data = subset(images, out / "images")
        self.rows: dict[tuple[str, int], dict[str, Any]] = {}
        if self.file.is_file():
            for line in self.file.read_text().splitlines():
                row = json.loads(line)
                self.rows[row["name"], row["seed"]] = row

    def run(self, arm: Arm, seed: int) -> None:
        """Train and evaluate one arm with one seed; what fails is printed and left out."""
        digest = hashlib.sha256(repr((arm, COMMON, PROBING, TRAIN, TEST)).encode()).hexdigest()[:8]
        if self.rows.get((arm.name, seed), {}).get("digest") == digest:
            return
        folder = self.out / f"s{seed}-{digest}"
        common = [*COMMON, f"data.root={self.data}", f"seed={seed}"]
        lines: list[list[str]] = []
        weights = arm.weights
        if arm.train:
            weights = str(folder / "pretrain")
            lines.append(["pretrain-ssl", *arm.train, *common, "eval.images=500", f"hydra.run.dir={weights}"])
        lines.append(["transfer", f"weights={weights}", *common, *PROBING, f"hydra.run.dir={folder / 'transfer'}"])
        start = time.perf_counter()
        for words in lines:
            done = subprocess.run([sys.executable, "-m", "gssl", *words], capture_output=True, text=True, check=False)
            if done.returncode:
                print(f"{arm.name}, seed {seed}: FAILED: {(done.stderr.strip().splitlines() or ['?'])[-1]}", flush=True)
                return
        row = {"name": arm.name, "seed": seed, "digest": digest, "scores": scores(folder / "transfer")}
        row["n_test"] = json.loads((folder / "transfer" / "result.json").read_text())["scores"][0]["n_test"]
        row["commands"] = [" ".join(["gssl", *words]) for words in lines]
        row["machine"] = machine(folder / "transfer")
        if arm.train:
            result = json.loads((folder / "pretrain" / "result.json").read_text())
            row |= {"spent": result["spent"], "start": result.get("start")}
        self.rows[arm.name, seed] = row
        with self.file.open("a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{arm.name}, seed {seed}: {row['scores']} ({time.perf_counter() - start:.0f} s)", flush=True)

    def markdown(self) -> str:
        """Means over seeds with 95% intervals, what training took, and kNN on validation images before and after."""
        keys = [f"{probe} {labels}" for labels in ("10", "all") for probe in ("knn", "linear")]
        head = (
            "| arm | seeds | kNN, 10 per class | linear, 10 per class | kNN, all | linear, all | processor s | TFLOP |"
        )
        lines = [f"{head} validation kNN, start → end |", f"|---|{'--:|' * 7}---|"]
        for arm in ARMS:
            rows = [row for (name, _), row in sorted(self.rows.items()) if name == arm.name]
            if not rows:
                continue
            cells = [arm.name, str(len(rows)), *(mean(rows, key) for key in keys)]
            spent = [row["spent"] for row in rows if "spent" in row]
            if spent:
                cells.append(f"{sum(s['cpu_seconds'] for s in spent) / len(spent):.0f}")
                cells.append(f"{sum(s['flops'] for s in spent) / len(spent) / 1e12:.1f}")
            changes = "; ".join(change(row["start"]) for row in rows if row.get("start"))
            lines.append("| " + " | ".join([*[*cells, "", ""][:8], changes]) + " |")
        return "\n".join(lines) + "\n"


def subset(images: Path, out: Path) -> Path:
    """Symbolic links to the first images of every class."""
    for part, count in (("train", TRAIN), ("test", TEST)):
        for folder in sorted(path for path in (images / part).iterdir() if path.is_dir()):
            here = out / part / folder.name
            here.mkdir(parents=True, exist_ok=True)
            for file in sorted(folder.iterdir())[:count]:
                if not (here / file.name).exists():
                    os.symlink(file.resolve(), here / file.name)
    return out


def scores(transfer: Path) -> dict[str, float]:
    """Accuracy by probe and label budget, such as "linear 10": the mean over its draws."""
    result = json.loads((transfer / "result.json").read_text())
    found: dict[str, list[float]] = {}
    for score in result["scores"]:
        labels = "10" if score.get("labels_per_class") == 10 else "all"
        found.setdefault(f"{score['probe']} {labels}", []).append(score["correct"] / score["n_test"])
    return {key: sum(values) / len(values) for key, values in found.items()}


def machine(run: Path) -> dict[str, Any]:
    """Hardware and versions of a run."""
    text = json.loads((run / "environment.json").read_text())
    return {key: text[key] for key in ("cpu", "torch", "threads", "gssl")}


def mean(rows: list[dict[str, Any]], key: str) -> str:
    """ "56.1 (54.0–58.2)"."""
    values = [100 * row["scores"][key] for row in rows if key in row["scores"]]
    if not values:
        return ""
    found = t_interval(values)
    if found is None or len(set(values)) == 1:  # seeds that change nothing say nothing
        n = rows[0]["n_test"]
        low, high = (100 * bound for bound in wilson(round(values[0] * n / 100), n))
    else:
        low, high = max(found.low, 0.0), min(found.high, 100.0)
    return f"{sum(values) / len(values):.1f} ({low:.1f}–{high:.1f})"


def change(start: dict[str, Any]) -> str:
    """ "50.0 → 57.4 (+3.2 to +11.5)": of one seed, with the paired interval of the difference."""
    low, high = (f"{100 * value:+.1f}".replace("-", "−") for value in start["interval"])
    return f"{100 * start['val_knn']:.1f} → {100 * start['end']:.1f} ({low} to {high})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=Path, required=True, help="folder with train/ and test/ of class folders")
    parser.add_argument("--out", type=Path, default=Path("runs/table_continued"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", action="append", help="name of an arm")
    args = parser.parse_args()
    table = Table(args.images, args.out.absolute())
    for seed in range(args.seeds):
        for arm in ARMS:
            if not args.only or arm.name in args.only:
                table.run(arm, seed)
                (args.out / "table.md").write_text(table.markdown())
    print(args.out / "table.md")


if __name__ == "__main__":
    main()
