"""Generative metrics against peers on the same features: time and memory, in one run.

    python scripts/bench/metrics.py [--n 5000] [--d 2048] [--threads 2] [--rounds 3]

1. The trace term of the Fréchet distance from two covariances: ours, torchmetrics (eigenvalues of the product), scipy
   `sqrtm`; on covariances of full rank, and ours once more on singular ones, where the exact way is taken.
2. All figures together, from features (n, d) float32 and logits (n, 1000): ours (Fréchet, KID with interval, precision,
   recall, density, coverage, diversity, score) and torch-fidelity's own functions for its four (FID, KID over
   100 subsets of 1000, PRC, ISC). KID: ours is one estimate from all features, not the mean over subsets.
3. Peak memory above the features, a child process each.

Rounds alternate, so that a busy machine is equally busy for each; printed are medians, of seconds and of CPU seconds,
which say more where others compute beside (with --threads 1: waiting threads of a pool count as well).
"""

import argparse
import statistics
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from gssl.metrics import frechet
from gssl.metrics.generation import measure

CLASSES = 1000


def features(n: int, d: int, seed: int) -> np.ndarray:
    """(n, d) float32, non-negative like pooled activations, of unequal variance and full rank."""
    rng = np.random.default_rng(seed)
    out = np.empty((n, d), dtype=np.float32)
    mixing = np.random.default_rng(0).standard_normal((64, d), dtype=np.float32) / 8
    for part in range(0, n, 500):
        rows = slice(part, min(part + 500, n))
        size = rows.stop - part
        noise = rng.standard_normal((size, d), dtype=np.float32)
        out[rows] = np.maximum(rng.standard_normal((size, 64), dtype=np.float32) @ mixing + noise + 0.1 * seed, 0)
    return out


def logits(n: int) -> torch.Tensor:
    return torch.from_numpy(3 * np.random.default_rng(9).standard_normal((n, CLASSES), dtype=np.float32))


def ours(real: np.ndarray, fake: np.ndarray, scores: torch.Tensor) -> dict[str, Any]:
    return measure(real, fake, probabilities=scores.double().softmax(dim=1).numpy())


def peer(real: np.ndarray, fake: np.ndarray, scores: torch.Tensor) -> dict[str, Any]:
    from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

    x, y = torch.from_numpy(fake), torch.from_numpy(real)  # generated images first
    quiet = {"verbose": False}
    moments = [metric_fid.fid_features_to_statistics(side) for side in (x, y)]
    found = dict(metric_fid.fid_statistics_to_metric(*moments, verbose=False))
    found |= metric_kid.kid_features_to_metric(x, y, kid_subset_size=min(1000, len(x)), **quiet)
    found |= metric_prc.prc_features_to_metric(x, y, **quiet)
    return found | metric_isc.isc_features_to_metric(scores)


def alternate(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, Any]:
    """Prints a table of median seconds; what the calls gave."""
    spent: dict[str, list[float]] = {name: [] for name in calls}
    busy: dict[str, list[float]] = {name: [] for name in calls}
    given = {}
    for _ in range(rounds):
        for name, call in calls.items():
            start, worked = time.perf_counter(), time.process_time()
            given[name] = call()
            spent[name].append(time.perf_counter() - start)
            busy[name].append(time.process_time() - worked)
    print(f"  {'medians':<28} {'seconds':>8} {'÷ gssl':>7} {'CPU s':>8} {'÷ gssl':>7}   seconds by round")
    own, least = (statistics.median(next(iter(times.values()))) for times in (spent, busy))
    for name in calls:
        wall, cpu = statistics.median(spent[name]), statistics.median(busy[name])
        each = " ".join(f"{t:.2f}" for t in spent[name])
        print(f"  {name:<28} {wall:8.2f} {wall / own:7.1f} {cpu:8.2f} {cpu / least:7.1f}   {each}", flush=True)
    return given


def trace_term(args: argparse.Namespace) -> None:
    from scipy.linalg import sqrtm
    from torchmetrics.image.fid import _compute_fid

    d, n = args.d, max(args.n, args.d + args.d // 4)
    one, two = (frechet.moments(features(n, d, seed)) for seed in (0, 1))
    tensors = [torch.from_numpy(v) for v in (*one, *two)]
    half = [frechet.moments(np.tile(features(n, d // 2, seed), 2)) for seed in (0, 1)]

    def scipy() -> float:
        shift = one[0] - two[0]
        root = np.real(sqrtm(one[1] @ two[1])).trace()
        return float(shift @ shift + one[1].trace() + two[1].trace() - 2 * root)

    calls: dict[str, Callable[[], Any]] = {
        "gssl": lambda: frechet.frechet_from_moments(*one, *two),
        "gssl, singular covariances": lambda: frechet.frechet_from_moments(*half[0], *half[1]),
        "torchmetrics": lambda: float(_compute_fid(*tensors)),
        "scipy sqrtm": scipy,
    }
    print(f"\nFréchet distance from moments, d = {d}", flush=True)
    values = alternate(calls, args.rounds)
    print("  values: " + ", ".join(f"{name} {value:.9g}" for name, value in values.items()))


def together(args: argparse.Namespace) -> None:
    n, d = args.n, args.d
    real, fake, scores = features(n, d, 0), features(n, d, 1), logits(n)
    print(f"\nAll figures, n = {n} on either side, d = {d}", flush=True)
    calls = {"gssl": lambda: ours(real, fake, scores), "torch-fidelity": lambda: peer(real, fake, scores)}
    for call in (ours, peer):  # imports
        call(real[:64], fake[:64], scores[:64])
    mine, theirs = alternate(calls, args.rounds).values()
    shared = {"fd": "frechet_inception_distance", "precision": "precision", "recall": "recall"}
    pairs = [f"{name} {mine[name]} and {theirs[key]:.9g}" for name, key in shared.items()]
    print(f"  values: {', '.join(pairs)}; kid {mine['kid']:.6g} and {theirs['kernel_inception_distance_mean']:.6g}")


def child(who: str, n: int, d: int) -> None:
    """Prints the peak above what features and imports take, in MB."""
    real, fake, scores = features(n, d, 0), features(n, d, 1), logits(n)
    call = ours if who == "gssl" else peer
    call(real[:64], fake[:64], scores[:64])  # imports and the libraries' own buffers
    before = resident("VmRSS")
    call(real, fake, scores)
    print(resident("VmHWM") - before)


def resident(key: str) -> int:
    """MB; Linux. (`ru_maxrss` of a child begins at its parent's.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) // 1024


def memory(args: argparse.Namespace) -> None:
    n, d = args.n, args.d
    print(
        f"\nPeak memory above features and imports, d = {d}, a process each; features alone take {8 * n * d >> 20} MB"
    )
    for who in ("gssl", "torch-fidelity"):
        found = []
        for size in (n, 2 * n):
            words = ["--child", who, "--n", str(size), "--d", str(d), "--threads", str(args.threads)]
            out = subprocess.run([sys.executable, __file__, *words], capture_output=True, text=True, check=True)
            found.append(f"n = {size}: {int(out.stdout.split()[-1]):5} MB")
        print(f"  {who:<34} {'   '.join(found)}", flush=True)


PARTS = {"trace": trace_term, "all": together, "memory": memory}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--n", type=int, default=5000, help="images on either side")
    parser.add_argument("--d", type=int, default=2048, help="features per image")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--child", choices=["gssl", "torch-fidelity"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    threadpool_limits(args.threads)  # NumPy's and SciPy's
    warnings.simplefilter("ignore")  # scipy's on matrices that are nearly singular
    if args.child:
        child(args.child, args.n, args.d)
        return
    print(
        f"torch {torch.__version__}, numpy {np.__version__}, {args.threads} threads, {args.rounds} alternating rounds"
    )
    for part in args.parts:
        PARTS[part](args)


if __name__ == "__main__":
    main()
