"""Do the intervals of cross-validated results cover what a model from all labels scores on images held back?

    python scripts/coverage_folds.py CIFAR10/train --out runs/coverage [--repetitions 20] [--seeds 3] [--labels 40]
    python scripts/coverage_folds.py CIFAR10/test --out runs/coverage --direct --classes 4 --repetitions 160

CIFAR10/train: class folders. Each repetition draws some of the classes, so many labels of them and 800 other images.
Without --direct the labelled images go through `gssl transfer data.test=folds`, once per seed and arm, and
`gssl.report` makes the intervals; then the same probe learns from all labels and is tested on the 800 images, once.
--direct: a quick stand-in, ridge regression on features that are computed once, which tells rules for intervals apart
by hundreds of repetitions. One line per finished repetition in OUT/*.jsonl; called again, only what is missing is run.
OUT/table.md is written anew each time; docs/results/coverage_folds.md has its tables.
"""

import argparse
import contextlib
import io
import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gssl.commands import transfer
from gssl.config.composing import compose
from gssl.data import load_data
from gssl.experiment.probing import Prober, find_source
from gssl.report import scores
from gssl.report.collect import read_runs
from gssl.statistics.two_way import TwoWay, cross_validated, half_width, share_interval, two_way

HELD = 800
CLASSES = (4, 5, 8, 10)  # of a repetition, in turn
ARMS = {"efficientnet_lite0": "efficientnet_lite0", "random": "random"}
SIZE = 64
FOLDS = 5

Draw = dict[str, tuple[list[Path], list[Path]]]  # class → labelled images, images held back

# ── through gssl ─────────────────────────────────────────────────────────────────────────────────


def drawn(root: Path, repetition: int, labels: int, classes: int) -> Draw:
    """Images of one repetition, a function of its number alone."""
    rng = np.random.default_rng([labels, classes, repetition])
    names = sorted(path.name for path in root.iterdir() if path.is_dir())
    found = {}
    for name in sorted(rng.choice(names, classes, replace=False).tolist()):
        files = rng.permutation(sorted((root / name).iterdir())).tolist()
        own, held = labels // classes, HELD // classes
        found[name] = files[:own], files[own : own + held]
    return found


def laid_out(images: Draw, folder: Path) -> None:
    """labelled/CLASS and held/CLASS with links to the files."""
    shutil.rmtree(folder, ignore_errors=True)
    for name, sides in images.items():
        for side, files in zip(("labelled", "held"), sides, strict=True):
            (folder / side / name).mkdir(parents=True)
            for file in files:
                (folder / side / name / file.name).symlink_to(file.resolve())


def repetition(root: Path, folder: Path, number: int, labels: int, seeds: int) -> dict[str, Any]:
    """Intervals from the labelled images alone, and what they should cover."""
    classes = CLASSES[number % len(CLASSES)]
    laid_out(drawn(root, number, labels, classes), folder)
    words = [f"data.size={SIZE}", "labels_per_class=[]", "fractions=[1.0]", "probe.use=[linear]", "probe.sizes=[data]"]
    words += ["data=imagefolder", "diagnose.pictures=false", "diagnose.corruptions=false", "engine.progress=false"]
    words += ["engine.threads=1", f"data.root={folder / 'labelled'}"]
    row: dict[str, Any] = {"repetition": number, "classes": classes, "labels": labels, "seeds": seeds}
    held: dict[str, float] = {}
    for arm, weights in ARMS.items():
        for seed in range(seeds):
            more = [f"weights={weights}", f"seed={seed}", f"data.split_seed={seed}", "data.test=folds"]
            run(compose("transfer", [*words, *more]), folder / "runs" / f"{arm}-{seed}")
        whole = [f"weights={weights}", "seed=0", f"data.test={folder / 'held'}"]
        run(compose("transfer", [*words, *whole]), folder / "all" / arm)
        held[arm] = json.loads((folder / "all" / arm / "result.json").read_text())["scores"][0]["accuracy"]
    found = scores.cells(read_runs((folder / "runs").iterdir()))
    cells = {arm: found[arm, "linear", "all"] for arm in ARMS}
    for arm, cell in cells.items():
        interval = scores.of_arm(cell, "accuracy")
        assert interval is not None
        row[arm] = [held[arm], float(np.mean(list(cell.per_seed("accuracy").values()))), interval.low, interval.high]
    one, two = cells.values()
    between = scores.gap(one, two, "accuracy")
    interval = between.interval() if between else None
    assert between is not None
    assert interval is not None
    row["difference"] = [held["efficientnet_lite0"] - held["random"], between.mean, interval.low, interval.high]
    return row


def run(cfg: Any, folder: Path) -> None:
    with contextlib.redirect_stderr(io.StringIO()):
        transfer.main(cfg, folder)


# ── the direct simulation ────────────────────────────────────────────────────────────────────────


PER_CLASS = 400  # images whose features are computed
SIZES = {"efficientnet_lite0": 128, "random": 64}


def features(root: Path, out: Path, weights: str) -> tuple[np.ndarray, np.ndarray]:
    """Of the first images of each class, kept in OUT."""
    file = out / f"features-{weights}.npz"
    if not file.is_file():
        for folder in sorted(path for path in root.iterdir() if path.is_dir()):
            for i, image in enumerate(sorted(folder.iterdir())[: PER_CLASS + 1]):
                link = out / "images" / ("train" if i < PER_CLASS else "test") / folder.name / image.name
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.is_symlink():
                    link.symlink_to(image.resolve())
        words = [f"weights={weights}", "data=imagefolder", f"data.root={out / 'images'}", f"data.size={SIZES[weights]}"]
        cfg = compose("transfer", [*words, "probe.use=[linear]", "probe.sizes=[data]"])
        splits = load_data(cfg.data)
        images = splits.labelled
        prober = Prober(cfg, find_source(weights), images, splits.classes, torch.device("cpu"), splits.unlabelled)
        np.savez(file, x=prober.features(images), y=images.labels)
    with np.load(file) as found:
        return found["x"], found["y"]


def ridge(x: np.ndarray, y: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Classes of `other` (m, d) by ridge regression on one-hot labels; its λ is chosen by leaving one out."""
    mean, scale = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64) + 1e-6
    x, other = (x - mean) / scale, (other - mean) / scale
    target = np.eye(int(y.max()) + 1)[y]
    offset = target.mean(axis=0)
    values, vectors = np.linalg.eigh(x @ x.T / x.shape[1])
    best: Any = None
    for penalty in np.geomspace(1e-3, 1e2, 16):
        inverse = (vectors / (values + penalty)) @ vectors.T
        dual = inverse @ (target - offset)
        left_out = target - dual / np.diag(inverse)[:, None]
        key = (int((left_out.argmax(axis=1) == y).sum()), -float(np.square(target - left_out).sum()))
        best = (key, dual) if best is None or key > best[0] else best
    return (other @ x.T / x.shape[1] @ best[1] + offset).argmax(axis=1)


def nearest(x: np.ndarray, y: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Classes of `other` (m, d) by the nearest class mean, cosine of standardised features."""
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    x, other = ((v - mean) / scale for v in (x, other))
    x, other = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, other))
    means = np.stack([x[y == c].mean(axis=0) for c in range(int(y.max()) + 1)])
    return (other @ means.T).argmax(axis=1)


FITS: dict[str, tuple[str, Callable[..., np.ndarray]]] = {
    "efficientnet_lite0": ("efficientnet_lite0", ridge),
    "efficientnet_lite0, class means": ("efficientnet_lite0", nearest),
    "random": ("random", ridge),
}


def directly(known: dict[str, tuple[np.ndarray, np.ndarray]], number: int, labels: int, classes: int, seeds: int,
             folds: int) -> dict[str, Any]:  # fmt: skip
    """Which labelled images each seed's folds name rightly, and the accuracy of all labels on the others."""
    own, held = labels // classes, HELD // classes
    rng = np.random.default_rng([classes, own, number])
    every = known["random"][1]
    chosen = rng.permutation(10)[:classes]
    taken = [rng.permutation(np.flatnonzero(every == c)) for c in chosen]
    one, rest = (np.concatenate([t[a:b] for t in taken]) for a, b in ((0, own), (own, own + held)))
    y = np.searchsorted(np.sort(chosen), every)
    row: dict[str, Any] = {"repetition": number}
    divided = []
    for _ in range(seeds):
        of = np.empty(len(one), dtype=int)
        order = np.concatenate([rng.permutation(np.flatnonzero(y[one] == c)) for c in range(classes)])
        of[order] = np.arange(len(one)) % folds
        divided.append(of)
    for arm, (weights, fit) in FITS.items():
        x = known[weights][0]
        right = np.zeros((seeds, len(one)), dtype=int)
        for seed, of in enumerate(divided):
            for k in range(folds):
                train, test = one[of != k], one[of == k]
                right[seed, of == k] = fit(x[train], y[train], x[test]) == y[test]
        row[arm] = {"held": float((fit(x[one], y[one], x[rest]) == y[rest]).mean()), "right": right.tolist()}
    return row


def rules(units: np.ndarray, folds: int) -> Iterator[tuple[str, TwoWay]]:
    """Three ways to make an interval of units (seeds, items)."""
    found = replace(two_way(units), fixed=False)
    yield "two-way", found
    yield "two-way, seeds not averaged", replace(found, from_seeds=found.from_seeds * found.seeds)
    yield "as gssl reports", cross_validated(found, folds)


def compared(rows: list[dict[str, Any]], folds: int) -> list[tuple[str, str, float, float]]:
    """(of what, rule, coverage, mean half width)."""
    names, out = list(FITS), []
    told: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    for row in rows:
        for name in names:
            for rule, found in rules(np.array(row[name]["right"], dtype=float), folds):
                i = share_interval(found)
                told.setdefault((name, rule), []).append((i.low <= row[name]["held"] <= i.high, (i.high - i.low) / 2))
        for name in names[1:]:
            units = np.array(row[names[0]]["right"], dtype=float) - np.array(row[name]["right"])
            for rule, found in rules(units, folds):
                half, true = half_width(found), row[names[0]]["held"] - row[name]["held"]
                told.setdefault((f"{names[0]} − {name}", rule), []).append((abs(found.mean - true) <= half, half))
    for (name, rule), values in told.items():
        hit, half = np.array(values, dtype=float).mean(axis=0)
        out.append((name, rule, float(hit), float(half)))
    return out


# ── the command ──────────────────────────────────────────────────────────────────────────────────


def finished(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    for name, value in (("repetitions", 20), ("seeds", 3), ("labels", 40), ("classes", 4), ("folds", FOLDS)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--direct", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    name = f"direct-{asked.classes}-{asked.labels}-{asked.seeds}-{asked.folds}" if asked.direct else "rows"
    file = asked.out / f"{name}.jsonl"
    known = {w: features(asked.root, asked.out, w) for w in ("efficientnet_lite0", "random")} if asked.direct else {}
    for number in range(len(finished(file)), asked.repetitions):
        if asked.direct:
            row = directly(known, number, asked.labels, asked.classes, asked.seeds, asked.folds)
        else:
            folder = asked.out / f"repetition-{number}"
            row = repetition(asked.root, folder, number, asked.labels, asked.seeds)
            shutil.rmtree(folder)
        with file.open("a") as out:
            out.write(json.dumps(row) + "\n")
    lines = table(asked.out)
    (asked.out / "table.md").write_text("\n".join(lines) + "\n")
    print("\n".join(lines))


def table(out: Path) -> list[str]:
    """What is finished, as Markdown."""
    rows, lines = finished(out / "rows.jsonl"), []
    if rows:
        lines += ["| | covered | mean of the estimates | mean on held-back images | mean half width |"]
        lines += ["|---|--:|--:|--:|--:|"]
        for what in (*ARMS, "difference"):
            values = np.array([row[what] for row in rows])
            hit = int(((values[:, 2] <= values[:, 0]) & (values[:, 0] <= values[:, 3])).sum())
            half = float((values[:, 3] - values[:, 2]).mean() / 2)
            means = f"{100 * values[:, 1].mean():.1f} | {100 * values[:, 0].mean():.1f} | ±{100 * half:.1f}"
            lines.append(f"| {what} | {hit} of {len(rows)} | {means} |")
    for file in sorted(out.glob("direct-*.jsonl")):
        classes, labels, seeds, folds = map(int, file.stem.split("-")[1:])
        found = compared(finished(file), folds)
        kinds = list(dict.fromkeys(rule for _, rule, _, _ in found))
        lines += ["", f"{classes} classes, {labels} labels, {seeds} seeds, {folds} folds,"
                      f" {len(finished(file))} repetitions: covered, mean half width", ""]  # fmt: skip
        lines += ["| |" + "|".join(f" {rule} " for rule in kinds) + "|", "|---|" + "--:|" * len(kinds)]
        for what in dict.fromkeys(w for w, _, _, _ in found):
            cells = [f"{100 * hit:.0f}%, ±{100 * half:.1f}" for w, _, hit, half in found if w == what]
            lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return lines


if __name__ == "__main__":
    main()
