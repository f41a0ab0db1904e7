"""The frozen probes at their largest against scikit-learn: time, peak memory, and the same predictions.

    python scripts/bench/probes.py [--n 50000] [--d 512] [--rounds 3]

Features (n, d) float32 are drawn: 10 classes, correlated, non-negative, of unequal scale; a linear probe gets some
70% of 10,000 queries right. Each measurement is a process of its own, ours and theirs in turn:

- knn, linear: our probes with the values of conf/probe/, `fit` and then `predict` of all queries.
- sklearn: `LogisticRegressionCV` with our single split, our grid (C = 1 / (n·λ)), its default tolerance and our
  limit of iterations (1,000; its own of 100 ends most fits early), then `predict`. Its features are standardised
  before its clock starts. Float32 like ours, which is its quickest way, and float64, in which it converges better.

Printed are medians over the rounds, of seconds and of CPU seconds, and peak resident memory: what was added to that of
the process when the clock started, and the features' own bytes, as a multiple of these. At the end: the objective at
our chosen λ and the predictions, against scikit-learn's optimum in float64 (tolerance 1e-7).
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from gssl.config.composing import compose
from gssl.engine.device import peak_memory, reset_peak_memory
from gssl.probe.folds import choice_folds
from gssl.probe.knn import Knn
from gssl.probe.linear import Linear

CLASSES, QUERIES, SEED = 10, 10_000, 0
CPU = torch.device("cpu")


def draw(folder: Path, n: int, d: int) -> None:
    """Writes x.npy (n, d), y.npy, q.npy (QUERIES, d) and a.npy, the queries' classes."""
    rng = np.random.default_rng(0)
    hidden = max(4, d // 2)
    centres = 3.2 / np.sqrt(hidden) * rng.standard_normal((CLASSES, hidden)).astype(np.float32)
    decay = np.exp(-4 * np.arange(hidden, dtype=np.float32) / hidden)[:, None]
    mixing = rng.standard_normal((hidden, d), dtype=np.float32) * decay / np.sqrt(hidden)
    scale = np.geomspace(0.05, 5, d, dtype=np.float32)
    for size, (features, labels) in ((n, ("x", "y")), (QUERIES, ("q", "a"))):
        y = rng.integers(0, CLASSES, size)
        y[:CLASSES] = np.arange(CLASSES)
        x = np.empty((size, d), dtype=np.float32)
        for start in range(0, size, 1000):
            own = y[start : start + 1000]
            latent = centres[own] + rng.standard_normal((len(own), hidden), dtype=np.float32)
            noise = rng.standard_normal((len(own), d), dtype=np.float32)
            x[start : start + 1000] = np.maximum(latent @ mixing + 0.05 * noise + 0.1, 0) * scale
        np.save(folder / f"{features}.npy", x)
        np.save(folder / f"{labels}.npy", y)


def load(folder: Path) -> list[np.ndarray]:
    """x, y, q and a as `draw` wrote them."""
    return [np.load(folder / f"{name}.npy") for name in "xyqa"]


def standardised(x: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(x)
    return scaler.transform(x), scaler.transform(q)


def measured(who: str, folder: Path) -> dict[str, Any]:
    """One run: seconds, CPU seconds, peak bytes over those before, and what came out."""
    from sklearn.linear_model import LogisticRegressionCV

    cfg = compose("transfer", ["weights=random"]).probe
    x, y, q, answers = load(folder)
    model: Any = None
    if who.startswith("sklearn"):
        grid = Linear(cfg.linear).grid
        split = choice_folds(y, SEED)
        kind = np.float64 if who.endswith("64") else np.float32
        x, q = standardised(x.astype(kind), q.astype(kind))
        model = LogisticRegressionCV(
            Cs=[1 / (len(y) * l2) for l2 in grid], cv=split, scoring="accuracy", max_iter=cfg.linear.max_iter
        )
    few = np.arange(64)
    for probe in (Knn(cfg.knn), Linear(cfg.linear)):  # what libraries load and allocate at first use
        probe.fit(x[few].astype(np.float32), few % 2, 2, SEED).predict(q[few].astype(np.float32))

    reset_peak_memory(CPU)
    before = peak_memory(CPU)  # what is resident now
    start, worked = time.perf_counter(), time.process_time()
    found: dict[str, Any] = {}
    if model is None:
        fitted: Any = (Knn(cfg.knn) if who == "knn" else Linear(cfg.linear)).fit(x, y, CLASSES, SEED)
        guess = fitted.predict(q)
        found["chosen"] = fitted.chosen
        if who == "linear":
            np.savez(folder / "ours.npz", weight=fitted.weight, bias=fitted.bias, guess=guess)
    else:
        guess = model.fit(x, y).predict(q)
        found["chosen"] = {"l2": float(f"{1 / (len(y) * np.ravel(model.C_)[0]):.6g}")}
        iterations = np.asarray(model.n_iter_).ravel()
        found["unconverged"] = int((iterations >= cfg.linear.max_iter).sum())
    found |= {"seconds": time.perf_counter() - start, "cpu": time.process_time() - worked}
    found["peak"] = peak_memory(CPU) - before
    return found | {"accuracy": float((guess == answers).mean()), "bytes": x.nbytes}


def objective(z: np.ndarray, y: np.ndarray, weight: np.ndarray, bias: np.ndarray, l2: float) -> float:
    """Mean cross-entropy + λ/2·‖W‖² on standardised float64 features."""
    scores = z @ weight.T + bias
    top = scores.max(axis=1)
    entropy = np.log(np.exp(scores - top[:, None]).sum(axis=1)) + top - scores[np.arange(len(y)), y]
    return float(entropy.mean() + l2 / 2 * np.square(weight).sum())


def compared(folder: Path, l2: float) -> dict[str, Any]:
    """Our fit against scikit-learn's optimum at the same λ."""
    from sklearn.linear_model import LogisticRegression

    x, y, q, _ = load(folder)
    with np.load(folder / "ours.npz") as ours:
        weight, bias, guess = ours["weight"], ours["bias"], ours["guess"]
    mean, scale = x.mean(axis=0, dtype=np.float64), x.std(axis=0, dtype=np.float64)
    z, z_q = (x - mean) / scale, (q - mean) / scale
    best = LogisticRegression(C=1 / (len(y) * l2), tol=1e-7, max_iter=50_000).fit(z, y)
    theirs = objective(z, y, best.coef_, best.intercept_, l2)
    mine = objective(z, y, weight * scale, bias + weight @ mean, l2)
    different = int((best.predict(z_q) != guess).sum())
    return {"objective": mine, "relative": mine / theirs - 1, "different": different, "steps": int(best.n_iter_[0])}


def child(folder: Path, who: str, threads: str, *l2: str) -> dict[str, Any]:
    words = [sys.executable, __file__, "--folder", str(folder), "--threads", threads, "--child", who, *l2]
    return json.loads(subprocess.run(words, stdout=subprocess.PIPE, check=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=50_000, help="labelled images")
    parser.add_argument("--d", type=int, default=512, help="features per image")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--who", nargs="*", default=["knn", "linear", "sklearn", "sklearn64"])
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--child", nargs="*", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    threadpool_limits(args.threads)  # NumPy's and SciPy's
    warnings.simplefilter("ignore")  # scikit-learn's on its coming defaults and on fits that reach the limit
    if args.child:
        who = args.child[0]
        print(json.dumps(compared(args.folder, float(args.child[1])) if who == "same" else measured(who, args.folder)))
        return

    import sklearn

    print(f"torch {torch.__version__}, scikit-learn {sklearn.__version__}, {args.threads} threads", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        draw(Path(folder), args.n, args.d)
        runs: dict[str, list[dict[str, Any]]] = {who: [] for who in args.who}
        for _ in range(args.rounds):
            for who in args.who:
                runs[who].append(child(Path(folder), who, str(args.threads)))
                print(f"  {who} {runs[who][-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
        print(f"{args.n} × {args.d} features, {CLASSES} classes, {QUERIES} queries; medians of {args.rounds} rounds")
        print(f"  {'':<10} {'seconds':>8} {'CPU s':>8} {'memory':>7}  accuracy  seconds by round")
        for who, found in runs.items():
            wall, cpu, peak = (statistics.median(run[key] for run in found) for key in ("seconds", "cpu", "peak"))
            each = " ".join(f"{run['seconds']:.1f}" for run in found)
            last = found[-1]
            rest = {key: last[key] for key in ("chosen", "unconverged") if key in last}
            memory = peak / last["bytes"] + 1
            print(f"  {who:<10} {wall:8.2f} {cpu:8.2f} {memory:6.2f}×  {last['accuracy']:.4f}    {each}  {rest}")
        if "linear" in runs:
            l2 = runs["linear"][-1]["chosen"]["l2"]
            print("  linear against scikit-learn's optimum:", child(Path(folder), "same", str(args.threads), str(l2)))


if __name__ == "__main__":
    main()
