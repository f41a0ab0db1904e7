"""How seconds and memory grow with the size of images, the batch and the number of classes.

    python scripts/bench/growth.py [--only size batch classes] [--rounds 3]

size, batch: SimCLR with the small convnet and colour views, the real loop on class folders of noise: seconds of
processor per step (the median without the first), one thread, and memory at the most over that before the images were
read. A batch of 64 for sizes, images of 32 px for batches.

classes: the linear probe on 5,000 drawn features of 128 numbers, choice of λ included: seconds of processor and memory.

Each measurement is a process of its own. Printed: medians over the rounds, and the exponent e of y ~ x**e.
"""

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

AXES = {"size": [16, 32, 64, 128], "batch": [32, 64, 128, 256], "classes": [10, 100, 1000]}
STEPS, ROWS, WIDTH = 6, 5000, 128
CPU = torch.device("cpu")


def training(folder: Path, size: int, batch: int) -> tuple[float, float]:
    """Seconds of processor per step and MB at the most of one run."""
    from overhead import loop, pictures

    from gssl.config.composing import compose
    from gssl.engine.device import peak_memory, reset_peak_memory

    pictures(folder / "images")
    words = ["data=imagefolder", f"data.root={folder / 'images'}", f"data.size={size}", "data/views=natural"]
    words += [f"ssl.batch_size={batch}", f"budget.steps={STEPS}", "eval.images=2", "data.on_error=skip"]
    cfg = compose("pretrain-ssl", [*words, "engine.threads=1", "engine.progress=false", "engine.device=cpu"])
    clock, time.perf_counter = time.perf_counter, time.process_time  # what the loop's clock is here
    reset_peak_memory(CPU)
    before = peak_memory(CPU)
    try:
        seconds = statistics.median(loop(cfg, folder / "run"))
    finally:
        time.perf_counter = clock
    return seconds, (peak_memory(CPU) - before) / 1e6


def probing(classes: int) -> tuple[float, float]:
    """Seconds of processor and MB at the most of one linear probe."""
    from gssl.config.composing import compose
    from gssl.engine.device import peak_memory, reset_peak_memory
    from gssl.probe.linear import Linear

    cfg = compose("transfer", ["weights=random"]).probe.linear
    rng = np.random.default_rng(0)
    labels = np.arange(ROWS) % classes
    centres = rng.standard_normal((classes, WIDTH), dtype=np.float32)
    x = centres[labels] + rng.standard_normal((ROWS, WIDTH), dtype=np.float32)
    few = np.arange(64)
    Linear(cfg).fit(x[few], few % 2, 2, 0)  # what libraries load and allocate at first use
    reset_peak_memory(CPU)
    before, start = peak_memory(CPU), time.process_time()
    Linear(cfg).fit(x, labels, classes, 0)
    return time.process_time() - start, (peak_memory(CPU) - before) / 1e6


def own(axis: str, value: int) -> tuple[float, float]:
    torch.set_num_threads(1)
    if axis == "classes":
        return probing(value)
    with tempfile.TemporaryDirectory() as temp:
        return training(Path(temp), *((value, 64) if axis == "size" else (32, value)))


def child(axis: str, value: int) -> list[float]:
    done = subprocess.run(
        [sys.executable, __file__, "--child", axis, str(value)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return [float(word) for word in done.stdout.split()[-2:]]


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """Of y ~ x**e, by least squares of the logarithms."""
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", choices=AXES, nargs="+", default=list(AXES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    wanted = parser.parse_args()
    if wanted.child:
        print(*own(wanted.child[0], int(wanted.child[1])))
        return
    for axis in wanted.only:
        found = []
        for value in AXES[axis]:
            runs = [child(axis, value) for _ in range(wanted.rounds)]
            found.append([statistics.median(column) for column in zip(*runs, strict=True)])
            print(f"{axis} {value:>5}: {found[-1][0]:8.3f} s of the processor, {found[-1][1]:7.0f} MB", flush=True)
        for name, column in zip(("seconds", "memory"), zip(*found, strict=True), strict=True):
            last = exponent(AXES[axis][-2:], column[-2:])
            print(f"{axis}: {name} ~ x^{exponent(AXES[axis], column):.2f} (x^{last:.2f} between the last two)")


if __name__ == "__main__":
    main()
